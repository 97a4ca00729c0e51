use std::ffi::c_char;

use super::handle::lock;
use super::network::{self, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;
use super::{copy_text, guard, non_null_mut};
use crate::net::{Layer, TieClass};

/// The windows of one max pooling by the cause of their tie; filled by `tb_network_tie_classes`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_tie_classes {
    /// `sizeof(tb_tie_classes)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// The layer; its first 127 bytes.
    pub layer: [c_char; 128],
    /// All windows: the sum of the next five.
    pub windows: u64,
    /// Windows that hold a NaN.
    pub nan: u64,
    /// Windows whose maximum one element attains: there is nothing to choose.
    pub untied: u64,
    /// Tied windows of which no tied element passes a gradient on through the ReLU before: no choice can be seen.
    pub masked: u64,
    /// Tied windows whose tied elements are all the same function of the weights, on the branches that the run took: they
    /// see the same pixels through the same active ReLUs and maxima, and are equal in any arithmetic. What a choice does
    /// cancels in the gradients of weights, but for rounding.
    pub structural: u64,
    /// The other tied windows: rounding has made them tie, or chance. A choice changes the gradient.
    pub accidental: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_tie_classes {
    const FIRST_SIZE: usize = 184;
    fn defaults() -> Self {
        tb_tie_classes {
            struct_size: size_of::<Self>(),
            layer: [0; 128],
            windows: 0,
            nan: 0,
            untied: 0,
            masked: 0,
            structural: 0,
            accidental: 0,
        }
    }
}

/// Why the windows of each max pooling tied in the last `tb_network_loss_and_gradients`. Where `room` is 0 the layers are
/// counted alone.
///
/// @param entries  in: `struct_size` of the first; out: for each max pooling in the order of the layers, as many as there
///                 is room for; NULL where room is 0
/// @param room     number of structs at entries
/// @param count    out: number of max poolings; those beyond `room` were not written
/// @return `TB_STATUS_UNSUPPORTED` where no forward pass is stored, or no backward pass needs what a max pooling would store:
///         there are no parameters before it, or it has no part in the output
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_tie_classes(
    network: *const tb_network,
    entries: *mut tb_tie_classes,
    room: usize,
    count: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_tie_classes", || unsafe {
        let count = non_null_mut(count, "count")?;
        let network = network::get(network)?;
        options::check_array(entries, room, "entries")?;
        let mut network = lock(&network);
        let pools = |layer: Layer| matches!(layer, Layer::MaxPool2d { .. });
        *count = network.layers().iter().filter(|l| pools(l.layer)).count();
        if room == 0 {
            return Ok(());
        }
        let mut values = Vec::new();
        for pooling in network.tie_classes()?.iter().take(room) {
            let mut value = tb_tie_classes {
                windows: pooling.classes.len() as u64,
                nan: pooling.count(TieClass::Nan),
                untied: pooling.count(TieClass::Untied),
                masked: pooling.count(TieClass::Masked),
                structural: pooling.count(TieClass::Structural),
                accidental: pooling.count(TieClass::Accidental),
                ..Growable::defaults()
            };
            copy_text(&pooling.layer, &mut value.layer);
            values.push(value);
        }
        options::write_array(entries, &values, "entries")
    })
}

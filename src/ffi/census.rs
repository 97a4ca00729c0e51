use std::ffi::c_char;

use super::handle::lock;
use super::kink::{TB_KINK_MAXPOOL, TB_KINK_RELU, tb_kink_kind};
use super::network::{self, census_entries, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view};
use super::{copy_text, guard};
use crate::error::Error;
use crate::net::{LayerCensus, TieCount};

/// What was counted at one kink layer, of a max pooling for one number of ties; filled by `tb_network_census`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_census_entry {
    /// `sizeof(tb_census_entry)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// The layer; its first 127 bytes.
    pub layer: [c_char; 128],
    /// `TB_KINK_MAXPOOL` or `TB_KINK_RELU`.
    pub kind: tb_kink_kind,
    /// MaxPool: the number of elements that attain the maximum, from 0 (windows that hold a NaN) and 1 (no tie) to all
    /// of the window. ReLU: 0.
    pub ties: u32,
    /// MaxPool: windows with so many ties whose maximum is 0. ReLU: inputs that are 0.
    pub zero: u64,
    /// MaxPool: those of them where the choice can matter: they receive a gradient that is not 0, and at least one tied
    /// element passes it on through the ReLU before, where there is one. ReLU: 0.
    pub zero_alive: u64,
    /// MaxPool: windows with so many ties whose maximum is not 0. ReLU: inputs that are not 0.
    pub nonzero: u64,
    /// MaxPool: those of them where the choice can matter. ReLU: 0.
    pub nonzero_alive: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_census_entry {
    const FIRST_SIZE: usize = 176;
    fn defaults() -> Self {
        tb_census_entry {
            struct_size: size_of::<Self>(),
            layer: [0; 128],
            kind: TB_KINK_MAXPOOL,
            ties: 0,
            zero: 0,
            zero_alive: 0,
            nonzero: 0,
            nonzero_alive: 0,
        }
    }
}

/// Forward and backward pass, as `tb_network_loss_and_gradients`, with a census of every max pooling and ReLU: how
/// often the network stands on a kink. Running statistics of batch normalisation stay as they are. It has a plan and
/// memory of its own, some percent more than a training step's.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param entries      in: `struct_size` of the first; out: for each max pooling and ReLU in the order of the layers,
///                     of a max pooling KH KW + 1, by number of ties from 0. All 0 where a layer has no part in the
///                     output.
/// @param entry_count  `census_count` of `tb_network_info`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_census(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    entries: *mut tb_census_entry,
    entry_count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_census", || unsafe {
        let network = network::get(network)?;
        let mut network = lock(&network);
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let layers = network.layers();
        let expected: usize = layers.iter().map(|l| census_entries(l.layer)).sum();
        if entry_count != expected {
            return Err(Error::invalid("entry_count", expected, entry_count).into());
        }
        options::check_array(entries, entry_count, "entries")?;
        let census = network.census(x.view()?, labels)?;
        let mut values = Vec::new();
        for layer in &layers {
            let counted = census.iter().find(|e| e.layer == layer.name).map(|e| &e.counts);
            for ties in 0..census_entries(layer.layer) {
                let mut value = tb_census_entry { ties: ties as u32, ..Growable::defaults() };
                copy_text(&layer.name, &mut value.layer);
                match counted {
                    Some(LayerCensus::MaxPool2d(rows)) => {
                        let TieCount { zero, nonzero } = rows[ties];
                        (value.zero, value.zero_alive) = (zero.windows, zero.alive);
                        (value.nonzero, value.nonzero_alive) = (nonzero.windows, nonzero.alive);
                    }
                    Some(LayerCensus::Relu { zeros, elements }) => {
                        (value.zero, value.nonzero) = (*zeros, elements - zeros);
                    }
                    None => {}
                }
                if layer.layer.kind() == "relu" {
                    value.kind = TB_KINK_RELU;
                }
                values.push(value);
            }
        }
        options::write_array(entries, &values, "entries")
    })
}

use std::ffi::c_char;

use super::handle::lock;
use super::network::{self, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;
use super::{copy_text, guard, non_null_mut};
use crate::net::{NonFinite, Pass};

/// A part of a training step.
pub type tb_pass = i32;

/// From the input to the logits.
pub const TB_PASS_FORWARD: tb_pass = 0;
/// The loss and the gradient of the logits.
pub const TB_PASS_LOSS: tb_pass = 1;
/// From there to the gradients of the parameters.
pub const TB_PASS_BACKWARD: tb_pass = 2;
/// The update of the parameters.
pub const TB_PASS_OPTIMIZER: tb_pass = 3;

/// The first value of a tensor that is NaN or infinite; filled by `tb_network_non_finite`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_non_finite {
    /// `sizeof(tb_non_finite)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// A `TB_PASS_` value: the part of the step.
    pub pass: tb_pass,
    /// 1 where it is the loss, a running statistic, or in what the optimizer writes: nothing that follows masks it; else 0.
    pub lasts: i32,
    /// The layer; "loss", or for the optimizer the parameter; its first 127 bytes.
    pub layer: [c_char; 128],
    /// The operator that made it, as `kernel` of `tb_kernel_profile` calls it on the CPU; "input" for what the step began
    /// with.
    pub operator_name: [c_char; 128],
    /// The tensor that holds it: "x", a parameter or buffer by its name, "gradient of" a parameter, "gradient of the input",
    /// "gradient of the logits", "output", "statistics", "loss"; of an optimizer "parameter", "copy in 16 bits", or a state
    /// by PyTorch's name. Its first 127 bytes.
    pub tensor: [c_char; 128],
    /// Its place in the tensor, in row-major order.
    pub element: u64,
    /// NaN, infinity or -infinity.
    pub value: f64,
    /// How it arose, if all that the operator read was finite: a sentence for people; its first 255 bytes.
    pub cause: [c_char; 256],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_non_finite {
    const FIRST_SIZE: usize = 672;
    fn defaults() -> Self {
        tb_non_finite {
            struct_size: size_of::<Self>(),
            pass: TB_PASS_FORWARD,
            lasts: 0,
            layer: [0; 128],
            operator_name: [0; 128],
            tensor: [0; 128],
            element: 0,
            value: 0.0,
            cause: [0; 256],
        }
    }
}

fn values(found: &NonFinite) -> tb_non_finite {
    let mut values = tb_non_finite {
        pass: match found.pass {
            Pass::Forward => TB_PASS_FORWARD,
            Pass::Loss => TB_PASS_LOSS,
            Pass::Backward => TB_PASS_BACKWARD,
            Pass::Optimizer => TB_PASS_OPTIMIZER,
        },
        lasts: found.lasts() as i32,
        element: found.element as u64,
        value: found.value,
        ..Growable::defaults()
    };
    copy_text(&found.layer, &mut values.layer);
    copy_text(&found.operator_name, &mut values.operator_name);
    copy_text(&found.tensor, &mut values.tensor);
    copy_text(&found.cause, &mut values.cause);
    values
}

/// Lets each training step from now on look at every tensor that it stores: `tb_network_non_finite` tells where a value that
/// is not finite arose. Steps give the same bits, and take a pass over memory longer. Of optimizers only those created after
/// this call are watched. What the last run has stored is given back, so `tb_network_backward` needs another run first. A
/// second call changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_watch_non_finite(network: *const tb_network) -> tb_status {
    guard("tb_network_watch_non_finite", || Ok(lock(&*network::get(network)?).watch_non_finite()?))
}

/// The tensors of the last training step, `tb_network_loss_and_gradients` or `tb_network_evaluate` that hold a value that is
/// not finite, in the order in which they were computed: the first is where it arose. None where
/// `tb_network_watch_non_finite` was not called before that run. Where `room` is 0 they are counted alone.
///
/// What follows may stop such a value: a ReLU masks it, and with a loss scale a gradient that overflows is a matter of course,
/// its step skipped. `lasts` tells.
///
/// @param entries  in: `struct_size` of the first; out: as many as there is room for, one for each tensor; NULL where room is
///                 0
/// @param room     number of structs at entries
/// @param count    out: number of such tensors; those beyond `room` were not written
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_non_finite(
    network: *const tb_network,
    entries: *mut tb_non_finite,
    room: usize,
    count: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_non_finite", || unsafe {
        let count = non_null_mut(count, "count")?;
        let network = network::get(network)?;
        options::check_array(entries, room, "entries")?;
        let found = lock(&network).non_finite()?;
        *count = found.len();
        let written: Vec<_> = found.iter().take(room).map(values).collect();
        options::write_array(entries, &written, "entries")
    })
}

use super::guard;
use super::handle::lock;
use super::network::{self, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;

/// Bytes that a run needs on the engine that runs the network; filled by `tb_network_memory_plan`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_memory_plan {
    /// `sizeof(tb_memory_plan)`; set by the caller.
    pub struct_size: usize,
    /// Parameters, their master copies and running statistics.
    pub parameters: usize,
    /// Gradients.
    pub gradients: usize,
    /// Activations and their gradients, which share memory as soon as they are dead, tie sets, input and labels.
    pub activations: usize,
    /// Memory that the GPU's kernels share; the CPU's take theirs as they run.
    pub scratch: usize,
    /// The largest single buffer.
    pub largest: usize,
    /// All of it, `largest` apart, which is a part of it.
    pub total: usize,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_memory_plan {
    const FIRST_SIZE: usize = 56;
    fn defaults() -> Self {
        tb_memory_plan {
            struct_size: size_of::<Self>(),
            parameters: 0,
            gradients: 0,
            activations: 0,
            scratch: 0,
            largest: 0,
            total: 0,
        }
    }
}

/// What a run of one batch size would need, an optimizer's state apart; nothing is allocated.
///
/// @param batch     number of samples
/// @param training  not 0: with the backward pass; 0: evaluation alone
/// @param plan      in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_memory_plan(
    network: *const tb_network,
    batch: usize,
    training: i32,
    plan: *mut tb_memory_plan,
) -> tb_status {
    guard("tb_network_memory_plan", || {
        let needed = lock(&*network::get(network)?).memory_plan(batch, training != 0)?;
        let values = tb_memory_plan {
            parameters: needed.parameters,
            gradients: needed.gradients,
            activations: needed.activations,
            scratch: needed.scratch,
            largest: needed.largest,
            total: needed.total(),
            ..Growable::defaults()
        };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(plan, values, "plan") }
    })
}

use std::ffi::c_char;

use super::handle::lock;
use super::network::{self, tb_network};
use super::optimizer::{self, tb_optimizer};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view};
use super::{copy_text, guard, non_null_mut};
use crate::net::KernelProfile;

/// What a run has to do at the least; filled by `tb_network_work`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_work {
    /// `sizeof(tb_work)`; set by the caller.
    pub struct_size: usize,
    /// Additions and multiplications of convolutions and linear layers, two for each product. All else is bound by
    /// memory and counts as 0.
    pub operations: u64,
    /// Bytes of the tensors, each read or written once.
    pub bytes: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_work {
    const FIRST_SIZE: usize = 24;
    fn defaults() -> Self {
        tb_work { struct_size: size_of::<Self>(), operations: 0, bytes: 0 }
    }
}

/// What one kernel of a training step took; filled by `tb_optimizer_profile_step`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_kernel_profile {
    /// `sizeof(tb_kernel_profile)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// The layer's name, "loss" or "optimizer"; its first 127 bytes.
    pub layer: [c_char; 128],
    /// The operator's name on the CPU, the shader's on a GPU.
    pub kernel: [c_char; 64],
    /// Seconds on the device.
    pub seconds: f64,
    /// As in `tb_work`. On a GPU, where an operator may take several kernels, that of all stands at the first.
    pub operations: u64,
    /// As in `tb_work`.
    pub bytes: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_kernel_profile {
    const FIRST_SIZE: usize = 224;
    fn defaults() -> Self {
        tb_kernel_profile {
            struct_size: size_of::<Self>(),
            layer: [0; 128],
            kernel: [0; 64],
            seconds: 0.0,
            operations: 0,
            bytes: 0,
        }
    }
}

fn values(profile: &KernelProfile) -> tb_kernel_profile {
    let mut values = tb_kernel_profile {
        seconds: profile.seconds,
        operations: profile.work.operations,
        bytes: profile.work.bytes,
        ..Growable::defaults()
    };
    copy_text(&profile.layer, &mut values.layer);
    copy_text(profile.kernel, &mut values.kernel);
    values
}

/// What a run of one batch size has to do, the optimizer apart; nothing is run.
///
/// @param batch     number of samples
/// @param training  not 0: with the backward pass; 0: evaluation alone
/// @param work      in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_work(
    network: *const tb_network,
    batch: usize,
    training: i32,
    work: *mut tb_work,
) -> tb_status {
    guard("tb_network_work", || {
        let needed = lock(&*network::get(network)?).work(batch, training != 0)?;
        let values = tb_work { operations: needed.operations, bytes: needed.bytes, ..Growable::defaults() };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(work, values, "work") }
    })
}

/// As `tb_optimizer_train_step` without clipping and loss scaling, one kernel at a time, each timed. The step is made
/// whatever the room for its kernels.
///
/// @param x             `[N, C, H, W]` of the network's dtype
/// @param labels        N class numbers
/// @param label_count   N
/// @param kernels       in: `struct_size` of the first; out: in the order in which they ran, as many as there is room
///                      for
/// @param room          number of structs at kernels, at least 1
/// @param kernel_count  out: number of kernels of the step; those beyond `room` were not written
/// @return `TB_STATUS_UNSUPPORTED` on a GPU without timestamps
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_profile_step(
    optimizer: *const tb_optimizer,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    kernels: *mut tb_kernel_profile,
    room: usize,
    kernel_count: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_profile_step", || unsafe {
        let object = optimizer::get(optimizer)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        options::check_array(kernels, room, "kernels")?;
        let kernel_count = non_null_mut(kernel_count, "kernel_count")?;
        let mut network = lock(&object.network);
        let profiles = lock(&object.optimizer).profile_step(&mut network, x.view()?, labels)?;
        *kernel_count = profiles.len();
        let written: Vec<_> = profiles.iter().take(room).map(values).collect();
        options::write_array(kernels, &written, "kernels")
    })
}

use std::sync::{Arc, Mutex};

use super::engine::{self, tb_engine};
use super::handle::{self, Handle, Object, OptimizerObject, lock};
use super::network::{self, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{Failure, guard, non_null_mut};
use crate::engine::SgdOptions;
use crate::train::Sgd;

/// Updates the parameters of one network, which it keeps alive. Created by `tb_optimizer_create_sgd`, given
/// back by `tb_optimizer_free`.
pub struct tb_optimizer {
    _opaque: [u8; 0],
}

impl Handle for tb_optimizer {
    const NAME: &'static str = "tb_optimizer";
    type Target = Arc<OptimizerObject>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Optimizer(optimizer) => Some(optimizer),
            _ => None,
        }
    }
}

/// Scalars of stochastic gradient descent, as PyTorch's `torch.optim.SGD`; `tb_sgd_options_init` sets the
/// defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_sgd_options {
    /// `sizeof(tb_sgd_options)`.
    pub struct_size: usize,
    /// Step length, at least 0; default 0.01.
    pub learning_rate: f64,
    /// Share of the momentum buffer that is kept, at least 0; default 0, which keeps no buffer.
    pub momentum: f64,
    /// `weight_decay` times the parameter is added to the gradient; at least 0; default 0.
    pub weight_decay: f64,
    /// 1 for Nesterov's momentum, which needs momentum above 0; default 0.
    pub nesterov: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_sgd_options {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        let d = SgdOptions::default();
        tb_sgd_options {
            struct_size: size_of::<Self>(),
            learning_rate: d.learning_rate,
            momentum: d.momentum,
            weight_decay: d.weight_decay,
            nesterov: d.nesterov as i32,
        }
    }
}

/// # Safety
/// As [`options::read`].
unsafe fn read(options: *const tb_sgd_options) -> Result<SgdOptions, Failure> {
    // SAFETY: the caller's promise.
    let o = unsafe { options::read(options, "options") }?;
    Ok(SgdOptions {
        learning_rate: o.learning_rate,
        momentum: o.momentum,
        weight_decay: o.weight_decay,
        nesterov: o.nesterov != 0,
    })
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_sgd_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_sgd_options_init(options: *mut tb_sgd_options, struct_size: usize) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_sgd_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// One step of stochastic gradient descent on the caller's memory, in place, on any shape.
///
/// @param options          NULL for the defaults
/// @param grad             the gradient
/// @param param            in and out: the shape and dtype of grad
/// @param momentum_buffer  in and out: the shape and dtype of grad; NULL exactly when momentum is 0
/// @param first            not 0 at the first step, where the buffer's contents do not count
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_sgd_step(
    engine: *const tb_engine,
    options: *const tb_sgd_options,
    grad: *const tb_view,
    param: *const tb_view_mut,
    momentum_buffer: *const tb_view_mut,
    first: i32,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_sgd_step", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::default();
        let grad = borrows.input(grad, "grad")?;
        let mut param = borrows.output(param, "param")?;
        let mut buffer = borrows.optional_output(momentum_buffer, "momentum_buffer")?;
        let options = read(options)?;
        let buffer = buffer.as_mut().map(|b| b.view()).transpose()?;
        Ok(engine.sgd_step(&options, grad.view()?, param.view()?, buffer, first != 0)?)
    })
}

/// Creates an optimizer (stochastic gradient descent) for a network.
///
/// @param network    stays usable on its own; the optimizer keeps it alive
/// @param options    NULL for the defaults
/// @param optimizer  out: the handle; free it with `tb_optimizer_free`. NULL on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_create_sgd(
    network: *const tb_network,
    options: *const tb_sgd_options,
    optimizer: *mut *mut tb_optimizer,
) -> tb_status {
    guard("tb_optimizer_create_sgd", || {
        // SAFETY: the caller's promise, as the header states it.
        let optimizer = unsafe { non_null_mut(optimizer, "optimizer") }?;
        *optimizer = std::ptr::null_mut();
        let network = network::get(network)?;
        // SAFETY: the caller's promise.
        let options = unsafe { read(options) }?;
        let sgd = Mutex::new(Sgd::new(&mut lock(&network), options)?);
        *optimizer = handle::create(Object::Optimizer(Arc::new(OptimizerObject { network, sgd })));
        Ok(())
    })
}

/// Frees an optimizer. The network lives on. NULL is nothing to do; a handle freed before is
/// `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_optimizer_free(optimizer: *mut tb_optimizer) -> tb_status {
    guard("tb_optimizer_free", || handle::free(optimizer, "optimizer"))
}

/// Changes the step length, as schedules do.
#[unsafe(no_mangle)]
pub extern "C" fn tb_optimizer_set_learning_rate(
    optimizer: *const tb_optimizer,
    learning_rate: f64,
) -> tb_status {
    guard("tb_optimizer_set_learning_rate", || {
        let optimizer = handle::get(optimizer, "optimizer")?;
        Ok(lock(&optimizer.sgd).set_learning_rate(learning_rate)?)
    })
}

/// Updates the parameters from the gradients that the last `tb_network_loss_and_gradients` or
/// `tb_network_backward` left.
#[unsafe(no_mangle)]
pub extern "C" fn tb_optimizer_step(optimizer: *const tb_optimizer) -> tb_status {
    guard("tb_optimizer_step", || {
        let optimizer = handle::get(optimizer, "optimizer")?;
        // Always the network first, so that two threads cannot wait for each other.
        let mut network = lock(&optimizer.network);
        Ok(lock(&optimizer.sgd).step(&mut network)?)
    })
}

/// A whole training step: forward, loss, backward, update. On a GPU it is one submission, and without `loss`
/// nothing waits for it.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param loss         out: the mean cross-entropy before the update; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_train_step(
    optimizer: *const tb_optimizer,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    loss: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_train_step", || unsafe {
        let optimizer = handle::get(optimizer, "optimizer")?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let mut network = lock(&optimizer.network);
        lock(&optimizer.sgd).train_step(&mut network, x.view()?, labels)?;
        if let Some(loss) = loss.as_mut() {
            *loss = network.loss()?;
        }
        Ok(())
    })
}

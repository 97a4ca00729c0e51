use std::sync::{Arc, Mutex};

use super::handle::{self, Handle, Object, OptimizerObject, lock};
use super::network::{self, tb_network};
use super::optimizer_options::{self, algorithm_number, tb_algorithm, tb_optimizer_options};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view};
use super::{Failure, guard, non_null_mut};
use crate::error::Error;
use crate::net::Network;
use crate::train::{Optimizer, StepReport};

/// Updates the parameters of one network, which it keeps alive. Created by `tb_optimizer_create`, given back by
/// `tb_optimizer_free`.
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

/// What a step did; filled by `tb_optimizer_step` and `tb_optimizer_train_step`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_step_report {
    /// `sizeof(tb_step_report)`; set by the caller.
    pub struct_size: usize,
    /// The mean cross-entropy of the last run with labels, before the update; NaN where there was none.
    pub loss: f64,
    /// Euclidean norm of all gradients before clipping; NaN unless clipping or loss scaling asked for it.
    pub gradient_norm: f64,
    /// What the next loss is scaled by; 1 without loss scaling.
    pub loss_scale: f64,
    /// 1 where loss scaling skipped the update because a gradient was not finite, else 0.
    pub skipped: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_step_report {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_step_report {
            struct_size: size_of::<Self>(),
            loss: f64::NAN,
            gradient_norm: f64::NAN,
            loss_scale: 1.0,
            skipped: 0,
        }
    }
}

/// Where an optimizer stands; filled by `tb_optimizer_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_optimizer_properties {
    /// `sizeof(tb_optimizer_properties)`; set by the caller.
    pub struct_size: usize,
    /// The present step length.
    pub learning_rate: f64,
    /// What the next loss is scaled by; 1 without loss scaling.
    pub loss_scale: f64,
    /// Steps that changed the parameters.
    pub steps: u64,
    /// A `TB_ALGORITHM_` value.
    pub algorithm: tb_algorithm,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_optimizer_properties {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_optimizer_properties {
            struct_size: size_of::<Self>(),
            learning_rate: 0.0,
            loss_scale: 1.0,
            steps: 0,
            algorithm: 0,
        }
    }
}

/// The optimizer behind a handle.
pub(super) fn get(optimizer: *const tb_optimizer) -> Result<Arc<OptimizerObject>, Failure> {
    handle::get(optimizer, "optimizer")
}

fn loss_scale(optimizer: &Optimizer) -> f64 {
    optimizer.options().grad_scaler.map_or(1.0, |s| s.scale)
}

/// Tells what a step did. Reading the loss waits for the device.
///
/// # Safety
/// As [`options::write`].
unsafe fn write_report(
    report: *mut tb_step_report,
    step: StepReport,
    optimizer: &Optimizer,
    network: &mut Network,
) -> Result<(), Failure> {
    let loss = match network.loss() {
        Err(Error::Unsupported(_)) => f64::NAN,
        loss => loss?,
    };
    let values = tb_step_report {
        loss,
        gradient_norm: step.gradient_norm.unwrap_or(f64::NAN),
        loss_scale: loss_scale(optimizer),
        skipped: step.skipped as i32,
        ..Growable::defaults()
    };
    // SAFETY: the caller's promise.
    unsafe { options::write(report, values, "report") }
}

/// Creates an optimizer for a network.
///
/// @param network    stays usable on its own; the optimizer keeps it alive
/// @param options    NULL for the defaults of `TB_ALGORITHM_SGD`
/// @param optimizer  out: the handle; free it with `tb_optimizer_free`. NULL on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_create(
    network: *const tb_network,
    options: *const tb_optimizer_options,
    optimizer: *mut *mut tb_optimizer,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_create", || unsafe {
        let optimizer = non_null_mut(optimizer, "optimizer")?;
        *optimizer = std::ptr::null_mut();
        let network = network::get(network)?;
        let options = optimizer_options::read(options)?;
        let created = Mutex::new(Optimizer::new(&mut lock(&network), options)?);
        let object = OptimizerObject { network, optimizer: created };
        *optimizer = handle::create(Object::Optimizer(Arc::new(object)));
        Ok(())
    })
}

/// Frees an optimizer. The network lives on. NULL is nothing to do; a handle freed before is
/// `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_optimizer_free(optimizer: *mut tb_optimizer) -> tb_status {
    guard("tb_optimizer_free", || handle::free(optimizer, "optimizer"))
}

/// Where an optimizer stands.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_info(
    optimizer: *const tb_optimizer,
    properties: *mut tb_optimizer_properties,
) -> tb_status {
    guard("tb_optimizer_info", || {
        let object = get(optimizer)?;
        let optimizer = lock(&object.optimizer);
        let values = tb_optimizer_properties {
            learning_rate: optimizer.options().algorithm.learning_rate(),
            loss_scale: loss_scale(&optimizer),
            steps: optimizer.steps(),
            algorithm: algorithm_number(optimizer.options().algorithm),
            ..Growable::defaults()
        };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Changes the step length, as schedules do; groups keep their factors.
#[unsafe(no_mangle)]
pub extern "C" fn tb_optimizer_set_learning_rate(
    optimizer: *const tb_optimizer,
    learning_rate: f64,
) -> tb_status {
    guard("tb_optimizer_set_learning_rate", || {
        let optimizer = get(optimizer)?;
        Ok(lock(&optimizer.optimizer).set_learning_rate(learning_rate)?)
    })
}

/// Updates the parameters from the gradients that the last `tb_network_loss_and_gradients` or
/// `tb_network_backward` left.
///
/// @param report  in: `struct_size`; out: the rest; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_step(
    optimizer: *const tb_optimizer,
    report: *mut tb_step_report,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_step", || unsafe {
        let object = get(optimizer)?;
        if !report.is_null() {
            options::check(report, "report")?;
        }
        // Always the network first, so that two threads cannot wait for each other.
        let mut network = lock(&object.network);
        let mut optimizer = lock(&object.optimizer);
        let step = optimizer.step(&mut network)?;
        if report.is_null() { Ok(()) } else { write_report(report, step, &optimizer, &mut network) }
    })
}

/// A whole training step: forward, loss, backward, update. On a GPU it is one submission, and without `report`
/// nothing waits for it, unless clipping or loss scaling has to look at the gradients.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param report       in: `struct_size`; out: the rest; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_train_step(
    optimizer: *const tb_optimizer,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    report: *mut tb_step_report,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_train_step", || unsafe {
        let object = get(optimizer)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        if !report.is_null() {
            options::check(report, "report")?;
        }
        let mut network = lock(&object.network);
        let mut optimizer = lock(&object.optimizer);
        let step = optimizer.train_step(&mut network, x.view()?, labels)?;
        if report.is_null() { Ok(()) } else { write_report(report, step, &optimizer, &mut network) }
    })
}

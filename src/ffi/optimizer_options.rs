use std::ffi::c_char;

use super::options::{self, Growable};
use super::status::tb_status;
use super::{Failure, guard, optional_string};
use crate::engine::{AdamOptions, RmsPropOptions, SgdOptions};
use crate::error::Error;
use crate::train::{Algorithm, GradScaler, OptimizerOptions, ParameterGroup, Selection};

/// How parameters are updated, with PyTorch's order of operations.
pub type tb_algorithm = i32;

/// Stochastic gradient descent: `torch.optim.SGD`.
pub const TB_ALGORITHM_SGD: tb_algorithm = 0;
/// `torch.optim.Adam`.
pub const TB_ALGORITHM_ADAM: tb_algorithm = 1;
/// `torch.optim.AdamW`: Adam with decoupled weight decay.
pub const TB_ALGORITHM_ADAMW: tb_algorithm = 2;
/// `torch.optim.RMSprop`.
pub const TB_ALGORITHM_RMS_PROP: tb_algorithm = 3;

/// Parameters that are trained differently; `tb_parameter_group_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_parameter_group {
    /// `sizeof(tb_parameter_group)`.
    pub struct_size: usize,
    /// Which: names that match a pattern with * and ?, such as "features.0.*"; NULL, the default, means biases, and
    /// weights and biases of batch normalisation. A pattern that matches no parameter is refused.
    pub names: *const c_char,
    /// What the learning rate is multiplied by; default 1.
    pub learning_rate_factor: f64,
    /// Instead of the optimizer's `weight_decay`; below 0, the default, means the optimizer's.
    pub weight_decay: f64,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_parameter_group {
    const FIRST_SIZE: usize = 32;
    fn defaults() -> Self {
        tb_parameter_group {
            struct_size: size_of::<Self>(),
            names: std::ptr::null(),
            learning_rate_factor: 1.0,
            weight_decay: -1.0,
        }
    }
}

/// An algorithm with its scalars, and what an optimizer does besides; `tb_optimizer_options_init` sets the defaults of
/// the algorithm. What it does not have does not count.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_optimizer_options {
    /// `sizeof(tb_optimizer_options)`.
    pub struct_size: usize,
    /// A `TB_ALGORITHM_` value.
    pub algorithm: tb_algorithm,
    /// SGD: not 0 for Nesterov's momentum, which needs momentum above 0 and no dampening; default 0.
    pub nesterov: i32,
    /// Adam, AdamW: not 0 to divide by the largest second average so far; default 0.
    pub amsgrad: i32,
    /// RMSprop: not 0 to divide by the standard deviation of the gradient, not its root mean square; default 0.
    pub centered: i32,
    /// Step length, at least 0; default 0.01, of Adam and AdamW 0.001.
    pub learning_rate: f64,
    /// At least 0: this times the parameter is added to the gradient; of AdamW it is the share of the parameter, times
    /// the step length, that a step takes away. Default 0, of AdamW 0.01.
    pub weight_decay: f64,
    /// SGD, RMSprop: share of the momentum buffer that is kept, at least 0; default 0, which keeps no buffer.
    pub momentum: f64,
    /// SGD: share of the gradient that the momentum buffer does not take; default 0.
    pub dampening: f64,
    /// Adam, AdamW: shares of the two moving averages that a step keeps, from 0 to below 1; default 0.9, 0.999.
    pub betas: [f64; 2],
    /// RMSprop: share of the moving averages that a step keeps, at least 0; default 0.99.
    pub alpha: f64,
    /// Adam, AdamW, RMSprop: added to the root of the average, at least 0; default 1e-8, which is 0 in f16.
    pub eps: f64,
    /// `tb_optimizer_create`: exceptions by parameter, which belongs to the first group that holds it; NULL, the
    /// default, means none.
    pub groups: *const tb_parameter_group,
    /// How many.
    pub group_count: usize,
    /// `tb_optimizer_create`: scales all gradients down together where the Euclidean norm over all of them exceeds
    /// this, as `torch.nn.utils.clip_grad_norm_`; 0, the default, means never.
    pub clip_norm: f64,
    /// `tb_optimizer_create`: not 0 for dynamic loss scaling, as `torch.amp.GradScaler`: a step with a gradient that is
    /// not finite is skipped and the scale multiplied by `backoff_factor`; after `growth_interval` good steps in a row
    /// it is multiplied by `growth_factor`. Default 0.
    pub grad_scaler: i32,
    /// At least 1; default 2000.
    pub growth_interval: u32,
    /// The scale at first, above 0; default 65536.
    pub loss_scale: f64,
    /// Above 1; default 2.
    pub growth_factor: f64,
    /// Between 0 and 1; default 0.5.
    pub backoff_factor: f64,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_optimizer_options {
    const FIRST_SIZE: usize = 144;
    fn defaults() -> Self {
        of_algorithm(TB_ALGORITHM_SGD)
    }
}

fn of_algorithm(algorithm: tb_algorithm) -> tb_optimizer_options {
    let (sgd, adam, rms_prop) = (SgdOptions::default(), AdamOptions::default(), RmsPropOptions::default());
    let (learning_rate, weight_decay, momentum, eps) = match algorithm {
        TB_ALGORITHM_SGD => (sgd.learning_rate, sgd.weight_decay, sgd.momentum, rms_prop.eps),
        TB_ALGORITHM_RMS_PROP => {
            (rms_prop.learning_rate, rms_prop.weight_decay, rms_prop.momentum, rms_prop.eps)
        }
        TB_ALGORITHM_ADAMW => (adam.learning_rate, 0.01, sgd.momentum, adam.eps),
        _ => (adam.learning_rate, adam.weight_decay, sgd.momentum, adam.eps),
    };
    let scaler = GradScaler::default();
    tb_optimizer_options {
        struct_size: size_of::<tb_optimizer_options>(),
        algorithm,
        nesterov: sgd.nesterov as i32,
        amsgrad: adam.amsgrad as i32,
        centered: rms_prop.centered as i32,
        learning_rate,
        weight_decay,
        momentum,
        dampening: sgd.dampening,
        betas: adam.betas,
        alpha: rms_prop.alpha,
        eps,
        groups: std::ptr::null(),
        group_count: 0,
        clip_norm: 0.0,
        grad_scaler: 0,
        growth_interval: scaler.growth_interval as u32,
        loss_scale: scaler.scale,
        growth_factor: scaler.growth_factor,
        backoff_factor: scaler.backoff_factor,
    }
}

fn algorithm(o: &tb_optimizer_options) -> Result<Algorithm, Failure> {
    match o.algorithm {
        TB_ALGORITHM_SGD => Ok(Algorithm::Sgd(SgdOptions {
            learning_rate: o.learning_rate,
            momentum: o.momentum,
            dampening: o.dampening,
            weight_decay: o.weight_decay,
            nesterov: o.nesterov != 0,
        })),
        TB_ALGORITHM_ADAM | TB_ALGORITHM_ADAMW => Ok(Algorithm::Adam(AdamOptions {
            learning_rate: o.learning_rate,
            betas: o.betas,
            eps: o.eps,
            weight_decay: o.weight_decay,
            decoupled: o.algorithm == TB_ALGORITHM_ADAMW,
            amsgrad: o.amsgrad != 0,
        })),
        TB_ALGORITHM_RMS_PROP => Ok(Algorithm::RmsProp(RmsPropOptions {
            learning_rate: o.learning_rate,
            alpha: o.alpha,
            eps: o.eps,
            momentum: o.momentum,
            centered: o.centered != 0,
            weight_decay: o.weight_decay,
        })),
        other => Err(Error::invalid("options.algorithm", "a TB_ALGORITHM_ value", other).into()),
    }
}

/// The number of an algorithm.
pub(super) fn algorithm_number(algorithm: Algorithm) -> tb_algorithm {
    match algorithm {
        Algorithm::Sgd(_) => TB_ALGORITHM_SGD,
        Algorithm::Adam(o) if o.decoupled => TB_ALGORITHM_ADAMW,
        Algorithm::Adam(_) => TB_ALGORITHM_ADAM,
        Algorithm::RmsProp(_) => TB_ALGORITHM_RMS_PROP,
    }
}

/// The algorithm for one step on the caller's memory; NULL means the defaults of `default`.
///
/// # Safety
/// As [`options::read`].
pub(super) unsafe fn read_algorithm(
    options: *const tb_optimizer_options,
    default: tb_algorithm,
) -> Result<Algorithm, Failure> {
    if options.is_null() {
        return algorithm(&of_algorithm(default));
    }
    // SAFETY: the caller's promise.
    algorithm(&unsafe { options::read(options, "options") }?)
}

/// The refusal of another algorithm than the operator's.
pub(super) fn wrong_algorithm(expected: &str, got: Algorithm) -> Failure {
    Error::invalid("options.algorithm", expected, algorithm_number(got)).into()
}

/// All options; NULL means the defaults of SGD.
///
/// # Safety
/// As [`options::read`], for the groups and their texts too.
pub(super) unsafe fn read(options: *const tb_optimizer_options) -> Result<OptimizerOptions, Failure> {
    // SAFETY: the caller's promise.
    let o = unsafe { options::read(options, "options") }?;
    // SAFETY: the caller's promise.
    let groups = unsafe { options::read_array(o.groups, o.group_count, "options.groups") }?;
    let mut parameter_groups = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        // SAFETY: the caller's promise.
        let names = unsafe { optional_string(group.names, &format!("options.groups[{i}].names")) }?;
        parameter_groups.push(ParameterGroup {
            selection: names.map_or(Selection::NormsAndBiases, |n| Selection::Names(n.to_string())),
            learning_rate_factor: group.learning_rate_factor,
            weight_decay: if group.weight_decay < 0.0 { None } else { Some(group.weight_decay) },
        });
    }
    Ok(OptimizerOptions {
        algorithm: algorithm(&o)?,
        groups: parameter_groups,
        clip_norm: if o.clip_norm == 0.0 { None } else { Some(o.clip_norm) },
        grad_scaler: (o.grad_scaler != 0).then_some(GradScaler {
            scale: o.loss_scale,
            growth_factor: o.growth_factor,
            backoff_factor: o.backoff_factor,
            growth_interval: o.growth_interval as u64,
            growth_tracker: 0,
        }),
    })
}

/// Fills `group` with the defaults. `struct_size` is `sizeof(tb_parameter_group)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_parameter_group_init(
    group: *mut tb_parameter_group,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_parameter_group_init", || unsafe { options::init(group, struct_size, "group") })
}

/// Fills `options` with the defaults of an algorithm. `struct_size` is `sizeof(tb_optimizer_options)`.
///
/// @param algorithm  a `TB_ALGORITHM_` value
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_options_init(
    options: *mut tb_optimizer_options,
    struct_size: usize,
    algorithm: tb_algorithm,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_options_init", || unsafe {
        if !(TB_ALGORITHM_SGD..=TB_ALGORITHM_RMS_PROP).contains(&algorithm) {
            return Err(Error::invalid("algorithm", "a TB_ALGORITHM_ value", algorithm).into());
        }
        options::init_with(options, struct_size, of_algorithm(algorithm), "options")
    })
}

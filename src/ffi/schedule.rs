use super::options::{self, Growable};
use super::status::tb_status;
use super::view::Borrows;
use super::{Failure, guard, non_null_mut};
use crate::error::Error;
use crate::train::Schedule;

/// How a learning rate depends on the epoch, with the values of PyTorch's `torch.optim.lr_scheduler`.
pub type tb_schedule_kind = i32;

/// The same throughout.
pub const TB_SCHEDULE_CONSTANT: tb_schedule_kind = 0;
/// StepLR: times `gamma` every `step_size` epochs.
pub const TB_SCHEDULE_STEP: tb_schedule_kind = 1;
/// MultiStepLR: times `gamma` at each milestone.
pub const TB_SCHEDULE_MULTI_STEP: tb_schedule_kind = 2;
/// ExponentialLR: times `gamma` every epoch.
pub const TB_SCHEDULE_EXPONENTIAL: tb_schedule_kind = 3;
/// CosineAnnealingLR: `eta_min + (base - eta_min) (1 + cos(pi epoch / t_max)) / 2`.
pub const TB_SCHEDULE_COSINE: tb_schedule_kind = 4;

/// A schedule of learning rates; `tb_schedule_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_schedule {
    /// `sizeof(tb_schedule)`.
    pub struct_size: usize,
    /// A `TB_SCHEDULE_` value: which of the fields below count; default constant.
    pub kind: tb_schedule_kind,
    /// Step, multi-step, exponential: factor of each change, at least 0; default 0.1.
    pub gamma: f64,
    /// Step: epochs between two changes, at least 1; default 1.
    pub step_size: u64,
    /// Multi-step: epochs at which the rate changes.
    pub milestones: *const u64,
    /// Multi-step: how many.
    pub milestone_count: usize,
    /// Cosine: epochs from the base rate down to `eta_min`, at least 1; default 1. It rises again after that.
    pub t_max: u64,
    /// Cosine: the lowest rate, at least 0; default 0.
    pub eta_min: f64,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_schedule {
    const FIRST_SIZE: usize = 64;
    fn defaults() -> Self {
        tb_schedule {
            struct_size: size_of::<Self>(),
            kind: TB_SCHEDULE_CONSTANT,
            gamma: 0.1,
            step_size: 1,
            milestones: std::ptr::null(),
            milestone_count: 0,
            t_max: 1,
            eta_min: 0.0,
        }
    }
}

/// # Safety
/// As [`options::read`], for the milestones too.
unsafe fn read(schedule: *const tb_schedule) -> Result<Schedule, Failure> {
    if schedule.is_null() {
        return Err(Failure::null("schedule"));
    }
    // SAFETY: the caller's promise.
    let s = unsafe { options::read(schedule, "schedule") }?;
    let read = match s.kind {
        TB_SCHEDULE_CONSTANT => Schedule::Constant,
        TB_SCHEDULE_STEP => Schedule::Step { step_size: s.step_size, gamma: s.gamma },
        TB_SCHEDULE_MULTI_STEP => {
            // SAFETY: the caller's promise.
            let milestones = unsafe {
                Borrows::default().array(s.milestones, s.milestone_count, "schedule.milestones")?.to_vec()
            };
            Schedule::MultiStep { milestones, gamma: s.gamma }
        }
        TB_SCHEDULE_EXPONENTIAL => Schedule::Exponential { gamma: s.gamma },
        TB_SCHEDULE_COSINE => Schedule::Cosine { t_max: s.t_max, eta_min: s.eta_min },
        other => return Err(Error::invalid("schedule.kind", "a TB_SCHEDULE_ value", other).into()),
    };
    read.validate()?;
    Ok(read)
}

/// Fills `schedule` with the defaults. `struct_size` is `sizeof(tb_schedule)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_schedule_init(schedule: *mut tb_schedule, struct_size: usize) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_schedule_init", || unsafe { options::init(schedule, struct_size, "schedule") })
}

/// The learning rate of an epoch, for `tb_optimizer_set_learning_rate`.
///
/// @param schedule       the schedule
/// @param base           the rate of epoch 0, at least 0
/// @param epoch          from 0
/// @param learning_rate  out: the rate
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_schedule_learning_rate(
    schedule: *const tb_schedule,
    base: f64,
    epoch: u64,
    learning_rate: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_schedule_learning_rate", || unsafe {
        let schedule = read(schedule)?;
        if !(base.is_finite() && base >= 0.0) {
            return Err(Error::invalid("base", "a finite number of at least 0", base).into());
        }
        *non_null_mut(learning_rate, "learning_rate")? = schedule.learning_rate(base, epoch);
        Ok(())
    })
}

use std::ffi::c_void;
use std::ops::ControlFlow;

use super::dataset::{self, tb_augmentation, tb_dataset};
use super::handle::lock;
use super::network::{self, tb_network};
use super::optimizer::{self, tb_optimizer};
use super::options::{self, Growable};
use super::progress::{listener, tb_progress_callback};
use super::status::tb_status;
use super::{guard, non_null_mut};
use crate::error::Error;
use crate::prefetch::Prefetch;

/// What an epoch did; filled by `tb_optimizer_train_epoch`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_epoch_report {
    /// `sizeof(tb_epoch_report)`; set by the caller.
    pub struct_size: usize,
    /// The mean of the losses of all samples, each before the update of its step; NaN where there was none.
    pub loss: f64,
    /// Steps made.
    pub steps: u64,
    /// Those whose update loss scaling skipped.
    pub skipped: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_epoch_report {
    const FIRST_SIZE: usize = 32;
    fn defaults() -> Self {
        tb_epoch_report { struct_size: size_of::<Self>(), loss: f64::NAN, steps: 0, skipped: 0 }
    }
}

/// One epoch of training: `tb_optimizer_train_step` on all images of a data set once, in the order of `tb_dataset_order`;
/// the last batch may be smaller. Between two steps other threads may use the network.
///
/// @param dataset       its images have the shape of the network's input
/// @param batch_size    images of a step, at least 1
/// @param seed          of the order
/// @param epoch         of the order
/// @param augmentation  NULL: the images as they are
/// @param progress      hears of images done, after each step, and before the first; NULL: nobody
/// @param user_data     passed to progress
/// @param report        in: `struct_size`; out: the rest, after `TB_STATUS_CANCELLED` too; NULL where it is not wanted
/// @return `TB_STATUS_CANCELLED`: what was trained stays trained
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_train_epoch(
    optimizer: *const tb_optimizer,
    dataset: *const tb_dataset,
    batch_size: usize,
    seed: u64,
    epoch: u64,
    augmentation: *const tb_augmentation,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    report: *mut tb_epoch_report,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_train_epoch", || unsafe {
        let object = optimizer::get(optimizer)?;
        let dataset = dataset::get(dataset)?;
        let changes =
            if augmentation.is_null() { None } else { Some(options::read(augmentation, "augmentation")?) };
        if !report.is_null() {
            options::check(report, "report")?;
        }
        let dtype = lock(&object.network).dtype();
        let mut listener = listener(progress, user_data);
        let (mut done, total) = (0, dataset.len() as u64);
        let (mut sum, mut steps, mut skipped) = (0.0, 0, 0);
        let mut cancelled = listener(done, total).is_break();
        let batches = dataset.batches(batch_size, seed, epoch)?.map(move |indices| match &changes {
            None => dataset.batch(&indices, dtype),
            Some(a) => dataset.augmented_batch(&indices, dtype, &a.changes(), a.seed, a.epoch),
        });
        let mut batches = Prefetch::new(batches)?;
        while !cancelled && let Some(batch) = batches.next() {
            let (x, labels) = batch?;
            {
                let mut network = lock(&object.network);
                let step = lock(&object.optimizer).train_step(&mut network, x.view(), &labels)?;
                sum += network.loss()? * labels.len() as f64;
                steps += 1;
                skipped += step.skipped as u64;
            }
            done += labels.len() as u64;
            cancelled = listener(done, total) == ControlFlow::Break(()) && done < total;
        }
        if !report.is_null() {
            let loss = if done == 0 { f64::NAN } else { sum / done as f64 };
            let values = tb_epoch_report { loss, steps, skipped, ..Growable::defaults() };
            options::write(report, values, "report")?;
        }
        if cancelled { Err(Error::Cancelled.into()) } else { Ok(()) }
    })
}

/// Loss and hits on all images of a data set, in evaluation mode.
///
/// @param dataset     its images have the shape of the network's input
/// @param batch_size  images of a run, at least 1
/// @param progress    hears of images done, after each run, and before the first; NULL: nobody
/// @param user_data   passed to progress
/// @param loss        out: the mean cross-entropy of all images; NaN where there is none
/// @param correct     out: number of images whose largest logit is the label's
/// @return `TB_STATUS_CANCELLED`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_evaluate_dataset(
    network: *const tb_network,
    dataset: *const tb_dataset,
    batch_size: usize,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    loss: *mut f64,
    correct: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_evaluate_dataset", || unsafe {
        let network = network::get(network)?;
        let dataset = dataset::get(dataset)?;
        let loss = non_null_mut(loss, "loss")?;
        let correct = non_null_mut(correct, "correct")?;
        if batch_size == 0 {
            return Err(Error::invalid("batch_size", "at least 1", 0).into());
        }
        let dtype = lock(&network).dtype();
        let mut listener = listener(progress, user_data);
        let total = dataset.len();
        let (mut done, mut sum, mut hits) = (0, 0.0, 0);
        let batches = (0..total).step_by(batch_size).map(move |start| {
            let end = start.saturating_add(batch_size).min(total);
            dataset.batch(&(start..end).collect::<Vec<_>>(), dtype)
        });
        let mut batches = Prefetch::new(batches)?;
        while done < total {
            if listener(done as u64, total as u64).is_break() {
                return Err(Error::Cancelled.into());
            }
            let Some(batch) = batches.next() else { break };
            let (x, labels) = batch?;
            let evaluation = lock(&network).evaluate(x.view(), &labels)?;
            sum += evaluation.loss * labels.len() as f64;
            hits += evaluation.correct;
            done += labels.len();
        }
        // It is done: nothing is left to stop.
        let _ = listener(done as u64, total as u64);
        *loss = if done == 0 { f64::NAN } else { sum / done as f64 };
        *correct = hits;
        Ok(())
    })
}

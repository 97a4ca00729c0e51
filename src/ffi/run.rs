use std::ffi::c_char;

use super::handle::lock;
use super::network::{self, tb_network};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{guard, non_null_mut, string};
use crate::error::Error;

/// Logits of a batch.
///
/// @param x       `[N, C, H, W]` of the network's dtype
/// @param logits  out: `[N, classes]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_forward(
    network: *const tb_network,
    x: *const tb_view,
    logits: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_forward", || unsafe {
        let network = network::get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let mut logits = borrows.output(logits, "logits")?;
        let tensor = lock(&network).forward(x.view()?)?;
        logits.fill(&tensor)
    })
}

/// Forward and backward pass: the gradients stay in the network.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param loss         out: the mean cross-entropy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_loss_and_gradients(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    loss: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_loss_and_gradients", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let network = network::get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        *loss = lock(&network).loss_and_gradients(x.view()?, labels)?;
        Ok(())
    })
}

/// A further backward pass, under the present choices, on the activations of the last
/// `tb_network_loss_and_gradients`.
///
/// @return `TB_STATUS_UNSUPPORTED` where there are none, where parameters have changed since (a training step does
///         that), or where a choice is coupled or forward and would have made others
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_backward(network: *const tb_network) -> tb_status {
    guard("tb_network_backward", || Ok(lock(&*network::get(network)?).backward()?))
}

/// Loss and hits on a batch; no gradients.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param loss         out: the mean cross-entropy
/// @param correct      out: number of samples whose largest logit is the label's
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_evaluate(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    loss: *mut f64,
    correct: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_evaluate", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let correct = non_null_mut(correct, "correct")?;
        let network = network::get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let evaluation = lock(&network).evaluate(x.view()?, labels)?;
        (*loss, *correct) = (evaluation.loss, evaluation.correct);
        Ok(())
    })
}

/// How many elements attain the maximum of each window of a max pooling, in the last
/// `tb_network_loss_and_gradients` or training step; 0 where a window holds a NaN.
///
/// @param layer        a maxpool2d layer's name
/// @param counts       out: N C OH OW numbers
/// @param counts_size  N C OH OW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_ties(
    network: *const tb_network,
    layer: *const c_char,
    counts: *mut u8,
    counts_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_ties", || unsafe {
        let network = network::get(network)?;
        let layer = string(layer, "layer")?;
        let counts = Borrows::default().bytes_mut(counts, counts_size, "counts")?;
        let ties = lock(&network).ties(layer)?;
        if counts.len() != ties.counts.len() {
            let expected = format!("{} for windows {:?}", ties.counts.len(), ties.shape);
            return Err(Error::invalid("counts_size", expected, counts.len()).into());
        }
        counts.copy_from_slice(&ties.counts);
        Ok(())
    })
}

/// Copies a layer's output in the last `tb_network_loss_and_gradients` or training step to the caller's memory, where
/// a backward pass reads it and it is therefore kept: inputs of convolutions, linear layers, batch normalisations and
/// ReLUs, and the logits.
///
/// @param layer   a layer's name
/// @param values  out: `[N, ...]` as `tb_network_layer_info` says, of the network's dtype
/// @return `TB_STATUS_UNSUPPORTED` where it is not kept
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_activation(
    network: *const tb_network,
    layer: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_activation", || unsafe {
        let network = network::get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).activation(string(layer, "layer")?)?;
        values.fill(&tensor)
    })
}

//! Softmax cross-entropy, mean over the batch.
//!
//! Row n with logits z, label l, m = max z, s = sum of exp(z - m):
//!   row_loss = ln(s) - (z_l - m);  loss = mean of row_loss;  glogits = (exp(z - m) / s - [c = l]) / N
//!
//! `exp` and `ln` are those of the `libm` crate: the same bits on every platform.

use super::scratch::{Pooled, Scratch};
use super::sum::sum_lanes;
use crate::dtype::{Accumulator, Element};

pub(super) fn cross_entropy<T: Element<Acc: Pooled>>(
    classes: usize,
    logits: &[T],
    labels: &[u32],
    loss: &mut [T],
    glogits: &mut [T],
    row_loss: &mut [T::Acc],
) {
    let batch = T::Acc::from_f64(labels.len() as f64);
    let mut scratch = Scratch::take();
    let logits = T::promote(logits, &mut scratch);
    T::demote_into(glogits, &mut Scratch::take(), |glogits| {
        let rows = logits.chunks(classes).zip(glogits.chunks_mut(classes));
        for (((z, gz), &label), row_loss) in rows.zip(labels).zip(row_loss.iter_mut()) {
            let m = z.iter().fold(T::Acc::NEG_INFINITY, |m, &v| if v > m { v } else { m });
            let mut sum = T::Acc::ZERO;
            for (g, &v) in gz.iter_mut().zip(z) {
                *g = (v - m).exp();
                sum += *g;
            }
            *row_loss = sum.ln() - (z[label as usize] - m);
            for (class, g) in gz.iter_mut().enumerate() {
                let hit = if class == label as usize { 1.0 } else { 0.0 };
                *g = (*g / sum - T::Acc::from_f64(hit)) / batch;
            }
        }
    });
    loss[0] = T::from_acc(sum_lanes(row_loss) / batch);
}

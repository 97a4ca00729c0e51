//! Softmax cross-entropy, mean over the batch.
//!
//! Row n with logits z, label l, m = max z, s = sum of exp(z - m):
//!   row_loss = ln(s) - (z_l - m);  loss = mean of row_loss;  glogits = (exp(z - m) / s - [c = l]) / N loss_scale
//!
//! Each loss and gradient is rounded once. The loss is of type L: the accumulate type, or T.
//!
//! `exp` and `ln` are those of the `libm` crate: the same bits on every platform.

use super::scratch::{Pooled, Scratch};
use super::sum::sum_lanes;
use crate::dtype::{Accumulator, Element};

pub(super) fn cross_entropy<T: Element<Acc: Pooled>, L: Element<Acc = T::Acc>>(
    (classes, loss_scale): (usize, f64),
    logits: &[T],
    labels: &[u32],
    loss: &mut [L],
    glogits: &mut [T],
    row_loss: &mut [T::Acc],
) {
    let [batch, loss_scale] = [labels.len() as f64, loss_scale].map(T::Acc::from_f64);
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
                *g = (*g / sum - T::Acc::from_f64(hit)) / batch * loss_scale;
            }
        }
    });
    loss[0] = L::from_acc(sum_lanes(row_loss) / batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn the_loss_scale_is_applied_before_the_one_rounding() {
        let logits = [1.0, -2.0, 9.5, 0.25, 0.5, -14.0].map(f16::from_f32);
        let labels = [2, 1];
        let (mut loss, mut row_loss, mut exact) = ([0.0f32], [0.0f32; 2], [0.0f32; 6]);
        let wide = logits.map(f16::to_f32);
        cross_entropy::<f32, f32>((3, 4096.0), &wide, &labels, &mut loss, &mut exact, &mut row_loss);
        let (mut wide_loss, mut scaled) = ([0.0f32], [f16::ZERO; 6]);
        cross_entropy::<f16, f32>((3, 4096.0), &logits, &labels, &mut wide_loss, &mut scaled, &mut row_loss);
        assert_eq!(scaled, exact.map(f16::from_f32));
        assert_eq!(wide_loss, loss, "the wide loss is neither rounded nor scaled");
        let (mut narrow_loss, mut plain) = ([f16::ZERO], [f16::ZERO; 6]);
        cross_entropy::<f16, f16>((3, 1.0), &logits, &labels, &mut narrow_loss, &mut plain, &mut row_loss);
        assert_eq!(narrow_loss, [f16::from_f32(loss[0])]);
        // exp(-14.5) / 2 is a subnormal half, unscaled.
        assert!(plain[5].to_f32() != scaled[5].to_f32() / 4096.0, "the scale keeps what f16 loses");
    }
}

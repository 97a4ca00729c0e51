//! ReLU: `y = x` where x is positive, zero or NaN, else 0; `gx = g` above 0 and at NaN, `alpha g` at 0, 0 below.

use rayon::prelude::*;

use super::BLOCK;
use crate::dtype::{Element, vectorised};

pub(super) fn forward<T: Element>(x: &[T], y: &mut [T]) {
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| forward_block(x, y));
}

pub(super) fn backward<T: Element>(alpha: f64, x: &[T], gy: &[T], gx: &mut [T]) {
    let alpha = T::Acc::from_f64(alpha);
    let blocks = gx.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(gy.par_chunks(BLOCK));
    blocks.for_each(|((gx, x), gy)| backward_block(alpha, x, gy, gx));
}

vectorised! {
    fn forward_block<T: Element>(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x.is_negative(false) { T::ZERO } else { x };
        }
    }
}

vectorised! {
    fn backward_block<T: Element>(alpha: T::Acc, x: &[T], gy: &[T], gx: &mut [T]) {
        let elements = gx.iter_mut().zip(x).zip(gy);
        // Two loops without branches; 0 times infinity stays 0.
        if alpha == T::Acc::ZERO {
            elements.for_each(|((gx, x), &g)| *gx = if x.is_negative(true) { T::ZERO } else { g });
        } else {
            elements.for_each(|((gx, x), &g)| {
                let at_zero = T::from_acc(alpha * g.to_acc());
                let not_above = if x.to_acc() == T::Acc::ZERO { at_zero } else { T::ZERO };
                *gx = if x.is_negative(true) { not_above } else { g };
            });
        }
    }
}

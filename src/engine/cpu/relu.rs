//! ReLU: `y = x` where x is positive, zero or NaN, else 0; `gx = g` above 0 and at NaN, `alpha g` at 0, 0 below.

use rayon::prelude::*;

use super::BLOCK;
use super::scratch::{Pooled, Scratch};
use crate::dtype::Element;

pub(super) fn forward<T: Element<Acc: Pooled>>(x: &[T], y: &mut [T]) {
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        let mut x_scratch = Scratch::take();
        let x = T::promote(x, &mut x_scratch);
        T::demote_into(y, &mut Scratch::take(), |y| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if x < T::Acc::ZERO { T::Acc::ZERO } else { x };
            }
        });
    });
}

pub(super) fn backward<T: Element<Acc: Pooled>>(alpha: f64, x: &[T], gy: &[T], gx: &mut [T]) {
    let alpha = T::Acc::from_f64(alpha);
    let blocks = gx.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(gy.par_chunks(BLOCK));
    blocks.for_each(|((gx, x), gy)| {
        let (mut x_scratch, mut gy_scratch) = (Scratch::take(), Scratch::take());
        let (x, gy) = (T::promote(x, &mut x_scratch), T::promote(gy, &mut gy_scratch));
        T::demote_into(gx, &mut Scratch::take(), |gx| {
            let elements = gx.iter_mut().zip(x).zip(gy);
            // Two loops without branches, which the compiler vectorises; 0 times infinity stays 0.
            if alpha == T::Acc::ZERO {
                elements.for_each(|((gx, &x), &g)| *gx = if x <= T::Acc::ZERO { T::Acc::ZERO } else { g });
            } else {
                elements.for_each(|((gx, &x), &g)| {
                    let at_zero = alpha * g;
                    let not_above = if x == T::Acc::ZERO { at_zero } else { T::Acc::ZERO };
                    *gx = if x <= T::Acc::ZERO { not_above } else { g };
                });
            }
        });
    });
}

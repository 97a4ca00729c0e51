//! Sum of two tensors, one rounding.

use rayon::prelude::*;

use super::BLOCK;
use super::scratch::{Pooled, Scratch};
use crate::dtype::Element;

pub(super) fn forward<T: Element<Acc: Pooled>>(a: &[T], b: &[T], y: &mut [T]) {
    y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK)).for_each(|((y, a), b)| {
        let (mut a_scratch, mut b_scratch) = (Scratch::take(), Scratch::take());
        let (a, b) = (T::promote(a, &mut a_scratch), T::promote(b, &mut b_scratch));
        T::demote_into(y, &mut Scratch::take(), |y| {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        });
    });
}

//! Sum of two tensors, one rounding.

use rayon::prelude::*;

use super::BLOCK;
use crate::dtype::{Element, vectorised};

pub(super) fn forward<T: Element>(a: &[T], b: &[T], y: &mut [T]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((y, a), b)| forward_block(a, b, y));
}

vectorised! {
    fn forward_block<T: Element>(a: &[T], b: &[T], y: &mut [T]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = T::from_acc(a.to_acc() + b.to_acc());
        }
    }
}

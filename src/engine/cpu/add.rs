//! Sum of two tensors, one rounding.

use rayon::prelude::*;

use super::BLOCK;
use crate::dtype::unit::Unit;
use crate::dtype::{Element, for_each_chunk, on_unit, vectorised};

pub(super) fn forward<T: Element>(a: &[T], b: &[T], y: &mut [T]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((y, a), b)| forward_block(a, b, y));
}

vectorised! {
    fn forward_block<T: Element>(a: &[T], b: &[T], y: &mut [T]) {
        on_unit!(forward_chunks::<T>(a, b, y))
    }
}

#[inline(always)]
fn forward_chunks<T: Element, U: Unit, const N: usize>(unit: U, a: &[T], b: &[T], y: &mut [T]) {
    for_each_chunk::<T, T, U, N, 2>(unit, [a, b], y, |[a, b]| a + b);
}

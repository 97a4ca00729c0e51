//! Sums in a fixed order.

use rayon::prelude::*;

use super::scratch::{Pooled, Scratch};
use crate::dtype::{Accumulator, Element};

/// Terms of a sum that are added up side by side.
const LANES: usize = 16;

/// Sum in sixteen interleaved lanes, then over the lanes: a fixed order that vectorises.
pub(super) fn sum_lanes<A: Accumulator>(values: &[A]) -> A {
    sum_terms([values], |[v]| v, |sum| sum)
}

/// [`sum_lanes`] of `term` of the elements of equally long slices, each partial sum passed through `round`.
#[inline(always)]
pub(super) fn sum_terms<A: Accumulator, const K: usize>(
    slices: [&[A]; K],
    term: impl Fn([A; K]) -> A,
    round: impl Fn(A) -> A,
) -> A {
    let mut lanes = [A::ZERO; LANES];
    let chunks = slices.map(|s| s.as_chunks::<LANES>());
    for i in 0..chunks[0].0.len() {
        let chunk = chunks.map(|(chunks, _)| &chunks[i]);
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum = round(*sum + term(chunk.map(|c| c[lane])));
        }
    }
    let tail =
        (0..chunks[0].1.len()).fold(A::ZERO, |sum, i| round(sum + term(chunks.map(|(_, rest)| rest[i]))));
    round(lanes.iter().fold(A::ZERO, |sum, &v| round(sum + v)) + tail)
}

/// Target channel c is the sum of the planes c of `samples`, in this order, of x `[N, C, plane]`; with `narrow` each
/// partial sum is rounded to `T`.
pub(super) fn sum_planes<T: Element<Acc: Pooled>>(
    x: &[T],
    samples: &[usize],
    plane: usize,
    narrow: bool,
    target: &mut [T],
) {
    let channels = target.len();
    target.par_iter_mut().enumerate().for_each(|(c, target)| {
        let mut scratch = Scratch::take();
        let mut sum = T::Acc::ZERO;
        for n in samples {
            let values = T::promote(&x[(n * channels + c) * plane..][..plane], &mut scratch);
            if narrow {
                values.iter().for_each(|&v| sum = T::round(sum + v));
            } else {
                sum += sum_lanes(values);
            }
        }
        *target = T::from_acc(sum);
    });
}

/// The sum of the rows `samples`, in this order, of x `[N, C]`; with `narrow` each partial sum is rounded to `T`.
pub(super) fn sum_rows<T: Element<Acc: Pooled>>(x: &[T], samples: &[usize], narrow: bool, target: &mut [T]) {
    const COLUMNS: usize = 1 << 10;
    let columns = target.len();
    target.par_chunks_mut(COLUMNS).enumerate().for_each(|(i, target)| {
        let (first, mut scratch) = (i * COLUMNS, Scratch::take());
        T::demote_into(target, &mut Scratch::take(), |sums| {
            sums.fill(T::Acc::ZERO);
            for n in samples {
                let row = T::promote(&x[n * columns + first..][..sums.len()], &mut scratch);
                let terms = sums.iter_mut().zip(row);
                if narrow {
                    terms.for_each(|(sum, &v)| *sum = T::round(*sum + v));
                } else {
                    terms.for_each(|(sum, &v)| *sum += v);
                }
            }
        });
    });
}

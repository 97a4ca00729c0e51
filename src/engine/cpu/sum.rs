//! Sums in a fixed order.

use rayon::prelude::*;

use super::pack::Places;
use super::scratch::Pooled;
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

/// Target channel o is the sum of the planes `x[o * p..(o + 1) * p]` of each sample in turn, p the run of `samples`, whose
/// starts are those of the samples; with `narrow` each partial sum is rounded to `T`.
pub(super) fn sum_planes<T: Element<Acc: Pooled>>(
    x: &[T::Acc],
    samples: Places,
    narrow: bool,
    target: &mut [T],
) {
    target.par_iter_mut().enumerate().for_each(|(o, target)| {
        let planes = samples.starts.iter().map(|start| &x[start + o * samples.run..][..samples.run]);
        let sum = if narrow {
            planes.flatten().fold(T::Acc::ZERO, |sum, &v| T::round(sum + v))
        } else {
            planes.fold(T::Acc::ZERO, |sum, plane| sum + sum_lanes(plane))
        };
        *target = T::from_acc(sum);
    });
}

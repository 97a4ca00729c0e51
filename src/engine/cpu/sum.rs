//! Sums in a fixed order.

use rayon::prelude::*;

use super::scratch::{Pooled, Scratch};
use crate::dtype::unit::Unit;
use crate::dtype::{Element, on_unit, vectorised};

/// Terms of a sum that are added up side by side.
const LANES: usize = 16;

/// Sum of `term` of the elements of equally long slices, in sixteen interleaved lanes, then over the lanes: a fixed order
/// that vectorises. Each partial sum passes through `round`.
#[inline(always)]
pub(super) fn sum_terms<T: Element, U: Unit, const K: usize>(
    unit: U,
    slices: [&[T]; K],
    term: impl Fn([T::Acc; K]) -> T::Acc,
    round: impl Fn(T::Acc) -> T::Acc,
) -> T::Acc {
    let mut lanes = [T::Acc::ZERO; LANES];
    let chunks = slices.map(|s| s.as_chunks::<LANES>());
    for i in 0..chunks[0].0.len() {
        let mut chunk = [[T::Acc::ZERO; LANES]; K];
        for (chunk, (chunks, _)) in chunk.iter_mut().zip(&chunks) {
            *chunk = T::widen(unit, &chunks[i]).0;
        }
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum = round(*sum + term(std::array::from_fn(|k| chunk[k][lane])));
        }
    }
    let tail = (0..chunks[0].1.len())
        .fold(T::Acc::ZERO, |sum, i| round(sum + term(chunks.map(|(_, rest)| rest[i].to_acc()))));
    round(lanes.iter().fold(T::Acc::ZERO, |sum, &v| round(sum + v)) + tail)
}

vectorised! {
    /// [`sum_terms`] of the elements themselves.
    pub(super) fn sum_lanes<T: Element>(values: &[T]) -> T::Acc {
        on_unit!(sum_chunks::<T>(values))
    }
}

#[inline(always)]
fn sum_chunks<T: Element, U: Unit, const N: usize>(unit: U, values: &[T]) -> T::Acc {
    sum_terms(unit, [values], |[v]| v, |sum| sum)
}

/// Target channel c is the sum of the planes c of `samples`, in this order, of x `[N, C, plane]`; with `narrow` each
/// partial sum is rounded to `T`.
pub(super) fn sum_planes<T: Element>(
    x: &[T],
    samples: &[usize],
    plane: usize,
    narrow: bool,
    target: &mut [T],
) {
    let channels = target.len();
    target.par_iter_mut().enumerate().for_each(|(c, target)| {
        let mut sum = T::Acc::ZERO;
        for n in samples {
            let values = &x[(n * channels + c) * plane..][..plane];
            if narrow {
                values.iter().for_each(|v| sum = T::round(sum + v.to_acc()));
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
        T::demote_into(target, &mut Scratch::take(), |sums| {
            sums.fill(T::Acc::ZERO);
            for n in samples {
                let terms = sums.iter_mut().zip(&x[n * columns + i * COLUMNS..]);
                if narrow {
                    terms.for_each(|(sum, v)| *sum = T::round(*sum + v.to_acc()));
                } else {
                    terms.for_each(|(sum, v)| *sum += v.to_acc());
                }
            }
        });
    });
}

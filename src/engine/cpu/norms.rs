//! Partial norms of a tensor a, or of the difference a - b: for each [`NORM_BLOCK`] elements
//! `[sum of |d|, sum of d^2, largest |d|, count]`.
//!
//! Without b, d = a and the count is that of the elements that are not finite. With b, d = a - b, and 0 where both are the
//! same infinity; the count is that of the elements with a != b. A NaN makes its sums and its maximum NaN.

use rayon::prelude::*;

use super::scratch::{Pooled, Scratch};
use super::sum::sum_terms;
use crate::dtype::unit::Portable;
use crate::dtype::{Accumulator, Element};
use crate::engine::op::NORM_BLOCK;

pub(super) fn norms<T: Element<Acc: Pooled>>(a: &[T], b: Option<&[T]>, partial: &mut [T::Acc]) {
    partial.par_chunks_mut(4).zip(a.par_chunks(NORM_BLOCK)).enumerate().for_each(|(block, (partial, a))| {
        let (mut a_scratch, mut b_scratch) = (Scratch::take(), Scratch::take());
        let mut d = Scratch::zeros(a.len());
        let start = block * NORM_BLOCK;
        let a = T::promote(a, &mut a_scratch);
        let count = match b {
            None => {
                d.copy_from_slice(a);
                // The product with 0 is 0 for the finite numbers alone.
                a.iter().filter(|&&v| v * T::Acc::ZERO != T::Acc::ZERO).count()
            }
            Some(b) => {
                let b = T::promote(&b[start..start + a.len()], &mut b_scratch);
                for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
                    *d = if a == b { T::Acc::ZERO } else { a - b };
                }
                a.iter().zip(b).filter(|(a, b)| a != b).count()
            }
        };
        let largest = d.iter().fold(T::Acc::ZERO, |m, v| {
            let v = v.abs();
            if v > m || v.is_nan() { v } else { m }
        });
        partial.copy_from_slice(&[
            sum_terms(Portable, [&d], |[v]| v.abs(), |sum| sum),
            sum_terms(Portable, [&d], |[v]| v * v, |sum| sum),
            largest,
            T::Acc::from_f64(count as f64),
        ]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    const LEN: usize = NORM_BLOCK + 1000;

    fn values(salt: usize) -> Vec<f64> {
        (0..LEN).map(|i| ((i * 37 + salt * 11) % 1009) as f64 / 64.0 - 7.0).collect()
    }

    fn partial<T: Element<Acc: Pooled>>(a: &[f64], b: Option<&[f64]>) -> Vec<f64> {
        let convert = |v: &[f64]| v.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>();
        let mut partial = vec![T::Acc::ZERO; LEN.div_ceil(NORM_BLOCK) * 4];
        norms(&convert(a), b.map(convert).as_deref(), &mut partial);
        partial.into_iter().map(|v| v.to_f64()).collect()
    }

    #[test]
    fn agree_with_their_definition() {
        let (a, mut b) = (values(1), values(2));
        b[..100].copy_from_slice(&a[..100]);
        let check = |got: Vec<f64>, a: &[f64], b: &[f64], differ: bool, tolerance: f64| {
            for (got, (a, b)) in got.chunks(4).zip(a.chunks(NORM_BLOCK).zip(b.chunks(NORM_BLOCK))) {
                let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
                let sums = [d.iter().sum::<f64>(), d.iter().map(|d| d * d).sum()];
                for (got, sum) in got.iter().zip(sums) {
                    assert!((got - sum).abs() <= tolerance * sum, "{got} for {sum}");
                }
                assert_eq!(got[2], d.iter().fold(0.0, |m: f64, &v| m.max(v)));
                let count = if differ { a.iter().zip(b).filter(|(a, b)| a != b).count() } else { 0 };
                assert_eq!(got[3], count as f64);
            }
        };
        check(partial::<f64>(&a, Some(&b)), &a, &b, true, 1e-14);
        check(partial::<f32>(&a, Some(&b)), &a, &b, true, 1e-5);
        check(partial::<f16>(&a, Some(&b)), &a, &b, true, 1e-5);
        check(partial::<f32>(&a, None), &a, &vec![0.0; LEN], false, 1e-5);
    }

    #[test]
    fn special_values() {
        let (mut a, mut b) = (vec![0.0; LEN], vec![0.0; LEN]);
        (a[3], b[3], b[4]) = (f64::INFINITY, f64::INFINITY, -0.0);
        assert_eq!(partial::<f32>(&a, Some(&b)), [0.0; 8], "equal infinities are equal");
        assert_eq!(partial::<f32>(&a, None)[2..4], [f64::INFINITY, 1.0]);
        b[3] = -f64::INFINITY;
        assert_eq!(partial::<f32>(&a, Some(&b))[2..4], [f64::INFINITY, 1.0]);
        (a[NORM_BLOCK + 1], a[NORM_BLOCK + 2]) = (f64::NAN, 1.0);
        b[NORM_BLOCK + 1] = f64::NAN;
        let got = partial::<f64>(&a, Some(&b));
        assert!(got[4..7].iter().all(|v| v.is_nan()), "{got:?}");
        assert_eq!(got[7], 2.0);
    }
}

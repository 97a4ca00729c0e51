//! Where a tensor holds its first value that is not finite.

use rayon::prelude::*;

use super::BLOCK;
use crate::dtype::{Element, vectorised};

/// The index, `u32::MAX` where all are finite, and 0 for a NaN, 1 for infinity, 2 for -infinity.
pub(super) fn first_non_finite<T: Element>(x: &[T], record: &mut [u32]) {
    let mut any = vec![false; x.len().div_ceil(BLOCK)];
    any.par_iter_mut().zip(x.par_chunks(BLOCK)).for_each(|(any, x)| any_non_finite(x, any));
    let block = any.iter().position(|&any| any).map_or(x.len(), |block| block * BLOCK);
    let found = x[block..].iter().position(|v| !v.to_f64().is_finite());
    let kind = |v: f64| if v.is_nan() { 0 } else { 1 + u32::from(v < 0.0) };
    let found = found.map(|i| (block + i) as u32).map(|i| [i, kind(x[i as usize].to_f64())]);
    record.copy_from_slice(&found.unwrap_or([u32::MAX, 0]));
}

vectorised! {
    fn any_non_finite<T: Element>(x: &[T], any: &mut bool) {
        // The product with 0 is 0 for the finite numbers alone. No early end, which would be a branch for each.
        *any = x.iter().fold(false, |any, v| any | (v.to_acc() * T::Acc::ZERO != T::Acc::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn first<T: Element>(len: usize, values: &[(usize, f64)]) -> [u32; 2] {
        let mut x = vec![T::from_f64(-1.5); len];
        values.iter().for_each(|&(i, v)| x[i] = T::from_f64(v));
        let mut record = [7; 2];
        first_non_finite(&x, &mut record);
        record
    }

    #[test]
    fn the_first_is_found() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let far = 2 * BLOCK + 77;
        fn all(len: usize, values: &[(usize, f64)]) -> [[u32; 2]; 3] {
            [first::<f16>(len, values), first::<f32>(len, values), first::<f64>(len, values)]
        }
        assert_eq!(all(0, &[]), [[u32::MAX, 0]; 3]);
        assert_eq!(all(far + 1, &[(3, 65504.0), (4, 0.0)]), [[u32::MAX, 0]; 3]);
        assert_eq!(all(far + 1, &[(far, -inf)]), [[far as u32, 2]; 3]);
        assert_eq!(all(far + 1, &[(far, nan), (BLOCK, inf)]), [[BLOCK as u32, 1]; 3]);
        assert_eq!(all(5, &[(4, inf), (2, nan)]), [[2, 0]; 3]);
        // What 16 bits alone can't hold.
        assert_eq!(all(5, &[(1, 1e5)]), [[1, 1], [u32::MAX, 0], [u32::MAX, 0]]);
    }
}

//! What matrix products need of a number type: vectors of whatever width the processor has.

use bytemuck::{Pod, cast_slice};
use pulp::Simd;

use super::scratch::Pooled;
use crate::dtype::{Accumulator, round_to_f16};

/// An accumulate type that vectors are made of.
pub(super) trait Lanes: Accumulator + Pooled {
    type Vector<S: Simd>: Pod;

    /// Elements of a vector.
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// The vector that a slice of [`Lanes::lanes`] elements holds.
    #[inline(always)]
    fn load<S: Simd>(_: S, elements: &[Self]) -> Self::Vector<S> {
        cast_slice(elements)[0]
    }

    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `a * b + c`, fused where the processor can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn sum<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The transpose of a square of N vectors of N elements.
    fn transpose<S: Simd, const N: usize>(
        simd: S,
        row: impl Fn(usize) -> Self::Vector<S>,
    ) -> [Self::Vector<S>; N];
    /// `a * b + acc` of numbers that f16 holds, rounded once to f16.
    fn mul_add_f16(a: Self, b: Self, acc: Self) -> Self;
}

macro_rules! lanes {
    ($t:ident, $vector:ident, $splat:ident, $mul_add:ident, $add:ident, $rotate_left:ident, $rotate_right:ident,
     $select:ident, $integer:ident, $integers:ident, $splat_integer:ident, $and:ident, $equal:ident) => {
        impl Lanes for $t {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $t) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn sum<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn transpose<S: Simd, const N: usize>(
                simd: S,
                row: impl Fn(usize) -> S::$vector,
            ) -> [S::$vector; N] {
                // Swaps the off-diagonal quarters of ever smaller squares (Eklundh); the largest is `row`.
                #[inline(always)]
                fn swap_quarters<S: Simd, const N: usize, const HALF: usize>(
                    simd: S,
                    row: &impl Fn(usize) -> S::$vector,
                    square: &mut [S::$vector; N],
                ) {
                    if HALF >= N {
                        return;
                    }
                    let lane: [$integer; N] = std::array::from_fn(|i| i as $integer);
                    let lane = cast_slice::<$integer, S::$integers>(&lane)[0];
                    let half = simd.$and(lane, simd.$splat_integer(HALF as $integer));
                    let left = simd.$equal(half, simd.$splat_integer(0));
                    for pair in 0..N / 2 {
                        let i = pair / HALF * 2 * HALF + pair % HALF;
                        let first = 2 * HALF == N;
                        let a = if first { row(i) } else { square[i] };
                        let b = if first { row(i + HALF) } else { square[i + HALF] };
                        square[i] = simd.$select(left, a, simd.$rotate_right(b, HALF));
                        square[i + HALF] = simd.$select(left, simd.$rotate_left(a, HALF), b);
                    }
                }
                let mut square = [simd.$splat(0.0); N];
                if N == 1 {
                    square[0] = row(0);
                }
                swap_quarters::<S, N, 8>(simd, &row, &mut square);
                swap_quarters::<S, N, 4>(simd, &row, &mut square);
                swap_quarters::<S, N, 2>(simd, &row, &mut square);
                swap_quarters::<S, N, 1>(simd, &row, &mut square);
                square
            }

            #[inline(always)]
            fn mul_add_f16(a: $t, b: $t, acc: $t) -> $t {
                mul_add_f16(a as f32, b as f32, acc as f32) as $t
            }
        }
    };
}
lanes!(
    f32,
    f32s,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    rotate_left_f32s,
    rotate_right_f32s,
    select_f32s,
    u32,
    u32s,
    splat_u32s,
    and_u32s,
    equal_u32s
);
lanes!(
    f64,
    f64s,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    rotate_left_f64s,
    rotate_right_f64s,
    select_f64s,
    u64,
    u64s,
    splat_u64s,
    and_u64s,
    equal_u64s
);

/// The product of two halves is exact in f32, its sum with a third is not. Rounding that sum to odd, which keeps
/// what lies beyond f32 in its last bit, makes the rounding to f16 after it the only one that counts.
#[inline(always)]
fn mul_add_f16(a: f32, b: f32, acc: f32) -> f32 {
    let product = a * b;
    let sum = acc + product;
    // Knuth's exact error of the sum.
    let back = sum - acc;
    let error = (acc - (sum - back)) + (product - back);
    let bits = sum.to_bits();
    let outwards = (error.to_bits() ^ bits) >> 31 == 0;
    let odd = if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let inexact = error.abs() > 0.0 && bits & 1 == 0;
    round_to_f16(f32::from_bits(if inexact { odd } else { bits }))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use pulp::{Arch, WithSimd};

    use super::*;

    /// `value` to the nearest half, ties to even, by whole numbers: exact for every f64.
    fn nearest_half(value: f64) -> f64 {
        let ulp = 2f64.powi((value.abs().log2().floor() as i32 - 10).max(-24));
        let rounded = (value / ulp).round_ties_even() * ulp;
        if rounded.abs() >= 65520.0 { f64::INFINITY.copysign(value) } else { rounded }
    }

    #[test]
    fn mul_add_f16_rounds_once() {
        let half = |bits: u32| f16::from_bits((bits as u16) & 0xbfff | 0x0400).to_f32();
        let mut rounded_twice = 0;
        for i in 0..400_000u32 {
            let draw = i.wrapping_mul(0x9E37_79B9);
            let (a, b, acc) = (half(draw), half(draw >> 12), half(draw.rotate_left(9) ^ 0x1f));
            // Below 2^53 ulp of the smaller term, so f64 holds the sum.
            let exact = acc as f64 + a as f64 * b as f64;
            let expected = if exact == 0.0 { 0.0 } else { nearest_half(exact) };
            assert_eq!(mul_add_f16(a, b, acc) as f64, expected, "{acc:e} + {a:e} * {b:e}");
            rounded_twice += (round_to_f16(acc + a * b) as f64 != expected) as u32;
        }
        assert!(rounded_twice > 0, "no case tells one rounding from two");
        assert_eq!(mul_add_f16(60000.0, 2.0, 0.0), f32::INFINITY);
        assert!(mul_add_f16(f32::INFINITY, 0.0, 1.0).is_nan());
        assert_eq!(mul_add_f16(f32::INFINITY, 1.0, 1.0), f32::INFINITY);
    }

    struct Transpose<A>(Vec<A>);

    impl<A: Lanes> WithSimd for Transpose<A> {
        type Output = ();
        fn with_simd<S: Simd>(self, simd: S) {
            fn check<A: Lanes, S: Simd, const N: usize>(simd: S, numbers: &[A]) {
                let square: [A::Vector<S>; N] = A::transpose(simd, |i| A::load(simd, &numbers[i * N..][..N]));
                let transposed: &[A] = cast_slice(&square);
                for i in 0..N * N {
                    assert!(transposed[i] == numbers[i % N * N + i / N], "{N}: {i}");
                }
            }
            match A::lanes::<S>() {
                16 => check::<A, S, 16>(simd, &self.0),
                8 => check::<A, S, 8>(simd, &self.0),
                4 => check::<A, S, 4>(simd, &self.0),
                2 => check::<A, S, 2>(simd, &self.0),
                _ => check::<A, S, 1>(simd, &self.0),
            }
        }
    }

    #[test]
    fn squares_are_transposed() {
        Arch::new().dispatch(Transpose((0..256).map(|i| i as f32).collect()));
        Arch::new().dispatch(Transpose((0..256).map(|i| i as f64).collect()));
    }
}

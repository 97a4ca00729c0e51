//! Rounding to a simulated format, in place.
//!
//! Between neighbouring numbers of the format, `lower <= |v| < lower + spacing`, where the spacing is
//! 2^(max(exponent of v, smallest normal exponent) - fraction bits), so that it is fixed in the subnormal range:
//!   nearest     the nearer one, ties to the one with an even last bit
//!   stochastic  `lower + spacing` where word < floor(2^32 (|v| - lower) / spacing), else `lower`: the threshold is
//!               the first 32 of the discarded bits. The word of element i is word `i % 4` of Philox4x32-10
//!               with the counter `[i / 4, site, step, 0x726f756e]` and the seed as key, low word first
//! A result beyond the format's largest number becomes infinite, or NaN where the format has no infinity, and so
//! does an infinity. NaN stays NaN, and the sign stays, also that of a zero.

use rayon::prelude::*;

use super::BLOCK;
use super::draw::Draw;
use crate::dtype::Element;
use crate::precision::{Format, Rounding};

/// "roun": keeps these draws apart from those of other users of the same seed.
const USER: u32 = 0x726f_756e;

pub(super) fn quantize<T: Element>(format: Format, rounding: Rounding, draw: Draw, x: &mut [T]) {
    let grid = Grid::new(format);
    x.par_chunks_mut(BLOCK).enumerate().for_each(|(block, x)| match rounding {
        Rounding::Nearest => x.iter_mut().for_each(|v| *v = T::from_f64(grid.nearest(v.to_f64()))),
        Rounding::Stochastic(seed) => {
            for (i, x) in x.chunks_mut(4).enumerate() {
                let words = draw.words(seed, block * (BLOCK / 4) + i, USER);
                for (v, word) in x.iter_mut().zip(words) {
                    *v = T::from_f64(grid.stochastic(v.to_f64(), word));
                }
            }
        }
    });
}

/// Fraction bits of f64, in which the rounding is done: it holds every number of every format.
const FRACTION: i32 = 52;

/// The numbers of a format.
struct Grid {
    /// Low fraction bits of a normal number that the format does not have.
    drop: u32,
    min_exponent: i32,
    min_normal: f64,
    /// Where f64 has the spacing of the format's subnormals.
    subnormal_anchor: f64,
    max: f64,
    /// What is beyond `max`.
    overflow: f64,
}

impl Grid {
    fn new(format: Format) -> Grid {
        let mantissa_bits = format.mantissa_bits() as i32;
        Grid {
            drop: (FRACTION - mantissa_bits) as u32,
            min_exponent: format.min_exponent(),
            min_normal: power_of_two(format.min_exponent()),
            subnormal_anchor: power_of_two(format.min_exponent() - mantissa_bits + FRACTION),
            max: format.max_value(),
            overflow: if format.is_finite() { f64::NAN } else { f64::INFINITY },
        }
    }

    #[inline(always)]
    fn nearest(&self, v: f64) -> f64 {
        let bits = v.abs().to_bits();
        // Half a spacing less one, plus the last kept bit: carries where the rest is above a half, or is a half and
        // the last bit is odd. All 0 where nothing is dropped.
        let dropped = (1u64 << self.drop) - 1;
        let half = (dropped >> 1) + ((bits >> self.drop) & 1 & dropped);
        let normal = f64::from_bits((bits + half) & !dropped);
        let subnormal = (v.abs() + self.subnormal_anchor) - self.subnormal_anchor;
        self.finish(v, if v.abs() < self.min_normal { subnormal } else { normal })
    }

    fn stochastic(&self, v: f64, word: u32) -> f64 {
        let bits = v.abs().to_bits();
        let exponent = ((bits >> FRACTION) as i32).max(1) - 1023;
        let implicit = ((bits >> FRACTION != 0) as u64) << FRACTION;
        let significand = bits & ((1 << FRACTION) - 1) | implicit;
        // |v| = significand 2^(exponent - 52); `shift` of its low bits lie below the spacing.
        // From 85 on, the result is 0 whatever the word.
        let shift = (self.drop + (self.min_exponent - exponent).max(0) as u32).min(85);
        let kept = (significand as u128 >> shift) as u64;
        let discarded = significand as u128 - ((kept as u128) << shift);
        let up = (word as u128) < (discarded << 32) >> shift;
        let spacing = power_of_two(exponent + shift as i32 - FRACTION);
        self.finish(v, (kept + up as u64) as f64 * spacing)
    }

    /// The sign and the special values of `v`, whose magnitude has been rounded to `rounded`.
    #[inline(always)]
    fn finish(&self, v: f64, rounded: f64) -> f64 {
        let rounded = if rounded > self.max || v.is_infinite() { self.overflow } else { rounded };
        let rounded = if v.is_nan() { v } else { rounded };
        rounded.copysign(v)
    }
}

/// 2^exponent, also where that is subnormal.
fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        ..-1022 => f64::from_bits(1 << (exponent + 1074)),
        _ => f64::from_bits(((exponent + 1023) as u64) << FRACTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::op::{Op, Settings};
    use crate::{DType, Tensor};

    fn nearest(format: Format, v: f64) -> f64 {
        Grid::new(format).nearest(v)
    }

    #[track_caller]
    fn assert_bits(v: f64, got: f64, expected: f64) {
        let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(same, "{v:e}: got {got:e}, expected {expected:e}");
    }

    #[test]
    fn binary16_is_that_of_half() {
        // Every half, the midpoints to the next one, and their neighbours in f32 and f64.
        for bits in 0..=0x7c00u16 {
            let here = half::f16::from_bits(bits).to_f32();
            let next = half::f16::from_bits((bits + 1).min(0x7c00)).to_f32();
            let mid = if next.is_infinite() { 65520.0 } else { (here + next) / 2.0 };
            for v in [here, mid, mid.next_down(), mid.next_up(), here.next_up()] {
                for v in [v, -v] {
                    let expected = half::f16::from_f32(v).to_f64();
                    assert_bits(v as f64, nearest(Format::F16, v as f64), expected);
                    for v in [(v as f64).next_down(), (v as f64).next_up()] {
                        let expected = <half::f16 as Element>::from_f64(v).to_f64();
                        assert_bits(v, nearest(Format::F16, v), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn bf16_is_the_upper_half_of_f32() {
        for upper in 0..=0x7f80u32 {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let bits = upper << 16 | lower;
                let v = f32::from_bits(bits);
                if v.is_nan() {
                    continue;
                }
                let rounded = (bits + 0x7fff + (upper & 1)) & 0xffff_0000;
                assert_bits(v as f64, nearest(Format::BF16, v as f64), f32::from_bits(rounded) as f64);
            }
        }
        assert!(nearest(Format::BF16, f64::NAN).is_nan());
    }

    /// The numbers of an 8-bit format by their codes, sign left out; the last ones are not numbers.
    fn codes(exponent_bits: u32, mantissa_bits: u32) -> Vec<f64> {
        let bias = (1 << (exponent_bits - 1)) - 1;
        let decode = |code: i32| {
            let (e, m) = (code >> mantissa_bits, code & ((1 << mantissa_bits) - 1));
            let fraction = m as f64 / 2f64.powi(mantissa_bits as i32);
            if e == 0 { fraction * 2f64.powi(1 - bias) } else { (1.0 + fraction) * 2f64.powi(e - bias) }
        };
        (0..128).map(decode).collect()
    }

    #[test]
    fn fp8_is_the_nearest_of_its_table() {
        for (format, bits, numbers) in [(Format::E4M3, (4, 3), 127), (Format::E5M2, (5, 2), 124)] {
            let table = codes(bits.0, bits.1);
            assert_eq!(table[numbers - 1], format.max_value());
            for code in 0..numbers {
                let (here, next) = (table[code], table[code + 1]);
                for share in [0.0, 1e-9, 0.25, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 0.75, 1.0 - 1e-9] {
                    let v = here + share * (next - here);
                    let up = share > 0.5 || (share == 0.5 && code % 2 == 1);
                    let expected = match code + up as usize {
                        code if code < numbers => table[code],
                        _ if format.is_finite() => f64::NAN,
                        _ => f64::INFINITY,
                    };
                    assert_bits(v, nearest(format, v), expected);
                    assert_bits(-v, nearest(format, -v), -expected);
                }
            }
        }
    }

    /// Made with `torch.Tensor.to(torch.float8_e4m3fn)` and `to(torch.float8_e5m2)`.
    #[test]
    fn fp8_is_that_of_pytorch() {
        let e4m3 = [
            (0.0009765625, 0.0),
            (0.00097666015625, 0.001953125),
            (0.0029296875, 0.00390625),
            (0.0048828125, 0.00390625),
            (0.01513671875, 0.015625),
            (17.0, 16.0),
            (19.0, 20.0),
            (447.9, 448.0),
            (464.0, 448.0),
            (-464.0, -448.0),
            (-0.0, -0.0),
        ];
        let e5m2 = [
            (7.62939453125e-06, 0.0),
            (7.630157470703125e-06, 1.52587890625e-05),
            (2.288818359375e-05, 3.0517578125e-05),
            (3.814697265625e-05, 3.0517578125e-05),
            (5.5, 6.0),
            (9.0, 8.0),
            (11.0, 12.0),
            (61439.0, 57344.0),
            (61440.0, f64::INFINITY),
            (-61439.0, -57344.0),
        ];
        e4m3.iter().for_each(|&(v, expected)| assert_bits(v, nearest(Format::E4M3, v), expected));
        e5m2.iter().for_each(|&(v, expected)| assert_bits(v, nearest(Format::E5M2, v), expected));
    }

    #[test]
    fn wide_formats_change_nothing_they_hold() {
        let (f32_like, f64_like) = (Format::new(8, 23).unwrap(), Format::new(11, 52).unwrap());
        for v in [0.0, 1.1f32, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::INFINITY] {
            assert_bits(v as f64, nearest(f32_like, v as f64), v as f64);
            assert_bits(v as f64, Grid::new(f32_like).stochastic(v as f64, 0), v as f64);
        }
        for v in [1.1, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), f64::NEG_INFINITY] {
            assert_bits(v, nearest(f64_like, v), v);
            assert_bits(v, Grid::new(f64_like).stochastic(v, 0), v);
        }
        assert_eq!(nearest(f32_like, 1.1), 1.1f32 as f64);
    }

    /// Rounds copies of `v` and returns them.
    fn draws(format: Format, dtype: DType, v: f64, step: u64) -> Vec<f64> {
        const N: usize = 40_000;
        let mut x = Tensor::from_f64(dtype, &[N], &[v; N]).unwrap();
        let settings = Settings { step, ..Default::default() };
        let op = Op::Quantize { len: N, format, rounding: Rounding::Stochastic(9) };
        let engine = CpuEngine::new(1).unwrap();
        engine.execute(op, dtype, &[], &mut [x.bytes_mut()], 3, &settings).unwrap();
        x.to_f64()
    }

    #[test]
    fn stochastic_rounding_is_unbiased() {
        let tiny = Format::E4M3.min_exponent();
        for (format, lower, spacing) in [
            (Format::BF16, 1.0, 2f64.powi(-7)),
            (Format::BF16, -3.0, -2f64.powi(-6)),
            (Format::E4M3, 0.0, 2f64.powi(tiny - 3)),
            (Format::E4M3, 5.0 * 2f64.powi(tiny - 3), 2f64.powi(tiny - 3)),
            (Format::E5M2, 28672.0, 4096.0),
        ] {
            for share in [0.125, 0.5, 0.8125] {
                let v = lower + share * spacing;
                let got = draws(format, DType::F32, v, 0);
                let up = got.iter().filter(|&&r| r == lower + spacing).count();
                assert!(got.iter().all(|&r| r == lower || r == lower + spacing), "{v:e}");
                let (n, expected) = (got.len() as f64, share * got.len() as f64);
                let sigma = (n * share * (1.0 - share)).sqrt();
                assert!((up as f64 - expected).abs() < 5.0 * sigma, "{v:e}: {up} of {n}, not {expected}");
                assert_eq!(got, draws(format, DType::F64, v, 0), "the carrier does not matter");
                assert_ne!(got, draws(format, DType::F32, v, 1), "another step, other draws");
            }
            assert!(draws(format, DType::F32, lower, 0).iter().all(|&r| r == lower), "a number stays");
        }
    }

    #[test]
    fn stochastic_rounding_at_the_ends() {
        let grid = Grid::new(Format::E4M3);
        // A quarter between 448 and the NaN beyond it: up for words below 2^30.
        assert!(grid.stochastic(456.0, (1 << 30) - 1).is_nan());
        assert_eq!(grid.stochastic(-456.0, 1 << 30), -448.0);
        assert_eq!(Grid::new(Format::E5M2).stochastic(1e9, u32::MAX), f64::INFINITY);
        // 2^-20 lies 2^-11 of the way from 0 to the smallest number, 2^-9.
        assert_eq!(grid.stochastic(2f64.powi(-20), (1 << 21) - 1), 2f64.powi(-9));
        assert_bits(-1e-6, grid.stochastic(-2f64.powi(-20), 1 << 21), -0.0);
        // Too small for the first 32 bits of the fraction.
        assert_eq!(grid.stochastic(f64::MIN_POSITIVE, 0), 0.0);
        assert_eq!(grid.stochastic(2f64.powi(-42), 0), 0.0);
        assert_eq!(grid.stochastic(2f64.powi(-41), 0), 2f64.powi(-9));
        assert!(grid.stochastic(f64::NAN, 0).is_nan() && grid.stochastic(f64::INFINITY, 0).is_nan());
    }
}

//! Element types and how they round.

mod chunk;
pub(crate) mod unit;

use bytemuck::Pod;
use half::f16;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
pub(crate) use chunk::Chunk;
use unit::Unit;
pub(crate) use unit::on_unit;

/// Storage type of a tensor: activations, weights, gradients and optimizer state.
///
/// Sums are accumulated in `f32` for [`DType::F16`] and [`DType::F32`] and in `f64` for [`DType::F64`];
/// an operator rounds to nearest even once for each element that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

impl DType {
    /// All types, narrowest first.
    pub const ALL: [DType; 3] = [DType::F16, DType::F32, DType::F64];

    /// Width in bits: 16, 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            DType::F16 => 16,
            DType::F32 => 32,
            DType::F64 => 64,
        }
    }

    /// Size of one element in bytes.
    pub const fn size(self) -> usize {
        self.bits() as usize / 8
    }

    /// Type in which sums are accumulated: f64 for f64, else f32.
    pub const fn accumulate(self) -> DType {
        match self {
            DType::F64 => DType::F64,
            _ => DType::F32,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.bits())
    }
}

impl FromStr for DType {
    type Err = Error;

    /// Reads `f16`, `f32`, `f64` or the bare width.
    fn from_str(text: &str) -> Result<DType> {
        match text.strip_prefix('f').unwrap_or(text) {
            "16" => Ok(DType::F16),
            "32" => Ok(DType::F32),
            "64" => Ok(DType::F64),
            _ => Err(Error::invalid("precision", "16, 32 or 64", text)),
        }
    }
}

/// A type in which sums are accumulated: `f32` or `f64`.
pub(crate) trait Accumulator:
    Element<Acc = Self>
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + PartialOrd
{
    const NAN: Self;
    const NEG_INFINITY: Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
}

/// A storage type that the CPU engine computes on.
///
/// Kernels work on slices of [`Element::Acc`]; [`Element::promote`] and [`Element::demote_into`] make the
/// conversion a copy for `f16` and nothing at all for `f32` and `f64`.
pub(crate) trait Element: Pod + Send + Sync + Default {
    const ZERO: Self;
    /// Whether conversions are those of a [`Unit`].
    const HALF: bool = false;
    type Acc: Accumulator<Acc = Self::Acc>;
    type Order: Copy + PartialOrd;

    fn to_acc(self) -> Self::Acc;
    /// Rounds once, to nearest even.
    fn from_acc(value: Self::Acc) -> Self;
    /// `self < 0`, or `self <= 0` with `or_zero`: false for NaN.
    fn is_negative(self, or_zero: bool) -> bool;
    fn is_nan(self) -> bool;
    /// What compares as the numbers do, but for NaN, in lanes of this type's width.
    fn order(self) -> Self::Order;
    /// Of a number that this type holds.
    fn from_rounded(value: Self::Acc) -> Self;
    fn to_f64(self) -> f64;
    /// Rounds once, to nearest even.
    fn from_f64(value: f64) -> Self;
    /// `value` rounded to this storage type, kept in the accumulate type.
    fn round(value: Self::Acc) -> Self::Acc;
    /// [`Element::to_acc`] of a chunk.
    fn widen<U: Unit, const N: usize>(unit: U, elements: &[Self; N]) -> Chunk<Self::Acc, N>;
    /// [`Element::from_acc`] of a chunk.
    fn narrow<U: Unit, const N: usize>(unit: U, values: Chunk<Self::Acc, N>) -> [Self; N];
    /// [`Element::from_rounded`] of a chunk.
    fn narrow_rounded<U: Unit, const N: usize>(unit: U, values: Chunk<Self::Acc, N>) -> [Self; N];
    /// [`Element::round`] of a chunk.
    fn round_chunk<U: Unit, const N: usize>(unit: U, values: Chunk<Self::Acc, N>) -> Chunk<Self::Acc, N>;
    /// `source` in the accumulate type; `scratch` is used only where that needs a copy.
    fn promote<'a>(source: &'a [Self], scratch: &'a mut Vec<Self::Acc>) -> &'a [Self::Acc];
    /// Lets `fill` write the accumulate-type image of `target`, whose old contents it must not read.
    fn demote_into<R>(
        target: &mut [Self],
        scratch: &mut Vec<Self::Acc>,
        fill: impl FnOnce(&mut [Self::Acc]) -> R,
    ) -> R;
}

macro_rules! accumulator {
    ($t:ident, $exp:path, $ln:path) => {
        impl Accumulator for $t {
            const NAN: Self = $t::NAN;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $ln(self)
            }
        }

        impl Element for $t {
            const ZERO: Self = 0.0;
            type Acc = $t;
            type Order = $t;
            #[inline(always)]
            fn to_acc(self) -> $t {
                self
            }
            #[inline(always)]
            fn from_acc(value: $t) -> $t {
                value
            }
            #[inline(always)]
            fn is_negative(self, or_zero: bool) -> bool {
                if or_zero { self <= 0.0 } else { self < 0.0 }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            #[inline(always)]
            fn order(self) -> $t {
                self
            }
            #[inline(always)]
            fn from_rounded(value: $t) -> $t {
                value
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(value: f64) -> $t {
                value as $t
            }
            #[inline(always)]
            fn round(value: $t) -> $t {
                value
            }
            #[inline(always)]
            fn widen<U: Unit, const N: usize>(_: U, elements: &[$t; N]) -> Chunk<$t, N> {
                Chunk(*elements)
            }
            #[inline(always)]
            fn narrow<U: Unit, const N: usize>(_: U, values: Chunk<$t, N>) -> [$t; N] {
                values.0
            }
            #[inline(always)]
            fn narrow_rounded<U: Unit, const N: usize>(_: U, values: Chunk<$t, N>) -> [$t; N] {
                values.0
            }
            #[inline(always)]
            fn round_chunk<U: Unit, const N: usize>(_: U, values: Chunk<$t, N>) -> Chunk<$t, N> {
                values
            }
            #[inline(always)]
            fn promote<'a>(source: &'a [$t], _: &'a mut Vec<$t>) -> &'a [$t] {
                source
            }
            #[inline(always)]
            fn demote_into<R>(target: &mut [$t], _: &mut Vec<$t>, fill: impl FnOnce(&mut [$t]) -> R) -> R {
                fill(target)
            }
        }
    };
}

accumulator!(f32, libm::expf, libm::logf);
accumulator!(f64, libm::exp, libm::log);

impl Element for f16 {
    const ZERO: Self = f16::ZERO;
    const HALF: bool = true;
    type Acc = f32;
    type Order = i16;
    /// Branch-free, so that loops over it vectorise.
    #[inline(always)]
    fn to_acc(self) -> f32 {
        let bits = self.to_bits() as u32;
        // The exponent's bias differs by 112; the product is exact, for subnormals too.
        let finite = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
        let special = f32::from_bits(0x7f80_0000 | (bits & 0x3ff) << 13);
        let magnitude = if bits & 0x7c00 == 0x7c00 { special } else { finite };
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    }
    #[inline(always)]
    fn from_acc(value: f32) -> f16 {
        f16::from_rounded(round_to_f16(value))
    }
    /// On the bits, in lanes of 16 bits.
    #[inline(always)]
    fn is_negative(self, or_zero: bool) -> bool {
        let bits = self.to_bits();
        let zero = bits & 0x7fff == 0;
        // From -0 to minus infinity.
        let negative = (0x8000..=0xfc00).contains(&bits);
        if or_zero { negative | zero } else { negative & !zero }
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.to_bits() & 0x7fff > 0x7c00
    }
    /// Sign and magnitude as a two's complement, in which both zeros are 0.
    #[inline(always)]
    fn order(self) -> i16 {
        let magnitude = (self.to_bits() & 0x7fff) as i16;
        if self.to_bits() > 0x7fff { -magnitude } else { magnitude }
    }
    #[inline(always)]
    fn from_rounded(value: f32) -> f16 {
        let sign = (value.to_bits() >> 16) & 0x8000;
        let finite = (value.abs() * f32::from_bits((127 - 112) << 23)).to_bits() >> 13;
        let special = if value.is_nan() { 0x7e00 } else { 0x7c00 };
        let magnitude = if value.abs() < f32::INFINITY { finite } else { special };
        f16::from_bits((sign | magnitude) as u16)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
    #[inline(always)]
    fn from_f64(value: f64) -> f16 {
        // `half` goes through f32 where the hardware has no direct way, which rounds twice. An f32 rounded to odd
        // keeps what decides the second rounding.
        let near = value as f32;
        if near as f64 == value {
            return f16::from_f32(near);
        }
        let above = (near as f64).abs() > value.abs();
        f16::from_f32(f32::from_bits((near.to_bits() - above as u32) | 1))
    }
    #[inline(always)]
    fn round(value: f32) -> f32 {
        round_to_f16(value)
    }
    #[inline(always)]
    fn widen<U: Unit, const N: usize>(unit: U, elements: &[f16; N]) -> Chunk<f32, N> {
        Chunk(unit.widen(elements))
    }
    #[inline(always)]
    fn narrow<U: Unit, const N: usize>(unit: U, values: Chunk<f32, N>) -> [f16; N] {
        unit.narrow(values.0)
    }
    #[inline(always)]
    fn narrow_rounded<U: Unit, const N: usize>(unit: U, values: Chunk<f32, N>) -> [f16; N] {
        unit.narrow_rounded(values.0)
    }
    #[inline(always)]
    fn round_chunk<U: Unit, const N: usize>(unit: U, values: Chunk<f32, N>) -> Chunk<f32, N> {
        Chunk(unit.round(values.0))
    }
    #[inline]
    fn promote<'a>(source: &'a [f16], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(source.len(), 0.0);
        convert(source, scratch);
        scratch
    }
    #[inline]
    fn demote_into<R>(target: &mut [f16], scratch: &mut Vec<f32>, fill: impl FnOnce(&mut [f32]) -> R) -> R {
        scratch.resize(target.len(), 0.0);
        let result = fill(scratch);
        convert(scratch, target);
        result
    }
}

vectorised! {
    /// `source` in another storage type, rounded once.
    pub(crate) fn convert<T: Element, O: Element<Acc = T::Acc>>(source: &[T], target: &mut [O]) {
        on_unit!(convert_chunks::<T, O>(source, target))
    }
}

#[inline(always)]
fn convert_chunks<T: Element, O: Element<Acc = T::Acc>, U: Unit, const N: usize>(
    unit: U,
    source: &[T],
    target: &mut [O],
) {
    for_each_chunk::<T, O, U, N, 1>(unit, [source], target, |[v]| v);
}

/// Fills `output` with `body(elements of the inputs)`, rounded once, N elements at a time.
#[inline(always)]
pub(crate) fn for_each_chunk<
    T: Element,
    O: Element<Acc = T::Acc>,
    U: Unit,
    const N: usize,
    const K: usize,
>(
    unit: U,
    inputs: [&[T]; K],
    output: &mut [O],
    body: impl Fn([Chunk<T::Acc, N>; K]) -> Chunk<T::Acc, N>,
) {
    let len = output.len();
    let inputs = inputs.map(|input| input[..len].as_chunks::<N>());
    let (chunks, rest) = output.as_chunks_mut::<N>();
    let mut wide = [Chunk([T::Acc::ZERO; N]); K];
    // Loops, not `map`: its closure would be compiled without the unit's instructions.
    for (i, chunk) in chunks.iter_mut().enumerate() {
        for (wide, (input, _)) in wide.iter_mut().zip(&inputs) {
            *wide = T::widen(unit, &input[i]);
        }
        *chunk = O::narrow(unit, body(wide));
    }
    if !rest.is_empty() {
        for (wide, (_, input)) in wide.iter_mut().zip(&inputs) {
            let mut padded = [T::ZERO; N];
            padded[..input.len()].copy_from_slice(input);
            *wide = T::widen(unit, &padded);
        }
        rest.copy_from_slice(&O::narrow(unit, body(wide))[..rest.len()]);
    }
}

/// `value` rounded to binary16, to nearest even, as an `f32`; branch-free, so that loops over it vectorise.
#[inline(always)]
pub(crate) fn round_to_f16(value: f32) -> f32 {
    const SIGN: u32 = 0x8000_0000;
    let magnitude = value.abs();
    // The power of two at or below the value, but at least that of the smallest normal half. A sum with 1.5 * 2^13 times
    // that has the last place of the half, and its addition rounds to it.
    let power = f32::from_bits(value.to_bits() & 0x7f80_0000).max(6.103_515_6e-5);
    let large = power * 12288.0;
    let rounded = (magnitude + large) - large;
    // 65520 is half-way between the largest half, 65504, and 2^16; infinity itself has become NaN.
    let rounded = if magnitude >= 65520.0 { f32::INFINITY } else { rounded };
    f32::from_bits(rounded.to_bits() | (value.to_bits() & SIGN))
}

/// Compiles a function for the vector units of several processors too; the best that there is is taken at run time. The
/// bits are the same: nothing is fused or reordered.
macro_rules! vectorised {
    ($($function:tt)*) => {
        // The first match is taken.
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512vl+avx512dq+f16c",
            "x86_64+avx2+fma+bmi1+bmi2+f16c"
        ))]
        $($function)*
    };
}
pub(crate) use vectorised;

/// Runs `$body` with `$t` bound to the Rust type of a [`DType`].
macro_rules! with_element {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F16 => {
                type $t = half::f16;
                $body
            }
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_to_f16_agrees_with_half() {
        // Every half, its neighbours in f32 and the midpoints to the next half.
        for bits in 0..=0x7c00u16 {
            let here = f16::from_bits(bits).to_f32();
            let next = f16::from_bits((bits + 1).min(0x7c00)).to_f32();
            let mid = if next.is_infinite() { 65520.0 } else { (here + next) / 2.0 };
            for v in [here, mid, mid.next_down(), mid.next_up(), here.next_up()] {
                for v in [v, -v] {
                    let expected = f16::from_f32(v).to_f32();
                    assert_eq!(round_to_f16(v).to_bits(), expected.to_bits(), "{v:e}");
                }
            }
        }
    }

    #[test]
    fn slices_convert_as_in_half() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let (mut wide, mut back) = (vec![0f32; all.len()], vec![f16::ZERO; all.len()]);
        convert(&all, &mut wide);
        convert(&wide, &mut back);
        for ((half, wide), back) in all.iter().zip(&wide).zip(&back) {
            assert_eq!(half.is_negative(false), *wide < 0.0, "{half}");
            assert_eq!(half.is_negative(true), *wide <= 0.0, "{half}");
            if half.is_nan() {
                assert!(wide.is_nan() && back.is_nan() && wide.is_sign_negative() == back.is_sign_negative());
            } else {
                assert_eq!((wide.to_bits(), back), (half.to_f32().to_bits(), half));
            }
        }
    }

    #[test]
    fn halves_are_ordered_as_their_numbers() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for half in &all {
            assert_eq!(Element::is_nan(*half), half.to_f32().is_nan(), "{half}");
        }
        let mut numbers: Vec<f16> = all.into_iter().filter(|v| !v.is_nan()).collect();
        numbers.sort_by(|a, b| a.to_f32().total_cmp(&b.to_f32()));
        for pair in numbers.windows(2) {
            let expected = pair[0].to_f32().partial_cmp(&pair[1].to_f32());
            assert_eq!(pair[0].order().partial_cmp(&pair[1].order()), expected, "{pair:?}");
        }
    }

    #[test]
    fn f64_is_rounded_to_f16_once() {
        for bits in 0..0x7c00u16 {
            let (here, next) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            let mid = if next.is_infinite() { 65520.0 } else { (here.to_f64() + next.to_f64()) / 2.0 };
            let even = if bits % 2 == 0 { here } else { next };
            let cases = [(here.to_f64(), here), (mid.next_down(), here), (mid, even), (mid.next_up(), next)];
            for (v, expected) in cases {
                assert_eq!(<f16 as Element>::from_f64(v).to_bits(), expected.to_bits(), "{v:e}");
                assert_eq!(<f16 as Element>::from_f64(-v).to_bits(), (-expected).to_bits(), "{v:e}");
            }
        }
        assert_eq!(<f16 as Element>::from_f64(1e300), f16::INFINITY);
        assert_eq!(<f16 as Element>::from_f64(f64::NEG_INFINITY), f16::NEG_INFINITY);
        assert!(<f16 as Element>::from_f64(f64::NAN).is_nan());
    }

    #[test]
    fn round_to_f16_of_special_values() {
        assert!(round_to_f16(f32::NAN).is_nan());
        assert_eq!(round_to_f16(f32::MAX), f32::INFINITY);
        assert_eq!(round_to_f16(f32::MIN_POSITIVE), 0.0);
    }

    #[test]
    fn names_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(dtype.to_string().parse::<DType>().unwrap(), dtype);
        }
        for wrong in ["8", "ff16", "fff16", "f"] {
            assert!(wrong.parse::<DType>().is_err(), "{wrong}");
        }
    }
}

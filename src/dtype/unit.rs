//! Conversions to and from binary16 by the processor's own instructions.
//!
//! A loop over single elements becomes vectors by itself where it is arithmetic, but no compiler puts conversion
//! instructions into it. So a kernel works on [`Chunk`](super::Chunk)s and is handed a unit, which converts one at a time:
//! [`on_unit`] picks it for each clone of a [`vectorised`](super::vectorised) function. All units give the same bits,
//! but for those of a NaN, which stays one of its sign.

use half::f16;

use super::{Element, round_to_f16};

/// Converts halves.
pub(crate) trait Unit: Copy {
    fn widen<const N: usize>(self, halves: &[f16; N]) -> [f32; N];
    /// Rounds to nearest even.
    fn narrow<const N: usize>(self, values: [f32; N]) -> [f16; N];

    /// Of numbers that f16 holds.
    #[inline(always)]
    fn narrow_rounded<const N: usize>(self, values: [f32; N]) -> [f16; N] {
        self.narrow(values)
    }

    /// Rounded to f16.
    #[inline(always)]
    fn round<const N: usize>(self, values: [f32; N]) -> [f32; N] {
        self.widen(&self.narrow(values))
    }
}

/// Integer and float operations of any processor; loops over chunks of one element vectorise.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Unit for Portable {
    #[inline(always)]
    fn widen<const N: usize>(self, halves: &[f16; N]) -> [f32; N] {
        halves.map(f16::to_acc)
    }

    #[inline(always)]
    fn narrow<const N: usize>(self, values: [f32; N]) -> [f16; N] {
        values.map(f16::from_acc)
    }

    #[inline(always)]
    fn narrow_rounded<const N: usize>(self, values: [f32; N]) -> [f16; N] {
        values.map(f16::from_rounded)
    }

    #[inline(always)]
    fn round<const N: usize>(self, values: [f32; N]) -> [f32; N] {
        values.map(round_to_f16)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx512, F16c};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    const NEAREST_EVEN: i32 = _MM_FROUND_TO_NEAREST_INT;

    macro_rules! unit {
        ($(#[$doc:meta])* $unit:ident, $lanes:literal, $load_halves:ident, $widen:ident, $store:ident,
         $load:ident, $narrow:ident, $store_halves:ident) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(crate) struct $unit(());

            impl $unit {
                /// # Safety
                /// The processor has the instructions.
                #[inline(always)]
                pub unsafe fn new() -> $unit {
                    $unit(())
                }
            }

            // SAFETY: a part is read and written whole; whoever made the unit vouches for the instructions. A part at a
            // time in a loop, for closures would be compiled without them.
            impl Unit for $unit {
                #[inline(always)]
                fn widen<const N: usize>(self, halves: &[f16; N]) -> [f32; N] {
                    const { assert!(N % $lanes == 0) };
                    let mut values = [0.0; N];
                    let parts = values.as_chunks_mut::<$lanes>().0.iter_mut().zip(halves.as_chunks::<$lanes>().0);
                    for (values, halves) in parts {
                        unsafe { $store(values.as_mut_ptr().cast(), $widen($load_halves(halves.as_ptr().cast()))) };
                    }
                    values
                }

                #[inline(always)]
                fn narrow<const N: usize>(self, values: [f32; N]) -> [f16; N] {
                    const { assert!(N % $lanes == 0) };
                    let mut halves = [f16::ZERO; N];
                    let parts = halves.as_chunks_mut::<$lanes>().0.iter_mut().zip(values.as_chunks::<$lanes>().0);
                    for (halves, values) in parts {
                        let rounded = unsafe { $narrow::<NEAREST_EVEN>($load(values.as_ptr().cast())) };
                        unsafe { $store_halves(halves.as_mut_ptr().cast(), rounded) };
                    }
                    halves
                }
            }
        };
    }
    unit!(
        /// Eight halves an instruction.
        F16c,
        8,
        _mm_loadu_si128,
        _mm256_cvtph_ps,
        _mm256_storeu_ps,
        _mm256_loadu_ps,
        _mm256_cvtps_ph,
        _mm_storeu_si128
    );
    unit!(
        /// Sixteen halves an instruction.
        Avx512,
        16,
        _mm256_loadu_si256,
        _mm512_cvtph_ps,
        _mm512_storeu_ps,
        _mm512_loadu_ps,
        _mm512_cvtps_ph,
        _mm256_storeu_si256
    );
}

/// In a [`vectorised`](super::vectorised) function: `on_unit!(kernel::<T, G>(arguments))` calls
/// `kernel::<T, G, U, N>(unit, arguments)` with the unit U that the function is compiled for where one of the element
/// types is f16, else with the portable one and N = 1.
macro_rules! on_unit {
    ($kernel:ident::<$($t:ty),*>($($argument:expr),* $(,)?)) => {
        multiversion::target::match_target! {
            "x86_64+avx512f" => $crate::dtype::on_unit!(@with Avx512, $kernel, [$($t),*], [$($argument),*]),
            "x86_64+f16c" => $crate::dtype::on_unit!(@with F16c, $kernel, [$($t),*], [$($argument),*]),
            _ => $kernel::<$($t,)* _, 1>($crate::dtype::unit::Portable, $($argument),*),
        }
    };
    (@with $unit:ident, $kernel:ident, [$($t:ty),*], $arguments:tt) => {
        if false $(|| <$t as $crate::dtype::Element>::HALF)* {
            // SAFETY: the instructions of this clone.
            #[allow(unsafe_code)]
            let unit = unsafe { $crate::dtype::unit::$unit::new() };
            $crate::dtype::on_unit!(@call $kernel, [$($t),*], 16, unit, $arguments)
        } else {
            $crate::dtype::on_unit!(@call $kernel, [$($t),*], 1, $crate::dtype::unit::Portable, $arguments)
        }
    };
    (@call $kernel:ident, [$($t:ty),*], $n:literal, $unit:expr, [$($argument:expr),*]) => {
        $kernel::<$($t,)* _, $n>($unit, $($argument),*)
    };
}
pub(crate) use on_unit;

#[cfg(test)]
mod tests {
    use super::*;

    /// `check` on each unit that this processor has.
    fn on_each_unit(
        check: impl Fn(&str, &dyn Fn([f32; 16]) -> [[u32; 16]; 3], &dyn Fn([f16; 16]) -> [f32; 16]),
    ) {
        fn results<U: Unit>(unit: U, values: [f32; 16]) -> [[u32; 16]; 3] {
            let rounded = unit.round(values);
            let halves = [unit.narrow(values), unit.narrow_rounded(rounded)];
            let [narrow, again] = halves.map(|halves| halves.map(|half| half.to_bits() as u32));
            [rounded.map(f32::to_bits), narrow, again]
        }
        check("portable", &|values| results(Portable, values), &|halves| Portable.widen(&halves));
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        {
            if is_x86_feature_detected!("f16c") {
                let unit = unsafe { F16c::new() };
                check("f16c", &|values| results(unit, values), &|halves| unit.widen(&halves));
            }
            if is_x86_feature_detected!("avx512f") {
                let unit = unsafe { Avx512::new() };
                check("avx512", &|values| results(unit, values), &|halves| unit.widen(&halves));
            }
        }
    }

    #[test]
    fn units_widen_as_half() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        on_each_unit(|unit, _, widen| {
            for halves in all.as_chunks::<16>().0 {
                for (half, wide) in halves.iter().zip(widen(*halves)) {
                    if half.is_nan() {
                        assert!(
                            wide.is_nan() && wide.is_sign_negative() == half.is_sign_negative(),
                            "{unit}"
                        );
                    } else {
                        assert_eq!(wide.to_bits(), half.to_f32().to_bits(), "{unit}: {half:e}");
                    }
                }
            }
        });
    }

    #[test]
    fn units_round_as_half() {
        // Every half and its neighbours, the midpoints to the next one and theirs, numbers far outside, NaNs.
        let mut values = vec![f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, f32::INFINITY];
        for bits in 0..0x7c00u16 {
            let here = f16::from_bits(bits).to_f32();
            let next = f16::from_bits(bits + 1).to_f32();
            let mid = if next.is_infinite() { 65520.0 } else { (here + next) / 2.0 };
            values.extend([here, here.next_down(), here.next_up(), mid, mid.next_down(), mid.next_up()]);
        }
        values.extend(
            (0..23).flat_map(|bit| [0x7f80_0000, 0x7fc0_0000].map(|nan| f32::from_bits(nan | 1 << bit))),
        );
        values.extend(values.clone().iter().map(|v| -v));
        values.resize(values.len().next_multiple_of(16), 0.0);
        on_each_unit(|unit, results, _| {
            for values in values.as_chunks::<16>().0 {
                let [rounded, narrow, again] = results(*values);
                for i in 0..16 {
                    let (value, rounded) = (values[i], f32::from_bits(rounded[i]));
                    let expected = f16::from_f32(value);
                    if value.is_nan() {
                        let [narrow, again] = [narrow, again].map(|bits| f16::from_bits(bits[i] as u16));
                        let negative = value.is_sign_negative();
                        assert!(rounded.is_nan() && rounded.is_sign_negative() == negative, "{unit}");
                        assert!(narrow.is_nan() && narrow.is_sign_negative() == negative, "{unit}");
                        assert!(again.is_nan() && again.is_sign_negative() == negative, "{unit}");
                    } else {
                        assert_eq!(rounded.to_bits(), expected.to_f32().to_bits(), "{unit}: {value:e}");
                        assert_eq!(
                            [narrow[i], again[i]],
                            [expected.to_bits() as u32; 2],
                            "{unit}: {value:e}"
                        );
                    }
                }
            }
        });
    }
}

//! Rounding to a simulated format, in place, carried in f32.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use crate::dtype::DType;
use crate::precision::{Format, Rounding};

pub(super) fn quantize(len: usize, format: Format, rounding: Rounding, site: usize) -> Dispatch {
    let (stochastic, seed) = match rounding {
        Rounding::Nearest => (false, 0),
        Rounding::Stochastic(seed) => (true, seed),
    };
    let words = [
        len as u32,
        23 - format.mantissa_bits(),
        (format.min_exponent() + 127) as u32,
        bits(format.max_value()),
        bits(if format.is_finite() { f64::NAN } else { f64::INFINITY }),
        seed as u32,
        (seed >> 32) as u32,
        site as u32,
    ];
    // Only stochastic rounding depends on the step: the others' params stay as they are.
    let params = Params::from_settings(move |settings| {
        words.iter().copied().chain([if stochastic { settings.step as u32 } else { 0 }]).collect()
    });
    let kernel = Kernel::new("quantize", DType::F32).define("STOCHASTIC", stochastic);
    Dispatch::elementwise(kernel, vec![Binding::Write(0)], len.div_ceil(4), params)
}

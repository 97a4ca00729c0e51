//! Dropout: the same kernel forward and backward.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use crate::dtype::DType;

pub(super) fn apply(len: usize, p: f64, dtype: DType, site: usize) -> Dispatch {
    let threshold = (p * 2f64.powi(32)) as u64;
    let params = Params::from_settings(move |settings| {
        vec![
            len as u32,
            threshold as u32,
            (threshold >> 32) as u32,
            bits(1.0 / (1.0 - p)),
            settings.seed as u32,
            (settings.seed >> 32) as u32,
            site as u32,
            settings.step as u32,
        ]
    });
    let bindings = vec![Binding::Read(0), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("dropout", dtype), bindings, len.div_ceil(4), params)
}

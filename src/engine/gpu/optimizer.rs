//! Stochastic gradient descent.

use super::dispatch::{Binding, Dispatch, Kernel, Params};
use crate::dtype::DType;

pub(super) fn sgd(len: usize, momentum: bool, dtype: DType) -> Dispatch {
    let params = Params::from_settings(move |settings| {
        let sgd = &settings.sgd;
        let bits = |v: f64| (v as f32).to_bits();
        vec![
            len as u32,
            sgd.first as u32,
            sgd.nesterov as u32,
            (sgd.weight_decay != 0.0) as u32,
            bits(-sgd.learning_rate),
            bits(sgd.momentum),
            bits(sgd.weight_decay),
            0,
        ]
    });
    let mut bindings = vec![Binding::Read(0), Binding::Write(0)];
    if momentum {
        bindings.push(Binding::Write(1));
    }
    Dispatch::elementwise(Kernel::new("sgd", dtype).define("MOMENTUM", momentum), bindings, len, params)
}

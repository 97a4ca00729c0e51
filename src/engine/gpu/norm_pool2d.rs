//! Norm pooling, and its backward pass with any gradient on windows of zeros.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use super::pool2d::geometry_words;
use crate::dtype::DType;
use crate::shape::Pool2dGeometry;

pub(super) fn forward(g: &Pool2dGeometry, dtype: DType) -> Dispatch {
    let mut params = vec![g.windows() as u32];
    params.extend(geometry_words(g));
    params.push(0);
    let bindings = vec![Binding::Read(0), Binding::Write(0)];
    let kernel = Kernel::new("norm_pool2d_forward", dtype);
    Dispatch::elementwise(kernel, bindings, g.windows(), Params::Fixed(params))
}

pub(super) fn backward(g: &Pool2dGeometry, dtype: DType, site: usize) -> Dispatch {
    let mut geometry = vec![g.x_len() as u32];
    geometry.extend(geometry_words(g));
    let params = Params::from_settings(move |settings| {
        let mut params = geometry.clone();
        params.extend([bits(settings.norm_pool(site).at_zero), 0]);
        params
    });
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Read(2), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("norm_pool2d_backward", dtype), bindings, g.x_len(), params)
}

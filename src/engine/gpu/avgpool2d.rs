//! Average pooling.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use super::pool2d::geometry_words;
use crate::dtype::DType;
use crate::shape::Pool2dGeometry;

pub(super) fn forward(g: &Pool2dGeometry, dtype: DType) -> Dispatch {
    pass("avgpool2d_forward", g, dtype, g.windows())
}

pub(super) fn backward(g: &Pool2dGeometry, dtype: DType) -> Dispatch {
    pass("avgpool2d_backward", g, dtype, g.x_len())
}

fn pass(shader: &'static str, g: &Pool2dGeometry, dtype: DType, items: usize) -> Dispatch {
    let mut params = vec![items as u32];
    params.extend(geometry_words(g));
    params.push(bits(g.window.len() as f64));
    let bindings = vec![Binding::Read(0), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new(shader, dtype), bindings, items, Params::Fixed(params))
}

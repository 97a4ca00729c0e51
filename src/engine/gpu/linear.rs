//! The fully connected layer.

use super::dispatch::{Binding, Dispatch, Kernel, Params};
use super::gemm::Tiling;
use crate::dtype::DType;
use crate::engine::op::LinearGeometry;

fn product(
    shader: &'static str,
    [m, n, k, features]: [usize; 4],
    dtype: DType,
    bindings: Vec<Binding>,
) -> Dispatch {
    let tiling = Tiling::new(m, n);
    let params = [m, n, k, tiling.tiles_m, tiling.tiles, features].map(|v| v as u32);
    Dispatch {
        kernel: Kernel::new(shader, dtype).define("NARROW", tiling.narrow),
        bindings,
        groups: tiling.tiles,
        params: Params::Fixed(params.to_vec()),
    }
}

pub(super) fn forward(g: &LinearGeometry, bias: bool, dtype: DType) -> Dispatch {
    let mut bindings = vec![Binding::Read(0), Binding::Read(1)];
    if bias {
        bindings.push(Binding::Read(2));
    }
    bindings.push(Binding::Write(0));
    let size = [g.batch, g.out_features, g.in_features, 0];
    let mut dispatch = product("linear_forward", size, dtype, bindings);
    dispatch.kernel = dispatch.kernel.define("BIAS", bias);
    dispatch
}

pub(super) fn backward_input(g: &LinearGeometry, dtype: DType) -> Dispatch {
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    product("linear_backward_input", [g.batch, g.in_features, g.out_features, 0], dtype, bindings)
}

pub(super) fn backward_weight(g: &LinearGeometry, bias: bool, dtype: DType) -> Dispatch {
    let mut bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    if bias {
        bindings.push(Binding::Write(1));
    }
    let size = [g.out_features, g.in_features + bias as usize, g.batch, g.in_features];
    let mut dispatch = product("linear_backward_weight", size, dtype, bindings);
    dispatch.kernel = dispatch.kernel.define("BIAS", bias);
    dispatch
}

//! The fully connected layer.

use super::dispatch::{Binding, Dispatch, Kernel, Params, words};
use super::gemm::TILE;
use crate::dtype::DType;
use crate::engine::op::LinearGeometry;

/// An m x n matrix of sums of k products. `params` gets the words that all three passes begin with.
fn product(
    kernel: Kernel,
    bindings: Vec<Binding>,
    [m, n, k]: [usize; 3],
    params: impl FnOnce(Vec<u32>) -> Params,
) -> Dispatch {
    let [tiles_m, tiles_n] = TILE.cover(m, n);
    let groups = tiles_m * tiles_n;
    let params = params(words(&[m, n, k, tiles_m, groups]));
    Dispatch { kernel, bindings, groups, params }
}

pub(super) fn forward(g: &LinearGeometry, bias: bool, dtype: DType) -> Dispatch {
    let mut bindings = vec![Binding::Read(0), Binding::Read(1)];
    if bias {
        bindings.push(Binding::Read(2));
    }
    bindings.push(Binding::Write(0));
    let kernel = Kernel::new("linear_forward", dtype).define("BIAS", bias);
    product(kernel, bindings, [g.batch, g.out_features, g.in_features], Params::Fixed)
}

pub(super) fn backward_input(g: &LinearGeometry, dtype: DType) -> Dispatch {
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    let kernel = Kernel::new("linear_backward_input", dtype);
    product(kernel, bindings, [g.batch, g.in_features, g.out_features], Params::Fixed)
}

pub(super) fn backward_weight(g: &LinearGeometry, bias: bool, dtype: DType, site: usize) -> Dispatch {
    let mut bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    if bias {
        bindings.push(Binding::Write(1));
    }
    let kernel = Kernel::new("linear_backward_weight", dtype).define("ROW_SUMS", bias);
    let batch = g.batch;
    product(kernel, bindings, [g.out_features, g.in_features, batch], move |words| {
        Params::in_batch_order(words, site, batch)
    })
}

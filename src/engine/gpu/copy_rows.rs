//! Rows of one matrix into another.

use super::dispatch::{Binding, Dispatch, Kernel, Params, words};
use crate::dtype::DType;
use crate::engine::op::RowsGeometry;

pub(super) fn copy(g: &RowsGeometry, dtype: DType) -> Dispatch {
    let len = g.rows * g.len;
    let params = words(&[len, g.len, g.from[0], g.from[1], g.to[0], g.to[1]]);
    let bindings = vec![Binding::Read(0), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("copy_rows", dtype), bindings, len, Params::Fixed(params))
}

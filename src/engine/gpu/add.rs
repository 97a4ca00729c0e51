//! Sum of two tensors.

use super::dispatch::{Binding, Dispatch, Kernel, Params};
use crate::dtype::DType;

pub(super) fn forward(len: usize, dtype: DType) -> Dispatch {
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("add", dtype), bindings, len, Params::Fixed(vec![len as u32]))
}

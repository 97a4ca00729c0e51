//! ReLU, and its backward pass with any derivative at 0.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use crate::dtype::DType;

pub(super) fn forward(len: usize, dtype: DType) -> Dispatch {
    let bindings = vec![Binding::Read(0), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("relu_forward", dtype), bindings, len, Params::Fixed(vec![len as u32]))
}

pub(super) fn backward(len: usize, dtype: DType, site: usize) -> Dispatch {
    let params = Params::from_settings(move |settings| vec![len as u32, bits(settings.relu(site).alpha)]);
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    Dispatch::elementwise(Kernel::new("relu_backward", dtype), bindings, len, params)
}

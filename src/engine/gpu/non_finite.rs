//! Where a tensor holds its first value that is not finite.

use super::dispatch::{Binding, Dispatch, Kernel, Params, words};
use crate::dtype::DType;

pub(super) fn first_non_finite(len: usize, slot: usize, dtype: DType) -> Dispatch {
    Dispatch {
        kernel: Kernel::new("first_non_finite", dtype),
        bindings: vec![Binding::Read(0), Binding::Write(0)],
        groups: 1,
        params: Params::Fixed(words(&[len, slot])),
    }
}

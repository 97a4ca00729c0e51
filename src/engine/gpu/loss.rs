//! Softmax cross-entropy: one pass over the rows, one for their mean.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params};
use crate::dtype::DType;

pub(super) fn cross_entropy(batch: usize, classes: usize, dtype: DType) -> Lowered {
    let rows = Dispatch {
        kernel: Kernel::new("cross_entropy_rows", dtype),
        bindings: vec![Binding::Read(0), Binding::Read(1), Binding::Write(1), Binding::Write(2)],
        groups: batch,
        params: Params::Fixed(vec![batch as u32, classes as u32]),
    };
    let mean = Dispatch {
        kernel: Kernel::new("cross_entropy_mean", dtype),
        bindings: vec![Binding::ReadBack(2), Binding::Write(0)],
        groups: 1,
        params: Params::Fixed(vec![batch as u32]),
    };
    Lowered { dispatches: vec![rows, mean], scratch: 0 }
}

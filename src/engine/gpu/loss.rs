//! Softmax cross-entropy: one pass over the rows, one for their mean.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params, bits};
use crate::dtype::DType;

pub(super) fn cross_entropy(batch: usize, classes: usize, wide_loss: bool, dtype: DType) -> Lowered {
    let rows = Dispatch {
        kernel: Kernel::new("cross_entropy_rows", dtype),
        bindings: vec![Binding::Read(0), Binding::Read(1), Binding::Write(1), Binding::Write(2)],
        groups: batch,
        params: Params::from_settings(move |settings| {
            vec![batch as u32, classes as u32, bits(settings.loss_scale)]
        }),
    };
    let mean = Dispatch {
        kernel: Kernel::new("cross_entropy_mean", if wide_loss { DType::F32 } else { dtype }),
        bindings: vec![Binding::ReadBack(2), Binding::Write(0)],
        groups: 1,
        params: Params::Fixed(vec![batch as u32]),
    };
    Lowered { dispatches: vec![rows, mean], scratch: 0 }
}

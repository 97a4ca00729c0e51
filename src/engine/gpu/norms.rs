//! Partial norms of a tensor or of a difference.

use super::dispatch::{Binding, Dispatch, Kernel, Params, words};
use crate::dtype::DType;
use crate::engine::op::NORM_BLOCK;

pub(super) fn norms(len: usize, difference: bool, dtype: DType) -> Dispatch {
    let blocks = len.div_ceil(NORM_BLOCK);
    let mut bindings = vec![Binding::Read(0)];
    bindings.extend(difference.then_some(Binding::Read(1)));
    bindings.push(Binding::Write(0));
    Dispatch {
        kernel: Kernel::new("norms", dtype).define("DIFFERENCE", difference),
        bindings,
        groups: blocks,
        params: Params::Fixed(words(&[len, NORM_BLOCK, blocks])),
    }
}

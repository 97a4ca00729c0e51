//! Counts of pooling windows by their tie sets, and of zeros: atomic additions of integers, which give the same in any
//! order, after a dispatch that writes zeros.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params, THREADS};
use super::pool2d;
use crate::dtype::DType;
use crate::shape::Pool2dGeometry;

/// Elements that a thread looks at, one after the other.
const ITEMS: usize = 16;

fn zero(len: usize) -> Dispatch {
    // Counts are words, whatever the dtype of the call.
    let kernel = Kernel::new("zero_counts", DType::F32);
    Dispatch::elementwise(kernel, vec![Binding::Write(0)], len, Params::Fixed(vec![len as u32]))
}

pub(super) fn count_zeros(len: usize, dtype: DType) -> Lowered {
    let count = Dispatch {
        kernel: Kernel::new("count_zeros", dtype),
        bindings: vec![Binding::Read(0), Binding::Write(0)],
        groups: len.div_ceil(THREADS * ITEMS),
        params: Params::Fixed(vec![len as u32, ITEMS as u32]),
    };
    Lowered { dispatches: vec![zero(1), count], scratch: 0 }
}

pub(super) fn tie_census(g: &Pool2dGeometry, relu: bool, dtype: DType, site: usize) -> Lowered {
    let windows = g.windows();
    let counters = 4 * (g.window.len() + 1);
    let mut fixed = vec![windows as u32];
    fixed.extend(pool2d::geometry_words(g));
    fixed.extend(pool2d::set_layout(g));
    fixed.push(counters as u32);
    let params = Params::from_settings(move |settings| {
        let mut params = fixed.clone();
        params.push((settings.relu(site).alpha as f32 != 0.0) as u32);
        params
    });
    let mut bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Read(2)];
    bindings.extend(relu.then_some(Binding::Read(3)));
    bindings.push(Binding::Write(0));
    let kernel = Kernel::new("tie_census", dtype).define("RELU", relu);
    let census = Dispatch::elementwise(kernel, bindings, windows, params);
    Lowered { dispatches: vec![zero(counters), census], scratch: 0 }
}

//! Fully connected layer.
//!
//!   forward          y `[N, O]` = x `[N, I]` weightᵀ + bias
//!   backward input   gx `[N, I]` = gy weight
//!   backward weight  gweight `[O, I]` = gyᵀ x,  gbias `[O]` = sum over N of gy

use super::gemm::{Bias, Lanes, Product, promote_all};
use super::pack::{Offsets, Operand, Places};
use super::scratch::Scratch;
use super::sum::sum_planes;
use crate::dtype::Element;
use crate::engine::op::LinearGeometry;

pub(super) fn forward<T: Element<Acc: Lanes>>(
    g: &LinearGeometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    narrow: bool,
    y: &mut [T],
) {
    let (n, i, o) = (g.batch, g.in_features, g.out_features);
    let mut scratch: [Scratch<T::Acc>; 3] = std::array::from_fn(|_| Scratch::take());
    let [x_scratch, weight_scratch, bias_scratch] = &mut scratch;
    let product = Product {
        sizes: [n, o, i],
        groups: 1,
        part: usize::MAX,
        a: rows(promote_all(x, x_scratch), n, i).t(),
        b: rows(promote_all(weight, weight_scratch), o, i).t(),
        bias: bias.map_or(Bias::None, |bias| Bias::Columns(T::promote(bias, bias_scratch))),
        narrow,
    };
    product.store_matrix(y);
}

pub(super) fn backward_input<T: Element<Acc: Lanes>>(
    g: &LinearGeometry,
    gy: &[T],
    weight: &[T],
    narrow: bool,
    gx: &mut [T],
) {
    let (n, i, o) = (g.batch, g.in_features, g.out_features);
    let (mut gy_scratch, mut weight_scratch) = (Scratch::take(), Scratch::take());
    let product = Product {
        sizes: [n, i, o],
        groups: 1,
        part: usize::MAX,
        a: rows(promote_all(gy, &mut gy_scratch), n, o).t(),
        b: rows(promote_all(weight, &mut weight_scratch), o, i),
        bias: Bias::None,
        narrow,
    };
    product.store_matrix(gx);
}

/// `order` is that in which the sums visit the samples, if it is not their own.
pub(super) fn backward_weight<T: Element<Acc: Lanes>>(
    g: &LinearGeometry,
    x: &[T],
    gy: &[T],
    order: Option<&[u32]>,
    narrow: bool,
    gweight: &mut [T],
    gbias: Option<&mut [T]>,
) {
    let (n, i, o) = (g.batch, g.in_features, g.out_features);
    let (mut x_scratch, mut gy_scratch) = (Scratch::take(), Scratch::take());
    let (x, gy) = (promote_all(x, &mut x_scratch), promote_all(gy, &mut gy_scratch));
    let samples = |len: usize| {
        let starts = (0..n).map(|i| order.map_or(i, |order| order[i] as usize) * len).collect();
        Offsets { starts, run: 1, step: 1 }
    };
    let (x_samples, gy_samples) = (samples(i), samples(o));
    let product = Product {
        sizes: [o, i, n],
        groups: 1,
        part: usize::MAX,
        a: Operand { sum: gy_samples.places(), ..rows(gy, n, o) },
        b: Operand { sum: x_samples.places(), ..rows(x, n, i) },
        bias: Bias::None,
        narrow,
    };
    product.store_matrix(gweight);
    if let Some(gbias) = gbias {
        sum_planes(gy, gy_samples.places(), narrow, gbias);
    }
}

/// A matrix whose rows the sum runs over.
fn rows<A>(data: &[A], rows: usize, columns: usize) -> Operand<'_, A> {
    Operand { data, sum: Places::line(rows, columns), free: Places::line(columns, 1), group: 0 }
}

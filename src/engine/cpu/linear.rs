//! Fully connected layer.
//!
//!   forward          y `[N, O]` = x `[N, I]` weightᵀ + bias
//!   backward input   gx `[N, I]` = gy weight
//!   backward weight  gweight `[O, I]` = gyᵀ x,  gbias `[O]` = sum over N of gy

use super::gemm::{Bias, Product, promote_all};
use super::lanes::Lanes;
use super::pack::{Offsets, Operand, Places};
use super::scratch::Scratch;
use super::sum::sum_rows;
use super::target::Arrangement;
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
    let (mut x_scratch, mut weight_scratch) = (Scratch::shared(), Scratch::shared());
    let mut bias_scratch = Scratch::take();
    let product = Product {
        sizes: [n, o, i],
        groups: 1,
        part: usize::MAX,
        a: rows(promote_all(x, &mut x_scratch), n, i).t(),
        b: rows(promote_all(weight, &mut weight_scratch), o, i).t(),
        bias: bias.map_or(Bias::None, |bias| Bias::Columns(T::promote(bias, &mut bias_scratch))),
        narrow,
        existing: None,
    };
    product.store_matrix(y, Arrangement::Dense);
}

pub(super) fn backward_input<T: Element<Acc: Lanes>>(
    g: &LinearGeometry,
    gy: &[T],
    weight: &[T],
    narrow: bool,
    gx: &mut [T],
) {
    let (n, i, o) = (g.batch, g.in_features, g.out_features);
    let (mut gy_scratch, mut weight_scratch) = (Scratch::shared(), Scratch::shared());
    let product = Product {
        sizes: [n, i, o],
        groups: 1,
        part: usize::MAX,
        a: rows(promote_all(gy, &mut gy_scratch), n, o).t(),
        b: rows(promote_all(weight, &mut weight_scratch), o, i),
        bias: Bias::None,
        narrow,
        existing: None,
    };
    product.store_matrix(gx, Arrangement::Dense);
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
    let (mut x_scratch, mut gy_scratch) = (Scratch::shared(), Scratch::shared());
    let samples: Vec<usize> = (0..n).map(|i| order.map_or(i, |order| order[i] as usize)).collect();
    let rows_of = |len: usize| Offsets { starts: samples.iter().map(|n| n * len).collect(), run: 1, step: 1 };
    if let Some(gbias) = gbias {
        sum_rows(gy, &samples, narrow, gbias);
    }
    let (x, gy) = (promote_all(x, &mut x_scratch), promote_all(gy, &mut gy_scratch));
    let (x_rows, gy_rows) = (rows_of(i), rows_of(o));
    let product = Product {
        sizes: [o, i, n],
        groups: 1,
        part: usize::MAX,
        a: Operand { sum: gy_rows.places(), ..rows(gy, n, o) },
        b: Operand { sum: x_rows.places(), ..rows(x, n, i) },
        bias: Bias::None,
        narrow,
        existing: None,
    };
    product.store_matrix(gweight, Arrangement::Dense);
}

/// A matrix whose rows the sum runs over.
fn rows<A>(data: &[A], rows: usize, columns: usize) -> Operand<'_, A> {
    Operand { data, sum: Places::line(rows, columns), free: Places::line(columns, 1), group: 0 }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;

    fn noise<T: Element>(len: usize, salt: usize) -> Vec<T> {
        let number = |i: usize| (((i + salt) as u32).wrapping_mul(0x9E37_79B9) >> 8) as f64 / 8388608.0 - 1.0;
        (0..len).map(|i| T::from_f64(number(i))).collect()
    }

    /// y, gx, gweight and gbias.
    fn run<T: Element<Acc: Lanes>>(
        g: &LinearGeometry,
        [x, weight, bias, gy]: &[Vec<T>; 4],
        order: Option<&[u32]>,
        narrow: bool,
    ) -> [Vec<T>; 4] {
        let nan = |len| vec![T::from_f64(f64::NAN); len];
        let mut results = [nan(gy.len()), nan(x.len()), nan(weight.len()), nan(bias.len())];
        let [y, gx, gweight, gbias] = &mut results;
        forward(g, x, weight, Some(bias), narrow, y);
        backward_input(g, gy, weight, narrow, gx);
        backward_weight(g, x, gy, order, narrow, gweight, Some(gbias));
        results
    }

    fn operands<T: Element>(g: &LinearGeometry) -> [Vec<T>; 4] {
        let (n, i, o) = (g.batch, g.in_features, g.out_features);
        [noise(n * i, 0), noise(o * i, 100), noise(o, 200), noise(n * o, 300)]
    }

    /// The same by loops, each product added by `add` in the order of its sum.
    fn loops(
        g: &LinearGeometry,
        [x, weight, bias, gy]: &[Vec<f64>; 4],
        order: &[u32],
        add: impl Fn(f64, f64, f64) -> f64,
    ) -> [Vec<f64>; 4] {
        let (i, o) = (g.in_features, g.out_features);
        let sum = |terms: &mut dyn Iterator<Item = (f64, f64)>| terms.fold(0.0, |sum, (a, b)| add(sum, a, b));
        let y = (0..gy.len()).map(|e| {
            let (x, weight) = (&x[e / o * i..], &weight[e % o * i..]);
            add(sum(&mut (0..i).map(|k| (x[k], weight[k]))), 1.0, bias[e % o])
        });
        let gx = (0..x.len()).map(|e| sum(&mut (0..o).map(|k| (gy[e / i * o + k], weight[k * i + e % i]))));
        let samples = || order.iter().map(|&n| n as usize);
        let gweight =
            (0..weight.len()).map(|e| sum(&mut samples().map(|n| (gy[n * o + e / i], x[n * i + e % i]))));
        let gbias = (0..o).map(|e| sum(&mut samples().map(|n| (1.0, gy[n * o + e]))));
        [y.collect(), gx.collect(), gweight.collect(), gbias.collect()]
    }

    fn to_f64<T: Element>(values: &[Vec<T>; 4]) -> [Vec<f64>; 4] {
        values.each_ref().map(|values| values.iter().map(|v| v.to_f64()).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

        #[test]
        fn passes_agree_with_loops(batch in 0..70usize, in_features in 1..300usize, out_features in 1..70usize) {
            let g = LinearGeometry { batch, in_features, out_features };
            let order: Vec<u32> = (0..batch as u32).rev().collect();
            let operands = operands::<f64>(&g);
            let expected = loops(&g, &operands, &order, |sum, a, b| sum + a * b);
            for (got, expected) in run(&g, &operands, Some(&order), false).iter().zip(expected) {
                for (got, expected) in got.iter().zip(expected) {
                    prop_assert!((got - expected).abs() < 1e-12, "{got} for {expected}");
                }
            }
        }

        #[test]
        fn narrow_sums_agree_with_loops_to_the_bit(batch in 1..40usize, in_features in 1..50usize,
                                                   out_features in 1..40usize) {
            let g = LinearGeometry { batch, in_features, out_features };
            let order: Vec<u32> = (0..batch as u32).rev().collect();
            let operands = operands::<f16>(&g);
            let add = |sum: f64, a: f64, b: f64| f32::mul_add_f16(a as f32, b as f32, sum as f32) as f64;
            let expected = loops(&g, &to_f64(&operands), &order, add);
            prop_assert_eq!(to_f64(&run(&g, &operands, Some(&order), true)), expected);
        }
    }

    #[test]
    fn the_order_of_samples_changes_roundings_alone() {
        let g = LinearGeometry { batch: 50, in_features: 9, out_features: 7 };
        let order: Vec<u32> = (0..50).map(|n| n * 7 % 50).collect();
        let single = |order| to_f64(&run(&g, &operands::<f32>(&g), order, false));
        let (natural, other) = (single(None), single(Some(&order[..])));
        assert_eq!(other, single(Some(&order[..])));
        for i in [2, 3] {
            let gap = natural[i].iter().zip(&other[i]).fold(0.0f64, |gap, (a, b)| gap.max((a - b).abs()));
            assert!(gap > 0.0 && gap < 1e-5, "{gap}");
        }
    }
}

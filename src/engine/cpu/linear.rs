//! Fully connected layer.
//!
//!   forward          y `[N, O]` = x `[N, I]` weightᵀ + bias
//!   backward input   gx `[N, I]` = gy weight
//!   backward weight  gweight `[O, I]` = gyᵀ x,  gbias `[O]` = sum over N of gy

use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::scratch::{Pooled, Scratch};
use crate::dtype::Element;
use crate::engine::op::LinearGeometry;

/// Rows of the result that one task computes: fixed, so that the sums do not depend on the threads.
const ROWS: usize = 32;

pub(super) fn forward<T: Element<Acc: Pooled>>(
    g: &LinearGeometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (i, o) = (g.in_features, g.out_features);
    let (mut weight_scratch, mut bias_scratch) = (Scratch::take(), Scratch::take());
    let weight = T::promote(weight, &mut weight_scratch);
    let bias = bias.map(|b| T::promote(b, &mut bias_scratch));
    y.par_chunks_mut(ROWS * o).zip(x.par_chunks(ROWS * i)).for_each(|(y, x)| {
        let mut x_scratch = Scratch::take();
        let x = T::promote(x, &mut x_scratch);
        T::demote_into(y, &mut Scratch::take(), |y| {
            if let Some(bias) = bias {
                y.chunks_mut(o).for_each(|row| row.copy_from_slice(bias));
            }
            let sizes = [x.len() / i, o, i];
            gemm(sizes, y, o, bias.is_some(), Matrix::rows(x, i), Matrix::rows(weight, i).t());
        });
    });
}

pub(super) fn backward_input<T: Element<Acc: Pooled>>(
    g: &LinearGeometry,
    gy: &[T],
    weight: &[T],
    gx: &mut [T],
) {
    let (i, o) = (g.in_features, g.out_features);
    let mut weight_scratch = Scratch::take();
    let weight = T::promote(weight, &mut weight_scratch);
    gx.par_chunks_mut(ROWS * i).zip(gy.par_chunks(ROWS * o)).for_each(|(gx, gy)| {
        let mut gy_scratch = Scratch::take();
        let gy = T::promote(gy, &mut gy_scratch);
        T::demote_into(gx, &mut Scratch::take(), |gx| {
            gemm([gy.len() / o, i, o], gx, i, false, Matrix::rows(gy, o), Matrix::rows(weight, i));
        });
    });
}

pub(super) fn backward_weight<T: Element<Acc: Pooled>>(
    g: &LinearGeometry,
    x: &[T],
    gy: &[T],
    order: Option<&[u32]>,
    gweight: &mut [T],
    gbias: Option<&mut [T]>,
) {
    let (n, i, o) = (g.batch, g.in_features, g.out_features);
    let (mut x_scratch, mut gy_scratch) = (Scratch::take(), Scratch::take());
    let x = T::promote(x, &mut x_scratch);
    let gy = T::promote(gy, &mut gy_scratch);
    let (mut x_ordered, mut gy_ordered) = (Scratch::take(), Scratch::take());
    let (x, gy) = (in_order(x, i, order, &mut x_ordered), in_order(gy, o, order, &mut gy_ordered));
    gweight.par_chunks_mut(ROWS * i).enumerate().for_each(|(block, gweight)| {
        let rows = gweight.len() / i;
        let gy = gy.get(block * ROWS..).unwrap_or_default();
        T::demote_into(gweight, &mut Scratch::take(), |gweight| {
            gemm([rows, i, n], gweight, i, false, Matrix::rows(gy, o).t(), Matrix::rows(x, i));
        });
    });
    if let Some(gbias) = gbias {
        T::demote_into(gbias, &mut Scratch::take(), |gbias| {
            gbias.fill(T::Acc::ZERO);
            for row in gy.chunks(o) {
                gbias.iter_mut().zip(row).for_each(|(b, &v)| *b += v);
            }
        });
    }
}

/// The rows of a matrix in the given order.
fn in_order<'a, A: Copy>(
    rows: &'a [A],
    len: usize,
    order: Option<&[u32]>,
    scratch: &'a mut Vec<A>,
) -> &'a [A] {
    let Some(order) = order else { return rows };
    scratch.clear();
    order.iter().for_each(|&n| scratch.extend_from_slice(&rows[n as usize * len..][..len]));
    scratch
}

//! Convolution as matrix products on unfolded images.
//!
//! Each of the G groups is a convolution of its own. With K = C / G KH KW and P = OH OW, the patches of image n form
//! a `[K, P]` matrix `col` (im2col):
//!   forward          y_n  `[O, P]` = weight `[O, K]` col + bias
//!   backward input   gcol `[K, P]` = weightᵀ gy_n, folded back onto the image (col2im)
//!   backward weight  gweight `[O, K]` = sum over n of gy_n colᵀ,  gbias `[O]` = sum over n and P of gy_n
//!
//! Large images are unfolded a band of output rows at a time, so that a band's `col` stays in the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::scratch::{Pooled, Scratch};
use super::sum::sum_lanes;
use crate::dtype::Element;
use crate::shape::Conv2dGeometry;

pub(super) fn forward<T: Element<Acc: Pooled>>(
    g: &Conv2dGeometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (o, k, p) = (g.out_channels / g.groups, g.patch_len(), g.output_pixels());
    let mut weight_scratch = Scratch::take();
    let weight = T::promote(weight, &mut weight_scratch);
    let mut bias_scratch = Scratch::take();
    let bias = bias.map(|b| T::promote(b, &mut bias_scratch));
    let (x_len, y_len) = (g.in_channels * g.input[0] * g.input[1], g.out_channels * p);
    y.par_chunks_mut(y_len).zip(x.par_chunks(x_len)).for_each(|(y, x)| {
        let (mut x_scratch, mut col) = (Scratch::take(), Scratch::take());
        let x = T::promote(x, &mut x_scratch);
        T::demote_into(y, &mut Scratch::take(), |y| {
            if let Some(bias) = bias {
                y.chunks_mut(p).zip(bias).for_each(|(row, &b)| row.fill(b));
            }
            for (group, band) in group_bands(g) {
                let (first, q) = (band.start * g.output[1], band.len() * g.output[1]);
                im2col(g, band, &x[group * x_len / g.groups..], &mut col);
                let (sizes, y) = ([o, q, k], &mut y[group * o * p + first..]);
                let weight = Matrix::rows(&weight[group * o * k..], k);
                gemm(sizes, y, p, bias.is_some(), weight, Matrix::rows(&col, q));
            }
        });
    });
}

pub(super) fn backward_input<T: Element<Acc: Pooled>>(
    g: &Conv2dGeometry,
    gy: &[T],
    weight: &[T],
    gx: &mut [T],
) {
    let (o, k, p) = (g.out_channels / g.groups, g.patch_len(), g.output_pixels());
    let mut weight_scratch = Scratch::take();
    let weight = T::promote(weight, &mut weight_scratch);
    let (x_len, y_len) = (g.in_channels * g.input[0] * g.input[1], g.out_channels * p);
    gx.par_chunks_mut(x_len).zip(gy.par_chunks(y_len)).for_each(|(gx, gy)| {
        let (mut gy_scratch, mut col) = (Scratch::take(), Scratch::take());
        let gy = T::promote(gy, &mut gy_scratch);
        T::demote_into(gx, &mut Scratch::take(), |gx| {
            gx.fill(T::Acc::ZERO);
            for (group, band) in group_bands(g) {
                let (first, q) = (band.start * g.output[1], band.len() * g.output[1]);
                col.resize(k * q, T::Acc::ZERO);
                let (sizes, gy) = ([k, q, o], Matrix::rows(&gy[group * o * p + first..], p));
                let weight = Matrix::rows(&weight[group * o * k..], k);
                gemm(sizes, &mut col, q, false, weight.t(), gy);
                col2im(g, band, &col, &mut gx[group * x_len / g.groups..]);
            }
        });
    });
}

pub(super) fn backward_weight<T: Element<Acc: Pooled>>(
    g: &Conv2dGeometry,
    x: &[T],
    gy: &[T],
    order: Option<&[u32]>,
    gweight: &mut [T],
    gbias: Option<&mut [T]>,
) {
    let (o, k, p) = (g.out_channels / g.groups, g.patch_len(), g.output_pixels());
    let (x_len, y_len) = (g.in_channels * g.input[0] * g.input[1], g.out_channels * p);
    let (weight_len, want_bias) = (g.out_channels * k, gbias.is_some());
    let stride = weight_len + g.out_channels;
    let images_per_part = g.batch.div_ceil(parts(stride)).max(1);
    let parts = g.batch.div_ceil(images_per_part);
    let mut partial = Scratch::<T::Acc>::zeros(parts * stride);
    partial.par_chunks_mut(stride).enumerate().for_each(|(part, sum)| {
        let (weight_sum, bias_sum) = sum.split_at_mut(weight_len);
        let (mut x_scratch, mut gy_scratch) = (Scratch::take(), Scratch::take());
        let mut col = Scratch::take();
        for i in part * images_per_part..((part + 1) * images_per_part).min(g.batch) {
            let n = order.map_or(i, |order| order[i] as usize);
            let x = T::promote(&x[n * x_len..][..x_len], &mut x_scratch);
            let gy = T::promote(&gy[n * y_len..][..y_len], &mut gy_scratch);
            for (group, band) in group_bands(g) {
                let (first, q) = (band.start * g.output[1], band.len() * g.output[1]);
                im2col(g, band, &x[group * x_len / g.groups..], &mut col);
                let (sizes, gy) = ([o, k, q], Matrix::rows(&gy[group * o * p + first..], p));
                let weight_sum = &mut weight_sum[group * o * k..];
                gemm(sizes, weight_sum, k, true, gy, Matrix::rows(&col, q).t());
            }
            if want_bias {
                bias_sum.iter_mut().zip(gy.chunks(p)).for_each(|(b, row)| *b += sum_lanes(row));
            }
        }
    });
    sum_parts::<T>(&partial, stride, 0, gweight);
    if let Some(gbias) = gbias {
        sum_parts::<T>(&partial, stride, weight_len, gbias);
    }
}

/// Number of partial sums over the batch, by the size of one of them alone: enough to keep cores busy,
/// within some 16 MiB.
fn parts(len: usize) -> usize {
    const BUDGET: usize = 4 << 20;
    (BUDGET / len.max(1)).clamp(2, 16)
}

/// `target[i] = sum over parts of partial[part * stride + offset + i]`, in the order of the parts.
fn sum_parts<T: Element<Acc: Pooled>>(partial: &[T::Acc], stride: usize, offset: usize, target: &mut [T]) {
    let len = target.len();
    T::demote_into(target, &mut Scratch::take(), |target| {
        target.fill(T::Acc::ZERO);
        for part in partial.chunks(stride) {
            target.iter_mut().zip(&part[offset..offset + len]).for_each(|(t, &v)| *t += v);
        }
    });
}

/// Output columns `ow` whose input column `ow * stride + kw * dilation - padding` exists.
fn valid_columns(g: &Conv2dGeometry, kw: usize) -> std::ops::Range<usize> {
    let kw = kw * g.window.dilation[1];
    let (stride, padding) = (g.window.stride[1], g.window.padding[1]);
    let first = padding.saturating_sub(kw).div_ceil(stride);
    let end = (g.input[1] + padding).saturating_sub(kw).div_ceil(stride).min(g.output[1]);
    first.min(end)..end
}

/// The output rows, cut by the shape alone into bands whose `col` has up to 2^19 elements, or one row.
fn bands(g: &Conv2dGeometry) -> impl Iterator<Item = Range<usize>> {
    const BUDGET: usize = 1 << 19;
    let (rows, height) = ((BUDGET / (g.patch_len() * g.output[1])).max(1), g.output[0]);
    (0..height).step_by(rows).map(move |start| start..(start + rows).min(height))
}

/// Every band of every group.
fn group_bands(g: &Conv2dGeometry) -> impl Iterator<Item = (usize, Range<usize>)> {
    (0..g.groups).flat_map(|group| bands(g).map(move |band| (group, band)))
}

/// Runs `visit` on each run of consecutive output columns of a band: (offset in col, offset of its first input
/// element, length); `blank` gets the runs of col that lie in the padding.
fn for_each_run(
    g: &Conv2dGeometry,
    band: Range<usize>,
    mut visit: impl FnMut(usize, usize, usize),
    mut blank: impl FnMut(usize, usize),
) {
    let ([kh, kw], [sh, sw], [ph, pw]) = (g.window.kernel, g.window.stride, g.window.padding);
    let ([h, w], ow, [dh, dw]) = (g.input, g.output[1], g.window.dilation);
    let mut row = 0;
    for c in 0..g.in_channels / g.groups {
        for i in 0..kh {
            for j in 0..kw {
                let columns = valid_columns(g, j);
                for o in band.clone() {
                    let (start, input_row) =
                        (row + (o - band.start) * ow, (o * sh + i * dh).wrapping_sub(ph));
                    if input_row >= h || columns.is_empty() {
                        blank(start, ow);
                        continue;
                    }
                    blank(start, columns.start);
                    let x = (c * h + input_row) * w + columns.start * sw + j * dw - pw;
                    visit(start + columns.start, x, columns.len());
                    blank(start + columns.end, ow - columns.end);
                }
                row += band.len() * ow;
            }
        }
    }
}

/// A band of x `[C / G, H, W]` of one group unfolded to col `[K, rows OW]`.
fn im2col<A: Element>(g: &Conv2dGeometry, band: Range<usize>, x: &[A], col: &mut Vec<A>) {
    let stride = g.window.stride[1];
    col.resize(g.patch_len() * band.len() * g.output[1], A::ZERO);
    let col = std::cell::RefCell::new(col);
    for_each_run(
        g,
        band,
        |to, from, len| {
            let col = &mut col.borrow_mut()[to..to + len];
            if stride == 1 {
                col.copy_from_slice(&x[from..from + len]);
            } else {
                col.iter_mut().zip(x[from..].iter().step_by(stride)).for_each(|(c, &v)| *c = v);
            }
        },
        |to, len| col.borrow_mut()[to..to + len].fill(A::ZERO),
    );
}

/// Adds the col `[K, rows OW]` of a band onto gx `[C / G, H, W]`, in the order of the rows of col.
fn col2im<A: crate::dtype::Accumulator>(g: &Conv2dGeometry, band: Range<usize>, col: &[A], gx: &mut [A]) {
    let stride = g.window.stride[1];
    for_each_run(
        g,
        band,
        |from, to, len| {
            let col = &col[from..from + len];
            if stride == 1 {
                gx[to..to + len].iter_mut().zip(col).for_each(|(x, &c)| *x += c);
            } else {
                gx[to..].iter_mut().step_by(stride).zip(col).for_each(|(x, &c)| *x += c);
            }
        },
        |_, _| {},
    );
}

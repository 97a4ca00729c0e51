//! Norm pooling: the Euclidean norm of each window, with the roundings of the published program.
//!
//!   forward   y = fl(sqrt(fl(sum of fl(x_i^2)))); the sum, in row-major order, is in the accumulate type. So in
//!             f16 y is infinite where an |x_i| reaches 256, and 0 where every x_i^2 underflows
//!   backward  fl(fl(x_i / y) gy) where y is not 0, else fl(at_zero gy): a plain product, NaN for 0 times infinity;
//!             added one by one where windows overlap, in the order of the windows, each sum rounded

use rayon::prelude::*;

use super::scratch::{Pooled, Scratch};
use crate::dtype::{Accumulator, Element};
use crate::shape::Pool2dGeometry;

pub(super) fn forward<T: Element<Acc: Pooled>>(g: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    let (plane, windows) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let planes = super::BLOCK.div_ceil(plane);
    y.par_chunks_mut(planes * windows).zip(x.par_chunks(planes * plane)).for_each(|(y, x)| {
        let mut x_scratch = Scratch::take();
        let x = T::promote(x, &mut x_scratch);
        T::demote_into(y, &mut Scratch::take(), |y| {
            for (y, x) in y.chunks_mut(windows).zip(x.chunks(plane)) {
                for (w, y) in y.iter_mut().enumerate() {
                    let (rows, columns) = g.window_range(w / g.output[1], w % g.output[1]);
                    let elements = rows.flat_map(|r| &x[r * g.input[1]..][columns.clone()]);
                    *y = T::round(elements.fold(T::Acc::ZERO, |sum, &v| sum + T::round(v * v))).sqrt();
                }
            }
        });
    });
}

pub(super) fn backward<T: Element<Acc: Pooled>>(
    g: &Pool2dGeometry,
    at_zero: f64,
    x: &[T],
    y: &[T],
    gy: &[T],
    gx: &mut [T],
) {
    let (plane, windows) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let planes = super::BLOCK.div_ceil(plane);
    let at_zero = T::Acc::from_f64(at_zero);
    gx.par_chunks_mut(planes * plane)
        .zip(x.par_chunks(planes * plane))
        .zip(y.par_chunks(planes * windows))
        .zip(gy.par_chunks(planes * windows))
        .for_each(|(((gx, x), y), gy)| {
            let (mut x_scratch, mut y_scratch) = (Scratch::take(), Scratch::take());
            let mut gy_scratch = Scratch::take();
            let (x, y) = (T::promote(x, &mut x_scratch), T::promote(y, &mut y_scratch));
            let gy = T::promote(gy, &mut gy_scratch);
            T::demote_into(gx, &mut Scratch::take(), |gx| {
                gx.fill(T::Acc::ZERO);
                let outputs = y.chunks(windows).zip(gy.chunks(windows));
                for ((gx, x), (y, gy)) in gx.chunks_mut(plane).zip(x.chunks(plane)).zip(outputs) {
                    backward_plane::<T>(g, at_zero, x, y, gy, gx);
                }
            });
        });
}

fn backward_plane<T: Element>(
    g: &Pool2dGeometry,
    at_zero: T::Acc,
    x: &[T::Acc],
    y: &[T::Acc],
    gy: &[T::Acc],
    gx: &mut [T::Acc],
) {
    for (w, (&norm, &gradient)) in y.iter().zip(gy).enumerate() {
        let (rows, columns) = g.window_range(w / g.output[1], w % g.output[1]);
        for r in rows {
            let row = gx[r * g.input[1]..][columns.clone()].iter_mut();
            for (sum, &v) in row.zip(&x[r * g.input[1]..][columns.clone()]) {
                let factor = if norm == T::Acc::ZERO { at_zero } else { T::round(v / norm) };
                *sum = T::round(*sum + T::round(factor * gradient));
            }
        }
    }
}

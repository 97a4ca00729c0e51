//! Average pooling: `y = (sum of the window) / (KH KW)`, padding counted as zeros, elements in row-major order;
//! `gx = sum of gy / (KH KW)` over the windows that hold the element, in the order of the windows.
//!
//! Sums are in the accumulate type and rounded once, or each partial sum is rounded (`Accumulate::Storage`).

use rayon::prelude::*;

use super::scratch::{Pooled, Scratch};
use crate::dtype::{Accumulator, Element};
use crate::shape::Pool2dGeometry;

pub(super) fn forward<T: Element<Acc: Pooled>>(g: &Pool2dGeometry, narrow: bool, x: &[T], y: &mut [T]) {
    let (plane, windows) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let planes = super::BLOCK.div_ceil(plane);
    y.par_chunks_mut(planes * windows).zip(x.par_chunks(planes * plane)).for_each(|(y, x)| {
        let mut x_scratch = Scratch::take();
        let x = T::promote(x, &mut x_scratch);
        T::demote_into(y, &mut Scratch::take(), |y| {
            for (y, x) in y.chunks_mut(windows).zip(x.chunks(plane)) {
                if narrow { forward_plane(g, x, y, T::round) } else { forward_plane(g, x, y, |v| v) }
            }
        });
    });
}

fn forward_plane<A: Accumulator>(g: &Pool2dGeometry, x: &[A], y: &mut [A], round: impl Fn(A) -> A) {
    let len = A::from_f64(g.window.len() as f64);
    for (w, y) in y.iter_mut().enumerate() {
        let (rows, columns) = g.window_range(w / g.output[1], w % g.output[1]);
        let elements = rows.flat_map(|r| &x[r * g.input[1]..][columns.clone()]);
        *y = elements.fold(A::ZERO, |sum, &v| round(sum + v)) / len;
    }
}

pub(super) fn backward<T: Element<Acc: Pooled>>(g: &Pool2dGeometry, narrow: bool, gy: &[T], gx: &mut [T]) {
    let (plane, windows) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let planes = super::BLOCK.div_ceil(plane);
    gx.par_chunks_mut(planes * plane).zip(gy.par_chunks(planes * windows)).for_each(|(gx, gy)| {
        let mut gy_scratch = Scratch::take();
        let gy = T::promote(gy, &mut gy_scratch);
        T::demote_into(gx, &mut Scratch::take(), |gx| {
            gx.fill(T::Acc::ZERO);
            for (gx, gy) in gx.chunks_mut(plane).zip(gy.chunks(windows)) {
                if narrow { backward_plane(g, gy, gx, T::round) } else { backward_plane(g, gy, gx, |v| v) }
            }
        });
    });
}

fn backward_plane<A: Accumulator>(g: &Pool2dGeometry, gy: &[A], gx: &mut [A], round: impl Fn(A) -> A) {
    let len = A::from_f64(g.window.len() as f64);
    for (w, &gradient) in gy.iter().enumerate() {
        let share = round(gradient / len);
        let (rows, columns) = g.window_range(w / g.output[1], w % g.output[1]);
        for r in rows {
            gx[r * g.input[1]..][columns.clone()].iter_mut().for_each(|v| *v = round(*v + share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Window2d;
    use half::f16;

    #[test]
    fn a_narrow_sum_of_ones_stops_at_2048() {
        let g = Pool2dGeometry::new([1, 1, 64, 64], Window2d::new(64, 64, 0)).unwrap();
        let x = vec![f16::ONE; 64 * 64];
        let mut y = [f16::ZERO];
        forward(&g, false, &x, &mut y);
        assert_eq!(y, [f16::ONE]);
        forward(&g, true, &x, &mut y);
        assert_eq!(y, [f16::from_f32(0.5)]);
    }

    #[test]
    fn overlapping_windows_are_added_before_they_are_rounded() {
        // Nine times 0.1 / 9, in f32, then once in f16.
        let g = Pool2dGeometry::new([1, 1, 5, 5], Window2d::new(3, 1, 0)).unwrap();
        let gy = [f16::from_f32(0.1); 9];
        let mut gx = [f16::ZERO; 25];
        backward(&g, false, &gy, &mut gx);
        let share = gy[0].to_f32() / 9.0;
        assert_eq!(gx[12], f16::from_f32((0..9).fold(0.0, |sum, _| sum + share)));
        backward(&g, true, &gy, &mut gx);
        let round = |v| f16::from_f32(v).to_f32();
        assert_eq!(gx[12].to_f32(), (0..9).fold(0.0, |sum, _| round(sum + round(share))));
    }
}

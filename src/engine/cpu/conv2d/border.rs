//! The zeros around an image, which products of whole images multiply by weights, make a NaN of an infinite weight.
//! Elements that are NaN are summed once more, over what exists alone, as the definition has it.

use rayon::prelude::*;

use crate::dtype::Element;
use crate::engine::cpu::gemm::Bias;
use crate::engine::cpu::lanes::Lanes;
use crate::shape::Conv2dGeometry;

/// y; `weight` and `bias` in the accumulate type.
pub(super) fn repair_y<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    x: &[T],
    weight: &[T::Acc],
    bias: Bias<T::Acc>,
    narrow: bool,
    y: &mut [T],
) {
    let (m, c) = (g.out_channels / g.groups, g.in_channels / g.groups);
    let (area, plane) = (g.window.len(), g.input[0] * g.input[1]);
    repair(y, g.out_channels, g.output, |[n, o, i, j]| {
        let met = |axis: usize, i: usize, tap: usize| {
            let line = i * g.window.stride[axis] + tap * g.window.dilation[axis];
            line.checked_sub(g.window.padding[axis]).filter(|&line| line < g.input[axis])
        };
        let existing = existing(g.window.kernel, |u, v| Some(met(0, i, u)? * g.input[1] + met(1, j, v)?));
        let first = n * g.in_channels + o / m * c;
        let terms = (0..c).flat_map(|c| existing.iter().map(move |&(tap, at)| (c, tap, at)));
        let sum = sum(
            terms.map(|(k, tap, at)| (weight[(o * c + k) * area + tap], x[(first + k) * plane + at])),
            narrow,
        );
        match bias {
            Bias::Rows(bias) => sum + bias[o],
            _ => sum,
        }
    });
}

/// gx; `weight` in the accumulate type.
pub(super) fn repair_gx<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    gy: &[T],
    weight: &[T::Acc],
    narrow: bool,
    gx: &mut [T],
) {
    let (m, c) = (g.out_channels / g.groups, g.in_channels / g.groups);
    let (area, plane) = (g.window.len(), g.output_pixels());
    repair(gx, g.in_channels, g.input, |[n, channel, h, w]| {
        let met = |axis: usize, line: usize, tap: usize| {
            let distance = (line + g.window.padding[axis]).checked_sub(tap * g.window.dilation[axis])?;
            let i = distance / g.window.stride[axis];
            (distance % g.window.stride[axis] == 0 && i < g.output[axis]).then_some(i)
        };
        let existing = existing(g.window.kernel, |u, v| Some(met(0, h, u)? * g.output[1] + met(1, w, v)?));
        let (group, k) = (channel / c, channel % c);
        let terms =
            (group * m..(group + 1) * m).flat_map(|o| existing.iter().map(move |&(tap, at)| (o, tap, at)));
        let at = |o: usize, at: usize| gy[(n * g.out_channels + o) * plane + at];
        sum(terms.map(|(o, tap, pixel)| (weight[(o * c + k) * area + tap], at(o, pixel))), narrow)
    });
}

/// Computes the elements of `[N, channels, H, W]` that are NaN once more.
fn repair<T: Element>(
    target: &mut [T],
    channels: usize,
    [h, w]: [usize; 2],
    element: impl Fn([usize; 4]) -> T::Acc + Sync,
) {
    target.par_chunks_mut(h * w).enumerate().for_each(|(plane, target)| {
        for (i, target) in target.iter_mut().enumerate().filter(|(_, v)| v.to_f64().is_nan()) {
            *target = T::from_acc(element([plane / channels, plane % channels, i / w, i % w]));
        }
    });
}

/// Kernel elements that meet a pixel, and that pixel.
fn existing(kernel: [usize; 2], met: impl Fn(usize, usize) -> Option<usize>) -> Vec<(usize, usize)> {
    (0..kernel[0] * kernel[1]).filter_map(|tap| Some((tap, met(tap / kernel[1], tap % kernel[1])?))).collect()
}

/// Of products; NaN as soon as one is, so that a network that has diverged costs no more than another.
fn sum<T: Element<Acc: Lanes>>(terms: impl Iterator<Item = (T::Acc, T)>, narrow: bool) -> T::Acc {
    let mut sum = T::Acc::ZERO;
    for (weight, value) in terms {
        let value = T::Acc::from_f64(value.to_f64());
        sum = if narrow { T::Acc::mul_add_f16(weight, value, sum) } else { sum + weight * value };
        if sum.is_nan() {
            break;
        }
    }
    sum
}

//! Batch normalisation over N and the plane P = H W of each channel; m = N P.
//!
//!   mean = sum of x / m,  var = sum of (x - mean)^2 / m,  inv_std = 1 / sqrt(var + eps)
//!   forward    y = (x - mean) (inv_std weight) + bias
//!              running_mean = (1 - momentum) running_mean + momentum mean
//!              running_var  = (1 - momentum) running_var + momentum (var m / (m - 1))
//!   backward   gbias = sum of gy,  dot = sum of (x - mean) gy,  gweight = dot inv_std
//!              gx = (gy - gbias / m - (x - mean) (dot inv_std^2 / m)) (inv_std weight)
//!   inference  y, gbias and gweight with the running statistics in place of mean and var; gx = gy (inv_std weight)
//!
//! A sum over a channel is made of the sums of its planes, which are added in the order of the samples or in
//! [`Sums::order`]. The variance comes from the mean and variance of each plane,
//!   mean = average over n of mean_n,  var = average over n of (var_n + (mean_n - mean)^2),
//! which is as accurate as two passes over x and reads it once. A task takes some channels through the whole of it: what it
//! has summed up is still in the caches when it is normalised.
//!
//! weight, bias, their gradients and the running statistics are of type P, mean and inv_std of the accumulate type.

use rayon::prelude::*;

use super::channels::{Channels, ChannelsMut};
use super::scratch::{Pooled, Scratch};
use super::sum::sum_terms;
use crate::dtype::unit::Unit;
use crate::dtype::{Accumulator, Element, for_each_chunk, on_unit, vectorised};
use crate::engine::op::Settings;
use crate::precision::Accumulate;
use crate::shape::BatchNormGeometry;

/// How the sums over a channel are formed.
pub(super) struct Sums {
    /// The order of the samples, if it is not their own.
    order: Option<Vec<u32>>,
    /// Whether partial sums, and the mean and variance of a plane, are rounded to the storage type.
    narrow: bool,
}

impl Sums {
    pub fn new(settings: &Settings, site: usize, batch: usize) -> Sums {
        let narrow = settings.accumulate == Accumulate::Storage;
        Sums { order: settings.batch_order(site, batch), narrow }
    }

    /// For each of some channels the sum of `term(sample, channel)` over the samples.
    fn over_samples<T: Element<Acc: Pooled>>(
        &self,
        [batch, channels]: [usize; 2],
        term: impl Fn(usize, usize) -> T::Acc,
    ) -> Scratch<T::Acc> {
        let mut sums = Scratch::zeros(channels);
        for i in 0..batch {
            let sample = self.order.as_ref().map_or(i, |order| order[i] as usize);
            for (channel, sum) in sums.iter_mut().enumerate() {
                let total = *sum + term(sample, channel);
                *sum = if self.narrow { T::round(total) } else { total };
            }
        }
        sums
    }
}

pub(super) struct Running<'a, P> {
    pub mean: &'a mut [P],
    pub var: &'a mut [P],
    pub momentum: f64,
}

pub(super) struct Gradients<'a, T, P> {
    pub gx: &'a mut [T],
    pub gweight: &'a mut [P],
    pub gbias: &'a mut [P],
}

impl<'a, T: Element, P: Element> Gradients<'a, T, P> {
    /// By channels: gx, and gweight and gbias of these alone.
    fn tasks(
        self,
        g: &BatchNormGeometry,
    ) -> impl ParallelIterator<Item = (ChannelsMut<'a, T>, [&'a mut [P]; 2])> {
        let per_task = Channels::per_task::<T>(g);
        let parameters = self.gweight.par_chunks_mut(per_task).zip(self.gbias.par_chunks_mut(per_task));
        ChannelsMut::tasks(g, per_task, self.gx).zip(parameters.map(|(gweight, gbias)| [gweight, gbias]))
    }
}

/// Writes y and the batch's `[mean, inv_std]`.
pub(super) fn forward<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    g: &BatchNormGeometry,
    (sums, eps): (&Sums, f64),
    x: &[T],
    parameters: [&[P]; 2],
    y: &mut [T],
    [mean, inv_std]: [&mut [T::Acc]; 2],
    running: Option<Running<P>>,
) {
    let values = g.per_channel() as f64;
    let mut var = Scratch::zeros(g.channels);
    let per_task = Channels::per_task::<T>(g);
    let statistics = mean.par_chunks_mut(per_task).zip(inv_std.par_chunks_mut(per_task));
    let tasks = ChannelsMut::tasks(g, per_task, y).zip(statistics.zip(var.par_chunks_mut(per_task)));
    tasks.for_each(|(mut y, ((mean, inv_std), var))| {
        batch_statistics(g.batch, sums, &y.channels, x, [mean, var]);
        inverse_std(var, eps, inv_std);
        normalise::<T, P>(x, parameters, [mean, inv_std], &mut y);
    });
    if let Some(running) = running {
        let unbiased = T::Acc::from_f64(values / (values - 1.0));
        let [keep, take] = [1.0 - running.momentum, running.momentum].map(T::Acc::from_f64);
        let follow = |r: &mut P, v| *r = P::from_acc(keep * r.to_acc() + take * v);
        running.mean.iter_mut().zip(mean.iter()).for_each(|(r, &v)| follow(r, v));
        running.var.iter_mut().zip(var.iter()).for_each(|(r, &v)| follow(r, v * unbiased));
    }
}

/// Mean and biased variance of some channels.
fn batch_statistics<T: Element<Acc: Pooled>>(
    batch: usize,
    sums: &Sums,
    channels: &Channels,
    x: &[T],
    [mean, var]: [&mut [T::Acc]; 2],
) {
    let (count, divisor) = (channels.count(), T::Acc::from_f64(batch as f64));
    let [means, vars] = plane_sums(batch, channels, [x], |_, [x]| plane_statistics(x, sums.narrow));
    let total = sums.over_samples::<T>([batch, count], |n, c| means[n * count + c]);
    mean.iter_mut().zip(total.iter()).for_each(|(mean, &sum)| *mean = sum / divisor);
    let total = sums.over_samples::<T>([batch, count], |n, c| {
        let apart = means[n * count + c] - mean[c];
        vars[n * count + c] + apart * apart
    });
    var.iter_mut().zip(total.iter()).for_each(|(var, &sum)| *var = sum / divisor);
}

pub(super) fn inference<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    g: &BatchNormGeometry,
    eps: f64,
    x: &[T],
    parameters: [&[P]; 2],
    running: [&[P]; 2],
    y: &mut [T],
) {
    with_running(running, eps, |mean, inv_std| {
        ChannelsMut::tasks(g, Channels::per_task::<T>(g), y).for_each(|mut y| {
            let range = y.channels.range.clone();
            normalise::<T, P>(x, parameters, [&mean[range.clone()], &inv_std[range]], &mut y);
        });
    });
}

/// `statistics` are mean and inv_std of the batch.
pub(super) fn backward<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    g: &BatchNormGeometry,
    sums: &Sums,
    [x, gy]: [&[T]; 2],
    weight: &[P],
    statistics: [&[T::Acc]; 2],
    gradients: Gradients<T, P>,
) {
    let values = T::Acc::from_f64(g.per_channel() as f64);
    gradients.tasks(g).for_each(|(mut gx, parameters)| {
        let channels = gx.channels.clone();
        let [mean, inv_std] = statistics.map(|s| &s[channels.range.clone()]);
        let weight = &weight[channels.range.clone()];
        let [gradient_sum, dot] = gradient_sums(g.batch, sums, &channels, [x, gy], mean);
        gx.for_each_sample(&|n, gx| {
            let inputs = channels.planes(n, x).zip(channels.planes(n, gy));
            for (c, (gx, (x, gy))) in gx.zip(inputs).enumerate() {
                let slope = dot[c] * inv_std[c] * inv_std[c] / values;
                let scale = inv_std[c] * weight[c].to_acc();
                backward_plane([mean[c], gradient_sum[c] / values, slope, scale], x, gy, gx);
            }
        });
        parameter_gradients(&gradient_sum, &dot, inv_std, parameters);
    });
}

pub(super) fn inference_backward<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    g: &BatchNormGeometry,
    (sums, eps): (&Sums, f64),
    inputs: [&[T]; 2],
    weight: &[P],
    running: [&[P]; 2],
    gradients: Gradients<T, P>,
) {
    with_running(running, eps, |mean, inv_std| {
        gradients.tasks(g).for_each(|(mut gx, parameters)| {
            let channels = gx.channels.clone();
            let [mean, inv_std] = [mean, inv_std].map(|s| &s[channels.range.clone()]);
            let weight = &weight[channels.range.clone()];
            let [gradient_sum, dot] = gradient_sums(g.batch, sums, &channels, inputs, mean);
            gx.for_each_sample(&|n, gx| {
                for (c, (gx, gy)) in gx.zip(channels.planes(n, inputs[1])).enumerate() {
                    // Neither 0 changes a bit.
                    let nothing = [0.0, -0.0].map(T::Acc::from_f64);
                    affine_plane([nothing[0], inv_std[c] * weight[c].to_acc(), nothing[1]], gy, gx);
                }
            });
            parameter_gradients(&gradient_sum, &dot, inv_std, parameters);
        });
    });
}

/// `y = (x - mean) (inv_std weight) + bias`; mean and inv_std are those of y's channels alone.
fn normalise<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    x: &[T],
    parameters: [&[P]; 2],
    [mean, inv_std]: [&[T::Acc]; 2],
    y: &mut ChannelsMut<T>,
) {
    let channels = y.channels.clone();
    let [weight, bias] = parameters.map(|p| &p[channels.range.clone()]);
    y.for_each_sample(&|n, y| {
        for (c, (y, x)) in y.zip(channels.planes(n, x)).enumerate() {
            affine_plane([mean[c], inv_std[c] * weight[c].to_acc(), bias[c].to_acc()], x, y);
        }
    });
}

vectorised! {
    /// Mean and biased variance of a plane.
    fn plane_statistics<T: Element>(x: &[T], narrow: bool) -> [T::Acc; 2] {
        on_unit!(plane_statistics_chunks::<T>(x, narrow))
    }
}

#[inline(always)]
fn plane_statistics_chunks<T: Element, U: Unit, const N: usize>(
    unit: U,
    x: &[T],
    narrow: bool,
) -> [T::Acc; 2] {
    let len = T::Acc::from_f64(x.len() as f64);
    if narrow {
        let mean = T::round(sum_terms(unit, [x], |[v]| v, T::round) / len);
        let squares = sum_terms(unit, [x], |[v]| (v - mean) * (v - mean), T::round);
        return [mean, T::round(squares / len)];
    }
    let mean = sum_terms(unit, [x], |[v]| v, |sum| sum) / len;
    [mean, sum_terms(unit, [x], |[v]| (v - mean) * (v - mean), |sum| sum) / len]
}

vectorised! {
    /// Sum of gy and sum of (x - mean) gy over a plane.
    fn plane_gradient_sums<T: Element>(x: &[T], gy: &[T], mean: T::Acc, narrow: bool) -> [T::Acc; 2] {
        on_unit!(plane_gradient_sums_chunks::<T>(x, gy, mean, narrow))
    }
}

#[inline(always)]
fn plane_gradient_sums_chunks<T: Element, U: Unit, const N: usize>(
    unit: U,
    x: &[T],
    gy: &[T],
    mean: T::Acc,
    narrow: bool,
) -> [T::Acc; 2] {
    let dot = |[v, g]: [T::Acc; 2]| (v - mean) * g;
    if narrow {
        [sum_terms(unit, [gy], |[g]| g, T::round), sum_terms(unit, [x, gy], dot, T::round)]
    } else {
        [sum_terms(unit, [gy], |[g]| g, |sum| sum), sum_terms(unit, [x, gy], dot, |sum| sum)]
    }
}

vectorised! {
    /// `y = (x - mean) scale + bias`
    fn affine_plane<T: Element>(coefficients: [T::Acc; 3], x: &[T], y: &mut [T]) {
        on_unit!(affine_chunks::<T>(coefficients, x, y))
    }
}

#[inline(always)]
fn affine_chunks<T: Element, U: Unit, const N: usize>(
    unit: U,
    [mean, scale, bias]: [T::Acc; 3],
    x: &[T],
    y: &mut [T],
) {
    for_each_chunk::<T, T, U, N, 1>(unit, [x], y, |[x]| (x - mean) * scale + bias);
}

vectorised! {
    /// `gx = (gy - gradient_mean - (x - mean) slope) scale`
    fn backward_plane<T: Element>(coefficients: [T::Acc; 4], x: &[T], gy: &[T], gx: &mut [T]) {
        on_unit!(backward_chunks::<T>(coefficients, x, gy, gx))
    }
}

#[inline(always)]
fn backward_chunks<T: Element, U: Unit, const N: usize>(
    unit: U,
    [mean, gradient_mean, slope, scale]: [T::Acc; 4],
    x: &[T],
    gy: &[T],
    gx: &mut [T],
) {
    for_each_chunk::<T, T, U, N, 2>(unit, [x, gy], gx, |[x, gy]| {
        (gy - gradient_mean - (x - mean) * slope) * scale
    });
}

fn inverse_std<A: Accumulator>(var: &[A], eps: f64, inv_std: &mut [A]) {
    let (one, eps) = (A::from_f64(1.0), A::from_f64(eps));
    inv_std.iter_mut().zip(var).for_each(|(s, &var)| *s = one / (var + eps).sqrt());
}

/// Calls `body` with the running mean and 1 / sqrt(running variance + eps).
fn with_running<P: Element<Acc: Pooled>>(
    [mean, var]: [&[P]; 2],
    eps: f64,
    body: impl FnOnce(&[P::Acc], &[P::Acc]),
) {
    let (mut mean_scratch, mut var_scratch) = (Scratch::take(), Scratch::take());
    let mut inv_std = Scratch::zeros(var.len());
    inverse_std(P::promote(var, &mut var_scratch), eps, &mut inv_std);
    body(P::promote(mean, &mut mean_scratch), &inv_std);
}

/// For each of the channels, sum of gy and sum of (x - mean) gy.
fn gradient_sums<T: Element<Acc: Pooled>>(
    batch: usize,
    sums: &Sums,
    channels: &Channels,
    inputs: [&[T]; 2],
    mean: &[T::Acc],
) -> [Scratch<T::Acc>; 2] {
    let count = channels.count();
    plane_sums(batch, channels, inputs, |c, [x, gy]| plane_gradient_sums(x, gy, mean[c], sums.narrow))
        .map(|planes| sums.over_samples::<T>([batch, count], |n, c| planes[n * count + c]))
}

fn parameter_gradients<P: Element<Acc: Pooled>>(
    gradient_sum: &[P::Acc],
    dot: &[P::Acc],
    inv_std: &[P::Acc],
    [gweight, gbias]: [&mut [P]; 2],
) {
    gweight.iter_mut().zip(dot).zip(inv_std).for_each(|((w, &dot), &s)| *w = P::from_acc(dot * s));
    gbias.iter_mut().zip(gradient_sum).for_each(|(b, &sum)| *b = P::from_acc(sum));
}

/// Two numbers for each plane of the channels, from `body(channel, planes of the inputs)`: `[N, channels]` each.
fn plane_sums<T: Element<Acc: Pooled>, const K: usize>(
    batch: usize,
    channels: &Channels,
    inputs: [&[T]; K],
    body: impl Fn(usize, [&[T]; K]) -> [T::Acc; 2] + Sync,
) -> [Scratch<T::Acc>; 2] {
    let (count, samples) = (channels.count(), channels.samples_per_task());
    let mut sums = [(); 2].map(|_| Scratch::zeros(batch * count));
    let [first, second] = &mut sums;
    let parts = first.par_chunks_mut(samples * count).zip(second.par_chunks_mut(samples * count));
    parts.enumerate().for_each(|(part, (first, second))| {
        let rows = first.chunks_mut(count).zip(second.chunks_mut(count));
        for (n, (first, second)) in (part * samples..).zip(rows) {
            let mut planes = inputs.map(|input| channels.planes(n, input));
            for (c, (first, second)) in first.iter_mut().zip(second).enumerate() {
                let planes = planes.each_mut().map(|planes| planes.next().expect("a plane for each channel"));
                [*first, *second] = body(c, planes);
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::op::Op;
    use crate::precision::ReductionOrder;
    use crate::{DType, Tensor};

    const SHAPE: [usize; 4] = [6, 5, 7, 3];

    fn values(dtype: DType, shape: &[usize], salt: u64, offset: f64) -> Tensor {
        let noise = |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 2f64.powi(23) - 1.0;
        let len: usize = shape.iter().product();
        let values: Vec<f64> = (0..len as u64).map(|i| offset + noise(i * 3 + salt)).collect();
        Tensor::from_f64(dtype, shape, &values).unwrap()
    }

    /// y, mean, inv_std, running_mean, running_var, gx, gweight, gbias.
    fn run(dtype: DType, parameters: DType, x: &Tensor, settings: &Settings, threads: usize) -> Vec<Tensor> {
        let engine = CpuEngine::new(threads).unwrap();
        let geometry = BatchNormGeometry::new(x.shape()).unwrap();
        let [weight, bias] = [1, 2].map(|salt| values(parameters, &[geometry.channels], salt, 1.5));
        let gy = values(dtype, x.shape(), 4, 0.0);
        let acc = dtype.accumulate();
        let of = |dtype, shape: &[usize]| Tensor::zeros(dtype, shape).unwrap();
        let channels = [geometry.channels];
        let mut forward = vec![of(dtype, x.shape())];
        forward.extend([acc, acc, parameters, parameters].map(|dtype| of(dtype, &channels)));
        let op = Op::BatchNormForward { geometry, eps: 1e-5, momentum: 0.1, parameters };
        let reads = [x.bytes(), weight.bytes(), bias.bytes()];
        let mut writes: Vec<&mut [u8]> = forward.iter_mut().map(|t| t.bytes_mut()).collect();
        engine.execute(op, dtype, &reads, &mut writes, 1, settings).unwrap();
        let mut backward = vec![of(dtype, x.shape()), of(parameters, &channels), of(parameters, &channels)];
        let op = Op::BatchNormBackward { geometry, parameters };
        let reads = [x.bytes(), gy.bytes(), weight.bytes(), forward[1].bytes(), forward[2].bytes()];
        let mut writes: Vec<&mut [u8]> = backward.iter_mut().map(|t| t.bytes_mut()).collect();
        engine.execute(op, dtype, &reads, &mut writes, 1, settings).unwrap();
        forward.extend(backward);
        forward
    }

    /// Largest distance over the largest element, for each tensor.
    fn distances(a: &[Tensor], b: &[Tensor]) -> Vec<f64> {
        let distance = |(a, b): (&Tensor, &Tensor)| {
            let (a, b) = (a.to_f64(), b.to_f64());
            let largest = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            a.iter().zip(&b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest
        };
        a.iter().zip(b).map(distance).collect()
    }

    #[test]
    fn threads_do_not_matter() {
        // Several blocks of planes.
        let shape = [9, 40, 8, 8];
        let seeded = Settings { reduction: ReductionOrder::Seeded(3), ..Default::default() };
        for dtype in DType::ALL {
            let x = values(dtype, &shape, 0, 0.5);
            for settings in [&Settings::default(), &seeded] {
                let one = run(dtype, dtype, &x, settings, 1);
                assert!(one == run(dtype, dtype, &x, settings, 3), "{dtype}");
            }
        }
    }

    #[test]
    fn a_seeded_order_changes_the_rounding_alone() {
        let x = values(DType::F32, &[64, 5, 3, 3], 0, 0.5);
        let seeded =
            |seed, step| Settings { reduction: ReductionOrder::Seeded(seed), step, ..Default::default() };
        let fixed = run(DType::F32, DType::F32, &x, &Settings::default(), 1);
        let other = run(DType::F32, DType::F32, &x, &seeded(1, 0), 1);
        assert_eq!(other, run(DType::F32, DType::F32, &x, &seeded(1, 0), 1));
        assert_ne!(other, run(DType::F32, DType::F32, &x, &seeded(1, 1), 1), "each step has its own");
        let distances = distances(&other, &fixed);
        assert!(distances.iter().all(|&d| d < 1e-5), "{distances:?}");
        // The mean, gweight and gbias.
        assert!([1, 6, 7].iter().all(|&i| distances[i] > 0.0), "{distances:?}");
    }

    #[test]
    fn statistics_are_accurate_far_from_zero() {
        let x = values(DType::F32, &[32, 3, 16, 16], 0, 1000.0);
        let wide = run(DType::F64, DType::F64, &x.to_dtype(DType::F64), &Settings::default(), 1);
        let got = run(DType::F32, DType::F32, &x, &Settings::default(), 1);
        // One pass over sums of x and of x^2 would lose the variance: 1000^2 2^-24 is 0.06.
        let distances = distances(&got, &wide);
        assert!(distances[2] < 1e-6 && distances[4] < 1e-6, "{distances:?}");
    }

    #[test]
    fn wide_parameters_over_f16() {
        let x = values(DType::F16, &SHAPE, 0, 0.5);
        let mixed = run(DType::F16, DType::F32, &x, &Settings::default(), 1);
        let wide = run(DType::F32, DType::F32, &x.to_dtype(DType::F32), &Settings::default(), 1);
        // Parameters and statistics as in f32 to the bit; y is rounded once.
        assert_eq!(mixed[1..5], wide[1..5]);
        assert_eq!(mixed[0], wide[0].to_dtype(DType::F16));
        // gy is rounded to f16 in one of them.
        assert!(distances(&mixed, &wide).iter().all(|&d| d < 1e-2));
        assert_eq!([mixed[6].dtype(), mixed[7].dtype()], [DType::F32; 2]);
    }

    #[test]
    fn running_statistics_are_left_alone_when_not_tracked() {
        let x = values(DType::F32, &SHAPE, 0, 0.5);
        let settings = Settings { track_running_stats: false, ..Default::default() };
        let got = run(DType::F32, DType::F32, &x, &settings, 1);
        assert!(got[3..5].iter().all(|t| t.to_f64().iter().all(|&v| v == 0.0)));
        assert_eq!(got[0], run(DType::F32, DType::F32, &x, &Settings::default(), 1)[0]);
    }

    #[test]
    fn narrow_sums_round_in_f16_alone() {
        let settings = Settings { accumulate: Accumulate::Storage, ..Default::default() };
        for dtype in DType::ALL {
            let x = values(dtype, &SHAPE, 0, 0.5);
            let wide = run(dtype, dtype, &x, &Settings::default(), 1);
            let narrow = run(dtype, dtype, &x, &settings, 1);
            if dtype == DType::F16 {
                let distances = distances(&narrow, &wide);
                assert!(distances.iter().all(|&d| d < 1e-2), "{distances:?}");
                assert!(distances[1] > 1e-5 && distances[6] > 1e-5, "{distances:?}");
            } else {
                assert!(narrow == wide, "{dtype}");
            }
        }
    }
}

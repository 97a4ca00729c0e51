//! Batch normalisation: statistics of parts of each channel, their sum in order, then one pass over the elements.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params, bits, words};
use crate::dtype::DType;
use crate::shape::BatchNormGeometry;

/// Threads of a workgroup of the passes over a channel's terms.
const THREADS: usize = 64;
/// Values that one part of a channel's sums has at least.
const MIN_CHUNK: usize = 1024;
/// Workgroups that are enough to fill a large GPU; channels are cut into parts to reach them.
const TARGET_GROUPS: usize = 1024;

/// The host's side of `shaders/shared/channel_terms.wgsl`.
#[derive(Clone, Copy)]
struct Terms {
    geometry: BatchNormGeometry,
    parts: usize,
    chunk: usize,
}

impl Terms {
    fn new(g: &BatchNormGeometry) -> Terms {
        let terms = g.per_channel();
        let wanted = TARGET_GROUPS.div_ceil(g.channels).min(terms / MIN_CHUNK).max(1);
        let chunk = terms.div_ceil(wanted).max(1);
        Terms { geometry: *g, parts: terms.div_ceil(chunk).max(1), chunk }
    }

    fn groups(&self) -> usize {
        self.geometry.channels * self.parts
    }

    /// The sums of all parts: one workgroup each, in the order of the samples that the settings ask for.
    fn pass(&self, kernel: Kernel, bindings: Vec<Binding>, site: usize) -> Dispatch {
        let g = self.geometry;
        let fixed = words(&[
            g.per_channel(),
            g.channels,
            g.plane,
            self.parts,
            self.groups(),
            self.chunk,
            THREADS / g.plane,
            THREADS % g.plane,
        ]);
        let params = Params::in_batch_order(fixed, site, g.batch);
        Dispatch { kernel, bindings, groups: self.groups(), params }
    }
}

fn kernel(shader: &'static str, dtype: DType, parameters: DType) -> Kernel {
    Kernel::new(shader, dtype).define("WIDE_PARAMETERS", parameters != dtype)
}

/// y from x, weight, bias and two statistics.
fn normalize(g: &BatchNormGeometry, eps: f64, kernel: Kernel, statistics: [Binding; 2]) -> Dispatch {
    let [mean, spread] = statistics;
    let bindings =
        vec![Binding::Read(0), Binding::Read(1), Binding::Read(2), mean, spread, Binding::Write(0)];
    let mut params = words(&[g.len(), g.channels, g.plane, 0]);
    params.push(bits(eps));
    Dispatch::elementwise(kernel, bindings, g.len(), Params::Fixed(params))
}

pub(super) fn forward(
    g: &BatchNormGeometry,
    eps: f64,
    momentum: f64,
    [dtype, parameters]: [DType; 2],
    site: usize,
) -> Lowered {
    let terms = Terms::new(g);
    let bindings = vec![Binding::Read(0), Binding::WriteScratch];
    let statistics = terms.pass(Kernel::new("batchnorm_statistics", dtype), bindings, site);

    let mut fixed = words(&[g.channels, terms.parts, g.per_channel(), terms.chunk]);
    fixed.extend([eps, momentum, 1.0 - momentum].map(bits));
    let params = Params::from_settings(move |settings| {
        fixed.iter().copied().chain([settings.track_running_stats as u32]).collect()
    });
    let bindings = [Binding::ReadScratch].into_iter().chain((1..5).map(Binding::Write)).collect();
    let join = kernel("batchnorm_mean", dtype, parameters);
    let join = Dispatch::elementwise(join, bindings, g.channels, params);

    let last = kernel("batchnorm_normalize", dtype, parameters);
    let last = normalize(g, eps, last, [Binding::ReadBack(1), Binding::ReadBack(2)]);
    let scratch = terms.groups() * size_of::<[f32; 2]>();
    Lowered { dispatches: vec![statistics, join, last], scratch }
}

pub(super) fn inference(g: &BatchNormGeometry, eps: f64, [dtype, parameters]: [DType; 2]) -> Dispatch {
    let kernel = kernel("batchnorm_normalize", dtype, parameters).define("INFERENCE", true);
    normalize(g, eps, kernel, [Binding::Read(3), Binding::Read(4)])
}

/// `eps` where the statistics are the running ones.
pub(super) fn backward(
    g: &BatchNormGeometry,
    eps: Option<f64>,
    [dtype, parameters]: [DType; 2],
    site: usize,
) -> Lowered {
    let terms = Terms::new(g);
    let inference = eps.is_some();
    let eps = bits(eps.unwrap_or(0.0));
    let kernel = |shader| kernel(shader, dtype, parameters).define("INFERENCE", inference);
    let [x, gy, weight, mean, spread] = [0, 1, 2, 3, 4].map(Binding::Read);

    let sums = terms.pass(kernel("batchnorm_backward_sums"), vec![x, gy, mean, Binding::WriteScratch], site);

    let bindings = vec![Binding::WriteScratch, spread, Binding::Write(1), Binding::Write(2)];
    let mut params = words(&[g.channels, terms.parts, g.per_channel()]);
    params.push(eps);
    let join = Dispatch::elementwise(
        kernel("batchnorm_backward_parameters"),
        bindings,
        g.channels,
        Params::Fixed(params),
    );

    let mut bindings = vec![gy, weight, spread, Binding::Write(0)];
    if !inference {
        bindings.extend([x, mean, Binding::ReadScratch]);
    }
    let mut params = words(&[g.len(), g.channels, g.plane, terms.groups()]);
    params.push(eps);
    let input =
        Dispatch::elementwise(kernel("batchnorm_backward_input"), bindings, g.len(), Params::Fixed(params));
    let scratch = (terms.groups() + g.channels) * size_of::<[f32; 2]>();
    Lowered { dispatches: vec![sums, join, input], scratch }
}

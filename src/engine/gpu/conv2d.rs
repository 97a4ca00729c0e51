//! Convolution as matrix products whose operands are gathered on the way: nothing is unfolded in memory.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params, words};
use super::gemm::{BLOCK, THREADS, TILE, TILE_K, Tile};
use crate::dtype::DType;
use crate::shape::Conv2dGeometry;

/// Workgroups that are enough to fill a large GPU; the sums of a weight gradient are cut into parts to reach them.
const TARGET_GROUPS: usize = 256;

/// The sum of `shaders/shared/convolve.wgsl`, in its words.
struct Convolve {
    rows: usize,
    channels: usize,
    /// Height and width of the tensor that is gathered from, and of the one that is written.
    source: [usize; 2],
    target: [usize; 2],
    weight_row: usize,
    weight_channel: usize,
    axes: [Axis; 2],
}

struct Axis {
    stride: usize,
    dilation: isize,
    kernel_step: usize,
    phases: Vec<Phase>,
}

struct Phase {
    count: usize,
    base: isize,
    taps: usize,
    kernel: usize,
}

impl Convolve {
    fn dispatch(&self, g: &Conv2dGeometry, kernel: Kernel, bindings: Vec<Binding>) -> Dispatch {
        // Tiles would be mostly empty, or staged for a few terms at a time.
        let narrow = self.rows <= TILE.rows / 2 || self.channels < TILE_K;
        let tile = if narrow { Tile { rows: BLOCK, columns: BLOCK * THREADS } } else { TILE };
        let [h, w] = &self.axes;
        let largest = |axis: &Axis| axis.phases.iter().map(|p| p.count).max().unwrap_or(0);
        let [tiles_m, tiles_n] = tile.cover(self.rows, g.batch * largest(h) * largest(w));
        let groups = tiles_m * tiles_n * h.phases.len() * w.phases.len() * g.groups;
        let [source_plane, target_plane] = [self.source, self.target].map(|[h, w]| h * w);
        let mut params = words(&[
            groups,
            tiles_m,
            tiles_n,
            h.phases.len(),
            w.phases.len(),
            self.rows,
            self.channels,
            g.batch,
            self.source[0],
            self.source[1],
            g.groups * self.channels * source_plane,
            self.target[1],
            target_plane,
            g.groups * self.rows * target_plane,
            self.rows * self.channels * g.window.len(),
            self.weight_row,
            self.weight_channel,
            g.window.kernel[1],
            h.stride,
            w.stride,
            h.dilation as usize,
            w.dilation as usize,
            h.kernel_step,
            w.kernel_step,
        ]);
        for phase in h.phases.iter().chain(&w.phases) {
            params.extend(words(&[phase.count, phase.base as usize, phase.taps, phase.kernel]));
        }
        let kernel = kernel.define("NARROW", narrow);
        Dispatch { kernel, bindings, groups, params: Params::Fixed(params) }
    }
}

pub(super) fn forward(g: &Conv2dGeometry, bias: bool, dtype: DType) -> Dispatch {
    let axis = |i: usize| Axis {
        stride: g.window.stride[i],
        dilation: g.window.dilation[i] as isize,
        kernel_step: 1,
        phases: vec![Phase {
            count: g.output[i],
            base: -(g.window.padding[i] as isize),
            taps: g.window.kernel[i],
            kernel: 0,
        }],
    };
    let convolve = Convolve {
        rows: g.out_channels / g.groups,
        channels: g.in_channels / g.groups,
        source: g.input,
        target: g.output,
        weight_row: g.patch_len(),
        weight_channel: g.window.len(),
        axes: [axis(0), axis(1)],
    };
    let mut bindings = vec![Binding::Read(0), Binding::Read(1)];
    if bias {
        bindings.push(Binding::Read(2));
    }
    bindings.push(Binding::Write(0));
    convolve.dispatch(g, Kernel::new("conv2d_forward", dtype).define("BIAS", bias), bindings)
}

pub(super) fn backward_input(g: &Conv2dGeometry, dtype: DType) -> Dispatch {
    let axis = |i: usize| {
        let (stride, dilation) = (g.window.stride[i], g.window.dilation[i]);
        let divisor = gcd(stride, dilation);
        Axis {
            stride: 1,
            dilation: -((dilation / divisor) as isize),
            kernel_step: stride / divisor,
            phases: (0..stride.min(g.input[i])).map(|a| input_phase(g, i, a)).collect(),
        }
    };
    let convolve = Convolve {
        rows: g.in_channels / g.groups,
        channels: g.out_channels / g.groups,
        source: g.output,
        target: g.input,
        weight_row: g.window.len(),
        weight_channel: g.patch_len(),
        axes: [axis(0), axis(1)],
    };
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    convolve.dispatch(g, Kernel::new("conv2d_backward_input", dtype), bindings)
}

/// The positions a, a + S, a + 2 S ... of an axis of x, and the first k with o S = a + P - k D for an integer o; the
/// others are S / gcd(S, D) apart.
fn input_phase(g: &Conv2dGeometry, axis: usize, a: usize) -> Phase {
    let (kernel, stride) = (g.window.kernel[axis], g.window.stride[axis]);
    let (padding, dilation) = (g.window.padding[axis], g.window.dilation[axis]);
    let count = (g.input[axis] - a).div_ceil(stride);
    let step = stride / gcd(stride, dilation);
    match (0..step.min(kernel)).find(|k| (k * dilation) % stride == (a + padding) % stride) {
        None => Phase { count, base: 0, taps: 0, kernel: 0 },
        Some(k) => {
            let base = ((a + padding) as isize - (k * dilation) as isize) / stride as isize;
            Phase { count, base, taps: (kernel - k).div_ceil(step), kernel: k }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn backward_weight(g: &Conv2dGeometry, bias: bool, dtype: DType, site: usize) -> Lowered {
    let ([h, w], [oh, ow], [kh, kw]) = (g.input, g.output, g.window.kernel);
    let pixels = g.output_pixels();
    let (rows, channels, patch) = (g.out_channels / g.groups, g.in_channels / g.groups, g.patch_len());
    // The terms of a part are worth what it costs to add its threads' sums, or to write and read them.
    let narrow = rows <= TILE.rows / 2 || channels <= TILE.columns / 2;
    let (tile, columns, taps, terms, min_chunk) = if narrow {
        (Tile { rows: BLOCK, columns: BLOCK }, patch, 1, THREADS, 4096)
    } else {
        (TILE, channels, g.window.len(), TILE_K, 1024)
    };
    let [tiles_m, tiles_n] = tile.cover(rows, columns);
    let tiles = tiles_m * tiles_n * taps * g.groups;
    let k = g.batch * pixels;
    let wanted = TARGET_GROUPS.div_ceil(tiles).min(k / min_chunk).max(1);
    let chunk = k.div_ceil(wanted).max(1).next_multiple_of(terms);
    let parts = k.div_ceil(chunk).max(1);
    let weights = g.out_channels * patch;
    let len = weights + if bias { g.out_channels } else { 0 };
    let params = words(&[
        tiles * parts,
        tiles_m,
        tiles_n,
        taps,
        g.groups,
        rows,
        columns,
        len,
        k,
        chunk,
        g.in_channels * h * w,
        channels * h * w,
        h,
        w,
        g.out_channels * pixels,
        rows * pixels,
        oh,
        ow,
        kh,
        kw,
        g.window.stride[0],
        g.window.stride[1],
        g.window.padding[0],
        g.window.padding[1],
        g.window.dilation[0],
        g.window.dilation[1],
        terms / pixels,
        terms % pixels / ow,
        terms % pixels % ow,
    ]);
    let kernel = Kernel::new("conv2d_backward_weight", dtype).define("ROW_SUMS", bias);
    let partial = Dispatch {
        kernel: kernel.define("NARROW", narrow),
        bindings: vec![Binding::Read(0), Binding::Read(1), Binding::WriteScratch],
        groups: tiles * parts,
        params: Params::in_batch_order(params, site, g.batch),
    };
    let mut bindings = vec![Binding::ReadScratch, Binding::Write(0)];
    if bias {
        bindings.push(Binding::Write(1));
    }
    let reduce = Dispatch::elementwise(
        Kernel::new("conv2d_backward_weight_reduce", dtype).define("BIAS", bias),
        bindings,
        len,
        Params::Fixed(words(&[len, parts, weights])),
    );
    Lowered { dispatches: vec![partial, reduce], scratch: parts * len * size_of::<f32>() }
}

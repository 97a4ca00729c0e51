//! Convolution as matrix products whose operands are gathered on the way: nothing is unfolded in memory.

use super::dispatch::{Binding, Dispatch, Kernel, Lowered, Params};
use super::gemm::{TILE_K, Tiling};
use crate::dtype::DType;
use crate::shape::Conv2dGeometry;

/// Terms that one part of a weight gradient's sum has at least.
const MIN_CHUNK: usize = 1024;
/// Workgroups that are enough to fill a large GPU; a sum is cut into parts to reach them.
const TARGET_GROUPS: usize = 256;

fn words(values: &[usize]) -> Vec<u32> {
    values.iter().map(|&v| v as u32).collect()
}

/// For each c,kh,kw: its offset in an image of x, and kh and kw in 16 bits each.
fn patch_table(g: &Conv2dGeometry) -> impl Iterator<Item = u32> + use<> {
    let [h, w] = g.input;
    let [kh_count, kw_count] = g.window.kernel;
    (0..g.patch_len()).flat_map(move |k| {
        let (c, kh, kw) = (k / (kh_count * kw_count), k / kw_count % kh_count, k % kw_count);
        [((c * h + kh) * w + kw) as u32, ((kh << 16) | kw) as u32]
    })
}

pub(super) fn forward(g: &Conv2dGeometry, bias: bool, dtype: DType) -> Dispatch {
    let [h, w] = g.input;
    let (m, n) = (g.out_channels, g.batch * g.output_pixels());
    let tiling = Tiling::new(m, n);
    let mut params = words(&[
        m,
        n,
        g.patch_len(),
        tiling.tiles_m,
        tiling.tiles,
        g.in_channels * h * w,
        h,
        w,
        g.output_pixels(),
        g.output[1],
        g.window.stride[0],
        g.window.stride[1],
        g.window.padding[0],
        g.window.padding[1],
        0,
        0,
    ]);
    params.extend(patch_table(g));
    let mut bindings = vec![Binding::Read(0), Binding::Read(1)];
    if bias {
        bindings.push(Binding::Read(2));
    }
    bindings.push(Binding::Write(0));
    Dispatch {
        kernel: Kernel::new("conv2d_forward", dtype).define("BIAS", bias).define("NARROW", tiling.narrow),
        bindings,
        groups: tiling.tiles,
        params: Params::Fixed(params),
    }
}

pub(super) fn backward_input(g: &Conv2dGeometry, dtype: DType) -> Dispatch {
    let [h, w] = g.input;
    let [oh, ow] = g.output;
    let [kh_count, kw_count] = g.window.kernel;
    let [sh, sw] = g.window.stride;
    let window = g.window.len();
    let (m, n, k) = (g.in_channels, g.batch * h * w, g.out_channels * window);
    let tiling = Tiling::new(m, n);
    let mut params = words(&[
        m,
        n,
        k,
        tiling.tiles_m,
        tiling.tiles,
        g.out_channels * oh * ow,
        oh,
        ow,
        h * w,
        w,
        sh,
        sw,
        g.window.padding[0],
        g.window.padding[1],
        window,
        0,
    ]);
    for k in 0..k {
        let (o, kh, kw) = (k / window, k / kw_count % kh_count, k % kw_count);
        // Wraps below 0; the sum with a position inside of gy wraps back.
        let offset = (o * oh * ow).wrapping_sub(kh / sh * ow + kw / sw);
        params.extend(words(&[
            offset,
            ((kh / sh) << 16) | (kh % sh),
            ((kw / sw) << 16) | (kw % sw),
            o * g.patch_len() + k % window,
        ]));
    }
    Dispatch {
        kernel: Kernel::new("conv2d_backward_input", dtype).define("NARROW", tiling.narrow),
        bindings: vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)],
        groups: tiling.tiles,
        params: Params::Fixed(params),
    }
}

pub(super) fn backward_weight(g: &Conv2dGeometry, bias: bool, dtype: DType) -> Lowered {
    let [h, w] = g.input;
    let [oh, ow] = g.output;
    let patch = g.patch_len();
    let (m, n, k) = (g.out_channels, patch + bias as usize, g.batch * oh * ow);
    let tiling = Tiling::new(m, n);
    let wanted = TARGET_GROUPS.div_ceil(tiling.tiles).min(k / MIN_CHUNK).max(1);
    let chunk = k.div_ceil(wanted).max(1).next_multiple_of(TILE_K);
    let splits = k.div_ceil(chunk).max(1);
    let groups = tiling.tiles * splits;
    let mut params = words(&[
        m,
        n,
        k,
        tiling.tiles_m,
        tiling.tiles,
        groups,
        chunk,
        patch,
        g.in_channels * h * w,
        h,
        w,
        oh,
        ow,
        g.window.stride[0],
        g.window.stride[1],
        g.window.padding[0],
        g.window.padding[1],
        TILE_K / (oh * ow),
        TILE_K % (oh * ow) / ow,
        TILE_K % (oh * ow) % ow,
    ]);
    params.extend(patch_table(g));
    let partial = Dispatch {
        kernel: Kernel::new("conv2d_backward_weight", dtype).define("NARROW", tiling.narrow),
        bindings: vec![Binding::Read(0), Binding::Read(1), Binding::WriteScratch],
        groups,
        params: Params::Fixed(params),
    };
    let mut bindings = vec![Binding::ReadScratch, Binding::Write(0)];
    if bias {
        bindings.push(Binding::Write(1));
    }
    let reduce = Dispatch::elementwise(
        Kernel::new("conv2d_backward_weight_reduce", dtype).define("BIAS", bias),
        bindings,
        m * n,
        Params::Fixed(words(&[m * n, splits, n, patch])),
    );
    Lowered { dispatches: vec![partial, reduce], scratch: splits * m * n * size_of::<f32>() }
}

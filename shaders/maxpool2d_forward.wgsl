// For each window W (padding cut off): y = the first element that equals m = max of W, and the set
// A = {i in W : x_i = m}. With a NaN in W: y = NaN, and A = the NaNs.
// x [N,C,H,W], y [N,C,OH,OW], ties [N,C,OH,OW,bytes]: bit i (row-major over the whole kernel) of the
// little-endian set, its top bit where W holds a NaN.
// With `coupled`: y = fl(fl(beta m) + fl((1 - beta) m)).
// A thread writes whole words: 4 windows of 1 byte, 2 of 2 bytes, or 1 of some words.
#import types
#import index

struct Params {
    windows: u32, // N C OH OW
    h: i32,
    w: i32,
    oh: u32,
    ow: u32,
    kernel_h: i32,
    kernel_w: i32,
    stride_h: u32,
    stride_w: u32,
    padding_h: i32,
    padding_w: i32,
    share: u32, // 2^share windows in a word: 2, 1 or 0
    words: u32, // words of a window, 1 where windows share one
    coupled: u32,
    beta: f32,
    one_minus_beta: f32,
    zero: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<storage, read_write> ties: array<u32>;
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = thread_index(group, groups, thread);
    let first_window = index << params.share;
    if (first_window >= params.windows) {
        return;
    }
    let last_window = min(first_window + (1u << params.share), params.windows);
    let set_bits = 32u >> params.share;
    let line = first_window / params.ow;
    let plane = line / params.oh;
    var ow = first_window - line * params.ow;
    var oh = line - plane * params.oh;
    var base = plane * u32(params.h * params.w);
    var shared_word = 0u;
    for (var window = first_window; window < last_window; window += 1u) {
        let top = i32(oh * params.stride_h) - params.padding_h;
        let left = i32(ow * params.stride_w) - params.padding_w;
        let row0 = max(top, 0);
        let row1 = min(top + params.kernel_h, params.h);
        let column0 = max(left, 0);
        let column1 = min(left + params.kernel_w, params.w);

        var best = x[base + u32(row0 * params.w + column0)];
        var nan = false;
        for (var row = row0; row < row1; row += 1) {
            for (var column = column0; column < column1; column += 1) {
                let v = x[base + u32(row * params.w + column)];
                if (is_nan(f32(v))) {
                    nan = true;
                    best = v;
                }
                if (!nan && f32(v) > f32(best)) {
                    best = v;
                }
            }
        }
        if (params.coupled != 0u && !nan) {
            let a = round_storage(product(params.beta, f32(best), params.zero));
            let b = round_storage(product(params.one_minus_beta, f32(best), params.zero));
            y[window] = T(a + b);
        } else {
            y[window] = best;
        }

        var word = 0u;
        var members = 0u;
        for (var row = row0; row < row1; row += 1) {
            for (var column = column0; column < column1; column += 1) {
                let v = f32(x[base + u32(row * params.w + column)]);
                let bit = u32((row - top) * params.kernel_w + column - left);
                while (word < bit / 32u) {
                    ties[window * params.words + word] = members;
                    members = 0u;
                    word += 1u;
                }
                if (select(v == f32(best), is_nan(v), nan)) {
                    members |= 1u << (bit % 32u);
                }
            }
        }
        while (word + 1u < params.words) {
            ties[window * params.words + word] = members;
            members = 0u;
            word += 1u;
        }
        if (nan) {
            members |= 1u << (set_bits - 1u);
        }
        shared_word |= members << ((window - first_window) * set_bits);
        if (params.share == 0u) {
            ties[window * params.words + word] = members;
        }

        ow += 1u;
        if (ow == params.ow) {
            ow = 0u;
            oh += 1u;
        }
        if (oh == params.oh) {
            oh = 0u;
            base += u32(params.h * params.w);
        }
    }
    if (params.share != 0u) {
        ties[index] = shared_word;
    }
}

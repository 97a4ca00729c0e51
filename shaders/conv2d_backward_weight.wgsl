// gweight[o,c,kh,kw] = sum over n,oh,ow of gy[n,o,oh,ow] x[n,c, oh SH - PH + kh, ow SW - PW + kw]
// gbias[o] = sum over n,oh,ow of gy[n,o,oh,ow]
// x [N,C,H,W], gy [N,O,OH,OW].
// As C = A B with A = gy [O, N OH OW] and B [N OH OW, C KH KW (+ 1)] gathered from x, its last column ones
// where a bias gradient is wanted. The sum is cut into `splits` parts of `chunk` terms, each a matrix of
// partial [splits, O, columns] (f32), which conv2d_backward_weight_reduce adds in order.
#import types
#import gemm

struct Params {
    m: u32, // O
    n: u32, // columns
    k: u32, // N OH OW
    tiles_m: u32,
    tiles: u32, // of one part
    groups: u32, // of all parts
    chunk: u32, // a multiple of TILE_K
    patch_len: u32, // C KH KW
    image: u32, // C H W
    h: i32,
    w: i32,
    oh: u32,
    ow: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: i32,
    padding_w: i32,
    // TILE_K = step_n OH OW + step_h OW + step_w
    step_n: u32,
    step_h: u32,
    step_w: u32,
    // For each column: offset of c,kh,kw in an image; kh and kw in 16 bits each.
    table: array<vec2<u32>>,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
@group(0) @binding(3) var<storage, read> params: Params;

var<private> row0: u32;
var<private> column0: u32;
var<private> part: u32;
// The term that this thread stages next: image, row and column of gy.
var<private> image: u32;
var<private> oh: u32;
var<private> ow: u32;

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let m = thread / TILE_K;
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        let pixels = params.oh * params.ow;
        let base = image * params.m * pixels + oh * params.ow + ow;
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(gy[base + (row + i) * pixels]);
            }
        }
    }
    tile_a[k * STRIDE_A + m] = v;
}

fn stage_b(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let top = i32(oh * params.stride_h) - params.padding_h;
    let left = i32(ow * params.stride_w) - params.padding_w;
    let origin = image * params.image + u32(top * params.w + left);
    for (var n = thread / TILE_K; n < TILE_N; n += THREADS / TILE_K) {
        var v = 0.0;
        if (k0 + k < end && column0 + n < params.patch_len) {
            let entry = params.table[column0 + n];
            let row = top + i32(entry.y >> 16u);
            let col = left + i32(entry.y & 0xffffu);
            if (row >= 0 && row < params.h && col >= 0 && col < params.w) {
                v = f32(x[origin + entry.x]);
            }
        } else if (k0 + k < end && column0 + n < params.n) {
            v = 1.0;
        }
        tile_b[k * STRIDE_B + n] = v;
    }
    // On to the term TILE_K further: each coordinate carries at most once.
    ow += params.step_w;
    if (ow >= params.ow) {
        ow -= params.ow;
        oh += 1u;
    }
    oh += params.step_h;
    if (oh >= params.oh) {
        oh -= params.oh;
        image += 1u;
    }
    image += params.step_n;
}

fn store(row: u32, column: u32, values: vec4<f32>) {
    if (column >= params.n) {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < params.m) {
            partial[(part * params.m + row + i) * params.n + column] = values[i];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_index(group, groups);
    if (index >= params.groups) {
        return;
    }
    let split = index / params.tiles;
    let tile = index - split * params.tiles;
    let begin = split * params.chunk;
    part = split;
    row0 = tile % params.tiles_m * TILE_M;
    column0 = tile / params.tiles_m * TILE_N;
    let term = begin + thread % TILE_K;
    let pixels = params.oh * params.ow;
    image = term / pixels;
    let pixel = term - image * pixels;
    oh = pixel / params.ow;
    ow = pixel - oh * params.ow;
    gemm(thread, row0, column0, begin, min(begin + params.chunk, params.k));
}

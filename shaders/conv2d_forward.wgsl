// y[n,o,oh,ow] = bias[o] + sum over c,kh,kw of weight[o,c,kh,kw] x[n,c, oh SH - PH + kh, ow SW - PW + kw]
// x [N,C,H,W], weight [O,C,KH,KW], bias [O], y [N,O,OH,OW].
// As C = A B with A = weight [O, C KH KW] and B [C KH KW, N OH OW] gathered from x.
#import types
#import gemm

struct Params {
    m: u32, // O
    n: u32, // N OH OW
    k: u32, // C KH KW
    tiles_m: u32,
    tiles: u32,
    image: u32, // C H W
    h: i32,
    w: i32,
    pixels: u32, // OH OW
    ow: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: i32,
    padding_w: i32,
    unused_0: u32,
    unused_1: u32,
    // For each k: offset of c,kh,kw in an image; kh and kw in 16 bits each.
    table: array<vec2<u32>>,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
#ifdef BIAS
@group(0) @binding(2) var<storage, read> bias: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read> params: Params;
#else
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;
#endif

var<private> row0: u32;
// The column of B that this thread stages: its first row and column in x, and their offset.
var<private> column: u32;
var<private> top: i32;
var<private> left: i32;
var<private> origin: u32;

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let m = thread / TILE_K;
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(weight[(row + i) * params.k + k0 + k]);
            }
        }
    }
    tile_a[k * STRIDE_A + m] = v;
}

fn stage_b(thread: u32, k0: u32, end: u32) {
    for (var k = thread / TILE_N; k < TILE_K; k += THREADS / TILE_N) {
        var v = 0.0;
        if (column < params.n && k0 + k < end) {
            let entry = params.table[k0 + k];
            let row = top + i32(entry.y >> 16u);
            let col = left + i32(entry.y & 0xffffu);
            if (row >= 0 && row < params.h && col >= 0 && col < params.w) {
                v = f32(x[origin + entry.x]);
            }
        }
        tile_b[k * STRIDE_B + thread % TILE_N] = v;
    }
}

fn store(row: u32, column: u32, values: vec4<f32>) {
    if (column >= params.n) {
        return;
    }
    let image = column / params.pixels;
    let base = image * params.m * params.pixels + (column - image * params.pixels);
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < params.m) {
#ifdef BIAS
            y[base + (row + i) * params.pixels] = T(values[i] + f32(bias[row + i]));
#else
            y[base + (row + i) * params.pixels] = T(values[i]);
#endif
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = group_index(group, groups);
    if (tile >= params.tiles) {
        return;
    }
    row0 = tile % params.tiles_m * TILE_M;
    let column0 = tile / params.tiles_m * TILE_N;
    column = column0 + thread % TILE_N;
    let image = column / params.pixels;
    let pixel = column - image * params.pixels;
    let oh = pixel / params.ow;
    top = i32(oh * params.stride_h) - params.padding_h;
    left = i32((pixel - oh * params.ow) * params.stride_w) - params.padding_w;
    origin = image * params.image + u32(top * params.w + left);
    gemm(thread, row0, column0, 0u, params.k);
}

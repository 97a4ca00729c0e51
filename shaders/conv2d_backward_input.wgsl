// gx[n,c,h,w] = sum over o,kh,kw of weight[o,c,kh,kw] gy[n,o,oh,ow]
//   where oh SH = h + PH - kh and ow SW = w + PW - kw have a solution inside of gy
// gy [N,O,OH,OW], weight [O,C,KH,KW], gx [N,C,H,W].
// As C = A B with A [C, O KH KW] and B [O KH KW, N H W] gathered from gy. With h + PH = qh SH + rh and
// kh = ah SH + bh the condition is bh = rh, and then oh = qh - ah: no division in the loop.
#import types
#import gemm

struct Params {
    m: u32, // C
    n: u32, // N H W
    k: u32, // O KH KW
    tiles_m: u32,
    tiles: u32,
    image: u32, // O OH OW
    oh: i32,
    ow: i32,
    pixels: u32, // H W
    w: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: u32,
    padding_w: u32,
    window: u32, // KH KW
    unused_0: u32,
    // For each k: offset of o,-ah,-aw in an image of gy; ah, bh in 16 bits each; aw, bw; offset of o,0,kh,kw in weight.
    table: array<vec4<u32>>,
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

var<private> row0: u32;
// The column of B that this thread stages: qh, qw, rh, rw, and the offset of qh,qw in gy.
var<private> column: u32;
var<private> q: vec2<i32>;
var<private> r: vec2<u32>;
var<private> origin: u32;

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let m = thread / TILE_K;
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        let base = params.table[k0 + k].w;
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(weight[base + (row + i) * params.window]);
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
            let row = q.x - i32(entry.y >> 16u);
            let col = q.y - i32(entry.z >> 16u);
            let divides = (entry.y & 0xffffu) == r.x && (entry.z & 0xffffu) == r.y;
            if (divides && row >= 0 && row < params.oh && col >= 0 && col < params.ow) {
                v = f32(gy[origin + entry.x]);
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
            gx[base + (row + i) * params.pixels] = T(values[i]);
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
    let h = pixel / params.w;
    let padded = vec2<u32>(h + params.padding_h, pixel - h * params.w + params.padding_w);
    let stride = vec2<u32>(params.stride_h, params.stride_w);
    let quotient = padded / stride;
    r = padded - quotient * stride;
    q = vec2<i32>(quotient);
    origin = image * params.image + quotient.x * u32(params.ow) + quotient.y;
    gemm(thread, row0, column0, 0u, params.k);
}

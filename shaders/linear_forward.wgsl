// y[n,o] = bias[o] + sum over i of x[n,i] weight[o,i]
// x [N,I], weight [O,I], bias [O], y [N,O].
#import types
#import linear

struct Params {
    m: u32, // N
    n: u32, // O
    k: u32, // I
    tiles_m: u32,
    tiles: u32,
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

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let m = thread / TILE_K;
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(x[(row + i) * params.k + k0 + k]);
            }
        }
    }
    tile_a[k * STRIDE_A + m] = v;
}

fn stage_b(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    for (var n = thread / TILE_K; n < TILE_N; n += THREADS / TILE_K) {
        var v = 0.0;
        if (column0 + n < params.n && k0 + k < end) {
            v = f32(weight[(column0 + n) * params.k + k0 + k]);
        }
        tile_b[k * STRIDE_B + n] = v;
    }
}

fn store(row: u32, column: u32, values: vec4<f32>) {
    if (column >= params.n) {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < params.m) {
#ifdef BIAS
            y[(row + i) * params.n + column] = T(values[i] + f32(bias[column]));
#else
            y[(row + i) * params.n + column] = T(values[i]);
#endif
        }
    }
}

// gx[n,i] = sum over o of gy[n,o] weight[o,i]
// gy [N,O], weight [O,I], gx [N,I].
#import types
#import linear

struct Params {
    m: u32, // N
    n: u32, // I
    k: u32, // O
    tiles_m: u32,
    tiles: u32,
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread % TILE_K;
    let m = thread / TILE_K;
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(gy[(row + i) * params.k + k0 + k]);
            }
        }
    }
    tile_a[k * STRIDE_A + m] = v;
}

fn stage_b(thread: u32, k0: u32, end: u32) {
    let n = thread % TILE_N;
    for (var k = thread / TILE_N; k < TILE_K; k += THREADS / TILE_N) {
        var v = 0.0;
        if (column0 + n < params.n && k0 + k < end) {
            v = f32(weight[(k0 + k) * params.n + column0 + n]);
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
            gx[(row + i) * params.n + column] = T(values[i]);
        }
    }
}

// gweight[o,i] = sum over n of gy[n,o] x[n,i]; gbias[o] = sum over n of gy[n,o]
// x [N,I], gy [N,O], gweight [O,I], gbias [O].
// Where the bias gradient is wanted it is one more column, whose factor is 1.
#import types
#import linear

struct Params {
    m: u32, // O
    n: u32, // I, + 1 with a bias
    k: u32, // N
    tiles_m: u32,
    tiles: u32,
    features: u32, // I
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read_write> gweight: array<T>;
#ifdef BIAS
@group(0) @binding(3) var<storage, read_write> gbias: array<T>;
@group(0) @binding(4) var<storage, read> params: Params;
#else
@group(0) @binding(3) var<storage, read> params: Params;
#endif

fn stage_a(thread: u32, k0: u32, end: u32) {
    let k = thread / (TILE_M / 4u);
    let m = thread % (TILE_M / 4u);
    let row = row0 + m * 4u;
    var v = vec4<f32>();
    if (k0 + k < end) {
        for (var i = 0u; i < 4u; i += 1u) {
            if (row + i < params.m) {
                v[i] = f32(gy[(k0 + k) * params.m + row + i]);
            }
        }
    }
    tile_a[k * STRIDE_A + m] = v;
}

fn stage_b(thread: u32, k0: u32, end: u32) {
    let n = thread % TILE_N;
    for (var k = thread / TILE_N; k < TILE_K; k += THREADS / TILE_N) {
        var v = 0.0;
        if (column0 + n < params.features && k0 + k < end) {
            v = f32(x[(k0 + k) * params.features + column0 + n]);
        } else if (column0 + n < params.n && k0 + k < end) {
            v = 1.0;
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
            if (column == params.features) {
                gbias[row + i] = T(values[i]);
                continue;
            }
#endif
            gweight[(row + i) * params.features + column] = T(values[i]);
        }
    }
}

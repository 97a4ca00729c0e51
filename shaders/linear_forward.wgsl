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

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;

fn load_a(rows: vec4<u32>, k: u32) -> vec4<f32> {
    let i = min(rows, vec4(params.m - 1u)) * params.k + k;
    return vec4(f32(x[i.x]), f32(x[i.y]), f32(x[i.z]), f32(x[i.w]));
}

fn load_b(columns: vec4<u32>, k: u32) -> vec4<f32> {
    let i = min(columns, vec4(params.n - 1u)) * params.k + k;
    return vec4(f32(weight[i.x]), f32(weight[i.y]), f32(weight[i.z]), f32(weight[i.w]));
}

fn start() {
#ifdef BIAS
    let even = load_bias(first_column + vec4(0u, 2u, 4u, 6u) * COLUMN_STEP);
    let odd = load_bias(first_column + vec4(1u, 3u, 5u, 7u) * COLUMN_STEP);
    accumulate(vec4(1.0), vec4(1.0), even, odd);
#endif
}

#ifdef BIAS
fn load_bias(columns: vec4<u32>) -> vec4<f32> {
    let i = min(columns, vec4(params.n - 1u));
    return vec4(f32(bias[i.x]), f32(bias[i.y]), f32(bias[i.z]), f32(bias[i.w]));
}
#endif

fn write(index: u32, value: f32) {
    y[index] = T(value);
}

fn finish() {}

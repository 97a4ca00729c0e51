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

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;

fn load_a(rows: vec4<u32>, k: u32) -> vec4<f32> {
    let i = min(rows, vec4(params.m - 1u)) * params.k + k;
    return vec4(f32(gy[i.x]), f32(gy[i.y]), f32(gy[i.z]), f32(gy[i.w]));
}

fn load_b(columns: vec4<u32>, k: u32) -> vec4<f32> {
    let i = k * params.n + min(columns, vec4(params.n - 1u));
    return vec4(f32(weight[i.x]), f32(weight[i.y]), f32(weight[i.z]), f32(weight[i.w]));
}

fn start() {}

fn write(index: u32, value: f32) {
    gx[index] = T(value);
}

fn finish() {}

// gweight[o,i] = sum over n of gy[n,o] x[n,i]; gbias[o] = sum over n of gy[n,o]; n runs through `order`.
// x [N,I], gy [N,O], gweight [O,I], gbias [O].
#import types
#import linear

struct Params {
    m: u32, // O
    n: u32, // I
    k: u32, // N
    tiles_m: u32,
    tiles: u32,
    order: array<u32>, // N
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read_write> gweight: array<T>;
#ifdef ROW_SUMS
@group(0) @binding(3) var<storage, read_write> gbias: array<T>;
@group(0) @binding(4) var<storage, read> params: Params;
#else
@group(0) @binding(3) var<storage, read> params: Params;
#endif

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;

fn load_a(rows: vec4<u32>, k: u32) -> vec4<f32> {
    let i = params.order[k] * params.m + min(rows, vec4(params.m - 1u));
    return vec4(f32(gy[i.x]), f32(gy[i.y]), f32(gy[i.z]), f32(gy[i.w]));
}

fn load_b(columns: vec4<u32>, k: u32) -> vec4<f32> {
    let i = params.order[k] * params.n + min(columns, vec4(params.n - 1u));
    return vec4(f32(x[i.x]), f32(x[i.y]), f32(x[i.z]), f32(x[i.w]));
}

fn start() {}

fn write(index: u32, value: f32) {
    gweight[index] = T(value);
}

#ifdef ROW_SUMS
fn store_row_sums(group: u32, values: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        let row = first_row + (2u * i + group) * ROW_STEP;
        if (row < params.m) {
            gbias[row] = T(values[i]);
        }
    }
}
#endif

fn finish() {
#ifdef ROW_SUMS
    if (first_column == 0u) {
        store_row_sums(0u, row_sum[0]);
        store_row_sums(1u, row_sum[1]);
    }
#endif
}

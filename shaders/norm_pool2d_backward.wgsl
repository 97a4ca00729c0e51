// gx_i = sum over the windows that hold i, in their order, of fl(fl(x_i / y) gy) where y is not 0, else fl(at_zero gy),
// each partial sum rounded to T.
// x, gx [N,C,H,W], y, gy [N,C,OH,OW].
#import types
#import index
#import pool2d

struct Params {
    len: u32, // N C H W
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: u32,
    padding_w: u32,
    at_zero: f32,
    zero: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> y: array<T>;
@group(0) @binding(2) var<storage, read> gy: array<T>;
@group(0) @binding(3) var<storage, read_write> gx: array<T>;
@group(0) @binding(4) var<storage, read> params: Params;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = thread_index(group, groups, thread);
    if (i >= params.len) {
        return;
    }
    let v = f32(x[i]);
    let windows = windows_of(i);
    var sum = 0.0;
    for (var oh = windows.rows.x; oh < windows.rows.y; oh += 1u) {
        let line = (windows.plane * params.oh + oh) * params.ow;
        for (var ow = windows.columns.x; ow < windows.columns.y; ow += 1u) {
            let norm = f32(y[line + ow]);
            var factor = params.at_zero;
            if (norm != 0.0 || is_nan(norm)) {
                factor = round_storage(v / norm);
            }
            sum = round_storage(plus(sum, round_storage(product(factor, f32(gy[line + ow]), params.zero))));
        }
    }
    gx[i] = T(sum);
}

// y = fl((sum of the window) / (KH KW)): padding counts as zeros; elements are added in row-major order.
// x [N,C,H,W], y [N,C,OH,OW].
#import types
#import index
#import pool2d

struct Params {
    windows: u32, // N C OH OW
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
    window_len: f32, // KH KW
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<storage, read> params: Params;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let window = thread_index(group, groups, thread);
    if (window >= params.windows) {
        return;
    }
    let area = elements_of(window);
    var sum = 0.0;
    for (var row = area.rows.x; row < area.rows.y; row += 1u) {
        let line = (area.plane * params.h + row) * params.w;
        for (var column = area.columns.x; column < area.columns.y; column += 1u) {
            sum = plus(sum, f32(x[line + column]));
        }
    }
    y[window] = T(sum / params.window_len);
}

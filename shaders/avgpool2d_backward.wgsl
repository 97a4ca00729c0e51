// gx = fl(sum of gy / (KH KW)) over the windows that hold the element, in their order.
// gy [N,C,OH,OW], gx [N,C,H,W].
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
    window_len: f32, // KH KW
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read_write> gx: array<T>;
@group(0) @binding(2) var<storage, read> params: Params;

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
    let windows = windows_of(i);
    var sum = 0.0;
    for (var oh = windows.rows.x; oh < windows.rows.y; oh += 1u) {
        let line = (windows.plane * params.oh + oh) * params.ow;
        for (var ow = windows.columns.x; ow < windows.columns.y; ow += 1u) {
            sum = plus(sum, f32(gy[line + ow]) / params.window_len);
        }
    }
    gx[i] = T(sum);
}

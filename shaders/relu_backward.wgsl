// gx = g where x > 0 or x is NaN, fl(alpha g) where x = 0, 0 where x < 0. x, gy, gx [len].
#import types
#import index

struct Params {
    len: u32,
    alpha: f32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

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
    let g = gy[i];
    // An infinite gradient times 0 is 0 here.
    let at_zero = select(T(params.alpha * f32(g)), T(0.0), params.alpha == 0.0);
    gx[i] = select(select(T(0.0), at_zero, v == 0.0), g, is_nan(v) || v > 0.0);
}

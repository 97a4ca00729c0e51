// y = 0 where x < 0, else x: NaN and -0 pass. x, y [len].
#import types
#import index

struct Params {
    len: u32,
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
    let i = thread_index(group, groups, thread);
    if (i >= params.len) {
        return;
    }
    let v = x[i];
    // Written out, because max and select with x > 0 lose a NaN.
    let negative = f32(v) < 0.0 && !is_nan(f32(v));
    y[i] = select(v, T(0.0), negative);
}

// sum = fl(a + b). a, b, sum [len].
#import types
#import index

struct Params {
    len: u32,
}

@group(0) @binding(0) var<storage, read> a: array<T>;
@group(0) @binding(1) var<storage, read> b: array<T>;
@group(0) @binding(2) var<storage, read_write> sum: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = thread_index(group, groups, thread);
    if (i < params.len) {
        sum[i] = T(f32(a[i]) + f32(b[i]));
    }
}

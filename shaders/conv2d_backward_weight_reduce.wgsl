// gweight[j] = sum over s of partial[s,j], in the order of s; gbias likewise from what follows.
// partial [parts, len] (f32), gweight [O C/G KH KW], gbias [O].
#import types
#import index

struct Params {
    len: u32, // elements of gweight and gbias
    parts: u32,
    weights: u32, // elements of gweight
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> gweight: array<T>;
#ifdef BIAS
@group(0) @binding(2) var<storage, read_write> gbias: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;
#else
@group(0) @binding(2) var<storage, read> params: Params;
#endif

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
    var sum = 0.0;
    for (var s = 0u; s < params.parts; s += 1u) {
        sum += partial[s * params.len + i];
    }
#ifdef BIAS
    if (i >= params.weights) {
        gbias[i - params.weights] = T(sum);
        return;
    }
#endif
    gweight[i] = T(sum);
}

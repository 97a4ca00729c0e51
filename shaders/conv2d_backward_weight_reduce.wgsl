// gweight[o,j] = sum over s of partial[s,o,j], in the order of s; gbias[o] likewise from the last column.
// partial [parts, O, width] (f32), gweight [O, C/G KH KW], gbias [O].
#import types
#import index

struct Params {
    len: u32, // O width
    parts: u32,
    width: u32,
    patch_len: u32, // C/G KH KW
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
    let row = i / params.width;
    let column = i - row * params.width;
#ifdef BIAS
    if (column == params.patch_len) {
        gbias[row] = T(sum);
        return;
    }
#endif
    gweight[row * params.patch_len + column] = T(sum);
}

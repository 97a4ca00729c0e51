// For each channel and each part of its N H W values, which begins at part * chunk:
//   partial = (mean, sum of (x - mean)^2) of the part
// x [N,C,H,W], partial [C, parts, 2] (f32). One workgroup a part; sums are strided over its threads, then in a tree.
#import types
#import channel_terms
#import tree

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> params: ChannelTerms;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = group_index(group, groups);
    if (part >= params.groups) {
        return;
    }
    var sum = 0.0;
    for (var term = first_term(part, thread); term.left > 0u; term = next_term(term)) {
        sum += f32(x[place(part, term)]);
    }
    let count = f32(part_len(part));
    let center = tree_sum(thread, vec4<f32>(sum, 0.0, 0.0, 0.0)).x / count;
    // The second pass also finds what rounding has left of the mean.
    var moments = vec2<f32>();
    for (var term = first_term(part, thread); term.left > 0u; term = next_term(term)) {
        let d = f32(x[place(part, term)]) - center;
        moments += vec2<f32>(d, d * d);
    }
    moments = tree_sum(thread, vec4<f32>(moments, 0.0, 0.0)).xy;
    if (thread == 0u) {
        let rest = moments.x / count;
        partial[part] = vec2<f32>(center + rest, moments.y - rest * moments.x);
    }
}

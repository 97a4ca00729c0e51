// For each channel and each part of its N H W values: partial = (sum of gy, sum of gy (x - mean)).
// x, gy [N,C,H,W], mean [C] (S), partial [C, parts, 2] (f32).
#import batchnorm
#import channel_terms
#import tree

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read> mean: array<S>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> params: ChannelTerms;

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
    let center = f32(mean[part / params.parts]);
    var sums = vec2<f32>();
    for (var term = first_term(part, thread); term.left > 0u; term = next_term(term)) {
        let i = place(part, term);
        let g = f32(gy[i]);
        sums += vec2<f32>(g, g * (f32(x[i]) - center));
    }
    sums = tree_sum(thread, vec4<f32>(sums, 0.0, 0.0)).xy;
    if (thread == 0u) {
        partial[part] = sums;
    }
}

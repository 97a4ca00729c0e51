// gbias = fl(sum of gy), gweight = fl(inv_std (sum of gy (x - mean))): the parts added in order. What backward_input
// reads of them follows the parts: (sum of gy / n, inv_std^2 sum of gy (x - mean) / n), n = N H W.
// sums [C parts + C, 2] (f32), spread [C] (S), gweight, gbias [C] (P). One thread a channel.
#import batchnorm
#import index

struct Params {
    channels: u32, // C
    parts: u32,
    terms: u32, // N H W
    eps: f32,
}

@group(0) @binding(0) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> spread: array<S>;
@group(0) @binding(2) var<storage, read_write> gweight: array<P>;
@group(0) @binding(3) var<storage, read_write> gbias: array<P>;
@group(0) @binding(4) var<storage, read> params: Params;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let c = thread_index(group, groups, thread);
    if (c >= params.channels) {
        return;
    }
    var sum = vec2<f32>();
    for (var part = 0u; part < params.parts; part += 1u) {
        sum += sums[c * params.parts + part];
    }
    let scale = inverse_std(f32(spread[c]), params.eps);
    gbias[c] = P(sum.x);
    gweight[c] = P(sum.y * scale);
    let n = f32(params.terms);
    sums[params.channels * params.parts + c] = vec2<f32>(sum.x / n, sum.y * scale * scale / n);
}

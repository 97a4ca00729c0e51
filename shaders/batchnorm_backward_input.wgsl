// gx = fl((gy - mean of gy - (x - mean) inv_std^2 (mean of gy (x - mean))) (inv_std weight)), or with INFERENCE, where
// the statistics do not depend on x, fl(gy (inv_std weight)).
// x, gy, gx [N,C,H,W], weight [C] (P), mean, spread [C] (S), sums: see batchnorm_backward_parameters.
#import batchnorm
#import index

struct Params {
    len: u32, // N C H W
    channels: u32, // C
    plane: u32, // H W
    sums: u32, // C parts
    eps: f32,
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<P>;
@group(0) @binding(2) var<storage, read> spread: array<S>;
@group(0) @binding(3) var<storage, read_write> gx: array<T>;
#ifdef INFERENCE
@group(0) @binding(4) var<storage, read> params: Params;
#else
@group(0) @binding(4) var<storage, read> x: array<T>;
@group(0) @binding(5) var<storage, read> mean: array<S>;
@group(0) @binding(6) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> params: Params;
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
    let c = i / params.plane % params.channels;
    var g = f32(gy[i]);
#ifdef INFERENCE
#else
    let sum = sums[params.sums + c];
    g = g - sum.x - (f32(x[i]) - mean[c]) * sum.y;
#endif
    let scale = inverse_std(f32(spread[c]), params.eps) * f32(weight[c]);
    gx[i] = T(g * scale);
}

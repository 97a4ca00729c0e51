// y = fl((x - mean) (inv_std weight) + bias), with inv_std = 1 / sqrt(var + eps) where INFERENCE.
// x, y [N,C,H,W], weight, bias [C] (P), mean, inv_std [C] (f32) or with INFERENCE running mean and var [C] (P).
#import batchnorm
#import index

struct Params {
    len: u32, // N C H W
    channels: u32, // C
    plane: u32, // H W
    zero: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<P>;
@group(0) @binding(2) var<storage, read> bias: array<P>;
@group(0) @binding(3) var<storage, read> mean: array<S>;
@group(0) @binding(4) var<storage, read> spread: array<S>;
@group(0) @binding(5) var<storage, read_write> y: array<T>;
@group(0) @binding(6) var<storage, read> params: Params;

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
    let scale = inverse_std(f32(spread[c]), params.eps) * f32(weight[c]);
    y[i] = T(product(f32(x[i]) - f32(mean[c]), scale, params.zero) + f32(bias[c]));
}

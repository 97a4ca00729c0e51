// Mean and variance of each channel from those of its parts: with n_i values in part i, n in all,
//   mean = sum of n_i mean_i / n,  S = sum over i of S_i + n_i (mean_i - mean)^2
//   inv_std = 1 / sqrt(S / n + eps)
//   running_mean = fl((1 - momentum) running_mean + momentum mean)
//   running_var = fl((1 - momentum) running_var + momentum S / (n - 1))
// partial [C, parts, 2] (f32), mean, inv_std [C] (f32), running_mean, running_var [C] (P). One thread a channel.
#import batchnorm
#import index

struct Params {
    channels: u32, // C
    parts: u32,
    terms: u32, // N H W
    chunk: u32,
    eps: f32,
    momentum: f32,
    one_minus_momentum: f32,
    track: u32, // whether running statistics change
}

@group(0) @binding(0) var<storage, read> partial: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> inv_std: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_mean: array<P>;
@group(0) @binding(4) var<storage, read_write> running_var: array<P>;
@group(0) @binding(5) var<storage, read> params: Params;

// Values in a part.
fn part_len(part: u32) -> f32 {
    return f32(min(params.chunk, params.terms - part * params.chunk));
}

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
    let n = f32(params.terms);
    // Relative to the first part, so that a large mean costs no accuracy.
    let base = partial[c * params.parts].x;
    var shift = 0.0;
    for (var part = 1u; part < params.parts; part += 1u) {
        shift += part_len(part) / n * (partial[c * params.parts + part].x - base);
    }
    var squares = 0.0;
    for (var part = 0u; part < params.parts; part += 1u) {
        let own = partial[c * params.parts + part];
        let d = own.x - base - shift;
        squares += own.y + part_len(part) * d * d;
    }
    let joined = base + shift;
    mean[c] = joined;
    inv_std[c] = 1.0 / sqrt(squares / n + params.eps);
    if (params.track != 0u) {
        let unbiased = squares / f32(params.terms - 1u);
        running_mean[c] = P(params.one_minus_momentum * f32(running_mean[c]) + params.momentum * joined);
        running_var[c] = P(params.one_minus_momentum * f32(running_var[c]) + params.momentum * unbiased);
    }
}

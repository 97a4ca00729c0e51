// PyTorch's RMSprop; fl rounds to T, scalars are not rounded to it:
//   g = fl(grad_scale grad)
//   g = fl(g + weight_decay param)                 where weight_decay is not 0
//   s = fl(fl(alpha s) + ((1 - alpha) g) g)
//   CENTERED: a = lerp(a, g, 1 - alpha), q = fl(sqrt(fl(s - a a))), else q = fl(sqrt(s))
//   q = fl(q + eps)
//   param = fl(param + (-lr g) / q), or with MOMENTUM b = fl(fl(momentum b) + g / q), param = fl(param - lr b)
// grad, param, s, b, a [len].
#import optimizer

struct Params {
    len: u32,
    decay: u32, // whether weight_decay is not 0
    weight_decay: f32,
    grad_scale: f32,
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
    momentum: f32,
    minus_lr: f32,
    zero: u32,
}

@group(0) @binding(2) var<storage, read_write> s: array<T>;
#ifdef MOMENTUM
@group(0) @binding(3) var<storage, read_write> b: array<T>;
const AFTER_B: u32 = 4u;
#else
const AFTER_B: u32 = 3u;
#endif
#ifdef CENTERED
@group(0) @binding(AFTER_B) var<storage, read_write> a: array<T>;
const NEXT: u32 = AFTER_B + 1u;
#else
const NEXT: u32 = AFTER_B;
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
    let p = f32(param[i]);
    var g = scaled_grad(i);
    if (params.decay != 0u) {
        g = round_storage(g + product(params.weight_decay, p, params.zero));
    }
    var variance = average_square(f32(s[i]), params.alpha, params.one_minus_alpha, g);
    s[i] = T(variance);
#ifdef CENTERED
    let mean = lerp(f32(a[i]), g, params.one_minus_alpha);
    a[i] = T(mean);
    variance = round_storage(variance - product(mean, mean, params.zero));
#endif
    let q = round_storage(round_storage(sqrt(variance)) + params.eps);
#ifdef MOMENTUM
    let kept = round_storage(product(params.momentum, f32(b[i]), params.zero));
    let step = round_storage(kept + g / q);
    b[i] = T(step);
    store_param(i, p + product(params.minus_lr, step, params.zero));
#else
    store_param(i, p + params.minus_lr * g / q);
#endif
}

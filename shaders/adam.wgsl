// PyTorch's Adam and AdamW; fl rounds to T, scalars are not rounded to it:
//   g = fl(grad_scale grad)
//   AdamW: param = fl((1 - lr weight_decay) param), Adam: g = fl(g + weight_decay param), where weight_decay is not 0
//   m = lerp(m, g, 1 - beta1)
//   v = fl(fl(beta2 v) + ((1 - beta2) g) g)
//   s = max(s, v) with AMSGRAD, else v
//   param = fl(param + (-lr / (1 - beta1^t) m) / fl(fl(fl(sqrt(s)) / sqrt(1 - beta2^t)) + eps))
// grad, param, m, v, s [len].
#import optimizer

struct Params {
    len: u32,
    decay: u32, // 0: no weight decay, 1: Adam's, 2: AdamW's
    decay_factor: f32, // weight_decay, or 1 - lr weight_decay
    grad_scale: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    correction: f32, // sqrt(1 - beta2^t)
    eps: f32,
    step_size: f32, // -lr / (1 - beta1^t)
    zero: u32,
}

@group(0) @binding(2) var<storage, read_write> m: array<T>;
@group(0) @binding(3) var<storage, read_write> v: array<T>;
#ifdef AMSGRAD
@group(0) @binding(4) var<storage, read_write> s: array<T>;
const NEXT: u32 = 5u;
#else
const NEXT: u32 = 4u;
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
    var p = f32(param[i]);
    var g = scaled_grad(i);
    if (params.decay == 1u) {
        g = round_storage(g + product(params.decay_factor, p, params.zero));
    } else if (params.decay == 2u) {
        p = round_storage(product(params.decay_factor, p, params.zero));
    }
    let mean = lerp(f32(m[i]), g, params.one_minus_beta1);
    m[i] = T(mean);
    var square = average_square(f32(v[i]), params.beta2, params.one_minus_beta2, g);
    v[i] = T(square);
#ifdef AMSGRAD
    let top = f32(s[i]);
    if (!is_nan(square) && (is_nan(top) || top >= square)) {
        square = top;
    }
    s[i] = T(square);
#endif
    let deviation = round_storage(round_storage(sqrt(square)) / params.correction);
    let denominator = round_storage(deviation + params.eps);
    store_param(i, p + params.step_size * mean / denominator);
}

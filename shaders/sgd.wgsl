// PyTorch's SGD, each line rounded to T (lr, momentum, 1 - dampening, weight_decay are not):
//   g = fl(grad_scale grad)
//   g = fl(g + weight_decay param)                 where weight_decay is not 0
//   buffer = g at the first step, else fl(fl(momentum buffer) + (1 - dampening) g)
//   d = fl(g + momentum buffer) with Nesterov's, else buffer; g without momentum
//   param = fl(param - lr d)
// grad, param, buffer [len].
#import optimizer

struct Params {
    len: u32,
    first: u32,
    nesterov: u32,
    decay: u32, // whether weight_decay is not 0
    grad_scale: f32,
    minus_lr: f32,
    momentum: f32,
    undamped: f32, // 1 - dampening
    weight_decay: f32,
    zero: u32,
}

#ifdef MOMENTUM
@group(0) @binding(2) var<storage, read_write> buffer: array<T>;
const NEXT: u32 = 3u;
#else
const NEXT: u32 = 2u;
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
    var d = scaled_grad(i);
    if (params.decay != 0u) {
        d = round_storage(d + product(params.weight_decay, p, params.zero));
    }
#ifdef MOMENTUM
    let g = d;
    if (params.first == 0u) {
        let kept = round_storage(product(params.momentum, f32(buffer[i]), params.zero));
        d = round_storage(kept + product(params.undamped, g, params.zero));
    }
    buffer[i] = T(d);
    if (params.nesterov != 0u) {
        d = round_storage(g + product(params.momentum, d, params.zero));
    }
#endif
    store_param(i, p + product(params.minus_lr, d, params.zero));
}

// What the optimizers share. A shader that imports this defines struct Params, with grad_scale and zero, and NEXT, the
// first binding behind grad, param and the optimizer's own tensors.
// grad [len] (T, f16 with MASTER), param [len], with MASTER copy [len] (f16) = fl(param).
#ifdef MASTER
enable f16;
#endif
#import types
#import index

#ifdef MASTER
alias G = f16;
#else
alias G = T;
#endif

@group(0) @binding(0) var<storage, read> grad: array<G>;
@group(0) @binding(1) var<storage, read_write> param: array<T>;
#ifdef MASTER
@group(0) @binding(NEXT) var<storage, read_write> copy: array<f16>;
@group(0) @binding(NEXT + 1u) var<storage, read> params: Params;
#else
@group(0) @binding(NEXT) var<storage, read> params: Params;
#endif

fn scaled_grad(i: u32) -> f32 {
    return round_storage(product(f32(grad[i]), params.grad_scale, params.zero));
}

fn store_param(i: u32, value: f32) {
    param[i] = T(value);
#ifdef MASTER
    copy[i] = f16(value);
#endif
}

// fl(a + w (b - a)) where |w| < 1/2, else fl(b - (b - a) (1 - w)).
fn lerp(a: f32, b: f32, w: f32) -> f32 {
    if (abs(w) < 0.5) {
        return round_storage(a + product(w, b - a, params.zero));
    }
    return round_storage(b - product(b - a, 1.0 - w, params.zero));
}

// fl(fl(keep v) + (take g) g)
fn average_square(v: f32, keep: f32, take: f32, g: f32) -> f32 {
    let kept = round_storage(product(keep, v, params.zero));
    return round_storage(kept + product(take * g, g, params.zero));
}

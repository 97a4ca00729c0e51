//! Optimizers, in the order of operations and with the roundings of PyTorch's single-tensor implementations: fl rounds
//! to the storage type, scalars are not rounded to it. Absent momentum or weight decay drops its line.
//!
//! All: g = fl(grad_scale grad) unless grad_scale is 1, then g = fl(g + weight_decay p)
//!
//! SGD
//!   b = g at the first step, else fl(fl(momentum b) + (1 - dampening) g)
//!   d = fl(g + momentum b) with nesterov, else b
//!   p = fl(p - lr d)
//!
//! Adam at step t; with `decoupled` (AdamW) g has no weight decay, but p = fl((1 - lr weight_decay) p) first
//!   m = lerp(m, g, 1 - beta1)
//!   v = fl(fl(beta2 v) + ((1 - beta2) g) g)
//!   s = max(s, v) with amsgrad, else v
//!   p = fl(p + (-lr / (1 - beta1^t) m) / fl(fl(fl(sqrt(s)) / sqrt(1 - beta2^t)) + eps))
//!
//! RMSprop
//!   s = fl(fl(alpha s) + ((1 - alpha) g) g)
//!   centered: a = lerp(a, g, 1 - alpha), q = fl(sqrt(fl(s - a a))), else q = fl(sqrt(s))
//!   q = fl(q + eps)
//!   p = fl(p + (-lr g) / q), or with momentum b = fl(fl(momentum b) + g / q), p = fl(p - lr b)
//!
//! lerp(a, b, w) = fl(a + w (b - a)) where w < 1/2, else fl(b - (b - a) (1 - w)).
//!
//! grad is of type G: that of the parameters, or f16 beside f32 master copies. Then `copy` gets the new parameters in
//! f16, and all else is computed and stored in f32.

use super::scratch::{Pooled, Scratch};
use crate::dtype::{Accumulator, Element};
use crate::engine::op::{AdamSettings, RmsPropSettings, SgdSettings};

/// Elements that one task takes, so that its part of all tensors stays in the cache.
const BLOCK: usize = 1 << 12;

/// The tensors of a step; those that the optimizer does not have are empty.
pub(super) struct Tensors<'a, T, G, const K: usize> {
    pub grad: &'a [G],
    pub param: &'a mut [T],
    pub state: [&'a mut [T]; K],
    pub copy: &'a mut [G],
}

/// What happens to the gradient before the optimizer sees it.
#[derive(Clone, Copy)]
struct Prepare<A> {
    scale: Option<A>,
    decay: Option<A>,
}

impl<A: Accumulator> Prepare<A> {
    fn new(grad_scale: f64, weight_decay: f64) -> Prepare<A> {
        Prepare {
            scale: (grad_scale != 1.0).then(|| A::from_f64(grad_scale)),
            decay: (weight_decay != 0.0).then(|| A::from_f64(weight_decay)),
        }
    }
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512dq",
    "x86_64+avx2+fma+bmi1+bmi2"
))]
fn prepare_block<T: Element>(
    prepare: Prepare<T::Acc>,
    grad: &[T::Acc],
    param: &[T::Acc],
    prepared: &mut [T::Acc],
) {
    prepared.copy_from_slice(grad);
    if let Some(scale) = prepare.scale {
        prepared.iter_mut().for_each(|g| *g = T::round(scale * *g));
    }
    if let Some(decay) = prepare.decay {
        prepared.iter_mut().zip(param).for_each(|(g, &p)| *g = T::round(*g + decay * p));
    }
}

impl<T: Element<Acc: Pooled>, G: Element<Acc = T::Acc>, const K: usize> Tensors<'_, T, G, K> {
    /// Calls `step(gradient, param, state)` for blocks of all tensors, in parallel.
    fn for_each_block(
        self,
        prepare: Prepare<T::Acc>,
        step: &(impl Fn(&[T::Acc], &mut [T::Acc], [&mut [T::Acc]; K]) + Sync),
    ) {
        let len = self.param.len();
        if len <= BLOCK {
            return self.update(prepare, step);
        }
        let at = len.div_ceil(BLOCK) / 2 * BLOCK;
        let mut tails = [(); K].map(|_| Default::default());
        let mut tail = tails.iter_mut();
        let state = self.state.map(|s| {
            let (head, rest) = s.split_at_mut(at.min(s.len()));
            *tail.next().expect("one for each state") = rest;
            head
        });
        let (grad, grad_tail) = self.grad.split_at(at);
        let (param, param_tail) = self.param.split_at_mut(at);
        let (copy, copy_tail) = self.copy.split_at_mut(at.min(self.copy.len()));
        let head = Tensors { grad, param, state, copy };
        let tail = Tensors { grad: grad_tail, param: param_tail, state: tails, copy: copy_tail };
        rayon::join(|| head.for_each_block(prepare, step), || tail.for_each_block(prepare, step));
    }

    fn update(
        mut self,
        prepare: Prepare<T::Acc>,
        step: &impl Fn(&[T::Acc], &mut [T::Acc], [&mut [T::Acc]; K]),
    ) {
        let (mut grad_scratch, mut param_scratch) = (Scratch::take(), Scratch::take());
        let (mut prepared, mut state_scratch) = (Scratch::take(), [(); K].map(|_| Scratch::take()));
        let param = T::image(self.param, &mut param_scratch);
        let mut grad = G::promote(self.grad, &mut grad_scratch);
        if prepare.scale.is_some() || prepare.decay.is_some() {
            prepared.resize(grad.len(), T::Acc::ZERO);
            prepare_block::<T>(prepare, grad, param, &mut prepared);
            grad = &prepared;
        }
        let mut scratch = state_scratch.iter_mut();
        let state = self.state.each_mut().map(|s| T::image(s, scratch.next().expect("one for each state")));
        step(grad, param, state);
        T::store(self.param, &param_scratch);
        self.state.iter_mut().zip(&state_scratch).for_each(|(state, scratch)| T::store(state, scratch));
        if !self.copy.is_empty() {
            let param = T::promote(self.param, &mut param_scratch);
            G::demote_into(self.copy, &mut Scratch::take(), |copy| copy.copy_from_slice(param));
        }
    }
}

/// `a` to `b` by the share `w`, in the two forms of PyTorch.
#[inline(always)]
fn lerp<A: Accumulator>(a: A, b: A, w: A) -> A {
    if w.abs() < A::from_f64(0.5) { a + w * (b - a) } else { b - (b - a) * (A::from_f64(1.0) - w) }
}

/// state: momentum buffer.
pub(super) fn sgd<T: Element<Acc: Pooled>, G: Element<Acc = T::Acc>>(
    settings: &SgdSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 1>,
) {
    let prepare = Prepare::new(grad_scale, settings.weight_decay);
    tensors.for_each_block(prepare, &|grad, param, state| sgd_block::<T>(settings, grad, param, state));
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512dq",
    "x86_64+avx2+fma+bmi1+bmi2"
))]
fn sgd_block<T: Element>(
    settings: &SgdSettings,
    grad: &[T::Acc],
    param: &mut [T::Acc],
    [buffer]: [&mut [T::Acc]; 1],
) {
    let momentum = T::Acc::from_f64(settings.momentum);
    let taken = T::Acc::from_f64(1.0 - settings.dampening);
    let step = T::Acc::from_f64(-settings.learning_rate);
    if buffer.is_empty() {
        param.iter_mut().zip(grad).for_each(|(p, &g)| *p += step * g);
        return;
    }
    if settings.first {
        buffer.copy_from_slice(grad);
    } else {
        for (b, &g) in buffer.iter_mut().zip(grad) {
            *b = T::round(T::round(momentum * *b) + taken * g);
        }
    }
    if settings.nesterov {
        for ((p, &b), &g) in param.iter_mut().zip(&*buffer).zip(grad) {
            *p += step * T::round(g + momentum * b);
        }
    } else {
        param.iter_mut().zip(&*buffer).for_each(|(p, &b)| *p += step * b);
    }
}

/// state: exp_avg, exp_avg_sq, max_exp_avg_sq (amsgrad).
pub(super) fn adam<T: Element<Acc: Pooled>, G: Element<Acc = T::Acc>>(
    settings: &AdamSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 3>,
) {
    let gradient_decay = if settings.decoupled { 0.0 } else { settings.weight_decay };
    let prepare = Prepare::new(grad_scale, gradient_decay);
    tensors.for_each_block(prepare, &|grad, param, state| adam_block::<T>(settings, grad, param, state));
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512dq",
    "x86_64+avx2+fma+bmi1+bmi2"
))]
fn adam_block<T: Element>(
    settings: &AdamSettings,
    grad: &[T::Acc],
    param: &mut [T::Acc],
    [mean, square, max]: [&mut [T::Acc]; 3],
) {
    let [step_size, second_correction] = settings.corrections();
    let [step, second_correction] = [-step_size, second_correction].map(T::Acc::from_f64);
    let [_, beta2] = settings.betas.map(T::Acc::from_f64);
    let [taken1, taken2] = settings.betas.map(|beta| T::Acc::from_f64(1.0 - beta));
    let eps = T::Acc::from_f64(settings.eps);
    for ((m, v), &g) in mean.iter_mut().zip(square.iter_mut()).zip(grad) {
        *m = T::round(lerp(*m, g, taken1));
        *v = T::round(T::round(beta2 * *v) + taken2 * g * g);
    }
    for (s, &v) in max.iter_mut().zip(&*square) {
        *s = if v > *s || v.is_nan() { v } else { *s };
    }
    if settings.decoupled && settings.weight_decay != 0.0 {
        let kept = T::Acc::from_f64(1.0 - settings.learning_rate * settings.weight_decay);
        param.iter_mut().for_each(|p| *p = T::round(*p * kept));
    }
    let squares = if max.is_empty() { square } else { max };
    for ((p, &m), &s) in param.iter_mut().zip(&*mean).zip(&*squares) {
        let root = T::round(T::round(s.sqrt()) / second_correction);
        *p += step * m / T::round(root + eps);
    }
}

/// state: square_avg, momentum buffer (momentum), grad_avg (centered).
pub(super) fn rms_prop<T: Element<Acc: Pooled>, G: Element<Acc = T::Acc>>(
    settings: &RmsPropSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 3>,
) {
    let prepare = Prepare::new(grad_scale, settings.weight_decay);
    tensors.for_each_block(prepare, &|grad, param, state| {
        rms_prop_block::<T>(settings, grad, param, state, &mut Scratch::zeros(grad.len()));
    });
}

#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512dq",
    "x86_64+avx2+fma+bmi1+bmi2"
))]
fn rms_prop_block<T: Element>(
    settings: &RmsPropSettings,
    grad: &[T::Acc],
    param: &mut [T::Acc],
    [square, buffer, mean]: [&mut [T::Acc]; 3],
    divisors: &mut [T::Acc],
) {
    let [alpha, taken] = [settings.alpha, 1.0 - settings.alpha].map(T::Acc::from_f64);
    let [eps, momentum] = [settings.eps, settings.momentum].map(T::Acc::from_f64);
    let step = T::Acc::from_f64(-settings.learning_rate);
    for (s, &g) in square.iter_mut().zip(grad) {
        *s = T::round(T::round(alpha * *s) + taken * g * g);
    }
    for (a, &g) in mean.iter_mut().zip(grad) {
        *a = T::round(lerp(*a, g, taken));
    }
    divisors.copy_from_slice(square);
    divisors.iter_mut().zip(&*mean).for_each(|(q, &a)| *q = T::round(*q - a * a));
    divisors.iter_mut().for_each(|q| *q = T::round(T::round(q.sqrt()) + eps));
    if buffer.is_empty() {
        param.iter_mut().zip(grad).zip(&*divisors).for_each(|((p, &g), &q)| *p += step * g / q);
        return;
    }
    for ((b, &g), &q) in buffer.iter_mut().zip(grad).zip(&*divisors) {
        *b = T::round(T::round(momentum * *b) + g / q);
    }
    param.iter_mut().zip(&*buffer).for_each(|(p, &b)| *p += step * b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    const LEN: usize = 2 * BLOCK + 77;

    fn values(salt: usize) -> Vec<f32> {
        (0..LEN).map(|i| ((i * 7919 + salt * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// A step on master copies with a scaled gradient in f16 against the same in f32.
    fn check<const K: usize>(
        present: [bool; K],
        half: impl Fn(f64, Tensors<f32, f16, K>),
        single: impl Fn(f64, Tensors<f32, f32, K>),
    ) {
        let scale = 1.0 / 3.0;
        let grad: Vec<f16> = values(1).into_iter().map(f16::from_f32).collect();
        let scaled: Vec<f32> = grad.iter().map(|g| scale as f32 * g.to_f32()).collect();
        let squares = || values(2).into_iter().map(|v| v * v).collect::<Vec<f32>>();
        let state = || present.map(|present| if present { squares() } else { vec![] });
        let (mut param, mut state_a, mut copy) = (values(3), state(), vec![f16::ZERO; LEN]);
        let tensors = Tensors {
            grad: &grad,
            param: &mut param,
            state: state_a.each_mut().map(|s| &mut s[..]),
            copy: &mut copy,
        };
        half(scale, tensors);
        let (mut expected, mut state_b) = (values(3), state());
        let tensors = Tensors {
            grad: &scaled,
            param: &mut expected,
            state: state_b.each_mut().map(|s| &mut s[..]),
            copy: &mut [],
        };
        single(1.0, tensors);
        assert!(param == expected && state_a == state_b);
        assert!(param != values(3) && param.iter().all(|p| p.is_finite()));
        assert!(copy.iter().zip(&param).all(|(c, &p)| *c == f16::from_f32(p)));
    }

    #[test]
    fn master_copies_take_f16_gradients() {
        let s = SgdSettings { learning_rate: 0.1, momentum: 0.9, dampening: 0.25, ..Default::default() };
        check([true], |scale, t| sgd(&s, scale, t), |scale, t| sgd(&s, scale, t));
        check([false], |scale, t| sgd(&s, scale, t), |scale, t| sgd(&s, scale, t));
        let s = AdamSettings {
            learning_rate: 0.1,
            betas: [0.4, 0.999],
            eps: 1e-3,
            weight_decay: 0.1,
            decoupled: true,
            step: 3,
        };
        check([true; 3], |scale, t| adam(&s, scale, t), |scale, t| adam(&s, scale, t));
        let s =
            RmsPropSettings { learning_rate: 0.1, alpha: 0.9, eps: 1e-3, momentum: 0.5, weight_decay: 0.1 };
        check([true, true, false], |scale, t| rms_prop(&s, scale, t), |scale, t| rms_prop(&s, scale, t));
        check([true, false, false], |scale, t| rms_prop(&s, scale, t), |scale, t| rms_prop(&s, scale, t));
    }

    #[test]
    fn a_scaled_f16_gradient_is_rounded_first() {
        let s = SgdSettings { learning_rate: 1.0, weight_decay: 1.0, ..Default::default() };
        let (grad, mut param) = ([f16::from_f32(1.0)], [f16::from_f32(1024.0)]);
        let tensors = Tensors { grad: &grad, param: &mut param, state: [&mut []], copy: &mut [] };
        // fl16(0.3) = 0.30004883; 1024.3 is rounded to 1024, and 1024 - 1024 is 0.
        sgd::<f16, f16>(&s, 0.3, tensors);
        assert_eq!(param, [f16::ZERO]);
        let mut param = [f16::ZERO];
        let tensors = Tensors { grad: &grad, param: &mut param, state: [&mut []], copy: &mut [] };
        sgd::<f16, f16>(&SgdSettings { weight_decay: 0.0, ..s }, 0.3, tensors);
        assert_eq!(param, [f16::from_f32(-0.3)]);
    }

    #[test]
    fn bias_corrections() {
        let s = AdamSettings { learning_rate: 0.5, betas: [0.5, 0.75], step: 2, ..Default::default() };
        assert_eq!(s.corrections(), [0.5 / 0.75, 0.4375f64.sqrt()]);
    }
}

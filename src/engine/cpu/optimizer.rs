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

use crate::dtype::unit::Unit;
use crate::dtype::{Accumulator, Chunk, Element, convert, on_unit, vectorised};
use crate::engine::op::{AdamSettings, RmsPropSettings, SgdSettings};

/// Elements that one task takes.
const BLOCK: usize = super::BLOCK;
/// A multiple of the elements of every chunk.
const CHUNK: usize = 16;

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

    #[inline(always)]
    fn apply<T: Element<Acc = A>, U: Unit, const N: usize>(
        self,
        unit: U,
        grad: Chunk<A, N>,
        param: Chunk<A, N>,
    ) -> Chunk<A, N> {
        let grad = match self.scale {
            Some(scale) => T::round_chunk(unit, grad * scale),
            None => grad,
        };
        match self.decay {
            Some(decay) => T::round_chunk(unit, grad + param * decay),
            None => grad,
        }
    }
}

impl<T: Element, G: Element<Acc = T::Acc>, const K: usize> Tensors<'_, T, G, K> {
    /// Calls `step(gradient, param, state)` for blocks of all tensors, in parallel. A block is of whole chunks.
    fn for_each_block(self, step: &(impl Fn(&[G], &mut [T], [&mut [T]; K]) + Sync)) {
        let len = self.param.len();
        if len > BLOCK {
            let [head, tail] = self.split_at(len.div_ceil(BLOCK) / 2 * BLOCK);
            rayon::join(|| head.for_each_block(step), || tail.for_each_block(step));
        } else if len.is_multiple_of(CHUNK) {
            step(self.grad, self.param, self.state);
            convert(self.param, self.copy);
        } else {
            let [head, rest] = self.split_at(len / CHUNK * CHUNK);
            head.for_each_block(step);
            rest.step_padded(step);
        }
    }

    /// Calls `step` for fewer elements than a chunk has, behind which it sees zeros.
    fn step_padded(self, step: &impl Fn(&[G], &mut [T], [&mut [T]; K])) {
        fn padded<E: Element>(elements: &[E]) -> [E; CHUNK] {
            let mut chunk = [E::ZERO; CHUNK];
            chunk[..elements.len()].copy_from_slice(elements);
            chunk
        }
        let len = self.param.len();
        let mut param = padded(self.param);
        let mut state = self.state.each_ref().map(|s| padded(s));
        let mut present = self.state.iter().map(|s| !s.is_empty());
        let chunks = state.each_mut().map(|s| match present.next() {
            Some(true) => &mut s[..],
            _ => &mut [],
        });
        step(&padded(self.grad), &mut param, chunks);
        self.param.copy_from_slice(&param[..len]);
        self.state.into_iter().zip(&state).for_each(|(s, chunk)| s.copy_from_slice(&chunk[..s.len()]));
        convert(self.param, self.copy);
    }

    /// The first `at` elements, and the others.
    fn split_at(self, at: usize) -> [Self; 2] {
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
        [head, Tensors { grad: grad_tail, param: param_tail, state: tails, copy: copy_tail }]
    }
}

/// `a` to `b` by the share `w`, in the two forms of PyTorch.
#[inline(always)]
fn lerp<A: Accumulator, const N: usize>(a: Chunk<A, N>, b: Chunk<A, N>, w: A) -> Chunk<A, N> {
    if w.abs() < A::from_f64(0.5) { a + (b - a) * w } else { b - (b - a) * (A::from_f64(1.0) - w) }
}

/// state: momentum buffer.
pub(super) fn sgd<T: Element, G: Element<Acc = T::Acc>>(
    settings: &SgdSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 1>,
) {
    let sgd = Sgd {
        prepare: Prepare::new(grad_scale, settings.weight_decay),
        momentum: T::Acc::from_f64(settings.momentum),
        taken: T::Acc::from_f64(1.0 - settings.dampening),
        step: T::Acc::from_f64(-settings.learning_rate),
        first: settings.first,
        nesterov: settings.nesterov,
    };
    tensors.for_each_block(&|grad, param, [buffer]| sgd_block(&sgd, grad, param, buffer));
}

struct Sgd<A> {
    prepare: Prepare<A>,
    momentum: A,
    taken: A,
    step: A,
    first: bool,
    nesterov: bool,
}

vectorised! {
    fn sgd_block<T: Element, G: Element<Acc = T::Acc>>(
        sgd: &Sgd<T::Acc>,
        grad: &[G],
        param: &mut [T],
        buffer: &mut [T],
    ) {
        on_unit!(sgd_chunks::<T, G>(sgd, grad, param, buffer))
    }
}

#[inline(always)]
fn sgd_chunks<T: Element, G: Element<Acc = T::Acc>, U: Unit, const N: usize>(
    unit: U,
    &Sgd { prepare, momentum, taken, step, first, nesterov }: &Sgd<T::Acc>,
    grad: &[G],
    param: &mut [T],
    buffer: &mut [T],
) {
    let elements = param.as_chunks_mut::<N>().0.iter_mut().zip(grad.as_chunks::<N>().0);
    if buffer.is_empty() {
        for (param, grad) in elements {
            let p = T::widen(unit, param);
            let g = prepare.apply::<T, _, _>(unit, G::widen(unit, grad), p);
            *param = T::narrow(unit, p + g * step);
        }
        return;
    }
    for ((param, grad), buffer) in elements.zip(buffer.as_chunks_mut::<N>().0) {
        let p = T::widen(unit, param);
        let g = prepare.apply::<T, _, _>(unit, G::widen(unit, grad), p);
        let b = if first {
            g
        } else {
            let kept = T::round_chunk(unit, T::widen(unit, buffer) * momentum);
            T::round_chunk(unit, kept + g * taken)
        };
        let direction = if nesterov { T::round_chunk(unit, g + b * momentum) } else { b };
        *buffer = T::narrow_rounded(unit, b);
        *param = T::narrow(unit, p + direction * step);
    }
}

/// state: exp_avg, exp_avg_sq, max_exp_avg_sq (amsgrad).
pub(super) fn adam<T: Element, G: Element<Acc = T::Acc>>(
    settings: &AdamSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 3>,
) {
    let gradient_decay = if settings.decoupled { 0.0 } else { settings.weight_decay };
    let prepare = Prepare::new(grad_scale, gradient_decay);
    let adam = Adam::new(settings, prepare);
    tensors.for_each_block(&|grad, param, state| adam_block(&adam, grad, param, state));
}

struct Adam<A> {
    prepare: Prepare<A>,
    step: A,
    second_correction: A,
    beta2: A,
    taken: [A; 2],
    eps: A,
    /// Of the parameter, by decoupled weight decay.
    kept: Option<A>,
}

impl<A: Accumulator> Adam<A> {
    fn new(settings: &AdamSettings, prepare: Prepare<A>) -> Adam<A> {
        let [step_size, second_correction] = settings.corrections();
        let decays = settings.decoupled && settings.weight_decay != 0.0;
        Adam {
            prepare,
            step: A::from_f64(-step_size),
            second_correction: A::from_f64(second_correction),
            beta2: A::from_f64(settings.betas[1]),
            taken: settings.betas.map(|beta| A::from_f64(1.0 - beta)),
            eps: A::from_f64(settings.eps),
            kept: decays.then(|| A::from_f64(1.0 - settings.learning_rate * settings.weight_decay)),
        }
    }

    #[inline(always)]
    fn step<T: Element<Acc = A>, G: Element<Acc = A>, U: Unit, const N: usize>(
        &self,
        unit: U,
        param: &mut [T; N],
        [mean, square]: [&mut [T; N]; 2],
        max: Option<&mut [T; N]>,
        grad: &[G; N],
    ) {
        let p = T::widen(unit, param);
        let g = self.prepare.apply::<T, _, _>(unit, G::widen(unit, grad), p);
        let m = T::round_chunk(unit, lerp(T::widen(unit, mean), g, self.taken[0]));
        let kept = T::round_chunk(unit, T::widen(unit, square) * self.beta2);
        let v = T::round_chunk(unit, kept + g * self.taken[1] * g);
        let largest = match max {
            Some(max) => {
                let s = v.zip(T::widen(unit, max), |v, s| if v > s || v.is_nan() { v } else { s });
                *max = T::narrow_rounded(unit, s);
                s
            }
            None => v,
        };
        let p = match self.kept {
            Some(kept) => T::round_chunk(unit, p * kept),
            None => p,
        };
        let root = T::round_chunk(unit, T::round_chunk(unit, largest.sqrt()) / self.second_correction);
        *mean = T::narrow_rounded(unit, m);
        *square = T::narrow_rounded(unit, v);
        *param = T::narrow(unit, p + m * self.step / T::round_chunk(unit, root + self.eps));
    }
}

vectorised! {
    fn adam_block<T: Element, G: Element<Acc = T::Acc>>(
        adam: &Adam<T::Acc>,
        grad: &[G],
        param: &mut [T],
        state: [&mut [T]; 3],
    ) {
        on_unit!(adam_chunks::<T, G>(adam, grad, param, state))
    }
}

#[inline(always)]
fn adam_chunks<T: Element, G: Element<Acc = T::Acc>, U: Unit, const N: usize>(
    unit: U,
    adam: &Adam<T::Acc>,
    grad: &[G],
    param: &mut [T],
    state: [&mut [T]; 3],
) {
    let [mean, square, max] = state.map(|s| s.as_chunks_mut::<N>().0);
    let elements = param.as_chunks_mut::<N>().0.iter_mut().zip(mean).zip(square).zip(grad.as_chunks::<N>().0);
    // Loops, not `for_each`: its closures would be compiled without the vector unit.
    if max.is_empty() {
        for (((p, m), v), g) in elements {
            adam.step(unit, p, [m, v], None, g);
        }
    } else {
        for ((((p, m), v), g), s) in elements.zip(max) {
            adam.step(unit, p, [m, v], Some(s), g);
        }
    }
}

/// state: square_avg, momentum buffer (momentum), grad_avg (centered).
pub(super) fn rms_prop<T: Element, G: Element<Acc = T::Acc>>(
    settings: &RmsPropSettings,
    grad_scale: f64,
    tensors: Tensors<T, G, 3>,
) {
    let prepare = Prepare::new(grad_scale, settings.weight_decay);
    let rms_prop = RmsProp {
        prepare,
        alpha: T::Acc::from_f64(settings.alpha),
        taken: T::Acc::from_f64(1.0 - settings.alpha),
        eps: T::Acc::from_f64(settings.eps),
        momentum: T::Acc::from_f64(settings.momentum),
        step: T::Acc::from_f64(-settings.learning_rate),
    };
    tensors.for_each_block(&|grad, param, state| rms_prop_block(&rms_prop, grad, param, state));
}

struct RmsProp<A> {
    prepare: Prepare<A>,
    alpha: A,
    taken: A,
    eps: A,
    momentum: A,
    step: A,
}

impl<A: Accumulator> RmsProp<A> {
    #[inline(always)]
    fn step<T: Element<Acc = A>, G: Element<Acc = A>, U: Unit, const N: usize>(
        &self,
        unit: U,
        param: &mut [T; N],
        square: &mut [T; N],
        [buffer, mean]: [Option<&mut [T; N]>; 2],
        grad: &[G; N],
    ) {
        let p = T::widen(unit, param);
        let g = self.prepare.apply::<T, _, _>(unit, G::widen(unit, grad), p);
        let kept = T::round_chunk(unit, T::widen(unit, square) * self.alpha);
        let s = T::round_chunk(unit, kept + g * self.taken * g);
        let centered = match mean {
            Some(mean) => {
                let a = T::round_chunk(unit, lerp(T::widen(unit, mean), g, self.taken));
                *mean = T::narrow_rounded(unit, a);
                T::round_chunk(unit, s - a * a)
            }
            None => s,
        };
        let q = T::round_chunk(unit, T::round_chunk(unit, centered.sqrt()) + self.eps);
        let p = match buffer {
            Some(buffer) => {
                let kept = T::round_chunk(unit, T::widen(unit, buffer) * self.momentum);
                let b = T::round_chunk(unit, kept + g / q);
                *buffer = T::narrow_rounded(unit, b);
                p + b * self.step
            }
            None => p + g * self.step / q,
        };
        *square = T::narrow_rounded(unit, s);
        *param = T::narrow(unit, p);
    }
}

vectorised! {
    fn rms_prop_block<T: Element, G: Element<Acc = T::Acc>>(
        rms_prop: &RmsProp<T::Acc>,
        grad: &[G],
        param: &mut [T],
        state: [&mut [T]; 3],
    ) {
        on_unit!(rms_prop_chunks::<T, G>(rms_prop, grad, param, state))
    }
}

#[inline(always)]
fn rms_prop_chunks<T: Element, G: Element<Acc = T::Acc>, U: Unit, const N: usize>(
    unit: U,
    rms_prop: &RmsProp<T::Acc>,
    grad: &[G],
    param: &mut [T],
    state: [&mut [T]; 3],
) {
    let r = rms_prop;
    let [square, buffer, mean] = state.map(|s| s.as_chunks_mut::<N>().0);
    let elements = param.as_chunks_mut::<N>().0.iter_mut().zip(square).zip(grad.as_chunks::<N>().0);
    match (buffer.is_empty(), mean.is_empty()) {
        (true, true) => {
            for ((p, s), g) in elements {
                r.step(unit, p, s, [None, None], g);
            }
        }
        (false, true) => {
            for (((p, s), g), b) in elements.zip(buffer) {
                r.step(unit, p, s, [Some(b), None], g);
            }
        }
        (true, false) => {
            for (((p, s), g), a) in elements.zip(mean) {
                r.step(unit, p, s, [None, Some(a)], g);
            }
        }
        (false, false) => {
            for ((((p, s), g), b), a) in elements.zip(buffer).zip(mean) {
                r.step(unit, p, s, [Some(b), Some(a)], g);
            }
        }
    }
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

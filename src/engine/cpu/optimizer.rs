//! Stochastic gradient descent, in the order and with the roundings of `torch.optim.SGD`.
//!
//!   g' = fl(g + weight_decay p)                                  (weight_decay not 0)
//!   b  = g' at the first step, else fl(fl(momentum b) + g')      (momentum not 0)
//!   d  = fl(g' + momentum b) with nesterov, else b               (g' without momentum)
//!   p  = fl(p - learning_rate d)

use rayon::prelude::*;

use super::BLOCK;
use super::scratch::{Pooled, Scratch};
use crate::dtype::Element;
use crate::engine::op::SgdSettings;

pub(super) fn sgd<T: Element<Acc: Pooled>>(
    settings: &SgdSettings,
    grad: &[T],
    param: &mut [T],
    momentum_buffer: Option<&mut [T]>,
) {
    let decay = T::Acc::from_f64(settings.weight_decay);
    let momentum = T::Acc::from_f64(settings.momentum);
    let step = T::Acc::from_f64(-settings.learning_rate);
    let (decays, nesterov, first) = (settings.weight_decay != 0.0, settings.nesterov, settings.first);
    let decayed = |g: T::Acc, p: T::Acc| if decays { T::round(g + decay * p) } else { g };
    match momentum_buffer {
        None => param.par_chunks_mut(BLOCK).zip(grad.par_chunks(BLOCK)).for_each(|(param, grad)| {
            let mut grad_scratch = Scratch::take();
            let grad = T::promote(grad, &mut grad_scratch);
            T::update(param, &mut Scratch::take(), |param| {
                for (p, &g) in param.iter_mut().zip(grad) {
                    *p += step * decayed(g, *p);
                }
            });
        }),
        Some(buffer) => param
            .par_chunks_mut(BLOCK)
            .zip(grad.par_chunks(BLOCK))
            .zip(buffer.par_chunks_mut(BLOCK))
            .for_each(|((param, grad), buffer)| {
                let mut grad_scratch = Scratch::take();
                let grad = T::promote(grad, &mut grad_scratch);
                T::update(buffer, &mut Scratch::take(), |buffer| {
                    T::update(param, &mut Scratch::take(), |param| {
                        for ((p, b), &g) in param.iter_mut().zip(buffer).zip(grad) {
                            let g = decayed(g, *p);
                            *b = if first { g } else { T::round(T::round(momentum * *b) + g) };
                            let d = if nesterov { T::round(g + momentum * *b) } else { *b };
                            *p += step * d;
                        }
                    });
                });
            }),
    }
}

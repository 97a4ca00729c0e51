use super::*;
use crate::engine::op::{AdamSettings, RmsPropSettings};

/// One step of an optimizer with `states` tensors beside param, in f16, f32, and f32 with an f16 gradient and copy.
fn check(op: impl Fn(usize, bool) -> Op, states: usize, optimizer: OptimizerSettings, grad_scale: f64) {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(3);
    for (dtype, master) in [(DType::F16, false), (DType::F32, false), (DType::F32, true)] {
        for (len, kind) in [(1, Values::Smooth), (701, Values::Smooth), (300, Values::Special)] {
            let settings = Settings { optimizers: vec![optimizer; 2], grad_scale, ..Default::default() };
            let storage = if master { DType::F16 } else { dtype };
            let reads = [rng.tensor(storage, len, kind)];
            let mut writes: Vec<_> = (0..=states).map(|_| rng.tensor(dtype, len, kind)).collect();
            if kind == Values::Smooth {
                // Averages of squares are not negative.
                for state in &mut writes[1..] {
                    let squares: Vec<_> = rng.values(len, kind).iter().map(|v| v * v).collect();
                    *state = encode(dtype, &squares);
                }
            }
            writes.extend(master.then(|| zeros(DType::F16, len)));
            let op = op(len, master);
            let [g, c] = twins(gpu, (op, dtype, 1), &settings, &reads, &writes);
            for (i, (g, c)) in g.iter().zip(&c).enumerate() {
                let dtype = if i > states { DType::F16 } else { dtype };
                assert_same(&format!("{op:?} {optimizer:?} {kind:?} tensor {i}"), dtype, [g, c]);
            }
        }
    }
}

#[test]
fn sgd_has_the_bits_of_the_cpu() {
    for (momentum, dampening, weight_decay, nesterov) in [
        (0.0, 0.0, 0.0, false),
        (0.0, 0.0, 5e-4, false),
        (0.9, 0.0, 0.0, false),
        (0.9, 0.3, 5e-4, false),
        (0.9, 0.0, 0.01, true),
    ] {
        for (first, grad_scale) in [(true, 1.0), (false, 1.0), (false, 0.37)] {
            let settings =
                SgdSettings { learning_rate: 0.05, momentum, dampening, weight_decay, nesterov, first };
            let momentum = momentum != 0.0;
            check(
                |len, master| Op::Sgd { len, momentum, master },
                momentum as usize,
                OptimizerSettings::Sgd(settings),
                grad_scale,
            );
        }
    }
}

#[test]
fn adam_has_the_bits_of_the_cpu() {
    for (amsgrad, decoupled, weight_decay, beta1, step, grad_scale) in [
        (false, false, 0.0, 0.9, 1, 1.0),
        (true, false, 5e-4, 0.9, 7, 0.125),
        (false, true, 0.01, 0.3, 1000, 1.0),
        (true, true, 0.01, 0.9, 2, 3.3),
    ] {
        let settings = AdamSettings {
            learning_rate: 0.01,
            betas: [beta1, 0.999],
            eps: 1e-8,
            weight_decay,
            decoupled,
            step,
        };
        check(
            |len, master| Op::Adam { len, amsgrad, master },
            2 + amsgrad as usize,
            OptimizerSettings::Adam(settings),
            grad_scale,
        );
    }
}

#[test]
fn rms_prop_has_the_bits_of_the_cpu() {
    for (momentum, centered, weight_decay, alpha, grad_scale) in [
        (0.0, false, 0.0, 0.99, 1.0),
        (0.9, false, 5e-4, 0.99, 0.01),
        (0.0, true, 0.0, 0.4, 1.0),
        (0.9, true, 0.01, 0.9, 1.0),
    ] {
        let settings = RmsPropSettings { learning_rate: 0.01, alpha, eps: 1e-8, momentum, weight_decay };
        let momentum = momentum != 0.0;
        check(
            |len, master| Op::RmsProp { len, momentum, centered, master },
            1 + momentum as usize + centered as usize,
            OptimizerSettings::RmsProp(settings),
            grad_scale,
        );
    }
}

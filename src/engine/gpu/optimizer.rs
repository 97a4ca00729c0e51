//! Optimizers: one dispatch updates a tensor and its state.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits};
use crate::dtype::DType;
use crate::engine::op::Settings;

/// One thread an element. `states` and the copy with `master` follow param among the buffers that are written.
fn update(
    kernel: Kernel,
    len: usize,
    states: usize,
    master: bool,
    words: impl Fn(&Settings) -> Vec<u32> + Send + 'static,
) -> Dispatch {
    let writes = 1 + states + master as usize;
    let bindings = [Binding::Read(0)].into_iter().chain((0..writes).map(Binding::Write)).collect();
    let params = Params::from_settings(move |settings| {
        let mut params = vec![len as u32];
        params.extend(words(settings));
        params
    });
    Dispatch::elementwise(kernel.define("MASTER", master), bindings, len, params)
}

pub(super) fn sgd(len: usize, momentum: bool, master: bool, dtype: DType, group: usize) -> Dispatch {
    let kernel = Kernel::new("sgd", dtype).define("MOMENTUM", momentum);
    update(kernel, len, momentum as usize, master, move |settings| {
        let sgd = settings.sgd(group);
        vec![
            sgd.first as u32,
            sgd.nesterov as u32,
            (sgd.weight_decay != 0.0) as u32,
            bits(settings.grad_scale),
            bits(-sgd.learning_rate),
            bits(sgd.momentum),
            bits(1.0 - sgd.dampening),
            bits(sgd.weight_decay),
            0,
        ]
    })
}

pub(super) fn adam(len: usize, amsgrad: bool, master: bool, dtype: DType, group: usize) -> Dispatch {
    let kernel = Kernel::new("adam", dtype).define("AMSGRAD", amsgrad);
    update(kernel, len, 2 + amsgrad as usize, master, move |settings| {
        let adam = settings.adam(group);
        let [beta1, beta2] = adam.betas;
        let [step_size, second_correction] = adam.corrections();
        let (decay, factor) = match adam.weight_decay {
            0.0 => (0, 0.0),
            decay if adam.decoupled => (2, 1.0 - adam.learning_rate * decay),
            decay => (1, decay),
        };
        vec![
            decay,
            bits(factor),
            bits(settings.grad_scale),
            bits(1.0 - beta1),
            bits(beta2),
            bits(1.0 - beta2),
            bits(second_correction),
            bits(adam.eps),
            bits(-step_size),
            0,
        ]
    })
}

pub(super) fn rms_prop(
    len: usize,
    [momentum, centered]: [bool; 2],
    master: bool,
    dtype: DType,
    group: usize,
) -> Dispatch {
    let kernel = Kernel::new("rms_prop", dtype).define("MOMENTUM", momentum).define("CENTERED", centered);
    let states = 1 + momentum as usize + centered as usize;
    update(kernel, len, states, master, move |settings| {
        let rms_prop = settings.rms_prop(group);
        vec![
            (rms_prop.weight_decay != 0.0) as u32,
            bits(rms_prop.weight_decay),
            bits(settings.grad_scale),
            bits(rms_prop.alpha),
            bits(1.0 - rms_prop.alpha),
            bits(rms_prop.eps),
            bits(rms_prop.momentum),
            bits(-rms_prop.learning_rate),
            0,
        ]
    })
}

//! Max pooling with its tie sets, and its backward pass under any choice.

use super::dispatch::{Binding, Dispatch, Kernel, Params, bits, words};
use super::pool2d;
use crate::dtype::DType;
use crate::kink::BackwardRule;
use crate::shape::Pool2dGeometry;

fn geometry_words(g: &Pool2dGeometry) -> Vec<u32> {
    pool2d::geometry_words(g).into_iter().chain(pool2d::set_layout(g)).collect()
}

pub(super) fn forward(g: &Pool2dGeometry, dtype: DType, site: usize) -> Dispatch {
    let windows = g.windows();
    let [share, _] = pool2d::set_layout(g);
    let geometry = geometry_words(g);
    let params = Params::from_settings(move |settings| {
        let weights = settings.maxpool(site).forward_weights();
        let [beta, one_minus_beta] = weights.unwrap_or_default().map(bits);
        let mut params = vec![windows as u32];
        params.extend(&geometry);
        params.extend([weights.is_some() as u32, beta, one_minus_beta, 0]);
        params
    });
    let bindings = vec![Binding::Read(0), Binding::Write(0), Binding::Write(1)];
    Dispatch::elementwise(
        Kernel::new("maxpool2d_forward", dtype),
        bindings,
        windows.div_ceil(1 << share),
        params,
    )
}

pub(super) fn backward(g: &Pool2dGeometry, dtype: DType, site: usize) -> Dispatch {
    let disjoint = (0..2).all(|i| g.window.stride[i] >= g.window.kernel[i]);
    let cells = [0, 1].map(|i| (g.input[i] + g.window.padding[i]).div_ceil(g.window.stride[i]));
    let len = if disjoint { g.batch * g.channels * cells[0] * cells[1] } else { g.x_len() };
    let window_len = g.window.len();
    let geometry = geometry_words(g);
    let params = Params::from_settings(move |settings| {
        let mut seed = 0;
        let mut betas = [0.0; 2];
        let mut coefficients = vec![0; 2 * (window_len + 1)];
        let rule = match settings.maxpool(site).backward_rule(window_len) {
            BackwardRule::First => 0,
            BackwardRule::Last => 1,
            BackwardRule::Random { seed: drawn } => {
                seed = drawn;
                2
            }
            BackwardRule::FirstColumn => 3,
            BackwardRule::Divide => 4,
            BackwardRule::Coefficients { first, rest } => {
                coefficients = first.into_iter().chain(rest).map(bits).collect();
                5
            }
            BackwardRule::TwoBranches { beta, one_minus_beta } => {
                betas = [beta, one_minus_beta];
                6
            }
        };
        let mut params = vec![len as u32];
        params.extend(&geometry);
        params.extend([window_len as u32, rule, seed as u32, (seed >> 32) as u32, site as u32]);
        // Only the random rule depends on the step: the others' params stay as they are.
        params.push(if rule == 2 { settings.step as u32 } else { 0 });
        params.extend(betas.map(bits));
        params.extend([f32::NAN.to_bits(), 0]);
        params.extend(words(&cells));
        params.extend(coefficients);
        params
    });
    let bindings = vec![Binding::Read(0), Binding::Read(1), Binding::Write(0)];
    let kernel = Kernel::new("maxpool2d_backward", dtype).define("DISJOINT", disjoint);
    Dispatch::elementwise(kernel, bindings, len, params)
}

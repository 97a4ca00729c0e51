use super::{expect_out, not_negative, push_state};
use crate::engine::Engine;
use crate::engine::op::{Op, OptimizerSettings, RmsPropSettings, Settings};
use crate::error::Result;
use crate::tensor::{View, ViewMut};

/// Scalars of an RMSprop step, as PyTorch's `torch.optim.RMSprop`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsPropOptions {
    /// Step length, at least 0.
    pub learning_rate: f64,
    /// Share of the moving averages that is kept at a step, at least 0.
    pub alpha: f64,
    /// Added to the root of the average, at least 0. In f16 the usual 1e-8 is 0.
    pub eps: f64,
    /// Share of the momentum buffer that is kept, at least 0; 0 keeps no buffer.
    pub momentum: f64,
    /// Divides by the standard deviation of the gradient instead of its root mean square.
    pub centered: bool,
    /// L2 penalty: `weight_decay * param` is added to the gradient; at least 0.
    pub weight_decay: f64,
}

impl Default for RmsPropOptions {
    fn default() -> Self {
        RmsPropOptions {
            learning_rate: 0.01,
            alpha: 0.99,
            eps: 1e-8,
            momentum: 0.0,
            centered: false,
            weight_decay: 0.0,
        }
    }
}

impl RmsPropOptions {
    /// Refuses negative or non-finite scalars.
    pub fn validate(&self) -> Result<()> {
        not_negative(&[
            ("learning_rate", self.learning_rate),
            ("alpha", self.alpha),
            ("eps", self.eps),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ])
    }

    pub(crate) fn settings(&self) -> RmsPropSettings {
        RmsPropSettings {
            learning_rate: self.learning_rate,
            alpha: self.alpha,
            eps: self.eps,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
        }
    }
}

/// What RMSprop keeps between steps: of the shape and dtype of the parameter, zeros before the first.
#[derive(Debug)]
pub struct RmsPropState<'a> {
    /// Moving average of the gradient's square.
    pub square_avg: ViewMut<'a>,
    /// With momentum alone.
    pub momentum_buffer: Option<ViewMut<'a>>,
    /// Moving average of the gradient; with `centered` alone.
    pub grad_avg: Option<ViewMut<'a>>,
}

impl Engine {
    /// One step of RMSprop, in place, elementwise on any shape. Order of operations and roundings are those of
    /// `torch.optim.RMSprop`.
    pub fn rms_prop_step(
        &self,
        options: &RmsPropOptions,
        grad: View,
        param: ViewMut,
        state: RmsPropState,
    ) -> Result<()> {
        options.validate()?;
        let dtype = grad.dtype();
        expect_out("param", dtype, grad.shape(), &param)?;
        expect_out("square_avg", dtype, grad.shape(), &state.square_avg)?;
        let (momentum, centered) = (options.momentum != 0.0, options.centered);
        let mut writes = vec![param.into_memory(), state.square_avg.into_memory()];
        let when = (momentum, "when momentum is not 0");
        push_state("momentum_buffer", when, &grad, state.momentum_buffer, &mut writes)?;
        push_state("grad_avg", (centered, "with centered"), &grad, state.grad_avg, &mut writes)?;
        let len = grad.shape().iter().product();
        let op = Op::RmsProp { len, momentum, centered, master: false };
        let optimizers = vec![OptimizerSettings::RmsProp(options.settings())];
        let settings = Settings { optimizers, ..Default::default() };
        self.execute(op, dtype, &[grad.memory()], &mut writes, &settings)
    }
}

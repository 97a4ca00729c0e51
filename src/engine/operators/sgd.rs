use super::{expect_out, not_negative, push_state};
use crate::engine::Engine;
use crate::engine::op::{Op, OptimizerSettings, Settings, SgdSettings};
use crate::error::{Error, Result};
use crate::kink::check_scalar;
use crate::tensor::{View, ViewMut};

/// Scalars of a stochastic gradient descent step, as PyTorch's `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// Step length, at least 0.
    pub learning_rate: f64,
    /// Share of the momentum buffer that is kept, at least 0; 0 keeps no buffer.
    pub momentum: f64,
    /// Share of the gradient that the momentum buffer does not take; 0 takes all of it.
    pub dampening: f64,
    /// L2 penalty: `weight_decay * param` is added to the gradient; at least 0.
    pub weight_decay: f64,
    /// Nesterov's momentum; needs `momentum` above 0 and no dampening.
    pub nesterov: bool,
}

impl Default for SgdOptions {
    fn default() -> Self {
        SgdOptions { learning_rate: 0.01, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

impl SgdOptions {
    /// Refuses negative or non-finite scalars, and Nesterov without momentum.
    pub fn validate(&self) -> Result<()> {
        not_negative(&[
            ("learning_rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ])?;
        check_scalar("dampening", self.dampening)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let got = format!("momentum {}, dampening {}", self.momentum, self.dampening);
            return Err(Error::invalid("nesterov", "momentum above 0 and dampening 0", got));
        }
        Ok(())
    }

    pub(crate) fn settings(&self, first: bool) -> SgdSettings {
        SgdSettings {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            dampening: self.dampening,
            weight_decay: self.weight_decay,
            nesterov: self.nesterov,
            first,
        }
    }
}

impl Engine {
    /// One step of stochastic gradient descent, in place, elementwise on any shape.
    ///
    /// With momentum, `momentum_buffer` is read and written; `first` says that it is empty, and then it becomes
    /// the gradient. Order of operations and roundings are those of `torch.optim.SGD`.
    pub fn sgd_step(
        &self,
        options: &SgdOptions,
        grad: View,
        param: ViewMut,
        momentum_buffer: Option<ViewMut>,
        first: bool,
    ) -> Result<()> {
        options.validate()?;
        let dtype = grad.dtype();
        expect_out("param", dtype, grad.shape(), &param)?;
        let len = grad.shape().iter().product();
        let op = Op::Sgd { len, momentum: momentum_buffer.is_some(), master: false };
        let mut writes = vec![param.into_memory()];
        let when = (options.momentum != 0.0, "when momentum is not 0");
        push_state("momentum_buffer", when, &grad, momentum_buffer, &mut writes)?;
        let optimizers = vec![OptimizerSettings::Sgd(options.settings(first))];
        let settings = Settings { optimizers, ..Default::default() };
        self.execute(op, dtype, &[grad.memory()], &mut writes, &settings)
    }
}

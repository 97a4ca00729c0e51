use super::{expect_out, not_negative, push_state};
use crate::engine::Engine;
use crate::engine::op::{AdamSettings, Op, OptimizerSettings, Settings};
use crate::error::{Error, Result};
use crate::tensor::{View, ViewMut};

/// Scalars of an Adam or AdamW step, as PyTorch's `torch.optim.Adam` and `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamOptions {
    /// Step length, at least 0.
    pub learning_rate: f64,
    /// Shares of the two moving averages that are kept at a step, from 0 to below 1.
    pub betas: [f64; 2],
    /// Added to the root of the second average, at least 0. In f16 the usual 1e-8 is 0.
    pub eps: f64,
    /// At least 0: an L2 penalty, `weight_decay * param` added to the gradient, or if `decoupled`, the share of
    /// the parameter, times the step length, that a step takes away.
    pub weight_decay: f64,
    /// AdamW. PyTorch's default weight decay is then 0.01.
    pub decoupled: bool,
    /// Divides by the largest second average so far.
    pub amsgrad: bool,
}

impl Default for AdamOptions {
    fn default() -> Self {
        AdamOptions {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            amsgrad: false,
        }
    }
}

impl AdamOptions {
    /// Refuses negative or non-finite scalars, and betas of 1 or more.
    pub fn validate(&self) -> Result<()> {
        not_negative(&[
            ("learning_rate", self.learning_rate),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        match self.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            Some(beta) => Err(Error::invalid("betas", "from 0 to below 1", beta)),
            None => Ok(()),
        }
    }

    /// Of step number `step`, from 1.
    pub(crate) fn settings(&self, step: u64) -> AdamSettings {
        AdamSettings {
            learning_rate: self.learning_rate,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decoupled: self.decoupled,
            step,
        }
    }
}

/// What Adam keeps between steps: of the shape and dtype of the parameter, zeros before the first.
#[derive(Debug)]
pub struct AdamState<'a> {
    /// Moving average of the gradient.
    pub exp_avg: ViewMut<'a>,
    /// Moving average of its square.
    pub exp_avg_sq: ViewMut<'a>,
    /// Largest `exp_avg_sq` so far; with amsgrad alone.
    pub max_exp_avg_sq: Option<ViewMut<'a>>,
}

impl Engine {
    /// One step of Adam or AdamW, in place, elementwise on any shape; `step` counts from 1. Order of operations
    /// and roundings are those of `torch.optim.Adam` and `AdamW`.
    pub fn adam_step(
        &self,
        options: &AdamOptions,
        grad: View,
        param: ViewMut,
        state: AdamState,
        step: u64,
    ) -> Result<()> {
        options.validate()?;
        if step == 0 {
            return Err(Error::invalid("step", "at least 1", step));
        }
        let dtype = grad.dtype();
        for (name, tensor) in
            [("param", &param), ("exp_avg", &state.exp_avg), ("exp_avg_sq", &state.exp_avg_sq)]
        {
            expect_out(name, dtype, grad.shape(), tensor)?;
        }
        let mut writes =
            vec![param.into_memory(), state.exp_avg.into_memory(), state.exp_avg_sq.into_memory()];
        push_state(
            "max_exp_avg_sq",
            (options.amsgrad, "with amsgrad"),
            &grad,
            state.max_exp_avg_sq,
            &mut writes,
        )?;
        let len = grad.shape().iter().product();
        let op = Op::Adam { len, amsgrad: options.amsgrad, master: false };
        let optimizers = vec![OptimizerSettings::Adam(options.settings(step))];
        let settings = Settings { optimizers, ..Default::default() };
        self.execute(op, dtype, &[grad.memory()], &mut writes, &settings)
    }
}

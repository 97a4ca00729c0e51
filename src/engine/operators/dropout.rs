use super::expect_out;
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::tensor::{View, ViewMut};

/// The mask of a dropout: a function of these numbers and the index of the element alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutOptions {
    /// Probability that an element becomes 0; 0 to 1.
    pub p: f64,
    /// Seed of the generator (Philox4x32-10).
    pub seed: u64,
    /// Number of optimizer steps done so far: another mask for each.
    pub step: u64,
}

impl Engine {
    /// Each element becomes 0 with probability p, the others are divided by 1 - p; elementwise on any shape.
    pub fn dropout_forward(&self, x: View, options: DropoutOptions, y: ViewMut) -> Result<()> {
        let op = Op::DropoutForward { len: x.shape().iter().product(), p: options.p };
        self.dropout(op, x, options, ("y", y))
    }

    /// Gradient of [`Engine::dropout_forward`] with the same options, so under the same mask.
    pub fn dropout_backward(&self, gy: View, options: DropoutOptions, gx: ViewMut) -> Result<()> {
        let op = Op::DropoutBackward { len: gy.shape().iter().product(), p: options.p };
        self.dropout(op, gy, options, ("gx", gx))
    }

    fn dropout(
        &self,
        op: Op,
        from: View,
        options: DropoutOptions,
        (argument, to): (&str, ViewMut),
    ) -> Result<()> {
        if !(0.0..=1.0).contains(&options.p) {
            return Err(Error::invalid("p", "0 to 1", options.p));
        }
        expect_out(argument, from.dtype(), from.shape(), &to)?;
        let settings = Settings { seed: options.seed, step: options.step, ..Default::default() };
        self.execute(op, from.dtype(), &[from.memory()], &mut [to.into_memory()], &settings)
    }
}

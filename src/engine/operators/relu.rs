use super::{expect_out, expect_view, with_kink};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::Result;
use crate::kink::{Kink, ReluKink};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// `y = max(x, 0)`, elementwise on any shape; NaN stays NaN and -0 stays -0, as in PyTorch.
    pub fn relu_forward(&self, x: View, y: ViewMut) -> Result<()> {
        expect_out("y", x.dtype(), x.shape(), &y)?;
        let op = Op::ReluForward { len: x.shape().iter().product() };
        self.execute(op, x.dtype(), &[x.memory()], &mut [y.into_memory()], &Settings::default())
    }

    /// Gradient of [`Engine::relu_forward`] with ReLU'(0) = `kink.alpha`; `x` is the input of the forward pass.
    pub fn relu_backward(&self, x: View, gy: View, kink: ReluKink, gx: ViewMut) -> Result<()> {
        kink.validate()?;
        expect_view("gy", x.dtype(), x.shape(), &gy)?;
        expect_out("gx", x.dtype(), x.shape(), &gx)?;
        let op = Op::ReluBackward { len: x.shape().iter().product() };
        let settings = with_kink(Kink::Relu(kink));
        self.execute(op, x.dtype(), &[x.memory(), gy.memory()], &mut [gx.into_memory()], &settings)
    }
}

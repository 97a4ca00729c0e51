use super::{expect_out, expect_view};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::Result;
use crate::tensor::{View, ViewMut};

impl Engine {
    /// `y = a + b`, elementwise on any shape. Its gradient with respect to both is that of y.
    pub fn add(&self, a: View, b: View, y: ViewMut) -> Result<()> {
        expect_view("b", a.dtype(), a.shape(), &b)?;
        expect_out("y", a.dtype(), a.shape(), &y)?;
        let op = Op::Add { len: a.shape().iter().product() };
        self.execute(op, a.dtype(), &[a.memory(), b.memory()], &mut [y.into_memory()], &Settings::default())
    }
}

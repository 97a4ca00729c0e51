use super::{dims, expect_out, expect_view, with_kink};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::Result;
use crate::kink::{Kink, NormPoolKink};
use crate::shape::{Pool2dGeometry, Window2d};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Norm pooling: `y = sqrt(sum of x_i^2)` over each window, with the roundings of the published program, so
    /// that f16 overflows from |x| = 256 on.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`.
    pub fn norm_pool2d_forward(&self, x: View, window: Window2d, y: ViewMut) -> Result<()> {
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        expect_out("y", x.dtype(), &geometry.y_shape(), &y)?;
        let op = Op::NormPool2dForward { geometry };
        self.execute(op, x.dtype(), &[x.memory()], &mut [y.into_memory()], &Settings::default())
    }

    /// Gradient of [`Engine::norm_pool2d_forward`]: `(x_i / y) gy` where y is not 0, else `kink.at_zero * gy`; y is
    /// what the forward pass gave. Sums over overlapping windows are rounded one by one.
    ///
    /// Shapes: x and gx `[N, C, H, W]`, y and gy `[N, C, OH, OW]`.
    pub fn norm_pool2d_backward(
        &self,
        x: View,
        y: View,
        gy: View,
        window: Window2d,
        kink: NormPoolKink,
        gx: ViewMut,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        let dtype = x.dtype();
        expect_view("y", dtype, &geometry.y_shape(), &y)?;
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        let op = Op::NormPool2dBackward { geometry };
        let reads = [x.memory(), y.memory(), gy.memory()];
        self.execute(op, dtype, &reads, &mut [gx.into_memory()], &with_kink(Kink::NormPool(kink)))
    }
}

use super::{dims, expect_out, expect_view, with_kink};
use crate::engine::Engine;
use crate::engine::op::Op;
use crate::error::{Error, Result};
use crate::kink::{Kink, MaxPoolKink};
use crate::shape::{Pool2dGeometry, Window2d};
use crate::tensor::{Bytes, BytesMut, View, ViewMut};

impl Engine {
    /// Max pooling, and the tie set of each window.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`; ties: `OH * OW * tie_bytes(KH * KW)` bytes a channel
    /// ([`crate::shape::tie_bytes`] tells their layout). A NaN in a window wins, as in PyTorch.
    pub fn maxpool2d_forward<'t>(
        &self,
        x: View,
        window: Window2d,
        kink: MaxPoolKink,
        y: ViewMut,
        ties: impl Into<BytesMut<'t>>,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        let dtype = x.dtype();
        expect_out("y", dtype, &geometry.y_shape(), &y)?;
        let ties = ties.into();
        expect_ties(&geometry, ties.len())?;
        let op = Op::MaxPool2dForward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[x.memory()], &mut [y.into_memory(), ties], &settings)
    }

    /// Gradient with respect to the input of [`Engine::maxpool2d_forward`] under any choice, from the tie sets
    /// that the forward pass stored. Where windows overlap, contributions are added one by one in the order of
    /// the windows, each sum rounded to the storage type, as PyTorch does.
    ///
    /// Shapes: gy `[N, C, OH, OW]`, ties as stored, gx `[N, C, H, W]`.
    pub fn maxpool2d_backward<'t>(
        &self,
        gy: View,
        ties: impl Into<Bytes<'t>>,
        window: Window2d,
        kink: MaxPoolKink,
        gx: ViewMut,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("gx", "[N, C, H, W]", gx.shape())?, window)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        let ties = ties.into();
        expect_ties(&geometry, ties.len())?;
        let op = Op::MaxPool2dBackward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[gy.memory(), ties], &mut [gx.into_memory()], &settings)
    }
}

fn expect_ties(geometry: &Pool2dGeometry, ties: usize) -> Result<()> {
    let shape = geometry.ties_shape();
    let expected: usize = shape.iter().product();
    if ties != expected {
        return Err(Error::shape("ties", format!("{expected} bytes for {shape:?}"), &[ties]));
    }
    Ok(())
}

use super::{dims, expect_out, expect_view};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::shape::{Pool2dGeometry, Window2d};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Average pooling: the sum of each window over KH KW; padding counts as zeros.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`.
    pub fn avgpool2d_forward(&self, x: View, window: Window2d, y: ViewMut) -> Result<()> {
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        expect_out("y", x.dtype(), &geometry.y_shape(), &y)?;
        let op = Op::AvgPool2dForward { geometry };
        self.execute(op, x.dtype(), &[x.memory()], &mut [y.into_memory()], &Settings::default())
    }

    /// Gradient of [`Engine::avgpool2d_forward`].
    ///
    /// Shapes: gy `[N, C, OH, OW]`, gx `[N, C, H, W]`.
    pub fn avgpool2d_backward(&self, gy: View, window: Window2d, gx: ViewMut) -> Result<()> {
        let geometry = Pool2dGeometry::new(dims("gx", "[N, C, H, W]", gx.shape())?, window)?;
        expect_view("gy", gx.dtype(), &geometry.y_shape(), &gy)?;
        let op = Op::AvgPool2dBackward { geometry };
        self.execute(op, gy.dtype(), &[gy.memory()], &mut [gx.into_memory()], &Settings::default())
    }

    /// Average pooling to the size of y: the mean of the plane where that is 1 x 1.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`; OH divides H, OW divides W.
    pub fn adaptive_avgpool2d_forward(&self, x: View, y: ViewMut) -> Result<()> {
        let window = adaptive_window(("x", x.shape()), ("y", y.shape()))?;
        self.avgpool2d_forward(x, window, y)
    }

    /// Gradient of [`Engine::adaptive_avgpool2d_forward`].
    ///
    /// Shapes: gy `[N, C, OH, OW]`, gx `[N, C, H, W]`.
    pub fn adaptive_avgpool2d_backward(&self, gy: View, gx: ViewMut) -> Result<()> {
        let window = adaptive_window(("gx", gx.shape()), ("gy", gy.shape()))?;
        self.avgpool2d_backward(gy, window, gx)
    }
}

/// The window that cuts planes of the shape `x` into as many parts as `y` has elements.
fn adaptive_window(x: (&str, &[usize]), y: (&str, &[usize])) -> Result<Window2d> {
    let [_, _, h, w] = dims(x.0, "[N, C, H, W]", x.1)?;
    let [_, _, oh, ow] = dims(y.0, "[N, C, OH, OW]", y.1)?;
    if oh == 0 || ow == 0 || !h.is_multiple_of(oh) || !w.is_multiple_of(ow) {
        return Err(Error::shape(y.0, format!("height and width that divide {h} x {w}"), y.1));
    }
    let kernel = [h / oh, w / ow];
    Ok(Window2d { kernel, stride: kernel, padding: [0; 2], dilation: [1; 2] })
}

use super::{dims, expect_out, expect_view};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::shape::{Conv2dGeometry, Conv2dOptions, Window2d};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Convolution (cross-correlation) `y = x * weight + bias`.
    ///
    /// Shapes: x `[N, C, H, W]`, weight `[O, C / groups, KH, KW]`, bias `[O]`, y `[N, O, OH, OW]` with
    /// `OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1`. The kernel extents are those of `weight`.
    pub fn conv2d_forward(
        &self,
        x: View,
        weight: View,
        bias: Option<View>,
        options: Conv2dOptions,
        y: ViewMut,
    ) -> Result<()> {
        let geometry = conv2d_geometry(x.shape(), weight.shape(), options)?;
        let dtype = x.dtype();
        expect_view("weight", dtype, &geometry.weight_shape(), &weight)?;
        expect_out("y", dtype, &geometry.y_shape(), &y)?;
        let mut reads = vec![x.memory(), weight.memory()];
        if let Some(bias) = bias {
            expect_view("bias", dtype, &[geometry.out_channels], &bias)?;
            reads.push(bias.memory());
        }
        let op = Op::Conv2dForward { geometry, bias: bias.is_some() };
        self.execute(op, dtype, &reads, &mut [y.into_memory()], &Settings::default())
    }

    /// Gradient of the loss with respect to the input of [`Engine::conv2d_forward`].
    ///
    /// Shapes: gy `[N, O, OH, OW]`, weight `[O, C / groups, KH, KW]`, gx `[N, C, H, W]`.
    pub fn conv2d_backward_input(
        &self,
        gy: View,
        weight: View,
        options: Conv2dOptions,
        gx: ViewMut,
    ) -> Result<()> {
        let geometry = conv2d_geometry(gx.shape(), weight.shape(), options)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_view("weight", dtype, &geometry.weight_shape(), &weight)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        let op = Op::Conv2dBackwardInput { geometry };
        self.execute(
            op,
            dtype,
            &[gy.memory(), weight.memory()],
            &mut [gx.into_memory()],
            &Settings::default(),
        )
    }

    /// Gradients with respect to the weight and, if wanted, the bias of [`Engine::conv2d_forward`].
    ///
    /// Shapes: x `[N, C, H, W]`, gy `[N, O, OH, OW]`, gweight `[O, C / groups, KH, KW]`, gbias `[O]`.
    pub fn conv2d_backward_weight(
        &self,
        x: View,
        gy: View,
        options: Conv2dOptions,
        gweight: ViewMut,
        gbias: Option<ViewMut>,
    ) -> Result<()> {
        let geometry = conv2d_geometry(x.shape(), gweight.shape(), options)?;
        let dtype = x.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gweight", dtype, &geometry.weight_shape(), &gweight)?;
        let op = Op::Conv2dBackwardWeight { geometry, bias: gbias.is_some() };
        let mut writes = vec![gweight.into_memory()];
        if let Some(gbias) = gbias {
            expect_out("gbias", dtype, &[geometry.out_channels], &gbias)?;
            writes.push(gbias.into_memory());
        }
        self.execute(op, dtype, &[x.memory(), gy.memory()], &mut writes, &Settings::default())
    }
}

fn conv2d_geometry(x: &[usize], weight: &[usize], options: Conv2dOptions) -> Result<Conv2dGeometry> {
    let x = dims("x", "[N, C, H, W]", x)?;
    let [out_channels, in_channels, kh, kw] = dims("weight", "[O, C, KH, KW]", weight)?;
    let Conv2dOptions { stride, padding, dilation, groups } = options;
    let window = Window2d { kernel: [kh, kw], stride, padding, dilation };
    if in_channels.checked_mul(groups) != Some(x[1]) {
        let expected = format!("[O, C / groups, KH, KW] for x {x:?} and {groups} groups");
        return Err(Error::shape("weight", expected, weight));
    }
    Conv2dGeometry::new(x, out_channels, window, groups)
}

use super::{dims, expect_out, expect_view};
use crate::engine::Engine;
use crate::engine::op::{LinearGeometry, Op, Settings};
use crate::error::{Error, Result};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Fully connected layer `y = x weightᵀ + bias`.
    ///
    /// Shapes: x `[N, I]`, weight `[O, I]`, bias `[O]`, y `[N, O]`.
    pub fn linear_forward(&self, x: View, weight: View, bias: Option<View>, y: ViewMut) -> Result<()> {
        let [out_features, _] = dims("weight", "[O, I]", weight.shape())?;
        let geometry = linear_geometry(x.shape(), out_features)?;
        let dtype = x.dtype();
        expect_view("weight", dtype, &[out_features, geometry.in_features], &weight)?;
        expect_out("y", dtype, &[geometry.batch, out_features], &y)?;
        let mut reads = vec![x.memory(), weight.memory()];
        if let Some(bias) = bias {
            expect_view("bias", dtype, &[out_features], &bias)?;
            reads.push(bias.memory());
        }
        let op = Op::LinearForward { geometry, bias: bias.is_some() };
        self.execute(op, dtype, &reads, &mut [y.into_memory()], &Settings::default())
    }

    /// Gradient with respect to the input of [`Engine::linear_forward`]: `gx = gy weight`.
    ///
    /// Shapes: gy `[N, O]`, weight `[O, I]`, gx `[N, I]`.
    pub fn linear_backward_input(&self, gy: View, weight: View, gx: ViewMut) -> Result<()> {
        let [out_features, _] = dims("weight", "[O, I]", weight.shape())?;
        let geometry = linear_geometry(gx.shape(), out_features)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &[geometry.batch, out_features], &gy)?;
        expect_view("weight", dtype, &[out_features, geometry.in_features], &weight)?;
        expect_out("gx", dtype, &[geometry.batch, geometry.in_features], &gx)?;
        let op = Op::LinearBackwardInput { geometry };
        self.execute(
            op,
            dtype,
            &[gy.memory(), weight.memory()],
            &mut [gx.into_memory()],
            &Settings::default(),
        )
    }

    /// Gradients with respect to the weight and, if wanted, the bias of [`Engine::linear_forward`].
    ///
    /// Shapes: x `[N, I]`, gy `[N, O]`, gweight `[O, I]`, gbias `[O]`.
    pub fn linear_backward_weight(
        &self,
        x: View,
        gy: View,
        gweight: ViewMut,
        gbias: Option<ViewMut>,
    ) -> Result<()> {
        let [out_features, _] = dims("gweight", "[O, I]", gweight.shape())?;
        let geometry = linear_geometry(x.shape(), out_features)?;
        let dtype = x.dtype();
        expect_view("gy", dtype, &[geometry.batch, out_features], &gy)?;
        expect_out("gweight", dtype, &[out_features, geometry.in_features], &gweight)?;
        let op = Op::LinearBackwardWeight { geometry, bias: gbias.is_some() };
        let mut writes = vec![gweight.into_memory()];
        if let Some(gbias) = gbias {
            expect_out("gbias", dtype, &[out_features], &gbias)?;
            writes.push(gbias.into_memory());
        }
        self.execute(op, dtype, &[x.memory(), gy.memory()], &mut writes, &Settings::default())
    }
}

fn linear_geometry(x: &[usize], out_features: usize) -> Result<LinearGeometry> {
    let [batch, in_features] = dims("x", "[N, I]", x)?;
    if in_features == 0 || out_features == 0 {
        return Err(Error::invalid(
            "features",
            "at least 1",
            format!("in {in_features}, out {out_features}"),
        ));
    }
    Ok(LinearGeometry { batch, in_features, out_features })
}

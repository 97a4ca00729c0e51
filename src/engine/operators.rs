//! Operators on the caller's own host memory: shapes and dtypes are checked here, then the table runs.

use crate::dtype::DType;
use crate::engine::Engine;
use crate::engine::op::{LinearGeometry, Op, Settings, SgdSettings};
use crate::error::{Error, Result};
use crate::kink::{Kink, MaxPoolKink, ReluKink};
use crate::shape::{Conv2dGeometry, Pool2dGeometry, Window2d};
use crate::tensor::{View, ViewMut};

/// Scalars of a stochastic gradient descent step, as PyTorch's `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// Step length, at least 0.
    pub learning_rate: f64,
    /// Share of the momentum buffer that is kept, at least 0; 0 keeps no buffer.
    pub momentum: f64,
    /// L2 penalty: `weight_decay * param` is added to the gradient; at least 0.
    pub weight_decay: f64,
    /// Nesterov's momentum; needs `momentum` above 0.
    pub nesterov: bool,
}

impl Default for SgdOptions {
    fn default() -> Self {
        SgdOptions { learning_rate: 0.01, momentum: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

impl SgdOptions {
    /// Refuses negative or non-finite scalars, and Nesterov without momentum.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::invalid(name, "a finite number of at least 0", value));
            }
        }
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::invalid("nesterov", "momentum above 0", "momentum 0"));
        }
        Ok(())
    }

    pub(crate) fn settings(&self, first: bool) -> SgdSettings {
        SgdSettings {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            nesterov: self.nesterov,
            first,
        }
    }
}

fn dims<const R: usize>(argument: &str, layout: &str, shape: &[usize]) -> Result<[usize; R]> {
    shape.try_into().map_err(|_| Error::shape(argument, format!("{layout} (rank {R})"), shape))
}

fn expect(argument: &str, dtype: DType, shape: &[usize], got: (DType, &[usize])) -> Result<()> {
    if got.0 != dtype {
        return Err(Error::dtype(argument, dtype, got.0));
    }
    if got.1 != shape {
        return Err(Error::shape(argument, format!("{shape:?}"), got.1));
    }
    Ok(())
}

fn expect_view(argument: &str, dtype: DType, shape: &[usize], view: &View) -> Result<()> {
    expect(argument, dtype, shape, (view.dtype(), view.shape()))
}

fn expect_out(argument: &str, dtype: DType, shape: &[usize], view: &ViewMut) -> Result<()> {
    expect(argument, dtype, shape, (view.dtype(), view.shape()))
}

fn expect_ties(geometry: &Pool2dGeometry, ties: &[u8]) -> Result<()> {
    let shape = geometry.ties_shape();
    let expected: usize = shape.iter().product();
    if ties.len() != expected {
        return Err(Error::shape("ties", format!("{expected} bytes for {shape:?}"), &[ties.len()]));
    }
    Ok(())
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

fn with_kink(kink: Kink) -> Settings {
    Settings { kinks: vec![Some(kink)], ..Default::default() }
}

/// Labels `[N]` as the kernels take them, checked to lie below `classes`.
pub(crate) fn class_indices(labels: &[i64], classes: usize) -> Result<Vec<u32>> {
    labels
        .iter()
        .enumerate()
        .map(|(i, &label)| match u32::try_from(label) {
            Ok(class) if (class as usize) < classes => Ok(class),
            _ => Err(Error::invalid(format!("labels[{i}]"), format!("0 to {}", classes - 1), label)),
        })
        .collect()
}

/// Operators on host memory. Every tensor of a call has the same dtype; outputs are the caller's memory and
/// must not overlap the inputs. With a GPU engine the data travel to the device and back; for device-resident
/// work use [`crate::net::Network`].
impl Engine {
    /// Convolution (cross-correlation) `y = x * weight + bias`.
    ///
    /// Shapes: x `[N, C, H, W]`, weight `[O, C, KH, KW]`, bias `[O]`, y `[N, O, OH, OW]` with
    /// `OH = floor((H + 2 padding - KH) / stride) + 1`. The kernel extents are those of `weight`.
    pub fn conv2d_forward(
        &self,
        x: View,
        weight: View,
        bias: Option<View>,
        stride: [usize; 2],
        padding: [usize; 2],
        y: ViewMut,
    ) -> Result<()> {
        let geometry = conv2d_geometry(x.shape(), weight.shape(), stride, padding)?;
        let dtype = x.dtype();
        expect_view("weight", dtype, &geometry.weight_shape(), &weight)?;
        expect_out("y", dtype, &geometry.y_shape(), &y)?;
        let mut reads = vec![x.bytes(), weight.bytes()];
        if let Some(bias) = bias {
            expect_view("bias", dtype, &[geometry.out_channels], &bias)?;
            reads.push(bias.bytes());
        }
        let op = Op::Conv2dForward { geometry, bias: bias.is_some() };
        self.execute(op, dtype, &reads, &mut [y.into_bytes()], &Settings::default())
    }

    /// Gradient of the loss with respect to the input of [`Engine::conv2d_forward`].
    ///
    /// Shapes: gy `[N, O, OH, OW]`, weight `[O, C, KH, KW]`, gx `[N, C, H, W]`.
    pub fn conv2d_backward_input(
        &self,
        gy: View,
        weight: View,
        stride: [usize; 2],
        padding: [usize; 2],
        gx: ViewMut,
    ) -> Result<()> {
        let geometry = conv2d_geometry(gx.shape(), weight.shape(), stride, padding)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_view("weight", dtype, &geometry.weight_shape(), &weight)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        let op = Op::Conv2dBackwardInput { geometry };
        self.execute(op, dtype, &[gy.bytes(), weight.bytes()], &mut [gx.into_bytes()], &Settings::default())
    }

    /// Gradients with respect to the weight and, if wanted, the bias of [`Engine::conv2d_forward`].
    ///
    /// Shapes: x `[N, C, H, W]`, gy `[N, O, OH, OW]`, gweight `[O, C, KH, KW]`, gbias `[O]`.
    pub fn conv2d_backward_weight(
        &self,
        x: View,
        gy: View,
        stride: [usize; 2],
        padding: [usize; 2],
        gweight: ViewMut,
        gbias: Option<ViewMut>,
    ) -> Result<()> {
        let geometry = conv2d_geometry(x.shape(), gweight.shape(), stride, padding)?;
        let dtype = x.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gweight", dtype, &geometry.weight_shape(), &gweight)?;
        let op = Op::Conv2dBackwardWeight { geometry, bias: gbias.is_some() };
        let mut writes = vec![gweight.into_bytes()];
        if let Some(gbias) = gbias {
            expect_out("gbias", dtype, &[geometry.out_channels], &gbias)?;
            writes.push(gbias.into_bytes());
        }
        self.execute(op, dtype, &[x.bytes(), gy.bytes()], &mut writes, &Settings::default())
    }

    /// Fully connected layer `y = x weightᵀ + bias`.
    ///
    /// Shapes: x `[N, I]`, weight `[O, I]`, bias `[O]`, y `[N, O]`.
    pub fn linear_forward(&self, x: View, weight: View, bias: Option<View>, y: ViewMut) -> Result<()> {
        let [out_features, _] = dims("weight", "[O, I]", weight.shape())?;
        let geometry = linear_geometry(x.shape(), out_features)?;
        let dtype = x.dtype();
        expect_view("weight", dtype, &[out_features, geometry.in_features], &weight)?;
        expect_out("y", dtype, &[geometry.batch, out_features], &y)?;
        let mut reads = vec![x.bytes(), weight.bytes()];
        if let Some(bias) = bias {
            expect_view("bias", dtype, &[out_features], &bias)?;
            reads.push(bias.bytes());
        }
        let op = Op::LinearForward { geometry, bias: bias.is_some() };
        self.execute(op, dtype, &reads, &mut [y.into_bytes()], &Settings::default())
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
        self.execute(op, dtype, &[gy.bytes(), weight.bytes()], &mut [gx.into_bytes()], &Settings::default())
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
        let mut writes = vec![gweight.into_bytes()];
        if let Some(gbias) = gbias {
            expect_out("gbias", dtype, &[out_features], &gbias)?;
            writes.push(gbias.into_bytes());
        }
        self.execute(op, dtype, &[x.bytes(), gy.bytes()], &mut writes, &Settings::default())
    }

    /// Max pooling, and the tie set of each window.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`; ties: `OH * OW * tie_bytes(KH * KW)` bytes a channel
    /// ([`crate::shape::tie_bytes`] tells their layout). A NaN in a window wins, as in PyTorch.
    pub fn maxpool2d_forward(
        &self,
        x: View,
        window: Window2d,
        kink: MaxPoolKink,
        y: ViewMut,
        ties: &mut [u8],
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        let dtype = x.dtype();
        expect_out("y", dtype, &geometry.y_shape(), &y)?;
        expect_ties(&geometry, ties)?;
        let op = Op::MaxPool2dForward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[x.bytes()], &mut [y.into_bytes(), ties], &settings)
    }

    /// Gradient with respect to the input of [`Engine::maxpool2d_forward`] under any choice, from the tie sets
    /// that the forward pass stored. Where windows overlap, contributions are added one by one in the order of
    /// the windows, each sum rounded to the storage type, as PyTorch does.
    ///
    /// Shapes: gy `[N, C, OH, OW]`, ties as stored, gx `[N, C, H, W]`.
    pub fn maxpool2d_backward(
        &self,
        gy: View,
        ties: &[u8],
        window: Window2d,
        kink: MaxPoolKink,
        gx: ViewMut,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("gx", "[N, C, H, W]", gx.shape())?, window)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        expect_ties(&geometry, ties)?;
        let op = Op::MaxPool2dBackward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[gy.bytes(), ties], &mut [gx.into_bytes()], &settings)
    }

    /// `y = max(x, 0)`, elementwise on any shape; NaN stays NaN and -0 stays -0, as in PyTorch.
    pub fn relu_forward(&self, x: View, y: ViewMut) -> Result<()> {
        expect_out("y", x.dtype(), x.shape(), &y)?;
        let op = Op::ReluForward { len: x.shape().iter().product() };
        self.execute(op, x.dtype(), &[x.bytes()], &mut [y.into_bytes()], &Settings::default())
    }

    /// Gradient of [`Engine::relu_forward`] with ReLU'(0) = `kink.alpha`; `x` is the input of the forward pass.
    pub fn relu_backward(&self, x: View, gy: View, kink: ReluKink, gx: ViewMut) -> Result<()> {
        kink.validate()?;
        expect_view("gy", x.dtype(), x.shape(), &gy)?;
        expect_out("gx", x.dtype(), x.shape(), &gx)?;
        let op = Op::ReluBackward { len: x.shape().iter().product() };
        let settings = with_kink(Kink::Relu(kink));
        self.execute(op, x.dtype(), &[x.bytes(), gy.bytes()], &mut [gx.into_bytes()], &settings)
    }

    /// Softmax cross-entropy, mean over the batch, and its gradient.
    ///
    /// Shapes: logits `[N, C]`, labels `[N]` in 0..C, glogits `[N, C]`. Returns the loss, computed in the
    /// accumulate type and rounded once to the storage type.
    pub fn cross_entropy(&self, logits: View, labels: &[i64], glogits: ViewMut) -> Result<f64> {
        let [batch, classes] = dims("logits", "[N, C]", logits.shape())?;
        if batch == 0 || classes == 0 {
            return Err(Error::shape("logits", "[N, C] with N and C at least 1", logits.shape()));
        }
        let dtype = logits.dtype();
        expect_out("glogits", dtype, &[batch, classes], &glogits)?;
        if labels.len() != batch {
            return Err(Error::shape("labels", format!("[{batch}]"), &[labels.len()]));
        }
        let labels = class_indices(labels, classes)?;
        let mut loss = [0u64];
        let mut row_loss = vec![0u64; batch];
        let row_bytes = batch * dtype.size().max(4);
        self.execute(
            Op::CrossEntropy { batch, classes },
            dtype,
            &[logits.bytes(), bytemuck::cast_slice(&labels)],
            &mut [
                &mut bytemuck::bytes_of_mut(&mut loss)[..dtype.size()],
                glogits.into_bytes(),
                &mut bytemuck::cast_slice_mut(&mut row_loss)[..row_bytes],
            ],
            &Settings::default(),
        )?;
        Ok(scalar_f64(dtype, bytemuck::bytes_of(&loss)))
    }

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
        let op = Op::Sgd { len: grad.shape().iter().product(), momentum: momentum_buffer.is_some() };
        if momentum_buffer.is_some() != (options.momentum != 0.0) {
            let got = if momentum_buffer.is_some() { "a buffer" } else { "none" };
            return Err(Error::invalid("momentum_buffer", "a buffer exactly when momentum is not 0", got));
        }
        let mut writes = vec![param.into_bytes()];
        if let Some(buffer) = momentum_buffer {
            expect_out("momentum_buffer", dtype, grad.shape(), &buffer)?;
            writes.push(buffer.into_bytes());
        }
        let settings = Settings { sgd: options.settings(first), ..Default::default() };
        self.execute(op, dtype, &[grad.bytes()], &mut writes, &settings)
    }
}

fn conv2d_geometry(
    x: &[usize],
    weight: &[usize],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Conv2dGeometry> {
    let x = dims("x", "[N, C, H, W]", x)?;
    let [out_channels, in_channels, kh, kw] = dims("weight", "[O, C, KH, KW]", weight)?;
    if in_channels != x[1] {
        return Err(Error::shape("weight", format!("[O, {}, KH, KW] for x {x:?}", x[1]), weight));
    }
    Conv2dGeometry::new(x, out_channels, Window2d { kernel: [kh, kw], stride, padding })
}

/// The first element of `bytes`, widened without loss.
pub(crate) fn scalar_f64(dtype: DType, bytes: &[u8]) -> f64 {
    use crate::dtype::{Element, with_element};
    with_element!(dtype, T => bytemuck::pod_read_unaligned::<T>(&bytes[..dtype.size()]).to_f64())
}

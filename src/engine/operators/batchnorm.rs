use super::{expect_out, expect_view, not_negative};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::shape::BatchNormGeometry;
use crate::tensor::{Tensor, View, ViewMut};

/// Scalars of a batch normalisation, as PyTorch's `torch.nn.BatchNorm2d`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormOptions {
    /// Added to the variance, at least 0.
    pub eps: f64,
    /// Share of the batch's statistics that the running ones take, 0 to 1.
    pub momentum: f64,
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        BatchNormOptions { eps: 1e-5, momentum: 0.1 }
    }
}

impl BatchNormOptions {
    /// Refuses a negative or non-finite eps and a momentum outside 0 to 1.
    pub fn validate(&self) -> Result<()> {
        not_negative(&[("eps", self.eps)])?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::invalid("momentum", "0 to 1", self.momentum));
        }
        Ok(())
    }
}

/// What a batch normalisation scales and shifts each channel by, `[C]` each: of the dtype of x, or f32 beside f16.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormParameters<'a> {
    /// Factor.
    pub weight: View<'a>,
    /// Summand.
    pub bias: View<'a>,
}

/// Running statistics, `[C]` each, of the dtype of the parameters; V is [`View`] or [`ViewMut`].
#[derive(Debug, Clone, Copy)]
pub struct RunningStatistics<V> {
    /// Moving average of the mean.
    pub mean: V,
    /// Moving average of the unbiased variance.
    pub var: V,
}

/// Statistics of one batch, `[C]` each, of the accumulate type (f64 for f64, else f32): what the backward pass needs.
/// V is [`View`] or [`ViewMut`].
#[derive(Debug, Clone, Copy)]
pub struct BatchStatistics<V> {
    /// Mean of the channel.
    pub mean: V,
    /// 1 / sqrt(biased variance + eps).
    pub inv_std: V,
}

/// Gradients of a batch normalisation.
#[derive(Debug)]
pub struct BatchNormGradients<'a> {
    /// Of the shape and dtype of x.
    pub gx: ViewMut<'a>,
    /// `[C]`, of the dtype of the weight.
    pub gweight: ViewMut<'a>,
    /// `[C]`, of the dtype of the weight.
    pub gbias: ViewMut<'a>,
}

/// Shapes: x `[N, C, H, W]` or `[N, C]`.
impl Engine {
    /// Batch normalisation in training mode: `y = (x - mean) / sqrt(var + eps) * weight + bias` with the mean and the
    /// biased variance of each channel over the batch, which are also stored. `running`, if it is there, takes
    /// `momentum` of the mean and of the unbiased variance.
    ///
    /// Errors: a batch with one value for each channel, which has no variance, is refused, as PyTorch does.
    pub fn batchnorm_forward(
        &self,
        x: View,
        parameters: BatchNormParameters,
        options: &BatchNormOptions,
        running: Option<RunningStatistics<ViewMut>>,
        y: ViewMut,
        statistics: BatchStatistics<ViewMut>,
    ) -> Result<()> {
        options.validate()?;
        let (geometry, channels) = geometry(&x)?;
        enough_values(&geometry, &x)?;
        let (dtype, of) = (x.dtype(), parameter_type(&x, &parameters.weight)?);
        expect_view("weight", of, &channels, &parameters.weight)?;
        expect_view("bias", of, &channels, &parameters.bias)?;
        expect_out("y", dtype, x.shape(), &y)?;
        expect_out("mean", dtype.accumulate(), &channels, &statistics.mean)?;
        expect_out("inv_std", dtype.accumulate(), &channels, &statistics.inv_std)?;
        let settings = Settings { track_running_stats: running.is_some(), ..Default::default() };
        // An engine may bind them though it does not write them.
        let mut unused = [Tensor::zeros(of, &channels)?, Tensor::zeros(of, &channels)?];
        let [mean, var] = &mut unused;
        let running = running.unwrap_or(RunningStatistics { mean: mean.view_mut(), var: var.view_mut() });
        expect_out("running_mean", of, &channels, &running.mean)?;
        expect_out("running_var", of, &channels, &running.var)?;
        let BatchNormOptions { eps, momentum } = *options;
        self.execute(
            Op::BatchNormForward { geometry, eps, momentum, parameters: of },
            dtype,
            &[x.memory(), parameters.weight.memory(), parameters.bias.memory()],
            &mut [
                y.into_memory(),
                statistics.mean.into_memory(),
                statistics.inv_std.into_memory(),
                running.mean.into_memory(),
                running.var.into_memory(),
            ],
            &settings,
        )
    }

    /// Batch normalisation in evaluation mode: as [`Engine::batchnorm_forward`] with the running statistics.
    pub fn batchnorm_inference(
        &self,
        x: View,
        parameters: BatchNormParameters,
        options: &BatchNormOptions,
        running: RunningStatistics<View>,
        y: ViewMut,
    ) -> Result<()> {
        options.validate()?;
        let (geometry, channels) = geometry(&x)?;
        let of = parameter_type(&x, &parameters.weight)?;
        expect_view("weight", of, &channels, &parameters.weight)?;
        expect_view("bias", of, &channels, &parameters.bias)?;
        expect_view("running_mean", of, &channels, &running.mean)?;
        expect_view("running_var", of, &channels, &running.var)?;
        expect_out("y", x.dtype(), x.shape(), &y)?;
        let op = Op::BatchNormInference { geometry, eps: options.eps, parameters: of };
        let reads =
            [x, parameters.weight, parameters.bias, running.mean, running.var].map(|view| view.memory());
        self.execute(op, x.dtype(), &reads, &mut [y.into_memory()], &Settings::default())
    }

    /// Gradients of [`Engine::batchnorm_forward`], from the statistics that it stored.
    ///
    /// Shapes: gy and gx as x.
    pub fn batchnorm_backward(
        &self,
        x: View,
        gy: View,
        weight: View,
        statistics: BatchStatistics<View>,
        gradients: BatchNormGradients,
    ) -> Result<()> {
        let (geometry, channels) = geometry(&x)?;
        enough_values(&geometry, &x)?;
        let of = parameter_type(&x, &weight)?;
        expect_view("weight", of, &channels, &weight)?;
        expect_view("mean", x.dtype().accumulate(), &channels, &statistics.mean)?;
        expect_view("inv_std", x.dtype().accumulate(), &channels, &statistics.inv_std)?;
        let op = Op::BatchNormBackward { geometry, parameters: of };
        self.differentiate(op, [x, gy, weight, statistics.mean, statistics.inv_std], gradients)
    }

    /// Gradients of [`Engine::batchnorm_inference`].
    ///
    /// Shapes: gy and gx as x.
    pub fn batchnorm_inference_backward(
        &self,
        x: View,
        gy: View,
        weight: View,
        options: &BatchNormOptions,
        running: RunningStatistics<View>,
        gradients: BatchNormGradients,
    ) -> Result<()> {
        options.validate()?;
        let (geometry, channels) = geometry(&x)?;
        let of = parameter_type(&x, &weight)?;
        expect_view("weight", of, &channels, &weight)?;
        expect_view("running_mean", of, &channels, &running.mean)?;
        expect_view("running_var", of, &channels, &running.var)?;
        let op = Op::BatchNormInferenceBackward { geometry, eps: options.eps, parameters: of };
        self.differentiate(op, [x, gy, weight, running.mean, running.var], gradients)
    }

    /// Runs a backward pass on x, gy, weight and statistics, of which gy is still to be checked.
    fn differentiate(&self, op: Op, reads: [View; 5], gradients: BatchNormGradients) -> Result<()> {
        let [x, gy, weight, ..] = reads;
        expect_view("gy", x.dtype(), x.shape(), &gy)?;
        expect_out("gx", x.dtype(), x.shape(), &gradients.gx)?;
        expect_out("gweight", weight.dtype(), weight.shape(), &gradients.gweight)?;
        expect_out("gbias", weight.dtype(), weight.shape(), &gradients.gbias)?;
        let BatchNormGradients { gx, gweight, gbias } = gradients;
        self.execute(
            op,
            x.dtype(),
            &reads.map(|view| view.memory()),
            &mut [gx.into_memory(), gweight.into_memory(), gbias.into_memory()],
            &Settings::default(),
        )
    }
}

/// The geometry of x, and the shape `[C]`.
fn geometry(x: &View) -> Result<(BatchNormGeometry, [usize; 1])> {
    let geometry = BatchNormGeometry::new(x.shape())?;
    Ok((geometry, [geometry.channels]))
}

fn enough_values(geometry: &BatchNormGeometry, x: &View) -> Result<()> {
    if geometry.per_channel() < 2 {
        return Err(Error::shape("x", "more than one value for each channel when training", x.shape()));
    }
    Ok(())
}

/// The dtype of the parameters: that of x, or f32 beside f16.
fn parameter_type(x: &View, weight: &View) -> Result<DType> {
    match (x.dtype(), weight.dtype()) {
        (a, b) if a == b => Ok(b),
        (DType::F16, DType::F32) => Ok(DType::F32),
        (dtype, other) => Err(Error::dtype("weight", format!("{dtype}, or f32 beside f16"), other)),
    }
}

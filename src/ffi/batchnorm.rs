use super::engine::{self, tb_engine};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{Failure, guard};
use crate::engine::{
    BatchNormGradients, BatchNormOptions, BatchNormParameters, BatchStatistics, RunningStatistics,
};

/// Scalars of a batch normalisation, as PyTorch's `torch.nn.BatchNorm2d`; `tb_batchnorm_options_init` sets the
/// defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_batchnorm_options {
    /// `sizeof(tb_batchnorm_options)`.
    pub struct_size: usize,
    /// Added to the variance, at least 0; default 1e-5.
    pub eps: f64,
    /// Share of the batch's statistics that the running ones take, 0 to 1; default 0.1.
    pub momentum: f64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_batchnorm_options {
    const FIRST_SIZE: usize = 24;
    fn defaults() -> Self {
        let d = BatchNormOptions::default();
        tb_batchnorm_options { struct_size: size_of::<Self>(), eps: d.eps, momentum: d.momentum }
    }
}

/// # Safety
/// As [`options::read`].
pub(super) unsafe fn read(options: *const tb_batchnorm_options) -> Result<BatchNormOptions, Failure> {
    // SAFETY: the caller's promise.
    let o = unsafe { options::read(options, "options") }?;
    Ok(BatchNormOptions { eps: o.eps, momentum: o.momentum })
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_batchnorm_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_batchnorm_options_init(
    options: *mut tb_batchnorm_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_batchnorm_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Batch normalisation in training mode: y = (x - mean) / sqrt(var + eps) weight + bias, with the mean and the biased
/// variance of each channel over the batch. Weight, bias and running statistics have one dtype: that of x, or f32
/// beside f16. A batch with one value for each channel is refused, as in PyTorch.
///
/// @param x             `[N, C, H, W]` or `[N, C]`
/// @param weight        `[C]`
/// @param bias          `[C]`
/// @param options       NULL for the defaults
/// @param y             out: the shape and dtype of x
/// @param mean          out: `[C]`, f64 for f64, else f32
/// @param inv_std       out: `[C]`, 1 / sqrt(var + eps), f64 for f64, else f32
/// @param running_mean  in and out: `[C]`, takes `momentum` of the mean; NULL where it is not wanted
/// @param running_var   in and out: `[C]`, takes `momentum` of the unbiased variance; NULL exactly with `running_mean`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_batchnorm_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    weight: *const tb_view,
    bias: *const tb_view,
    options: *const tb_batchnorm_options,
    y: *const tb_view_mut,
    mean: *const tb_view_mut,
    inv_std: *const tb_view_mut,
    running_mean: *const tb_view_mut,
    running_var: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_batchnorm_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let weight = borrows.input(weight, "weight")?;
        let bias = borrows.input(bias, "bias")?;
        let mut y = borrows.output(y, "y")?;
        let mut mean = borrows.output(mean, "mean")?;
        let mut inv_std = borrows.output(inv_std, "inv_std")?;
        let tracked = !(running_mean.is_null() && running_var.is_null());
        let mut running = match tracked {
            true => Some((
                borrows.output(running_mean, "running_mean")?,
                borrows.output(running_var, "running_var")?,
            )),
            false => None,
        };
        let running = match &mut running {
            Some((mean, var)) => Some(RunningStatistics { mean: mean.view()?, var: var.view()? }),
            None => None,
        };
        let parameters = BatchNormParameters { weight: weight.view()?, bias: bias.view()? };
        let statistics = BatchStatistics { mean: mean.view()?, inv_std: inv_std.view()? };
        Ok(engine.batchnorm_forward(
            x.view()?,
            parameters,
            &read(options)?,
            running,
            y.view()?,
            statistics,
        )?)
    })
}

/// Batch normalisation in evaluation mode: as `tb_batchnorm_forward` with the running statistics in place of the
/// batch's.
///
/// @param x             `[N, C, H, W]` or `[N, C]`
/// @param weight        `[C]`
/// @param bias          `[C]`
/// @param running_mean  `[C]`
/// @param running_var   `[C]`
/// @param options       NULL for the defaults
/// @param y             out: the shape and dtype of x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_batchnorm_inference(
    engine: *const tb_engine,
    x: *const tb_view,
    weight: *const tb_view,
    bias: *const tb_view,
    running_mean: *const tb_view,
    running_var: *const tb_view,
    options: *const tb_batchnorm_options,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_batchnorm_inference", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let weight = borrows.input(weight, "weight")?;
        let bias = borrows.input(bias, "bias")?;
        let mean = borrows.input(running_mean, "running_mean")?;
        let var = borrows.input(running_var, "running_var")?;
        let mut y = borrows.output(y, "y")?;
        let parameters = BatchNormParameters { weight: weight.view()?, bias: bias.view()? };
        let running = RunningStatistics { mean: mean.view()?, var: var.view()? };
        Ok(engine.batchnorm_inference(x.view()?, parameters, &read(options)?, running, y.view()?)?)
    })
}

/// Gradients of `tb_batchnorm_forward`, through the batch's statistics too.
///
/// @param x        `[N, C, H, W]` or `[N, C]`, the input of the forward pass
/// @param gy       the shape and dtype of x
/// @param weight   `[C]`
/// @param mean     `[C]`, as the forward pass wrote it
/// @param inv_std  `[C]`, as the forward pass wrote it
/// @param gx       out: the shape and dtype of x
/// @param gweight  out: `[C]`, the dtype of weight
/// @param gbias    out: `[C]`, the dtype of weight
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_batchnorm_backward(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    weight: *const tb_view,
    mean: *const tb_view,
    inv_std: *const tb_view,
    gx: *const tb_view_mut,
    gweight: *const tb_view_mut,
    gbias: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_batchnorm_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let weight = borrows.input(weight, "weight")?;
        let mean = borrows.input(mean, "mean")?;
        let inv_std = borrows.input(inv_std, "inv_std")?;
        let mut gx = borrows.output(gx, "gx")?;
        let mut gweight = borrows.output(gweight, "gweight")?;
        let mut gbias = borrows.output(gbias, "gbias")?;
        let statistics = BatchStatistics { mean: mean.view()?, inv_std: inv_std.view()? };
        let gradients = BatchNormGradients { gx: gx.view()?, gweight: gweight.view()?, gbias: gbias.view()? };
        Ok(engine.batchnorm_backward(x.view()?, gy.view()?, weight.view()?, statistics, gradients)?)
    })
}

/// Gradients of `tb_batchnorm_inference`.
///
/// @param x             `[N, C, H, W]` or `[N, C]`, the input of the forward pass
/// @param gy            the shape and dtype of x
/// @param weight        `[C]`
/// @param running_mean  `[C]`
/// @param running_var   `[C]`
/// @param options       as in the forward pass
/// @param gx            out: the shape and dtype of x
/// @param gweight       out: `[C]`, the dtype of weight
/// @param gbias         out: `[C]`, the dtype of weight
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_batchnorm_inference_backward(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    weight: *const tb_view,
    running_mean: *const tb_view,
    running_var: *const tb_view,
    options: *const tb_batchnorm_options,
    gx: *const tb_view_mut,
    gweight: *const tb_view_mut,
    gbias: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_batchnorm_inference_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let weight = borrows.input(weight, "weight")?;
        let mean = borrows.input(running_mean, "running_mean")?;
        let var = borrows.input(running_var, "running_var")?;
        let mut gx = borrows.output(gx, "gx")?;
        let mut gweight = borrows.output(gweight, "gweight")?;
        let mut gbias = borrows.output(gbias, "gbias")?;
        let running = RunningStatistics { mean: mean.view()?, var: var.view()? };
        let gradients = BatchNormGradients { gx: gx.view()?, gweight: gweight.view()?, gbias: gbias.view()? };
        let options = read(options)?;
        Ok(engine.batchnorm_inference_backward(
            x.view()?,
            gy.view()?,
            weight.view()?,
            &options,
            running,
            gradients,
        )?)
    })
}

use super::engine::{self, tb_engine};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{Failure, guard};
use crate::error::Error;
use crate::shape::Conv2dOptions;

/// The window of a convolution; `tb_conv2d_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_conv2d_options {
    /// `sizeof(tb_conv2d_options)`.
    pub struct_size: usize,
    /// Height and width; default 1, 1.
    pub stride: [i64; 2],
    /// Zeros on each side, height and width; default 0, 0.
    pub padding: [i64; 2],
    /// Distance between the elements of the kernel, height and width; default 1, 1.
    pub dilation: [i64; 2],
    /// Groups of channels that do not see each other; default 1.
    pub groups: i64,
    /// Height and width; `tb_graph_conv2d` needs them. 0, the default, means the weight's.
    pub kernel: [i64; 2],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_conv2d_options {
    const FIRST_SIZE: usize = 80;
    fn defaults() -> Self {
        tb_conv2d_options {
            struct_size: size_of::<Self>(),
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            kernel: [0; 2],
        }
    }
}

/// Two extents of the caller, none negative.
pub(super) fn extents(values: [i64; 2], argument: &str) -> Result<[usize; 2], Failure> {
    let mut result = [0; 2];
    for (to, from) in result.iter_mut().zip(values) {
        *to = usize::try_from(from).map_err(|_| Error::invalid(argument, "at least 0", from))?;
    }
    Ok(result)
}

/// The caller's options and kernel.
///
/// # Safety
/// As [`options::read`].
pub(super) unsafe fn read(options: *const tb_conv2d_options) -> Result<(Conv2dOptions, [usize; 2]), Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { options::read(options, "options") }?;
    let kernel = extents(options.kernel, "options.kernel")?;
    let options = Conv2dOptions {
        stride: extents(options.stride, "options.stride")?,
        padding: extents(options.padding, "options.padding")?,
        dilation: extents(options.dilation, "options.dilation")?,
        groups: extents([options.groups; 2], "options.groups")?[0],
    };
    Ok((options, kernel))
}

/// The options for an operator with this weight, whose kernel they may leave out.
///
/// # Safety
/// As [`options::read`].
unsafe fn read_for(options: *const tb_conv2d_options, weight: &[usize]) -> Result<Conv2dOptions, Failure> {
    // SAFETY: the caller's promise.
    let (options, kernel) = unsafe { read(options) }?;
    let given = kernel.iter().zip(weight.iter().skip(2)).all(|(&k, &w)| k == 0 || k == w);
    match given {
        true => Ok(options),
        false => {
            let expected = format!("0, 0 or the kernel of the weight {weight:?}");
            Err(Error::invalid("options.kernel", expected, format!("{kernel:?}")).into())
        }
    }
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_conv2d_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_conv2d_options_init(
    options: *mut tb_conv2d_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_conv2d_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Convolution (cross-correlation): y = x * weight + bias. All tensors have one dtype.
///
/// @param x        `[N, C, H, W]`
/// @param weight   `[O, C / groups, KH, KW]`
/// @param bias     `[O]`, or NULL
/// @param options  NULL for the defaults
/// @param y        out: `[N, O, OH, OW]`, OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1
/// @return `TB_STATUS_SHAPE_MISMATCH`, `TB_STATUS_DTYPE_MISMATCH`, `TB_STATUS_INVALID_ARGUMENT` ...
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_conv2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    weight: *const tb_view,
    bias: *const tb_view,
    options: *const tb_conv2d_options,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_conv2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let weight = borrows.input(weight, "weight")?;
        let bias = borrows.optional_input(bias, "bias")?;
        let mut y = borrows.output(y, "y")?;
        let options = read_for(options, weight.view()?.shape())?;
        let bias = bias.as_ref().map(|b| b.view()).transpose()?;
        Ok(engine.conv2d_forward(x.view()?, weight.view()?, bias, options, y.view()?)?)
    })
}

/// Gradient with respect to the input of `tb_conv2d_forward`.
///
/// @param gy       `[N, O, OH, OW]`
/// @param weight   `[O, C / groups, KH, KW]`
/// @param options  as in the forward pass
/// @param gx       out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_conv2d_backward_input(
    engine: *const tb_engine,
    gy: *const tb_view,
    weight: *const tb_view,
    options: *const tb_conv2d_options,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_conv2d_backward_input", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let weight = borrows.input(weight, "weight")?;
        let mut gx = borrows.output(gx, "gx")?;
        let options = read_for(options, weight.view()?.shape())?;
        Ok(engine.conv2d_backward_input(gy.view()?, weight.view()?, options, gx.view()?)?)
    })
}

/// Gradients with respect to the weight and bias of `tb_conv2d_forward`.
///
/// @param x        `[N, C, H, W]`
/// @param gy       `[N, O, OH, OW]`
/// @param options  as in the forward pass
/// @param gweight  out: `[O, C / groups, KH, KW]`
/// @param gbias    out: `[O]`, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_conv2d_backward_weight(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    options: *const tb_conv2d_options,
    gweight: *const tb_view_mut,
    gbias: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_conv2d_backward_weight", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let mut gweight = borrows.output(gweight, "gweight")?;
        let mut gbias = borrows.optional_output(gbias, "gbias")?;
        let options = read_for(options, gweight.view()?.shape())?;
        let gbias = gbias.as_mut().map(|b| b.view()).transpose()?;
        Ok(engine.conv2d_backward_weight(x.view()?, gy.view()?, options, gweight.view()?, gbias)?)
    })
}

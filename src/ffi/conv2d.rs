use super::engine::{self, tb_engine};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{Failure, guard};
use crate::error::Error;

/// Stride and padding of a convolution; `tb_conv2d_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_conv2d_options {
    /// `sizeof(tb_conv2d_options)`.
    pub struct_size: usize,
    /// Height and width; default 1, 1.
    pub stride: [i64; 2],
    /// Zeros on each side, height and width; default 0, 0.
    pub padding: [i64; 2],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_conv2d_options {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_conv2d_options { struct_size: size_of::<Self>(), stride: [1; 2], padding: [0; 2] }
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

/// Stride and padding.
///
/// # Safety
/// As [`options::read`].
unsafe fn read(options: *const tb_conv2d_options) -> Result<([usize; 2], [usize; 2]), Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { options::read(options, "options") }?;
    Ok((extents(options.stride, "options.stride")?, extents(options.padding, "options.padding")?))
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
/// @param weight   `[O, C, KH, KW]`
/// @param bias     `[O]`, or NULL
/// @param options  NULL for the defaults
/// @param y        out: `[N, O, OH, OW]`, OH = floor((H + 2 padding - KH) / stride) + 1
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
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let weight = borrows.input(weight, "weight")?;
        let bias = borrows.optional_input(bias, "bias")?;
        let mut y = borrows.output(y, "y")?;
        let (stride, padding) = read(options)?;
        let bias = bias.as_ref().map(|b| b.view()).transpose()?;
        Ok(engine.conv2d_forward(x.view()?, weight.view()?, bias, stride, padding, y.view()?)?)
    })
}

/// Gradient with respect to the input of `tb_conv2d_forward`.
///
/// @param gy       `[N, O, OH, OW]`
/// @param weight   `[O, C, KH, KW]`
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
        let mut borrows = Borrows::default();
        let gy = borrows.input(gy, "gy")?;
        let weight = borrows.input(weight, "weight")?;
        let mut gx = borrows.output(gx, "gx")?;
        let (stride, padding) = read(options)?;
        Ok(engine.conv2d_backward_input(gy.view()?, weight.view()?, stride, padding, gx.view()?)?)
    })
}

/// Gradients with respect to the weight and bias of `tb_conv2d_forward`.
///
/// @param x        `[N, C, H, W]`
/// @param gy       `[N, O, OH, OW]`
/// @param options  as in the forward pass
/// @param gweight  out: `[O, C, KH, KW]`
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
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let mut gweight = borrows.output(gweight, "gweight")?;
        let mut gbias = borrows.optional_output(gbias, "gbias")?;
        let (stride, padding) = read(options)?;
        let gbias = gbias.as_mut().map(|b| b.view()).transpose()?;
        Ok(engine.conv2d_backward_weight(x.view()?, gy.view()?, stride, padding, gweight.view()?, gbias)?)
    })
}

use super::conv2d::extents;
use super::engine::{self, tb_engine};
use super::kink::{self, tb_kink};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{Failure, guard, non_null, non_null_mut};
use crate::error::Error;
use crate::shape::{Pool2dGeometry, Window2d};

/// The window of a max pooling; `tb_maxpool2d_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_maxpool2d_options {
    /// `sizeof(tb_maxpool2d_options)`.
    pub struct_size: usize,
    /// Height and width; default 2, 2.
    pub kernel: [i64; 2],
    /// Height and width; 0, the default, means the kernel's.
    pub stride: [i64; 2],
    /// On each side, height and width, at most half the kernel; default 0, 0. Padding never belongs to a window.
    pub padding: [i64; 2],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_maxpool2d_options {
    const FIRST_SIZE: usize = 56;
    fn defaults() -> Self {
        tb_maxpool2d_options {
            struct_size: size_of::<Self>(),
            kernel: [2; 2],
            stride: [0; 2],
            padding: [0; 2],
        }
    }
}

/// The caller's window.
///
/// # Safety
/// As [`options::read`].
unsafe fn read(options: *const tb_maxpool2d_options) -> Result<Window2d, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { options::read(options, "options") }?;
    let kernel = extents(options.kernel, "options.kernel")?;
    let mut stride = extents(options.stride, "options.stride")?;
    for i in 0..2 {
        if stride[i] == 0 {
            stride[i] = kernel[i];
        }
    }
    Ok(Window2d { kernel, stride, padding: extents(options.padding, "options.padding")? })
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_maxpool2d_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_options_init(
    options: *mut tb_maxpool2d_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Shape of the output and size of the tie sets for an input shape.
///
/// @param x_shape    `[N, C, H, W]`, 4 numbers
/// @param options    NULL for the defaults
/// @param y_shape    out: `[N, C, OH, OW]`, 4 numbers
/// @param ties_size  out: bytes of the tie sets
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_output_shape(
    x_shape: *const i64,
    options: *const tb_maxpool2d_options,
    y_shape: *mut i64,
    ties_size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_output_shape", || unsafe {
        // A copy: y_shape may be the same memory.
        let x = *non_null(x_shape.cast::<[i64; 4]>(), "x_shape")?;
        let y_shape = non_null_mut(y_shape.cast::<[i64; 4]>(), "y_shape")?;
        let ties_size = non_null_mut(ties_size, "ties_size")?;
        let mut shape = [0; 4];
        for (to, from) in shape.iter_mut().zip(x) {
            *to = usize::try_from(from).map_err(|_| Error::invalid("x_shape", "at least 0", from))?;
        }
        let g = Pool2dGeometry::new(shape, read(options)?)?;
        *y_shape = g.y_shape().map(|d| d as i64);
        *ties_size = g.ties_shape().iter().product();
        Ok(())
    })
}

/// Max pooling, and the tie set of each window, which the backward pass needs. A NaN in a window wins.
///
/// A tie set is 1 byte for windows of up to 7 elements, 2 for up to 15, else 4 (len / 32 + 1) bytes: bit i
/// (little endian, row-major in the window) is set where element i attains the maximum. The highest bit of the
/// last byte is set where the window holds a NaN; then the others mark the NaNs.
///
/// @param x          `[N, C, H, W]`
/// @param options    NULL for the defaults: 2x2, stride 2
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`: only `TB_COMPOSITION_COUPLED` changes y; NULL: native
/// @param y          out: `[N, C, OH, OW]`
/// @param ties       out: `ties_size` bytes
/// @param ties_size  as `tb_maxpool2d_output_shape` gives it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    options: *const tb_maxpool2d_options,
    kink: *const tb_kink,
    y: *const tb_view_mut,
    ties: *mut u8,
    ties_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        let ties = borrows.bytes_mut(ties, ties_size, "ties")?;
        let (window, kink) = (read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_forward(x.view()?, window, kink, y.view()?, ties)?)
    })
}

/// Gradient with respect to the input of `tb_maxpool2d_forward` under any choice, from the stored tie sets: two
/// choices can be compared on one forward pass.
///
/// @param gy         `[N, C, OH, OW]`
/// @param ties       as the forward pass wrote them
/// @param ties_size  as `tb_maxpool2d_output_shape` gives it
/// @param options    as in the forward pass
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`; NULL: native
/// @param gx         out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    ties: *const u8,
    ties_size: usize,
    options: *const tb_maxpool2d_options,
    kink: *const tb_kink,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::default();
        let gy = borrows.input(gy, "gy")?;
        let ties = borrows.bytes(ties, ties_size, "ties")?;
        let mut gx = borrows.output(gx, "gx")?;
        let (window, kink) = (read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_backward(gy.view()?, ties, window, kink, gx.view()?)?)
    })
}

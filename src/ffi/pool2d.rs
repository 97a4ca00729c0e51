use super::conv2d::extents;
use super::options::{self, Growable};
use super::status::tb_status;
use super::{Failure, guard, non_null, non_null_mut};
use crate::error::Error;
use crate::shape::{Pool2dGeometry, Window2d};

/// The window of a pooling; `tb_pool2d_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_pool2d_options {
    /// `sizeof(tb_pool2d_options)`.
    pub struct_size: usize,
    /// Height and width; default 2, 2.
    pub kernel: [i64; 2],
    /// Height and width; 0, the default, means the kernel's.
    pub stride: [i64; 2],
    /// On each side, height and width, at most half the kernel; default 0, 0. Padding never belongs to a window of a
    /// max or norm pooling; an average counts it as zeros.
    pub padding: [i64; 2],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_pool2d_options {
    const FIRST_SIZE: usize = 56;
    fn defaults() -> Self {
        tb_pool2d_options { struct_size: size_of::<Self>(), kernel: [2; 2], stride: [0; 2], padding: [0; 2] }
    }
}

/// The caller's window.
///
/// # Safety
/// As [`options::read`].
pub(super) unsafe fn read(options: *const tb_pool2d_options) -> Result<Window2d, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { options::read(options, "options") }?;
    let kernel = extents(options.kernel, "options.kernel")?;
    let mut stride = extents(options.stride, "options.stride")?;
    for i in 0..2 {
        if stride[i] == 0 {
            stride[i] = kernel[i];
        }
    }
    Ok(Window2d { kernel, stride, padding: extents(options.padding, "options.padding")?, dilation: [1; 2] })
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_pool2d_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_pool2d_options_init(
    options: *mut tb_pool2d_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_pool2d_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Shape of a pooling's output for an input shape, and for `tb_maxpool2d_forward` the size of the tie sets.
///
/// @param x_shape    `[N, C, H, W]`, 4 numbers
/// @param options    NULL for the defaults
/// @param y_shape    out: `[N, C, OH, OW]`, 4 numbers, OH = floor((H + 2 padding - kernel) / stride) + 1
/// @param ties_size  out: bytes of the tie sets; NULL where they are not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_pool2d_output_shape(
    x_shape: *const i64,
    options: *const tb_pool2d_options,
    y_shape: *mut i64,
    ties_size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_pool2d_output_shape", || unsafe {
        // A copy: y_shape may be the same memory.
        let x = *non_null(x_shape.cast::<[i64; 4]>(), "x_shape")?;
        let y_shape = non_null_mut(y_shape.cast::<[i64; 4]>(), "y_shape")?;
        let mut shape = [0; 4];
        for (to, from) in shape.iter_mut().zip(x) {
            *to = usize::try_from(from).map_err(|_| Error::invalid("x_shape", "at least 0", from))?;
        }
        let g = Pool2dGeometry::new(shape, read(options)?)?;
        if !ties_size.is_null() {
            *non_null_mut(ties_size, "ties_size")? = g.ties_shape().iter().product();
        }
        *y_shape = g.y_shape().map(|d| d as i64);
        Ok(())
    })
}

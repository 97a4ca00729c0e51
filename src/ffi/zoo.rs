use std::ffi::c_char;

use super::options::{self, Growable};
use super::status::tb_status;
use super::{Failure, guard, optional_string};
use crate::error::Error;
use crate::net::zoo;

/// Which network of the zoo; `tb_zoo_options_init` sets the defaults. A network ignores what it does not have.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_zoo_options {
    /// `sizeof(tb_zoo_options)`.
    pub struct_size: usize,
    /// Number of classes; default 10.
    pub classes: u32,
    /// Not 0: with batch normalisation, as behind a name the suffix "_bn"; default 0.
    pub batch_norm: i32,
    /// Channels of the first convolution, of which the others are multiples; default 64. LeNet-5's are fixed.
    pub base_width: u32,
    /// LeNet-5: widths of the two hidden fully connected layers; default 120, 84.
    pub hidden: [u32; 2],
    /// `[C, H, W]` of a sample; 0, 0, 0, the default, means the network's own.
    pub input_shape: [i64; 3],
    /// Which of the networks of that name: "cifar" (images `[3, 32, 32]`), "imagenet" (`[3, 224, 224]`; both as the
    /// published code has them) or "torchvision" (`[3, 224, 224]`); NULL, the default, means "cifar". LeNet-5
    /// (`[1, 28, 28]`) is one.
    pub variant: *const c_char,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_zoo_options {
    const FIRST_SIZE: usize = 64;
    fn defaults() -> Self {
        let d = zoo::Options::default();
        tb_zoo_options {
            struct_size: size_of::<Self>(),
            classes: d.classes as u32,
            batch_norm: d.batch_norm as i32,
            base_width: d.base_width as u32,
            hidden: d.hidden.map(|w| w as u32),
            input_shape: [0; 3],
            variant: std::ptr::null(),
        }
    }
}

/// `[C, H, W]` of the caller.
pub(super) fn sample_shape(shape: [i64; 3], argument: &str) -> Result<[usize; 3], Failure> {
    let mut result = [0; 3];
    for (to, from) in result.iter_mut().zip(shape) {
        let positive = usize::try_from(from).ok().filter(|&d| d > 0);
        *to = positive.ok_or_else(|| Error::invalid(argument, "at least 1", from))?;
    }
    Ok(result)
}

/// The caller's options.
///
/// # Safety
/// As [`options::read`], for the text too.
pub(super) unsafe fn read(options: *const tb_zoo_options, argument: &str) -> Result<zoo::Options, Failure> {
    // SAFETY: the caller's promise.
    let o = unsafe { options::read(options, argument) }?;
    // SAFETY: the caller's promise.
    let variant = unsafe { optional_string(o.variant, &format!("{argument}.variant")) }?;
    Ok(zoo::Options {
        classes: o.classes as usize,
        batch_norm: o.batch_norm != 0,
        base_width: o.base_width as usize,
        hidden: o.hidden.map(|w| w as usize),
        input: match o.input_shape {
            [0, 0, 0] => None,
            shape => Some(sample_shape(shape, &format!("{argument}.input_shape"))?),
        },
        variant: variant.map_or(Ok(zoo::Variant::default()), str::parse)?,
    })
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_zoo_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_zoo_options_init(options: *mut tb_zoo_options, struct_size: usize) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_zoo_options_init", || unsafe { options::init(options, struct_size, "options") })
}

//! Structs that may grow: `struct_size` first, written by the caller's compiler.

use super::Failure;
use super::view::check_pointer;
use crate::error::Error;

/// An options or properties struct of the C ABI.
///
/// # Safety
/// `#[repr(C)]`, any bytes are valid, the first field is `struct_size: usize`.
pub(super) unsafe trait Growable: Copy {
    /// Size in the first release: no caller has a smaller one.
    const FIRST_SIZE: usize;
    fn defaults() -> Self;
}

/// Fills the caller's struct of `struct_size` bytes with defaults.
///
/// # Safety
/// A non-NULL `options` must be valid for writes of `struct_size` bytes.
pub(super) unsafe fn init<T: Growable>(
    options: *mut T,
    struct_size: usize,
    argument: &str,
) -> Result<(), Failure> {
    check_pointer(options, argument)?;
    check_size::<T>(struct_size, "struct_size")?;
    let mut defaults = T::defaults();
    // SAFETY: struct_size is the first field of every Growable.
    unsafe { *(&raw mut defaults).cast::<usize>() = struct_size };
    let known = struct_size.min(size_of::<T>());
    // SAFETY: the caller's promise; `known` bytes are within both structs.
    unsafe {
        std::ptr::write_bytes(options.cast::<u8>(), 0, struct_size);
        std::ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), options.cast::<u8>(), known);
    }
    Ok(())
}

/// The caller's options; NULL means the defaults, fields that an older caller does not know have theirs.
///
/// # Safety
/// A non-NULL `options` must be valid for reads of the `struct_size` bytes that it states.
pub(super) unsafe fn read<T: Growable>(options: *const T, argument: &str) -> Result<T, Failure> {
    let mut result = T::defaults();
    if options.is_null() {
        return Ok(result);
    }
    check_pointer(options, argument)?;
    // SAFETY: struct_size is the first field.
    let size = unsafe { options.cast::<usize>().read() };
    check_size::<T>(size, &format!("{argument}.struct_size"))?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise; a newer caller's bytes beyond `known` are only looked at.
    unsafe {
        std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut result).cast::<u8>(), known);
        let beyond = std::slice::from_raw_parts(options.cast::<u8>().add(known), size - known);
        if beyond.iter().any(|&b| b != 0) {
            let expected = format!("zeros beyond the {known} bytes that this version knows");
            return Err(Error::invalid(argument, expected, "fields of a newer version").into());
        }
    }
    Ok(result)
}

/// Writes properties into the caller's struct, as much of them as it has room for.
///
/// # Safety
/// A non-NULL `properties` must be valid for reads and writes of the `struct_size` bytes that it states.
pub(super) unsafe fn write<T: Growable>(
    properties: *mut T,
    mut values: T,
    argument: &str,
) -> Result<(), Failure> {
    check_pointer(properties, argument)?;
    // SAFETY: struct_size is the first field.
    let size = unsafe { properties.cast::<usize>().read() };
    check_size::<T>(size, &format!("{argument}.struct_size"))?;
    // SAFETY: as above, and the caller's promise.
    unsafe {
        *(&raw mut values).cast::<usize>() = size;
        let known = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping((&raw const values).cast::<u8>(), properties.cast::<u8>(), known);
    }
    Ok(())
}

/// A size far above every struct is a forgotten initialisation rather than a newer caller.
const LARGEST: usize = 1 << 16;

fn check_size<T: Growable>(size: usize, argument: &str) -> Result<(), Failure> {
    if (T::FIRST_SIZE..=LARGEST).contains(&size) {
        return Ok(());
    }
    let expected = format!("sizeof the struct ({} or more); call its init function", T::FIRST_SIZE);
    Err(Error::invalid(argument, expected, size).into())
}

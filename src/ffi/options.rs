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
    // SAFETY: the caller's promise.
    unsafe { init_with(options, struct_size, T::defaults(), argument) }
}

/// As [`init`], with `defaults` in place of the type's.
///
/// # Safety
/// As [`init`].
pub(super) unsafe fn init_with<T: Growable>(
    options: *mut T,
    struct_size: usize,
    mut defaults: T,
    argument: &str,
) -> Result<(), Failure> {
    check_pointer(options, argument)?;
    check_size::<T>(struct_size, "struct_size")?;
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

/// Looks at a struct that [`write`] is to fill, before the work is done.
///
/// # Safety
/// A non-NULL `properties` must be valid for reads of `usize`.
pub(super) unsafe fn check<T: Growable>(properties: *const T, argument: &str) -> Result<usize, Failure> {
    check_pointer(properties, argument)?;
    // SAFETY: struct_size is the first field.
    let size = unsafe { properties.cast::<usize>().read() };
    check_size::<T>(size, &format!("{argument}.struct_size"))?;
    Ok(size)
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
    // SAFETY: the caller's promise.
    let size = unsafe { check(properties, argument) }?;
    // SAFETY: the caller's promise.
    unsafe {
        *(&raw mut values).cast::<usize>() = size;
        let known = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping((&raw const values).cast::<u8>(), properties.cast::<u8>(), known);
    }
    Ok(())
}

/// The caller's array of `count` structs, each as [`read`] takes it; NULL only where there are none. They lie as far
/// apart as the first one's `struct_size` says, which each of them repeats.
///
/// # Safety
/// A non-NULL `first` must be valid for reads of `count` structs of the `struct_size` that the first one states.
pub(super) unsafe fn read_array<T: Growable>(
    first: *const T,
    count: usize,
    argument: &str,
) -> Result<Vec<T>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    let distance = unsafe { array_distance(first, count, argument) }?;
    let mut result = Vec::new();
    for i in 0..count {
        let name = format!("{argument}[{i}]");
        // SAFETY: within the caller's array.
        let element = unsafe { first.byte_add(i * distance) };
        // SAFETY: the caller's promise; struct_size is the first field.
        let size = unsafe { element.cast::<usize>().read() };
        if size != distance {
            return Err(Error::invalid(format!("{name}.struct_size"), distance, size).into());
        }
        // SAFETY: the caller's promise.
        result.push(unsafe { read(element, &name) }?);
    }
    Ok(result)
}

/// Looks at an array that [`write_array`] is to fill with `count` structs, before the work is done.
///
/// # Safety
/// A non-NULL `first` must be valid for reads of the `struct_size` that it states.
pub(super) unsafe fn check_array<T: Growable>(
    first: *const T,
    count: usize,
    argument: &str,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    if count == 0 { Ok(()) } else { unsafe { array_distance(first, count, argument) }.map(|_| ()) }
}

/// Writes properties into the caller's array, as far apart as the first one's `struct_size` says; each gets that
/// `struct_size`.
///
/// # Safety
/// A non-NULL `first` must be valid for reads and writes of `values.len()` structs of the `struct_size` that the first
/// one states.
pub(super) unsafe fn write_array<T: Growable>(
    first: *mut T,
    values: &[T],
    argument: &str,
) -> Result<(), Failure> {
    if values.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let distance = unsafe { array_distance(first, values.len(), argument) }?;
    for (i, &value) in values.iter().enumerate() {
        // SAFETY: the caller's promise; each struct is told its size before `write` looks at it.
        unsafe {
            let element = first.byte_add(i * distance);
            element.cast::<usize>().write(distance);
            write(element, value, argument)?;
        }
    }
    Ok(())
}

/// Bytes from one struct of an array to the next.
///
/// # Safety
/// A non-NULL `first` must be valid for reads of `usize`.
unsafe fn array_distance<T: Growable>(
    first: *const T,
    count: usize,
    argument: &str,
) -> Result<usize, Failure> {
    check_pointer(first, argument)?;
    // SAFETY: the caller's promise; struct_size is the first field.
    let size = unsafe { first.cast::<usize>().read() };
    let name = format!("{argument}[0].struct_size");
    check_size::<T>(size, &name)?;
    if size % align_of::<T>() != 0 {
        let expected = format!("a multiple of {}, as sizeof gives it", align_of::<T>());
        return Err(Error::invalid(name, expected, size).into());
    }
    match count.checked_mul(size).filter(|&bytes| bytes <= isize::MAX as usize) {
        Some(_) => Ok(size),
        None => Err(Error::invalid(argument, "a size that fits the address space", count).into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct that has grown by `added` since its first release.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        struct_size: usize,
        first: u64,
        added: u64,
    }

    // SAFETY: repr(C), plain numbers, struct_size first.
    unsafe impl Growable for Grown {
        const FIRST_SIZE: usize = 16;
        fn defaults() -> Self {
            Grown { struct_size: size_of::<Self>(), first: 1, added: 2 }
        }
    }

    const FOREIGN: u64 = 0x5555;

    #[test]
    fn an_older_callers_struct_has_defaults_for_what_it_lacks() {
        // Behind its 16 bytes lies something else of the caller's.
        let mut older = Grown { struct_size: 0, first: 0, added: FOREIGN };
        // SAFETY: structs of the sizes that are stated.
        unsafe {
            init(&mut older, 16, "o").unwrap();
            assert_eq!(older, Grown { struct_size: 16, first: 1, added: FOREIGN });
            older.first = 7;
            assert_eq!(read(&older, "o").unwrap(), Grown { struct_size: 16, first: 7, added: 2 });
            write(&mut older, Grown { struct_size: 0, first: 8, added: 9 }, "o").unwrap();
            assert_eq!(older, Grown { struct_size: 16, first: 8, added: FOREIGN });
            older.struct_size = 15;
            assert!(read(&older, "o").is_err() && init(&mut older, 15, "o").is_err());
        }
    }

    #[test]
    fn an_older_callers_array_has_its_own_distance() {
        let mut older = [16u64, 3, 16, 4, FOREIGN];
        // SAFETY: two structs of 16 bytes.
        unsafe {
            let first = older.as_mut_ptr().cast::<Grown>();
            let two = read_array(first, 2, "o").unwrap();
            assert_eq!([two[0], two[1]].map(|g| (g.first, g.added)), [(3, 2), (4, 2)]);
            write_array(first, &[5, 6].map(|first| Grown { first, ..Grown::defaults() }), "o").unwrap();
        }
        assert_eq!(older, [16, 5, 16, 6, FOREIGN]);
    }
}

use std::borrow::Cow;
use std::ffi::c_void;
use std::ops::Range;
use std::{ptr, slice};

use super::{Failure, non_null};
use crate::dtype::DType;
use crate::error::{Error, Status};
use crate::shape::element_count;
use crate::tensor::{View, ViewMut};

/// Type of the elements of a tensor.
pub type tb_dtype = i32;

/// IEEE binary16.
pub const TB_DTYPE_F16: tb_dtype = 1;
/// IEEE binary32, C's `float`.
pub const TB_DTYPE_F32: tb_dtype = 2;
/// IEEE binary64, C's `double`.
pub const TB_DTYPE_F64: tb_dtype = 3;

pub(super) fn dtype(value: tb_dtype, argument: &str) -> Result<DType, Failure> {
    match value {
        TB_DTYPE_F16 => Ok(DType::F16),
        TB_DTYPE_F32 => Ok(DType::F32),
        TB_DTYPE_F64 => Ok(DType::F64),
        _ => Err(Error::invalid(argument, "a TB_DTYPE_ value", value).into()),
    }
}

pub(super) fn dtype_number(dtype: DType) -> tb_dtype {
    match dtype {
        DType::F16 => TB_DTYPE_F16,
        DType::F32 => TB_DTYPE_F32,
        DType::F64 => TB_DTYPE_F64,
    }
}

/// The caller's memory seen as a dense, row-major tensor that the library only reads.
///
/// The library borrows `data` and `shape` for the length of the call and keeps neither.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_view {
    /// The elements, aligned to their size; may be NULL only where a dimension is 0.
    pub data: *const c_void,
    /// `rank` dimensions, outermost first, none negative.
    pub shape: *const i64,
    /// Number of dimensions, 0 to 8.
    pub rank: i32,
    /// A `TB_DTYPE_` value.
    pub dtype: tb_dtype,
}

/// The caller's memory seen as a dense, row-major tensor that the library writes.
///
/// Must not overlap any other tensor of the same call. Otherwise like `tb_view`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_view_mut {
    /// The elements, aligned to their size; may be NULL only where a dimension is 0.
    pub data: *mut c_void,
    /// `rank` dimensions, outermost first, none negative.
    pub shape: *const i64,
    /// Number of dimensions, 0 to 8.
    pub rank: i32,
    /// A `TB_DTYPE_` value.
    pub dtype: tb_dtype,
}

/// Largest rank of a view.
pub(super) const MAX_RANK: usize = 8;

/// What the caller knows a pointer by.
type Name = Cow<'static, str>;

/// A tensor of the caller, checked.
pub(super) struct Input<'a> {
    dtype: DType,
    shape: Vec<usize>,
    data: &'a [u8],
    argument: Name,
}

/// A tensor of the caller to be written, checked.
pub(super) struct Output<'a> {
    dtype: DType,
    shape: Vec<usize>,
    data: &'a mut [u8],
    argument: Name,
}

impl Input<'_> {
    pub fn view(&self) -> Result<View<'_>, Failure> {
        View::new(self.dtype, &self.shape, self.data).map_err(|e| named(e, &self.argument))
    }
}

impl Output<'_> {
    pub fn view(&mut self) -> Result<ViewMut<'_>, Failure> {
        ViewMut::new(self.dtype, &self.shape, self.data).map_err(|e| named(e, &self.argument))
    }
}

impl Failure {
    /// A NULL that is not the view but what it points to.
    fn of_data(self, argument: &str) -> Failure {
        match self.status {
            Status::NullPointer => Failure::null(&format!("{argument}.data")),
            _ => self,
        }
    }
}

/// A view checks what it calls `data`; the caller knows it by the name of its argument.
fn named(error: Error, name: &str) -> Failure {
    Failure {
        status: error.status(),
        message: error.to_string().replace("`data`", &format!("`{name}.data`")),
    }
}

/// The memory that one call borrows: refuses an output that overlaps another tensor.
#[derive(Default)]
pub(super) struct Borrows {
    taken: Vec<(Range<usize>, bool, Name)>,
}

impl Borrows {
    /// # Safety
    /// A non-NULL `view` and what it points to must be valid for reads for the lifetime of the result.
    pub unsafe fn input<'a>(
        &mut self,
        view: *const tb_view,
        argument: impl Into<Name>,
    ) -> Result<Input<'a>, Failure> {
        let argument = argument.into();
        // SAFETY: the caller's promise.
        let view = unsafe { non_null(view, &argument) }?;
        // SAFETY: the caller's promise.
        let (dtype, shape, bytes) = unsafe { geometry(view, &argument) }?;
        // SAFETY: the caller's promise.
        let data = unsafe { self.bytes(view.data.cast(), bytes, argument.clone()) };
        let data = data.map_err(|f| f.of_data(&argument))?;
        Ok(Input { dtype, shape, data, argument })
    }

    /// # Safety
    /// As [`Borrows::input`].
    pub unsafe fn optional_input<'a>(
        &mut self,
        view: *const tb_view,
        argument: impl Into<Name>,
    ) -> Result<Option<Input<'a>>, Failure> {
        // SAFETY: the caller's promise.
        if view.is_null() { Ok(None) } else { unsafe { self.input(view, argument) }.map(Some) }
    }

    /// # Safety
    /// A non-NULL `view` and what it points to must be valid for reads and writes for the lifetime of the
    /// result, during which nobody else touches them.
    pub unsafe fn output<'a>(
        &mut self,
        view: *const tb_view_mut,
        argument: impl Into<Name>,
    ) -> Result<Output<'a>, Failure> {
        let argument = argument.into();
        // SAFETY: the caller's promise; both structs have the same layout.
        let view = unsafe { non_null(view, &argument) }?;
        let same = tb_view { data: view.data, shape: view.shape, rank: view.rank, dtype: view.dtype };
        // SAFETY: the caller's promise.
        let (dtype, shape, bytes) = unsafe { geometry(&same, &argument) }?;
        // SAFETY: the caller's promise.
        let data = unsafe { self.bytes_mut(view.data.cast(), bytes, argument.clone()) };
        let data = data.map_err(|f| f.of_data(&argument))?;
        Ok(Output { dtype, shape, data, argument })
    }

    /// # Safety
    /// As [`Borrows::output`].
    pub unsafe fn optional_output<'a>(
        &mut self,
        view: *const tb_view_mut,
        argument: impl Into<Name>,
    ) -> Result<Option<Output<'a>>, Failure> {
        // SAFETY: the caller's promise.
        if view.is_null() { Ok(None) } else { unsafe { self.output(view, argument) }.map(Some) }
    }

    /// An input array of `len` elements.
    ///
    /// # Safety
    /// A non-NULL, aligned `data` must be valid for reads of `len` elements for the lifetime of the result.
    pub unsafe fn array<'a, T>(
        &mut self,
        data: *const T,
        len: usize,
        argument: impl Into<Name>,
    ) -> Result<&'a [T], Failure> {
        let argument = argument.into();
        let bytes = byte_len::<T>(len, &argument)?;
        self.claim(data.addr(), bytes, false, argument.clone())?;
        if bytes == 0 {
            // SAFETY: no elements; aligned for every dtype, which the address of `&[]` is not.
            return Ok(unsafe { slice::from_raw_parts(ptr::dangling::<u64>().cast(), 0) });
        }
        check_pointer(data, &argument)?;
        // SAFETY: the caller's promise, checked for NULL, alignment and size.
        Ok(unsafe { slice::from_raw_parts(data, len) })
    }

    /// Input bytes.
    ///
    /// # Safety
    /// As [`Borrows::array`].
    pub unsafe fn bytes<'a>(
        &mut self,
        data: *const u8,
        len: usize,
        argument: impl Into<Name>,
    ) -> Result<&'a [u8], Failure> {
        // SAFETY: the caller's promise.
        unsafe { self.array(data, len, argument) }
    }

    /// Output bytes.
    ///
    /// # Safety
    /// A non-NULL `data` must be valid for reads and writes of `len` bytes for the lifetime of the result,
    /// during which nobody else touches them.
    pub unsafe fn bytes_mut<'a>(
        &mut self,
        data: *mut u8,
        len: usize,
        argument: impl Into<Name>,
    ) -> Result<&'a mut [u8], Failure> {
        let argument = argument.into();
        let bytes = byte_len::<u8>(len, &argument)?;
        self.claim(data.addr(), bytes, true, argument.clone())?;
        if bytes == 0 {
            // SAFETY: as in `array`.
            return Ok(unsafe { slice::from_raw_parts_mut(ptr::dangling_mut::<u64>().cast(), 0) });
        }
        check_pointer(data, &argument)?;
        // SAFETY: the caller's promise, checked for NULL and size; claim() saw no overlap within this call.
        Ok(unsafe { slice::from_raw_parts_mut(data, len) })
    }

    fn claim(&mut self, start: usize, bytes: usize, write: bool, name: Name) -> Result<(), Failure> {
        let range = start..start.saturating_add(bytes);
        for (other, other_write, other_name) in &self.taken {
            let overlaps = range.start < other.end && other.start < range.end;
            if overlaps && (write || *other_write) {
                let expected = format!("memory apart from `{other_name}`");
                return Err(Error::invalid(name, expected, "memory that overlaps it").into());
            }
        }
        self.taken.push((range, write, name));
        Ok(())
    }
}

/// Refuses NULL and an address that the type cannot have.
pub(super) fn check_pointer<T>(data: *const T, argument: &str) -> Result<(), Failure> {
    if data.is_null() {
        return Err(Failure::null(argument));
    }
    if !data.is_aligned() {
        let expected = format!("an address that is a multiple of {}", align_of::<T>());
        return Err(Error::invalid(argument, expected, format!("{data:p}")).into());
    }
    Ok(())
}

fn byte_len<T>(len: usize, argument: &str) -> Result<usize, Failure> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= isize::MAX as usize);
    bytes.ok_or_else(|| Error::invalid(argument, "a size that fits the address space", len).into())
}

/// Dtype, shape and bytes of a view.
///
/// # Safety
/// A non-NULL `view.shape` must be valid for reads of `view.rank` dimensions.
unsafe fn geometry(view: &tb_view, argument: &str) -> Result<(DType, Vec<usize>, usize), Failure> {
    let dtype = dtype(view.dtype, &format!("{argument}.dtype"))?;
    let rank = usize::try_from(view.rank)
        .ok()
        .filter(|&r| r <= MAX_RANK)
        .ok_or_else(|| Error::invalid(format!("{argument}.rank"), format!("0 to {MAX_RANK}"), view.rank))?;
    let mut shape = Vec::with_capacity(rank);
    if rank > 0 {
        check_pointer(view.shape, &format!("{argument}.shape"))?;
        // SAFETY: the caller's promise, and the pointer is checked.
        for &d in unsafe { slice::from_raw_parts(view.shape, rank) } {
            let d = usize::try_from(d)
                .map_err(|_| Error::invalid(format!("{argument}.shape"), "dimensions of at least 0", d))?;
            shape.push(d);
        }
    }
    let bytes = element_count(&shape).ok().and_then(|n| n.checked_mul(dtype.size()));
    let bytes = bytes.filter(|&b| b <= isize::MAX as usize).ok_or_else(|| Failure {
        status: Status::ShapeMismatch,
        message: format!("argument `{argument}`: {shape:?} does not fit the address space"),
    })?;
    Ok((dtype, shape, bytes))
}

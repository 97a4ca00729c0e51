use std::borrow::Cow;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};
use std::{ptr, slice};

use super::engine::EngineObject;
use super::handle::{self, lock};
use super::tensor::{TensorObject, tb_tensor};
use super::{Failure, non_null};
use crate::dtype::DType;
use crate::error::{Error, Status};
use crate::shape::element_count;
use crate::tensor::{Bytes, BytesMut, Tensor, View, ViewMut};

/// Type of the elements of a tensor.
pub type tb_dtype = i32;

/// IEEE binary16.
pub const TB_DTYPE_F16: tb_dtype = 1;
/// IEEE binary32, C's `float`.
pub const TB_DTYPE_F32: tb_dtype = 2;
/// IEEE binary64, C's `double`.
pub const TB_DTYPE_F64: tb_dtype = 3;
/// Bytes: tie sets in a `tb_tensor`, nothing else.
pub const TB_DTYPE_BYTE: tb_dtype = 4;
/// In a view alone: it stands for a `tb_tensor`, whose handle is `data`. `shape` NULL and `rank` 0 mean the tensor's own
/// shape, others another one of as many elements.
pub const TB_DTYPE_TENSOR: tb_dtype = 16;
/// In place of the size of tie sets: they are a `tb_tensor` of `TB_DTYPE_BYTE`, whose handle is the pointer.
pub const TB_TIES_TENSOR: usize = 4611686018427387904;

pub(super) fn dtype(value: tb_dtype, argument: &str) -> Result<DType, Failure> {
    match value {
        TB_DTYPE_F16 => Ok(DType::F16),
        TB_DTYPE_F32 => Ok(DType::F32),
        TB_DTYPE_F64 => Ok(DType::F64),
        _ => Err(Error::invalid(argument, "TB_DTYPE_F16, _F32 or _F64", value).into()),
    }
}

pub(super) fn dtype_number(dtype: DType) -> tb_dtype {
    match dtype {
        DType::F16 => TB_DTYPE_F16,
        DType::F32 => TB_DTYPE_F32,
        DType::F64 => TB_DTYPE_F64,
    }
}

/// The caller's memory seen as a dense, row-major tensor that the library only reads; with `TB_DTYPE_TENSOR` a
/// `tb_tensor` instead.
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

/// The caller's memory seen as a dense, row-major tensor that the library writes; with `TB_DTYPE_TENSOR` a `tb_tensor`
/// instead.
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

/// Where a tensor of the caller is read.
enum Source<'a> {
    Borrowed(Bytes<'a>),
    /// What a device tensor held; in words, so that it is aligned for every dtype.
    Copied(Vec<u64>, usize),
}

/// A tensor of the caller, checked.
pub(super) struct Input<'a> {
    dtype: DType,
    shape: Vec<usize>,
    source: Source<'a>,
    argument: Name,
}

/// Where a tensor of the caller is written.
enum Target<'a> {
    Borrowed(BytesMut<'a>),
    /// A device tensor outside of its engine's operators.
    Tensor(Arc<TensorObject>),
}

/// A tensor of the caller to be written, checked.
pub(super) struct Output<'a> {
    dtype: DType,
    shape: Vec<usize>,
    target: Target<'a>,
    argument: Name,
}

impl Input<'_> {
    pub fn view(&self) -> Result<View<'_>, Failure> {
        let bytes = match &self.source {
            Source::Borrowed(bytes) => *bytes,
            Source::Copied(words, len) => Bytes::Host(&bytemuck::cast_slice(words)[..*len]),
        };
        View::of(self.dtype, &self.shape, bytes).map_err(|e| named(e, &self.argument))
    }
}

impl Output<'_> {
    /// For an operator to write.
    pub fn view(&mut self) -> Result<ViewMut<'_>, Failure> {
        match &mut self.target {
            Target::Borrowed(bytes) => {
                ViewMut::of(self.dtype, &self.shape, bytes.reborrow()).map_err(|e| named(e, &self.argument))
            }
            Target::Tensor(_) => {
                Err(Error::invalid(&*self.argument, "memory of the host", "a tensor on the device").into())
            }
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn expect_shape(&self, shape: &[usize]) -> Result<(), Failure> {
        match self.shape == shape {
            true => Ok(()),
            false => Err(Error::shape(&*self.argument, format!("{shape:?}"), &self.shape).into()),
        }
    }

    /// Copies `tensor`, whose shape and dtype it must have.
    pub fn fill(&mut self, tensor: &Tensor) -> Result<(), Failure> {
        if self.dtype != tensor.dtype() {
            return Err(Error::dtype(&*self.argument, tensor.dtype(), self.dtype).into());
        }
        if self.shape != tensor.shape() {
            let expected = format!("{:?}", tensor.shape());
            return Err(Error::shape(&*self.argument, expected, &self.shape).into());
        }
        match &self.target {
            Target::Tensor(object) => Ok(object.lock().write(tensor.bytes())?),
            Target::Borrowed(_) => {
                self.view()?.bytes_mut()?.copy_from_slice(tensor.bytes());
                Ok(())
            }
        }
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
pub(super) struct Borrows<'e> {
    taken: Vec<(Range<usize>, bool, Name)>,
    /// Whose operators are to run: its device tensors are used in place, others are copied.
    engine: Option<&'e EngineObject>,
    /// Held from the first device tensor on: no other call touches them meanwhile.
    tensors: Option<MutexGuard<'e, ()>>,
    /// Device tensors in use, which a freed handle does not end.
    kept: Vec<Arc<TensorObject>>,
}

impl<'e> Borrows<'e> {
    /// For an operator of `engine`.
    pub fn on(engine: &'e EngineObject) -> Borrows<'e> {
        Borrows { engine: Some(engine), ..Default::default() }
    }

    /// # Safety
    /// A non-NULL `view` and what it points to must be valid for reads for the lifetime of the result, which ends
    /// before `self`.
    pub unsafe fn input<'a>(
        &mut self,
        view: *const tb_view,
        argument: impl Into<Name>,
    ) -> Result<Input<'a>, Failure> {
        let argument = argument.into();
        // SAFETY: the caller's promise.
        let view = unsafe { non_null(view, &argument) }?;
        if view.dtype == TB_DTYPE_TENSOR {
            // SAFETY: the caller's promise.
            let (object, shape) = unsafe { tensor_of(view, &argument) }?;
            let dtype = dtype(object.dtype, &format!("{argument}.dtype"))?;
            let source = match self.engine {
                None => {
                    let memory = object.lock();
                    let mut words = crate::tensor::filled(0u64, memory.len().div_ceil(8), &argument)?;
                    memory.read(&mut bytemuck::cast_slice_mut(&mut words)[..memory.len()])?;
                    let len = memory.len();
                    Source::Copied(words, len)
                }
                // SAFETY: the caller's promise.
                Some(_) => Source::Borrowed(unsafe { self.tensor(object, &argument) }?),
            };
            return Ok(Input { dtype, shape, source, argument });
        }
        // SAFETY: the caller's promise.
        let (dtype, shape, bytes) = unsafe { geometry(view, &argument) }?;
        // SAFETY: the caller's promise.
        let data = unsafe { self.array(view.data.cast(), bytes, argument.clone()) };
        let data: &[u8] = data.map_err(|f| f.of_data(&argument))?;
        Ok(Input { dtype, shape, source: Source::Borrowed(data.into()), argument })
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
        if view.dtype == TB_DTYPE_TENSOR {
            // SAFETY: the caller's promise.
            let (object, shape) = unsafe { tensor_of(&same, &argument) }?;
            let dtype = dtype(object.dtype, &format!("{argument}.dtype"))?;
            let target = match self.engine {
                None => Target::Tensor(object),
                // SAFETY: the caller's promise.
                Some(_) => Target::Borrowed(unsafe { self.tensor_mut(object, &argument) }?),
            };
            return Ok(Output { dtype, shape, target, argument });
        }
        // SAFETY: the caller's promise.
        let (dtype, shape, bytes) = unsafe { geometry(&same, &argument) }?;
        // SAFETY: the caller's promise.
        let data = unsafe { self.bytes_mut(view.data.cast(), bytes, argument.clone()) };
        let data = data.map_err(|f| f.of_data(&argument))?;
        Ok(Output { dtype, shape, target: Target::Borrowed(data.into()), argument })
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

    /// Tie sets to read: bytes of the host, or with [`TB_TIES_TENSOR`] a device tensor.
    ///
    /// # Safety
    /// As [`Borrows::array`] and [`Borrows::input`].
    pub unsafe fn ties<'a>(&mut self, ties: *const u8, size: usize) -> Result<Bytes<'a>, Failure> {
        if size != TB_TIES_TENSOR {
            // SAFETY: the caller's promise.
            return unsafe { self.array(ties, size, "ties") }.map(Bytes::Host);
        }
        let object = tie_sets(ties.cast())?;
        // SAFETY: the caller's promise.
        unsafe { self.tensor(object, "ties") }
    }

    /// Tie sets to write: bytes of the host, or with [`TB_TIES_TENSOR`] a device tensor.
    ///
    /// # Safety
    /// As [`Borrows::bytes_mut`] and [`Borrows::output`].
    pub unsafe fn ties_mut<'a>(&mut self, ties: *mut u8, size: usize) -> Result<BytesMut<'a>, Failure> {
        if size != TB_TIES_TENSOR {
            // SAFETY: the caller's promise.
            return unsafe { self.bytes_mut(ties, size, "ties") }.map(BytesMut::Host);
        }
        let object = tie_sets(ties.cast())?;
        // SAFETY: the caller's promise.
        unsafe { self.tensor_mut(object, "ties") }
    }

    /// A device tensor in place.
    ///
    /// # Safety
    /// The result is not used after `self`.
    unsafe fn tensor<'a>(&mut self, object: Arc<TensorObject>, argument: &str) -> Result<Bytes<'a>, Failure> {
        self.hold(&object, false, argument)?;
        // SAFETY: the lock of the engine's tensors is held and the object kept, both for as long as `self`; claim() saw no
        // output that it overlaps.
        let bytes = unsafe { (*object.memory.get()).bytes() };
        self.kept.push(object);
        Ok(bytes)
    }

    /// A device tensor to be written in place.
    ///
    /// # Safety
    /// As [`Borrows::tensor`].
    unsafe fn tensor_mut<'a>(
        &mut self,
        object: Arc<TensorObject>,
        argument: &str,
    ) -> Result<BytesMut<'a>, Failure> {
        self.hold(&object, true, argument)?;
        // SAFETY: as in `tensor`; claim() saw no other use of it.
        let bytes = unsafe { (*object.memory.get()).bytes_mut() };
        self.kept.push(object);
        Ok(bytes)
    }

    /// Takes part of the engine's tensors; refuses one of another engine.
    fn hold(&mut self, object: &Arc<TensorObject>, write: bool, argument: &str) -> Result<(), Failure> {
        let engine = self.engine.filter(|engine| std::ptr::eq(*engine, &*object.engine));
        let Some(engine) = engine else {
            let expected = "a tensor of the engine that is to run";
            return Err(Error::invalid(argument, expected, "one of another engine").into());
        };
        self.tensors.get_or_insert_with(|| lock(&engine.tensors));
        // The object's own address stands for its memory, which may lie on a device.
        self.claim(Arc::as_ptr(object).addr(), 1, write, argument.to_string().into())
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
        // SAFETY: the caller's promise.
        unsafe { self.array_mut(data, len, argument) }
    }

    /// An output array of `len` elements.
    ///
    /// # Safety
    /// A non-NULL, aligned `data` must be valid for reads and writes of `len` elements for the lifetime of the result,
    /// during which nobody else touches them.
    pub unsafe fn array_mut<'a, T>(
        &mut self,
        data: *mut T,
        len: usize,
        argument: impl Into<Name>,
    ) -> Result<&'a mut [T], Failure> {
        let argument = argument.into();
        let bytes = byte_len::<T>(len, &argument)?;
        self.claim(data.addr(), bytes, true, argument.clone())?;
        if bytes == 0 {
            // SAFETY: as in `array`.
            return Ok(unsafe { slice::from_raw_parts_mut(ptr::dangling_mut::<u64>().cast(), 0) });
        }
        check_pointer(data, &argument)?;
        // SAFETY: the caller's promise, checked for NULL, alignment and size; claim() saw no overlap within this call.
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

/// The device tensor of a view, and the shape in which it is seen.
///
/// # Safety
/// As [`geometry`].
pub(super) unsafe fn tensor_of(
    view: &tb_view,
    argument: &str,
) -> Result<(Arc<TensorObject>, Vec<usize>), Failure> {
    let object = handle::get(view.data.cast::<tb_tensor>(), &format!("{argument}.data"))?;
    if view.shape.is_null() && view.rank == 0 {
        let shape = object.shape.clone();
        return Ok((object, shape));
    }
    // SAFETY: the caller's promise.
    let shape = unsafe { dimensions(view.shape, view.rank, argument) }?;
    if element_count(&shape).ok() != Some(object.elements()) {
        let expected = format!("{} elements, as the tensor has", object.elements());
        return Err(Error::shape(argument, expected, &shape).into());
    }
    Ok((object, shape))
}

/// The device tensor behind the pointer to tie sets.
fn tie_sets(handle: *const tb_tensor) -> Result<Arc<TensorObject>, Failure> {
    let object = handle::get(handle, "ties")?;
    if object.dtype != TB_DTYPE_BYTE {
        return Err(Error::dtype("ties", "TB_DTYPE_BYTE", object.dtype).into());
    }
    Ok(object)
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
    // SAFETY: the caller's promise.
    let shape = unsafe { dimensions(view.shape, view.rank, argument) }?;
    let bytes = byte_count(&shape, dtype.size(), argument)?;
    Ok((dtype, shape, bytes))
}

/// Bytes of a tensor.
pub(super) fn byte_count(shape: &[usize], element: usize, argument: &str) -> Result<usize, Failure> {
    let bytes = element_count(shape).ok().and_then(|n| n.checked_mul(element));
    bytes.filter(|&b| b <= isize::MAX as usize).ok_or_else(|| Failure {
        status: Status::ShapeMismatch,
        message: format!("argument `{argument}`: {shape:?} does not fit the address space"),
    })
}

/// A shape of the caller.
///
/// # Safety
/// A non-NULL `shape` must be valid for reads of `rank` dimensions.
pub(super) unsafe fn dimensions(shape: *const i64, rank: i32, argument: &str) -> Result<Vec<usize>, Failure> {
    let rank = usize::try_from(rank)
        .ok()
        .filter(|&r| r <= MAX_RANK)
        .ok_or_else(|| Error::invalid(format!("{argument}.rank"), format!("0 to {MAX_RANK}"), rank))?;
    let mut result = Vec::with_capacity(rank);
    if rank > 0 {
        check_pointer(shape, &format!("{argument}.shape"))?;
        // SAFETY: the caller's promise, and the pointer is checked.
        for &d in unsafe { slice::from_raw_parts(shape, rank) } {
            let d = usize::try_from(d)
                .map_err(|_| Error::invalid(format!("{argument}.shape"), "dimensions of at least 0", d))?;
            result.push(d);
        }
    }
    Ok(result)
}

/// Element type, shape and bytes of the host in a view, bytes as such too.
///
/// # Safety
/// A non-NULL `view` and what it points to must be valid for reads for the lifetime of the result.
pub(super) unsafe fn transfer<'a>(
    view: *const tb_view,
    argument: &str,
) -> Result<(tb_dtype, Vec<usize>, &'a [u8]), Failure> {
    // SAFETY: the caller's promise.
    let view = unsafe { non_null(view, argument) }?;
    // SAFETY: the caller's promise.
    let (shape, len, align) = unsafe { transfer_geometry(view, argument) }?;
    // SAFETY: the caller's promise.
    let data = unsafe { Borrows::default().array(view.data.cast(), len, argument.to_string()) };
    let data: &[u8] = data.map_err(|f| f.of_data(argument))?;
    check_alignment(data.as_ptr(), align, argument)?;
    Ok((view.dtype, shape, data))
}

/// As [`transfer`] for bytes to be written.
///
/// # Safety
/// As [`transfer`], for writes too.
pub(super) unsafe fn transfer_mut<'a>(
    view: *const tb_view_mut,
    argument: &str,
) -> Result<(tb_dtype, Vec<usize>, &'a mut [u8]), Failure> {
    // SAFETY: the caller's promise.
    let view = unsafe { non_null(view, argument) }?;
    let same = tb_view { data: view.data, shape: view.shape, rank: view.rank, dtype: view.dtype };
    // SAFETY: the caller's promise.
    let (shape, len, align) = unsafe { transfer_geometry(&same, argument) }?;
    // SAFETY: the caller's promise.
    let data = unsafe { Borrows::default().bytes_mut(view.data.cast(), len, argument.to_string()) };
    let data = data.map_err(|f| f.of_data(argument))?;
    check_alignment(data.as_ptr(), align, argument)?;
    Ok((view.dtype, shape, data))
}

/// Shape, bytes, and size of an element.
///
/// # Safety
/// As [`geometry`].
unsafe fn transfer_geometry(view: &tb_view, argument: &str) -> Result<(Vec<usize>, usize, usize), Failure> {
    let element = match view.dtype {
        TB_DTYPE_BYTE => 1,
        number => dtype(number, &format!("{argument}.dtype"))?.size(),
    };
    // SAFETY: the caller's promise.
    let shape = unsafe { dimensions(view.shape, view.rank, argument) }?;
    let bytes = byte_count(&shape, element, argument)?;
    Ok((shape, bytes, element))
}

fn check_alignment(data: *const u8, align: usize, argument: &str) -> Result<(), Failure> {
    if data.align_offset(align) == 0 {
        return Ok(());
    }
    let expected = format!("an address that is a multiple of {align}");
    Err(Error::invalid(format!("{argument}.data"), expected, format!("{data:p}")).into())
}

use std::ffi::c_void;
use std::sync::Arc;

use super::status::tb_status;
use super::tensor::TensorObject;
use super::view::{
    MAX_RANK, TB_DTYPE_BYTE, TB_DTYPE_F16, TB_DTYPE_F32, TB_DTYPE_F64, TB_DTYPE_TENSOR, check_pointer,
    tb_dtype, tb_view, tb_view_mut, transfer,
};
use super::{Failure, guard, non_null, non_null_mut};
use crate::dtype::DType;
use crate::error::Error;
use crate::tensor::{BytesMut, Tensor};

/// DLDevice of dlpack.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Device {
    device_type: i32,
    device_id: i32,
}

/// kDLCPU.
const CPU: Device = Device { device_type: 1, device_id: 0 };

/// DLDataType.
#[repr(C)]
#[derive(Clone, Copy)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// kDLFloat.
const FLOAT: u8 = 2;

/// DLTensor.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// DLManagedTensor.
#[repr(C)]
struct Legacy {
    tensor: DlTensor,
    manager_ctx: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Legacy)>,
}

/// DLManagedTensorVersioned.
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    manager_ctx: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: DlTensor,
}

const _: () =
    assert!(size_of::<DlTensor>() == 48 && size_of::<Legacy>() == 64 && size_of::<Versioned>() == 80);

/// The version that is written; 1.x is read.
const VERSION: [u32; 2] = [1, 0];
/// DLPACK_FLAG_BITMASK_READ_ONLY.
const READ_ONLY: u64 = 1;

/// The tensor of the caller's struct, and whether it may only be read.
///
/// # Safety
/// A non-NULL `managed` must be valid for reads, of the kind that `versioned` says, for as long as the result is used.
unsafe fn tensor<'a>(managed: *const c_void, versioned: i32) -> Result<(&'a DlTensor, bool), Failure> {
    if versioned == 0 {
        // SAFETY: the caller's promise.
        return Ok((&unsafe { non_null(managed.cast::<Legacy>(), "managed") }?.tensor, false));
    }
    // SAFETY: the caller's promise.
    let managed = unsafe { non_null(managed.cast::<Versioned>(), "managed") }?;
    if managed.version[0] != VERSION[0] {
        let got = format!("{}.{}", managed.version[0], managed.version[1]);
        return Err(Error::invalid("managed.version", "DLPack 1.x", got).into());
    }
    Ok((&managed.tensor, managed.flags & READ_ONLY != 0))
}

/// The view of a tensor on the CPU that is dense and row-major. `shape` points into the caller's struct.
///
/// # Safety
/// `shape` and `strides` must be valid for reads of `ndim` numbers.
unsafe fn view_of(tensor: &DlTensor) -> Result<tb_view_mut, Failure> {
    if tensor.device.device_type != CPU.device_type {
        let got = tensor.device.device_type;
        return Err(Error::invalid("managed.device", "kDLCPU (1)", got).into());
    }
    let DataType { code, bits, lanes } = tensor.dtype;
    let dtype = match (code, bits, lanes) {
        (FLOAT, 16, 1) => TB_DTYPE_F16,
        (FLOAT, 32, 1) => TB_DTYPE_F32,
        (FLOAT, 64, 1) => TB_DTYPE_F64,
        _ => {
            let got = format!("code {code}, {bits} bits, {lanes} lanes");
            return Err(Error::dtype("managed", "kDLFloat of 16, 32 or 64 bits in one lane", got).into());
        }
    };
    // SAFETY: the caller's promise.
    let shape = unsafe { super::view::dimensions(tensor.shape, tensor.ndim, "managed") }?;
    if !tensor.strides.is_null() && !shape.contains(&0) {
        check_pointer(tensor.strides, "managed.strides")?;
        // SAFETY: the caller's promise, checked for alignment.
        let strides = unsafe { std::slice::from_raw_parts(tensor.strides, shape.len()) };
        let mut compact = 1i64;
        for (i, (&d, &stride)) in shape.iter().zip(strides).enumerate().rev() {
            // The stride of a dimension of 1 is never used.
            if d != 1 && stride != compact {
                let expected = format!("compact, row-major strides for {shape:?}: {compact} at {i}");
                return Err(Error::invalid("managed.strides", expected, stride).into());
            }
            compact = compact.saturating_mul(d as i64);
        }
    }
    let data = tensor.data.wrapping_byte_add(tensor.byte_offset as usize);
    let data = if tensor.data.is_null() { std::ptr::null_mut() } else { data };
    Ok(tb_view_mut { data, shape: tensor.shape, rank: tensor.ndim, dtype })
}

/// A DLPack tensor seen as a view, to be read. Nothing is copied or taken over: data and shape stay the producer's, and the
/// view is valid until its deleter runs, which stays the caller's duty.
///
/// @param managed    a DLManagedTensorVersioned of DLPack 1.x or a DLManagedTensor, on the CPU, of float16, float32 or
///                   float64, dense and row-major
/// @param versioned  not 0: DLManagedTensorVersioned ("dltensor_versioned"); 0: DLManagedTensor ("dltensor")
/// @param view       out: the view
/// @return `TB_STATUS_DTYPE_MISMATCH`; `TB_STATUS_INVALID_ARGUMENT` for another device or other strides
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dlpack_view(
    managed: *const c_void,
    versioned: i32,
    view: *mut tb_view,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dlpack_view", || unsafe {
        let view = non_null_mut(view, "view")?;
        let v = view_of(tensor(managed, versioned)?.0)?;
        *view = tb_view { data: v.data, shape: v.shape, rank: v.rank, dtype: v.dtype };
        Ok(())
    })
}

/// As `tb_dlpack_view`, to be written; a tensor that is marked read-only is refused.
///
/// @param managed    as for `tb_dlpack_view`
/// @param versioned  as for `tb_dlpack_view`
/// @param view       out: the view
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dlpack_view_mut(
    managed: *mut c_void,
    versioned: i32,
    view: *mut tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dlpack_view_mut", || unsafe {
        let view = non_null_mut(view, "view")?;
        let (tensor, read_only) = tensor(managed, versioned)?;
        if read_only {
            return Err(Error::invalid("managed.flags", "a tensor that may be written", "read-only").into());
        }
        *view = view_of(tensor)?;
        Ok(())
    })
}

/// What an exported tensor keeps until its deleter runs.
struct Context {
    shape: [i64; MAX_RANK],
    strides: [i64; MAX_RANK],
    memory: Memory,
}

enum Memory {
    /// A tensor of an engine, whose memory is shared.
    Shared(Arc<TensorObject>),
    Copied(Tensor),
}

unsafe extern "C" fn delete_legacy(managed: *mut Legacy) {
    if !managed.is_null() {
        // SAFETY: made by `export`, and deleted once, as DLPack asks.
        drop(unsafe { (Box::from_raw((*managed).manager_ctx.cast::<Context>()), Box::from_raw(managed)) });
    }
}

unsafe extern "C" fn delete_versioned(managed: *mut Versioned) {
    if !managed.is_null() {
        // SAFETY: made by `export`, and deleted once, as DLPack asks.
        drop(unsafe { (Box::from_raw((*managed).manager_ctx.cast::<Context>()), Box::from_raw(managed)) });
    }
}

fn data_type(dtype: tb_dtype) -> DataType {
    let bits = match dtype {
        TB_DTYPE_F16 => 16,
        TB_DTYPE_F32 => 32,
        _ => 64,
    };
    DataType { code: FLOAT, bits, lanes: 1 }
}

/// The memory of a view, shared or copied.
///
/// # Safety
/// As [`transfer`].
unsafe fn memory_of(view: *const tb_view) -> Result<(tb_dtype, Vec<usize>, Memory), Failure> {
    // SAFETY: the caller's promise.
    let v = unsafe { non_null(view, "view") }?;
    if v.dtype == TB_DTYPE_TENSOR {
        // SAFETY: the caller's promise.
        let (object, shape) = unsafe { super::view::tensor_of(v, "view") }?;
        if object.lock().on_a_gpu() {
            return Err(
                Error::Unsupported("the tensor lies on a GPU: read it to the host first".into()).into()
            );
        }
        if object.dtype == TB_DTYPE_BYTE {
            return Err(Error::dtype("view", "f16, f32 or f64", "bytes").into());
        }
        return Ok((object.dtype, shape, Memory::Shared(object)));
    }
    // SAFETY: the caller's promise.
    let (number, shape, bytes) = unsafe { transfer(view, "view") }?;
    let dtype: DType = super::view::dtype(number, "view.dtype")?;
    let mut copy = Tensor::zeros(dtype, &shape)?;
    copy.bytes_mut().copy_from_slice(bytes);
    Ok((number, shape, Memory::Copied(copy)))
}

/// A tensor for a consumer of DLPack. A `tb_tensor` in host memory is shared: the consumer sees what operators write, and
/// keeps it alive after its handle was freed; who writes while the other reads is for the program to order. The caller's
/// memory is copied.
///
/// @param view       host memory, or a `tb_tensor` that is not on a GPU
/// @param versioned  not 0: a DLManagedTensorVersioned of DLPack 1.0; 0: a DLManagedTensor
/// @param managed    out: the DLPack struct; its `deleter`, called once by whoever has it, frees it. NULL on failure.
/// @return `TB_STATUS_UNSUPPORTED` for a tensor on a GPU
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dlpack_export(
    view: *const tb_view,
    versioned: i32,
    managed: *mut *mut c_void,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dlpack_export", || unsafe {
        let managed = non_null_mut(managed, "managed")?;
        *managed = std::ptr::null_mut();
        let (dtype, shape, memory) = memory_of(view)?;
        let mut context = Box::new(Context { shape: [0; MAX_RANK], strides: [0; MAX_RANK], memory });
        let mut compact = 1;
        for (i, &d) in shape.iter().enumerate().rev() {
            (context.shape[i], context.strides[i]) = (d as i64, compact);
            compact *= d.max(1) as i64;
        }
        let data: *mut c_void = match &mut context.memory {
            Memory::Copied(tensor) => tensor.bytes_mut().as_mut_ptr().cast(),
            Memory::Shared(object) => match object.lock().bytes_mut() {
                BytesMut::Host(bytes) => bytes.as_mut_ptr().cast(),
                BytesMut::Device(_) => unreachable!("checked before"),
            },
        };
        let context = Box::into_raw(context);
        let tensor = DlTensor {
            data,
            device: CPU,
            ndim: shape.len() as i32,
            dtype: data_type(dtype),
            shape: (&raw mut (*context).shape).cast(),
            strides: (&raw mut (*context).strides).cast(),
            byte_offset: 0,
        };
        let manager_ctx = context.cast();
        *managed = if versioned == 0 {
            let deleter: unsafe extern "C" fn(*mut Legacy) = delete_legacy;
            Box::into_raw(Box::new(Legacy { tensor, manager_ctx, deleter: Some(deleter) })).cast()
        } else {
            let deleter: unsafe extern "C" fn(*mut Versioned) = delete_versioned;
            let made = Versioned { version: VERSION, manager_ctx, deleter: Some(deleter), flags: 0, tensor };
            Box::into_raw(Box::new(made)).cast()
        };
        Ok(())
    })
}

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard};

use super::engine::{self, EngineObject, tb_engine};
use super::handle::{self, Handle, Object, lock};
use super::options;
use super::status::tb_status;
use super::tensor_properties::{tb_tensor_properties, tensor_properties};
use super::view::{
    TB_DTYPE_BYTE, byte_count, dimensions, dtype, tb_dtype, tb_view, tb_view_mut, transfer, transfer_mut,
};
use super::{Failure, guard, non_null_mut};
use crate::dtype::DType;
use crate::engine::DeviceMemory;
use crate::error::Error;

/// A tensor in memory of an engine, dense and row-major: on a GPU the device's, on the CPU host memory. Operators of that
/// engine take it in place of the caller's memory, in a `tb_view` or `tb_view_mut` of `TB_DTYPE_TENSOR`, and use it where
/// it lies; what else takes a view copies it. Created by `tb_tensor_create`, given back by `tb_tensor_free`.
pub struct tb_tensor {
    _opaque: [u8; 0],
}

impl Handle for tb_tensor {
    const NAME: &'static str = "tb_tensor";
    type Target = Arc<TensorObject>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

/// A tensor, which keeps its engine alive.
pub(super) struct TensorObject {
    pub engine: Arc<EngineObject>,
    pub dtype: tb_dtype,
    pub shape: Vec<usize>,
    /// Used under the lock of the engine's tensors alone.
    pub memory: UnsafeCell<DeviceMemory>,
}

// SAFETY: `memory` is used under the lock of the engine's tensors alone.
unsafe impl Sync for TensorObject {}

/// The memory of a tensor, under the lock of its engine's tensors.
pub(super) struct Locked<'a> {
    memory: &'a UnsafeCell<DeviceMemory>,
    _tensors: MutexGuard<'a, ()>,
}

impl Deref for Locked<'_> {
    type Target = DeviceMemory;
    fn deref(&self) -> &DeviceMemory {
        // SAFETY: the lock is held.
        unsafe { &*self.memory.get() }
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut DeviceMemory {
        // SAFETY: the lock is held.
        unsafe { &mut *self.memory.get() }
    }
}

impl TensorObject {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn lock(&self) -> Locked<'_> {
        let tensors = lock(&self.engine.tensors);
        Locked { memory: &self.memory, _tensors: tensors }
    }

    /// That a view has the tensor's dtype and shape.
    fn check(&self, view_dtype: tb_dtype, shape: &[usize]) -> Result<(), Failure> {
        if view_dtype != self.dtype {
            let name = |number| match (number, dtype(number, "dtype")) {
                (_, Ok(dtype)) => dtype.to_string(),
                (TB_DTYPE_BYTE, _) => "bytes".into(),
                _ => format!("{number}"),
            };
            return Err(Error::dtype("values", name(self.dtype), name(view_dtype)).into());
        }
        if shape != self.shape {
            return Err(Error::shape("values", format!("{:?}", self.shape), shape).into());
        }
        Ok(())
    }
}

/// The tensor behind a handle.
fn get(tensor: *const tb_tensor) -> Result<Arc<TensorObject>, Failure> {
    handle::get(tensor, "tensor")
}

/// Creates a tensor of zeros on an engine.
///
/// @param engine  may be freed before the tensor. On a GPU engine f64, and f16 where the GPU has none, lie in host
///                memory, where their operators run; `tb_tensor_info` says so.
/// @param dtype   a `TB_DTYPE_` value; `TB_DTYPE_BYTE` for the tie sets of f32, or f16, tensors
/// @param shape   `rank` dimensions, outermost first; NULL where rank is 0
/// @param rank    number of dimensions, 0 to 8
/// @param tensor  out: the handle; free it with `tb_tensor_free`. NULL on failure.
/// @return `TB_STATUS_OUT_OF_MEMORY`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_tensor_create(
    engine: *const tb_engine,
    dtype: tb_dtype,
    shape: *const i64,
    rank: i32,
    tensor: *mut *mut tb_tensor,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_tensor_create", || unsafe {
        let tensor = non_null_mut(tensor, "tensor")?;
        *tensor = std::ptr::null_mut();
        let engine = engine::get(engine)?;
        let (placed, element) = match dtype {
            TB_DTYPE_BYTE => (DType::F32, 1),
            number => self::dtype(number, "dtype").map(|dtype| (dtype, dtype.size()))?,
        };
        let shape = dimensions(shape, rank, "shape")?;
        let bytes = byte_count(&shape, element, "shape")?;
        let memory = UnsafeCell::new(engine.allocate_device(placed, bytes)?);
        let object = TensorObject { engine, dtype, shape, memory };
        *tensor = handle::create(Object::Tensor(Arc::new(object)));
        Ok(())
    })
}

/// Frees a tensor; a call that uses it meanwhile ends as it should. NULL is nothing to do; a handle freed before is
/// `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_tensor_free(tensor: *mut tb_tensor) -> tb_status {
    guard("tb_tensor_free", || handle::free(tensor, "tensor"))
}

/// Shape and dtype of a tensor, and where it lies.
///
/// @param properties  in: `struct_size`; out: the rest; `kind` is "tensor", `name` empty
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_tensor_info(
    tensor: *const tb_tensor,
    properties: *mut tb_tensor_properties,
) -> tb_status {
    guard("tb_tensor_info", || {
        let tensor = get(tensor)?;
        let values = tb_tensor_properties {
            dtype: tensor.dtype,
            gpu: tensor.lock().on_a_gpu() as i32,
            ..tensor_properties("", "tensor", &tensor.shape)
        };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Copies the caller's memory to a tensor.
///
/// @param values  host memory of the tensor's shape and dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_tensor_write(tensor: *const tb_tensor, values: *const tb_view) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_tensor_write", || unsafe {
        let tensor = get(tensor)?;
        let (dtype, shape, bytes) = transfer(values, "values")?;
        tensor.check(dtype, &shape)?;
        Ok(tensor.lock().write(bytes)?)
    })
}

/// Copies a tensor to the caller's memory, after everything that operators have written to it.
///
/// @param values  out: host memory of the tensor's shape and dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_tensor_read(tensor: *const tb_tensor, values: *const tb_view_mut) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_tensor_read", || unsafe {
        let tensor = get(tensor)?;
        let (dtype, shape, bytes) = transfer_mut(values, "values")?;
        tensor.check(dtype, &shape)?;
        Ok(tensor.lock().read(bytes)?)
    })
}

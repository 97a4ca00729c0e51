//! Host tensors and borrowed views: dense, row-major.

use std::any::Any;

use half::f16;

use crate::dtype::{DType, Element, with_element};
use crate::error::{Error, Result};
use crate::shape::element_count;

/// `len` times `value`; an error, not an abort, where there is not the memory.
pub(crate) fn filled<T: Clone>(value: T, len: usize, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|e| Error::OutOfMemory {
        what: what.to_string(),
        bytes: len.saturating_mul(size_of::<T>()),
        detail: e.to_string(),
    })?;
    values.resize(len, value);
    Ok(values)
}

/// A tensor in host memory, dense and row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug, Clone, PartialEq)]
enum Data {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Tensor {
    /// All zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let len = element_count(shape)?;
        let data = match dtype {
            DType::F16 => Data::F16(filled(f16::ZERO, len, "a tensor")?),
            DType::F32 => Data::F32(filled(0.0, len, "a tensor")?),
            DType::F64 => Data::F64(filled(0.0, len, "a tensor")?),
        };
        Ok(Tensor { shape: shape.to_vec(), data })
    }

    /// `values` in row-major order, each rounded once to `dtype`.
    pub fn from_f64(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor> {
        let mut tensor = Tensor::zeros(dtype, shape)?;
        if values.len() != tensor.len() {
            return Err(Error::shape(
                "values",
                format!("{} values for {shape:?}", tensor.len()),
                &[values.len()],
            ));
        }
        with_element!(dtype, T => {
            for (to, &from) in bytemuck::cast_slice_mut::<u8, T>(tensor.bytes_mut()).iter_mut().zip(values) {
                *to = T::from_f64(from);
            }
        });
        Ok(tensor)
    }

    /// The values in row-major order, widened without loss.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::F32(v) => v.iter().map(|&x| x as f64).collect(),
            Data::F64(v) => v.clone(),
        }
    }

    /// The same values rounded once to another type.
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        Tensor::from_f64(dtype, &self.shape, &self.to_f64()).expect("the shape is unchanged")
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F16(_) => DType::F16,
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
        }
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True where a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as bytes in native order.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F16(v) => bytemuck::cast_slice(v),
            Data::F32(v) => bytemuck::cast_slice(v),
            Data::F64(v) => bytemuck::cast_slice(v),
        }
    }

    /// The elements as writable bytes in native order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.data {
            Data::F16(v) => bytemuck::cast_slice_mut(v),
            Data::F32(v) => bytemuck::cast_slice_mut(v),
            Data::F64(v) => bytemuck::cast_slice_mut(v),
        }
    }

    /// A borrowed view of the whole tensor.
    pub fn view(&self) -> View<'_> {
        View { dtype: self.dtype(), shape: &self.shape, bytes: self.bytes().into() }
    }

    /// A writable view of the whole tensor.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let dtype = self.dtype();
        let shape: &[usize] = &self.shape;
        let bytes = match &mut self.data {
            Data::F16(v) => bytemuck::cast_slice_mut(v),
            Data::F32(v) => bytemuck::cast_slice_mut(v),
            Data::F64(v) => bytemuck::cast_slice_mut(v),
        };
        ViewMut { dtype, shape, bytes: BytesMut::Host(bytes) }
    }
}

/// Borrowed bytes on a device: memory that its engine knows.
#[derive(Debug, Clone, Copy)]
pub struct DeviceBytes<'a> {
    pub(crate) memory: &'a (dyn Any + Send + Sync),
    pub(crate) len: usize,
}

/// Borrowed bytes to read, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// Host memory.
    Host(&'a [u8]),
    /// What [`crate::DeviceMemory::bytes`] gives.
    Device(DeviceBytes<'a>),
}

/// Borrowed bytes to write, wherever they lie.
#[derive(Debug)]
pub enum BytesMut<'a> {
    /// Host memory.
    Host(&'a mut [u8]),
    /// What [`crate::DeviceMemory::bytes_mut`] gives.
    Device(DeviceBytes<'a>),
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Bytes::Host(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Bytes<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Bytes::Host(bytes)
    }
}

impl<'a> From<&'a mut [u8]> for BytesMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        BytesMut::Host(bytes)
    }
}

impl<'a> From<&'a mut Vec<u8>> for BytesMut<'a> {
    fn from(bytes: &'a mut Vec<u8>) -> Self {
        BytesMut::Host(bytes)
    }
}

impl Bytes<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Bytes::Host(bytes) => bytes.len(),
            Bytes::Device(bytes) => bytes.len,
        }
    }
}

impl BytesMut<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            BytesMut::Host(bytes) => bytes.len(),
            BytesMut::Device(bytes) => bytes.len,
        }
    }

    /// The same bytes for a shorter time.
    pub(crate) fn reborrow(&mut self) -> BytesMut<'_> {
        match self {
            BytesMut::Host(bytes) => BytesMut::Host(bytes),
            BytesMut::Device(bytes) => BytesMut::Device(*bytes),
        }
    }
}

fn not_on_host() -> Error {
    Error::Unsupported("the tensor lies on a device: read it to the host first".into())
}

/// Borrowed, read-only memory seen as a tensor.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: Bytes<'a>,
}

/// Borrowed, writable memory seen as a tensor.
#[derive(Debug)]
pub struct ViewMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: BytesMut<'a>,
}

fn check_len(dtype: DType, shape: &[usize], bytes: usize) -> Result<()> {
    let expected = element_count(shape)?.checked_mul(dtype.size());
    if expected != Some(bytes) {
        let elements = bytes / dtype.size();
        return Err(Error::shape("data", format!("{elements} elements of {dtype} for {bytes} bytes"), shape));
    }
    Ok(())
}

fn check_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<()> {
    check_len(dtype, shape, bytes.len())?;
    if bytes.as_ptr().align_offset(dtype.size()) != 0 {
        return Err(Error::invalid(
            "data",
            format!("an address that is a multiple of {} for {dtype}", dtype.size()),
            format!("{:p}", bytes.as_ptr()),
        ));
    }
    Ok(())
}

impl<'a> View<'a> {
    /// `bytes` must hold exactly the elements of `shape` and be aligned for `dtype`.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<View<'a>> {
        View::of(dtype, shape, bytes)
    }

    /// As [`View::new`] for bytes that may lie on a device.
    pub fn of(dtype: DType, shape: &'a [usize], bytes: impl Into<Bytes<'a>>) -> Result<View<'a>> {
        let bytes = bytes.into();
        match bytes {
            Bytes::Host(bytes) => check_bytes(dtype, shape, bytes)?,
            Bytes::Device(bytes) => check_len(dtype, shape, bytes.len)?,
        }
        Ok(View { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements as bytes in native order, wherever they lie.
    pub fn memory(&self) -> Bytes<'a> {
        self.bytes
    }

    /// The elements as bytes in native order. Errors: [`Error::Unsupported`] where they lie on a device.
    pub fn bytes(&self) -> Result<&'a [u8]> {
        match self.bytes {
            Bytes::Host(bytes) => Ok(bytes),
            Bytes::Device(_) => Err(not_on_host()),
        }
    }

    /// An owned copy. Errors: [`Error::Unsupported`] where the elements lie on a device.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let mut tensor = Tensor::zeros(self.dtype, self.shape)?;
        tensor.bytes_mut().copy_from_slice(self.bytes()?);
        Ok(tensor)
    }
}

impl<'a> ViewMut<'a> {
    /// `bytes` must hold exactly the elements of `shape` and be aligned for `dtype`.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a mut [u8]) -> Result<ViewMut<'a>> {
        ViewMut::of(dtype, shape, bytes)
    }

    /// As [`ViewMut::new`] for bytes that may lie on a device.
    pub fn of(dtype: DType, shape: &'a [usize], bytes: impl Into<BytesMut<'a>>) -> Result<ViewMut<'a>> {
        let bytes = bytes.into();
        match &bytes {
            BytesMut::Host(bytes) => check_bytes(dtype, shape, bytes)?,
            BytesMut::Device(bytes) => check_len(dtype, shape, bytes.len)?,
        }
        Ok(ViewMut { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements as writable bytes in native order, wherever they lie.
    pub fn memory_mut(&mut self) -> BytesMut<'_> {
        self.bytes.reborrow()
    }

    /// The elements as writable bytes in native order. Errors: [`Error::Unsupported`] where they lie on a device.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        match &mut self.bytes {
            BytesMut::Host(bytes) => Ok(bytes),
            BytesMut::Device(_) => Err(not_on_host()),
        }
    }

    /// The bytes for as long as the memory is borrowed.
    pub(crate) fn into_memory(self) -> BytesMut<'a> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        for dtype in DType::ALL {
            let t = Tensor::from_f64(dtype, &[2, 2], &[0.0, 1.5, -2.0, 0.25]).unwrap();
            assert_eq!(t.to_f64(), [0.0, 1.5, -2.0, 0.25]);
            assert_eq!(t.view().to_tensor().unwrap(), t);
        }
    }

    #[test]
    fn views_check_length_and_alignment() {
        let bytes = [0u64; 4];
        let bytes: &[u8] = bytemuck::cast_slice(&bytes);
        assert!(View::new(DType::F32, &[2, 4], bytes).is_ok());
        assert!(View::new(DType::F32, &[2, 5], bytes).is_err());
        assert!(View::new(DType::F32, &[7], &bytes[1..29]).is_err());
        assert!(View::new(DType::F32, &[usize::MAX, 8], bytes).is_err());
    }
}

//! Host tensors and borrowed views: dense, row-major.

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
        View { dtype: self.dtype(), shape: &self.shape, bytes: self.bytes() }
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
        ViewMut { dtype, shape, bytes }
    }
}

/// Borrowed, read-only memory of the caller seen as a tensor.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

/// Borrowed, writable memory of the caller seen as a tensor.
#[derive(Debug)]
pub struct ViewMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a mut [u8],
}

fn check_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<()> {
    let expected = element_count(shape)?.checked_mul(dtype.size());
    if expected != Some(bytes.len()) {
        return Err(Error::shape(
            "data",
            format!("{} elements of {dtype} for {} bytes", bytes.len() / dtype.size(), bytes.len()),
            shape,
        ));
    }
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
        check_bytes(dtype, shape, bytes)?;
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

    /// The elements as bytes in native order.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// An owned copy.
    pub fn to_tensor(&self) -> Tensor {
        let mut tensor = Tensor::zeros(self.dtype, self.shape).expect("a view's shape is valid");
        tensor.bytes_mut().copy_from_slice(self.bytes);
        tensor
    }
}

impl<'a> ViewMut<'a> {
    /// `bytes` must hold exactly the elements of `shape` and be aligned for `dtype`.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a mut [u8]) -> Result<ViewMut<'a>> {
        check_bytes(dtype, shape, bytes)?;
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

    /// The elements as writable bytes in native order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The bytes for as long as the memory is borrowed.
    pub(crate) fn into_bytes(self) -> &'a mut [u8] {
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
            assert_eq!(t.view().to_tensor(), t);
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

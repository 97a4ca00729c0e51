use super::{dims, expect_out};
use crate::dtype::{DType, Element, with_element};
use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Softmax cross-entropy, mean over the batch, and its gradient.
    ///
    /// Shapes: logits `[N, C]`, labels `[N]` in 0..C, glogits `[N, C]`. Returns the loss, computed in the
    /// accumulate type and rounded once to the storage type.
    pub fn cross_entropy(&self, logits: View, labels: &[i64], glogits: ViewMut) -> Result<f64> {
        let [batch, classes] = dims("logits", "[N, C]", logits.shape())?;
        if batch == 0 || classes == 0 {
            return Err(Error::shape("logits", "[N, C] with N and C at least 1", logits.shape()));
        }
        let dtype = logits.dtype();
        expect_out("glogits", dtype, &[batch, classes], &glogits)?;
        if labels.len() != batch {
            return Err(Error::shape("labels", format!("[{batch}]"), &[labels.len()]));
        }
        let labels = class_indices(labels, classes)?;
        let mut loss = [0u64];
        let mut row_loss = vec![0u64; batch];
        let row_bytes = batch * dtype.accumulate().size();
        self.execute(
            Op::CrossEntropy { batch, classes, wide_loss: false },
            dtype,
            &[logits.memory(), bytemuck::cast_slice::<u32, u8>(&labels).into()],
            &mut [
                (&mut bytemuck::bytes_of_mut(&mut loss)[..dtype.size()]).into(),
                glogits.into_memory(),
                (&mut bytemuck::cast_slice_mut::<u64, u8>(&mut row_loss)[..row_bytes]).into(),
            ],
            &Settings::default(),
        )?;
        Ok(scalar_f64(dtype, bytemuck::bytes_of(&loss)))
    }
}

/// Labels `[N]` as the kernels take them, checked to lie below `classes`.
pub(crate) fn class_indices(labels: &[i64], classes: usize) -> Result<Vec<u32>> {
    labels
        .iter()
        .enumerate()
        .map(|(i, &label)| match u32::try_from(label) {
            Ok(class) if (class as usize) < classes => Ok(class),
            _ => Err(Error::invalid(format!("labels[{i}]"), format!("0 to {}", classes - 1), label)),
        })
        .collect()
}

/// The first element of `bytes`, widened without loss.
pub(crate) fn scalar_f64(dtype: DType, bytes: &[u8]) -> f64 {
    with_element!(dtype, T => bytemuck::pod_read_unaligned::<T>(&bytes[..dtype.size()]).to_f64())
}

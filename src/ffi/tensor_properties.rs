use std::ffi::c_char;

use super::copy_text;
use super::options::Growable;
use super::view::{MAX_RANK, tb_dtype};
use crate::net::LayerInfo;

/// A layer, a parameter, a buffer or a tensor; filled by the `_info` functions of graphs, networks and tensors.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_tensor_properties {
    /// `sizeof(tb_tensor_properties)`; set by the caller.
    pub struct_size: usize,
    /// Name, PyTorch's where the network comes from there: "features.0.weight"; cut where it has more than 127 bytes.
    pub name: [c_char; 128],
    /// "parameter", "buffer", "tensor", or the layer's kind: "conv2d", "relu", "maxpool2d" ...
    pub kind: [c_char; 32],
    /// Number of dimensions.
    pub rank: i32,
    /// Dimensions, of a layer's output without that of the batch.
    pub shape: [i64; 8],
    /// A `TB_DTYPE_` value; 0 of a graph's layers.
    pub dtype: tb_dtype,
    /// 1 where it lies on a GPU, else 0.
    pub gpu: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_tensor_properties {
    const FIRST_SIZE: usize = 240;
    fn defaults() -> Self {
        tb_tensor_properties {
            struct_size: size_of::<Self>(),
            name: [0; 128],
            kind: [0; 32],
            rank: 0,
            shape: [0; MAX_RANK],
            dtype: 0,
            gpu: 0,
        }
    }
}

pub(super) fn tensor_properties(name: &str, kind: &str, shape: &[usize]) -> tb_tensor_properties {
    let mut values = tb_tensor_properties { rank: shape.len() as i32, ..Growable::defaults() };
    copy_text(name, &mut values.name);
    copy_text(kind, &mut values.kind);
    for (to, &from) in values.shape.iter_mut().zip(shape) {
        *to = from as i64;
    }
    values
}

pub(super) fn layer_properties(layer: &LayerInfo) -> tb_tensor_properties {
    tensor_properties(&layer.name, layer.layer.kind(), &layer.shape)
}

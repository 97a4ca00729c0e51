//! The operator table: every operator of both engines, with the tensors that it reads and writes.
//!
//! A [`Call`] is one operator on numbered buffers. The CPU engine executes it on slices; the GPU engine
//! turns it into dispatches. Both take the buffers in the order written here, both check nothing: callers
//! ([`super::operators`], the network plan) have validated shapes and dtypes.

use crate::dtype::DType;
use crate::kink::{Kink, MaxPoolKink, ReluKink};
use crate::shape::{Conv2dGeometry, Pool2dGeometry};

/// A fully connected layer: y = x wᵀ + bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LinearGeometry {
    pub batch: usize,
    pub in_features: usize,
    pub out_features: usize,
}

/// An operator with its geometry. `[...]` are shapes; elements are of the call's dtype unless said
/// otherwise; a buffer in brackets is there only with `bias`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Op {
    /// reads x `[N,C,H,W]`, weight `[O,C,KH,KW]`, (bias `[O]`); writes y `[N,O,OH,OW]`
    Conv2dForward { geometry: Conv2dGeometry, bias: bool },
    /// reads gy `[N,O,OH,OW]`, weight; writes gx `[N,C,H,W]`
    Conv2dBackwardInput { geometry: Conv2dGeometry },
    /// reads x, gy; writes gweight, (gbias)
    Conv2dBackwardWeight { geometry: Conv2dGeometry, bias: bool },
    /// reads x `[N,I]`, weight `[O,I]`, (bias `[O]`); writes y `[N,O]`
    LinearForward { geometry: LinearGeometry, bias: bool },
    /// reads gy `[N,O]`, weight; writes gx `[N,I]`
    LinearBackwardInput { geometry: LinearGeometry },
    /// reads x, gy; writes gweight, (gbias)
    LinearBackwardWeight { geometry: LinearGeometry, bias: bool },
    /// reads x `[N,C,H,W]`; writes y `[N,C,OH,OW]`, ties `[N,C,OH,OW,T]` (bytes, see `shape::tie_bytes`)
    MaxPool2dForward { geometry: Pool2dGeometry },
    /// reads gy `[N,C,OH,OW]`, ties; writes gx `[N,C,H,W]`
    MaxPool2dBackward { geometry: Pool2dGeometry },
    /// reads x; writes y, both of `len` elements
    ReluForward { len: usize },
    /// reads x, gy; writes gx
    ReluBackward { len: usize },
    /// reads a, b; writes their sum
    Add { len: usize },
    /// reads logits `[N,C]`, labels `[N]` (u32, each below C); writes loss `[1]`, glogits `[N,C]`,
    /// row_loss `[N]` (accumulate type, f32 for f16). Mean over the batch; glogits is its gradient.
    CrossEntropy { batch: usize, classes: usize },
    /// reads grad; writes (in place) param, (momentum_buffer), all of `len` elements
    Sgd { len: usize, momentum: bool },
}

/// Index of a buffer in a session's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BufferId(pub u32);

/// One operator on the buffers of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub op: Op,
    pub dtype: DType,
    /// In the order of the operator's documentation. Never shares a buffer with `writes`.
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
    /// Index into [`Settings::kinks`] for the operators that depend on a choice.
    pub site: usize,
}

/// What may change from run to run without planning again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    /// The choice at each kink layer, by [`Call::site`].
    pub kinks: Vec<Option<Kink>>,
    /// Optimizer steps done so far: part of the counter of `random` Jacobians.
    pub step: u64,
    /// Read by [`Op::Sgd`].
    pub sgd: SgdSettings,
}

/// Scalars of one SGD step, PyTorch's names and order of operations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct SgdSettings {
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    /// The momentum buffer is empty: it becomes the gradient, undamped.
    pub first: bool,
}

impl Settings {
    pub fn maxpool(&self, site: usize) -> MaxPoolKink {
        match self.kinks.get(site) {
            Some(Some(Kink::MaxPool(kink))) => *kink,
            _ => MaxPoolKink::default(),
        }
    }

    pub fn relu(&self, site: usize) -> ReluKink {
        match self.kinks.get(site) {
            Some(Some(Kink::Relu(kink))) => *kink,
            _ => ReluKink::default(),
        }
    }
}

impl Op {
    /// The operator's name as it stands in profiles and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv2dForward { .. } => "conv2d_forward",
            Op::Conv2dBackwardInput { .. } => "conv2d_backward_input",
            Op::Conv2dBackwardWeight { .. } => "conv2d_backward_weight",
            Op::LinearForward { .. } => "linear_forward",
            Op::LinearBackwardInput { .. } => "linear_backward_input",
            Op::LinearBackwardWeight { .. } => "linear_backward_weight",
            Op::MaxPool2dForward { .. } => "maxpool2d_forward",
            Op::MaxPool2dBackward { .. } => "maxpool2d_backward",
            Op::ReluForward { .. } => "relu_forward",
            Op::ReluBackward { .. } => "relu_backward",
            Op::Add { .. } => "add",
            Op::CrossEntropy { .. } => "cross_entropy",
            Op::Sgd { .. } => "sgd",
        }
    }
}

//! The operator table: every operator of both engines, with the tensors that it reads and writes.
//!
//! A [`Call`] is one operator on numbered buffers. The CPU engine executes it on slices; the GPU engine
//! turns it into dispatches. Both take the buffers in the order written here, both check nothing: callers
//! ([`super::operators`], the network plan) have validated shapes and dtypes.

use rand_philox::philox4x32_10;

use crate::dtype::DType;
use crate::kink::{Kink, MaxPoolKink, NormPoolKink, ReluKink};
use crate::precision::{Accumulate, Format, ReductionOrder, Rounding};
use crate::shape::{BatchNormGeometry, Conv2dGeometry, Pool2dGeometry};

/// Elements that one row of partial norms stands for.
pub(crate) const NORM_BLOCK: usize = 1 << 14;

/// Equal rows of a matrix copied into another one: `to[r, to_offset + i] = from[r, from_offset + i]`.
///
/// Concatenation along channels and its gradient are made of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RowsGeometry {
    pub rows: usize,
    /// Elements of a row that are copied.
    pub len: usize,
    /// Elements from one row to the next, and before the first copied one.
    pub from: [usize; 2],
    pub to: [usize; 2],
}

impl RowsGeometry {
    /// Elements up to the last one that is copied, on the side `[stride, offset]`.
    pub fn extent(&self, [stride, offset]: [usize; 2]) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * stride + offset + self.len }
    }
}

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
    /// reads x `[N,C,H,W]`, weight `[O,C/G,KH,KW]`, (bias `[O]`); writes y `[N,O,OH,OW]`
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
    /// Training mode. weight, bias and running statistics `[C]` have the dtype `parameters`, mean and inv_std
    /// `[C]` (those of the batch) the accumulate type (f32 for f16). reads x, weight, bias; writes y, mean, inv_std,
    /// and in place, if [`Settings::track_running_stats`], running_mean, running_var. inv_std is
    /// 1 / sqrt(biased variance + eps); running_var gets the unbiased variance.
    BatchNormForward { geometry: BatchNormGeometry, eps: f64, momentum: f64, parameters: DType },
    /// Evaluation mode. reads x, weight, bias, running_mean, running_var; writes y
    BatchNormInference { geometry: BatchNormGeometry, eps: f64, parameters: DType },
    /// Training mode. reads x, gy, weight, mean, inv_std; writes gx, gweight, gbias (`parameters`)
    BatchNormBackward { geometry: BatchNormGeometry, parameters: DType },
    /// Evaluation mode. reads x, gy, weight, running_mean, running_var; writes gx, gweight, gbias
    BatchNormInferenceBackward { geometry: BatchNormGeometry, eps: f64, parameters: DType },
    /// reads x `[N,C,H,W]`; writes y `[N,C,OH,OW]`, the Euclidean norm of each window
    NormPool2dForward { geometry: Pool2dGeometry },
    /// reads x, y, gy; writes gx
    NormPool2dBackward { geometry: Pool2dGeometry },
    /// reads x `[N,C,H,W]`; writes y `[N,C,OH,OW]`: sum of the window over KH KW, padding counted as zeros
    AvgPool2dForward { geometry: Pool2dGeometry },
    /// reads gy; writes gx
    AvgPool2dBackward { geometry: Pool2dGeometry },
    /// reads from; writes those elements of to that the geometry names, and leaves the others
    CopyRows { geometry: RowsGeometry },
    /// reads x; writes y: 0 with probability p, else x / (1 - p). Element i of the mask is drawn from
    /// ([`Settings::seed`], site, step, i).
    DropoutForward { len: usize, p: f64 },
    /// reads gy; writes gx, under the mask of the same step
    DropoutBackward { len: usize, p: f64 },
    /// reads logits `[N,C]`, labels `[N]` (u32, each below C); writes loss `[1]` (the accumulate type with
    /// `wide_loss`, else the call's dtype), glogits `[N,C]`, row_loss `[N]` (accumulate type, f32 for f16). Mean over
    /// the batch; glogits is its gradient times [`Settings::loss_scale`].
    CrossEntropy { batch: usize, classes: usize, wide_loss: bool },
    /// Optimizers. The gradient is multiplied by [`Settings::grad_scale`] first. With `master`, grad and copy are f16,
    /// all else is the call's dtype f32, and copy gets the new param, rounded; without, there is no copy.
    /// The site is the parameter group in [`Settings::optimizers`].
    ///
    /// reads grad; writes (in place) param, (momentum_buffer), (copy)
    Sgd { len: usize, momentum: bool, master: bool },
    /// Adam and AdamW. reads grad; writes (in place) param, exp_avg, exp_avg_sq, (max_exp_avg_sq), (copy)
    Adam { len: usize, amsgrad: bool, master: bool },
    /// reads grad; writes (in place) param, square_avg, (momentum_buffer), (grad_avg), (copy)
    RmsProp { len: usize, momentum: bool, centered: bool, master: bool },
    /// With d = a, or a - b where `difference`: reads a, (b); writes partial `[blocks, 4]` (accumulate type, f32 for
    /// f16), for each [`NORM_BLOCK`] elements: sum of |d|, sum of d^2, largest |d| (NaN if one is NaN), and the number
    /// of elements with a != b (equal infinities are equal, and d is 0 there), or without `difference`, that are not
    /// finite.
    Norms { len: usize, difference: bool },
    /// Counts windows by tie set. reads ties, y `[N,C,OH,OW]`, gy (the gradient of y), and with `relu`, x: the
    /// input of the ReLU whose output was pooled, its derivative at 0 chosen at the call's site. writes counts
    /// `[KH KW + 1, 2, 2]` (u32): by number of ties k (row 0: windows that hold a NaN), by y = 0 (index 0) or not,
    /// and by dead (index 0) or alive: g != 0 and, with `relu`, a derivative that is not 0 at some tied element.
    TieCensus { geometry: Pool2dGeometry, relu: bool },
    /// reads x; writes count `[1]` (u32) of elements equal to 0
    CountZeros { len: usize },
    /// reads x; writes records `[slots, 2]` (u32) at `slot`: the index of the first value that is not finite, `u32::MAX`
    /// where there is none, and 0 for a NaN, 1 for infinity, 2 for -infinity
    FirstNonFinite { len: usize, slot: usize },
    /// Rounds in place to a simulated format. reads nothing; writes x
    Quantize { len: usize, format: Format, rounding: Rounding },
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
    /// The layer, which is the index into [`Settings::kinks`], a part of the counter of random draws, and the
    /// parameter group of an optimizer.
    pub site: usize,
}

/// What an operator has to do at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Additions and multiplications of convolutions and linear layers: two for each product. All else is bound by memory,
    /// and counts as 0.
    pub operations: u64,
    /// Bytes of the tensors, each read or written once.
    pub bytes: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.operations += other.operations;
        self.bytes += other.bytes;
    }
}

impl Call {
    /// Per-channel tensors apart, which are small.
    pub fn work(&self) -> Work {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let convolution = |g: &Conv2dGeometry| {
            let y = count(&g.y_shape());
            (2 * y * g.patch_len(), count(&g.x_shape()) + count(&g.weight_shape()) + y)
        };
        let linear = |g: &LinearGeometry| {
            let weight = g.in_features * g.out_features;
            (2 * g.batch * weight, g.batch * (g.in_features + g.out_features) + weight)
        };
        // Gradient, and parameter and states, which are read and written; with copies in f16.
        let optimizer = |len: usize, states: usize, master: bool| match master {
            true => (0, len * (1 + 2 * (1 + states)) + len / 2),
            false => (0, len * (1 + 2 * (1 + states))),
        };
        let (operations, elements) = match &self.op {
            Op::Conv2dForward { geometry: g, .. }
            | Op::Conv2dBackwardInput { geometry: g }
            | Op::Conv2dBackwardWeight { geometry: g, .. } => convolution(g),
            Op::LinearForward { geometry: g, .. }
            | Op::LinearBackwardInput { geometry: g }
            | Op::LinearBackwardWeight { geometry: g, .. } => linear(g),
            Op::MaxPool2dForward { geometry: g }
            | Op::MaxPool2dBackward { geometry: g }
            | Op::NormPool2dForward { geometry: g }
            | Op::AvgPool2dForward { geometry: g }
            | Op::AvgPool2dBackward { geometry: g } => (0, g.x_len() + g.windows()),
            Op::NormPool2dBackward { geometry: g } => (0, 2 * (g.x_len() + g.windows())),
            Op::TieCensus { geometry: g, relu } => (0, 2 * g.windows() + *relu as usize * g.x_len()),
            Op::ReluForward { len }
            | Op::DropoutForward { len, .. }
            | Op::DropoutBackward { len, .. }
            | Op::Quantize { len, .. } => (0, 2 * len),
            Op::ReluBackward { len } | Op::Add { len } => (0, 3 * len),
            Op::BatchNormForward { geometry: g, .. } | Op::BatchNormInference { geometry: g, .. } => {
                (0, 2 * g.len())
            }
            Op::BatchNormBackward { geometry: g, .. }
            | Op::BatchNormInferenceBackward { geometry: g, .. } => (0, 3 * g.len()),
            Op::CopyRows { geometry: g } => (0, 2 * g.rows * g.len),
            Op::CrossEntropy { batch, classes, .. } => (0, 2 * batch * classes),
            Op::Norms { len, difference } => (0, len * (1 + *difference as usize)),
            Op::CountZeros { len } | Op::FirstNonFinite { len, .. } => (0, *len),
            Op::Sgd { len, momentum, master } => optimizer(*len, *momentum as usize, *master),
            Op::Adam { len, amsgrad, master } => optimizer(*len, 2 + *amsgrad as usize, *master),
            Op::RmsProp { len, momentum, centered, master } => {
                optimizer(*len, 1 + *momentum as usize + *centered as usize, *master)
            }
        };
        let ties = match self.op {
            Op::MaxPool2dForward { geometry: g }
            | Op::MaxPool2dBackward { geometry: g }
            | Op::TieCensus { geometry: g, .. } => count(&g.ties_shape()),
            _ => 0,
        };
        Work { operations: operations as u64, bytes: (elements * self.dtype.size() + ties) as u64 }
    }
}

/// What may change from run to run without planning again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// The choice at each kink layer, by [`Call::site`].
    pub kinks: Vec<Option<Kink>>,
    /// Optimizer steps done so far: part of the counter of random draws.
    pub step: u64,
    /// Seed of dropout.
    pub seed: u64,
    /// Order of sums over the batch.
    pub reduction: ReductionOrder,
    /// Type of partial sums; the CPU engine alone knows [`Accumulate::Storage`].
    pub accumulate: Accumulate,
    /// Whether batch normalisation in training mode updates its running statistics.
    pub track_running_stats: bool,
    /// What the loss is multiplied by before it is differentiated.
    pub loss_scale: f64,
    /// What optimizers multiply the gradient by: 1 / loss_scale times the coefficient of clipping.
    pub grad_scale: f64,
    /// Scalars of the optimizer, by parameter group.
    pub optimizers: Vec<OptimizerSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            kinks: Vec::new(),
            step: 0,
            seed: 0,
            reduction: ReductionOrder::Fixed,
            accumulate: Accumulate::Wide,
            track_running_stats: true,
            loss_scale: 1.0,
            grad_scale: 1.0,
            optimizers: Vec::new(),
        }
    }
}

/// Scalars of one optimizer step on one parameter group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum OptimizerSettings {
    Sgd(SgdSettings),
    Adam(AdamSettings),
    RmsProp(RmsPropSettings),
}

/// Scalars of one SGD step, PyTorch's names and order of operations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct SgdSettings {
    pub learning_rate: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    /// The momentum buffer is empty: it becomes the gradient, undamped.
    pub first: bool,
}

/// Scalars of one Adam step, PyTorch's names and order of operations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct AdamSettings {
    pub learning_rate: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    pub weight_decay: f64,
    /// AdamW: the parameter shrinks by learning_rate * weight_decay; the gradient stays as it is.
    pub decoupled: bool,
    /// Number of this step, from 1: the power in the bias corrections.
    pub step: u64,
}

impl AdamSettings {
    /// `learning_rate / (1 - beta1^step)` and `sqrt(1 - beta2^step)`.
    pub fn corrections(&self) -> [f64; 2] {
        let [first, second] = self.betas.map(|beta| 1.0 - libm::pow(beta, self.step as f64));
        [self.learning_rate / first, second.sqrt()]
    }
}

/// Scalars of one RMSprop step, PyTorch's names and order of operations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct RmsPropSettings {
    pub learning_rate: f64,
    pub alpha: f64,
    pub eps: f64,
    pub momentum: f64,
    pub weight_decay: f64,
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

    pub fn norm_pool(&self, site: usize) -> NormPoolKink {
        match self.kinks.get(site) {
            Some(Some(Kink::NormPool(kink))) => *kink,
            _ => NormPoolKink::default(),
        }
    }

    pub fn sgd(&self, group: usize) -> SgdSettings {
        match self.optimizers.get(group) {
            Some(OptimizerSettings::Sgd(settings)) => *settings,
            _ => SgdSettings::default(),
        }
    }

    pub fn adam(&self, group: usize) -> AdamSettings {
        match self.optimizers.get(group) {
            Some(OptimizerSettings::Adam(settings)) => *settings,
            _ => AdamSettings::default(),
        }
    }

    pub fn rms_prop(&self, group: usize) -> RmsPropSettings {
        match self.optimizers.get(group) {
            Some(OptimizerSettings::RmsProp(settings)) => *settings,
            _ => RmsPropSettings::default(),
        }
    }

    /// The order in which the sums of a layer visit the samples, where it is not their own: a permutation of
    /// `0..batch` by Fisher and Yates, drawn from the seed, the site and the step.
    pub fn batch_order(&self, site: usize, batch: usize) -> Option<Vec<u32>> {
        let ReductionOrder::Seeded(seed) = self.reduction else { return None };
        let key = [seed as u32, (seed >> 32) as u32];
        let mut order: Vec<u32> = (0..batch as u32).collect();
        for i in (1..batch).rev() {
            // The fourth word keeps these draws apart from those of other users of the same seed.
            let word = philox4x32_10([i as u32, site as u32, self.step as u32, 0x6f72_6465], key)[0];
            order.swap(i, ((word as u64 * (i as u64 + 1)) >> 32) as usize);
        }
        Some(order)
    }
}

impl Op {
    /// The tensors of the storage type that the operator writes, as (index in writes, elements): what a simulated
    /// format rounds. The loss is reported as it is.
    pub fn stored_outputs(&self) -> Vec<(usize, usize)> {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let optimizer = |len: usize, states: usize| (0..=states).map(|i| (i, len)).collect();
        match *self {
            Op::Conv2dForward { geometry: g, .. } => vec![(0, count(&g.y_shape()))],
            Op::Conv2dBackwardInput { geometry: g } => vec![(0, count(&g.x_shape()))],
            Op::Conv2dBackwardWeight { geometry: g, bias } => {
                let weight = (0, count(&g.weight_shape()));
                [Some(weight), bias.then_some((1, g.out_channels))].into_iter().flatten().collect()
            }
            Op::LinearForward { geometry: g, .. } => vec![(0, g.batch * g.out_features)],
            Op::LinearBackwardInput { geometry: g } => vec![(0, g.batch * g.in_features)],
            Op::LinearBackwardWeight { geometry: g, bias } => {
                let weight = (0, g.out_features * g.in_features);
                [Some(weight), bias.then_some((1, g.out_features))].into_iter().flatten().collect()
            }
            Op::MaxPool2dForward { geometry: g }
            | Op::NormPool2dForward { geometry: g }
            | Op::AvgPool2dForward { geometry: g } => vec![(0, g.windows())],
            Op::MaxPool2dBackward { geometry: g }
            | Op::NormPool2dBackward { geometry: g }
            | Op::AvgPool2dBackward { geometry: g } => vec![(0, g.x_len())],
            Op::ReluForward { len }
            | Op::ReluBackward { len }
            | Op::Add { len }
            | Op::DropoutForward { len, .. }
            | Op::DropoutBackward { len, .. } => vec![(0, len)],
            Op::BatchNormForward { geometry: g, .. } => vec![(0, g.len()), (3, g.channels), (4, g.channels)],
            Op::BatchNormInference { geometry: g, .. } => vec![(0, g.len())],
            Op::BatchNormBackward { geometry: g, .. }
            | Op::BatchNormInferenceBackward { geometry: g, .. } => {
                vec![(0, g.len()), (1, g.channels), (2, g.channels)]
            }
            Op::CrossEntropy { batch, classes, .. } => vec![(1, batch * classes)],
            Op::Sgd { len, momentum, .. } => optimizer(len, momentum as usize),
            Op::Adam { len, amsgrad, .. } => optimizer(len, 2 + amsgrad as usize),
            Op::RmsProp { len, momentum, centered, .. } => {
                optimizer(len, 1 + momentum as usize + centered as usize)
            }
            // Copies of what has been rounded, counts and norms.
            Op::CopyRows { .. }
            | Op::Norms { .. }
            | Op::TieCensus { .. }
            | Op::CountZeros { .. }
            | Op::FirstNonFinite { .. }
            | Op::Quantize { .. } => vec![],
        }
    }

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
            Op::BatchNormForward { .. } => "batchnorm_forward",
            Op::BatchNormInference { .. } => "batchnorm_inference",
            Op::BatchNormBackward { .. } => "batchnorm_backward",
            Op::BatchNormInferenceBackward { .. } => "batchnorm_inference_backward",
            Op::NormPool2dForward { .. } => "norm_pool2d_forward",
            Op::NormPool2dBackward { .. } => "norm_pool2d_backward",
            Op::AvgPool2dForward { .. } => "avgpool2d_forward",
            Op::AvgPool2dBackward { .. } => "avgpool2d_backward",
            Op::CopyRows { .. } => "copy_rows",
            Op::DropoutForward { .. } => "dropout_forward",
            Op::DropoutBackward { .. } => "dropout_backward",
            Op::CrossEntropy { .. } => "cross_entropy",
            Op::Sgd { .. } => "sgd",
            Op::Adam { .. } => "adam",
            Op::RmsProp { .. } => "rms_prop",
            Op::Norms { .. } => "norms",
            Op::TieCensus { .. } => "tie_census",
            Op::CountZeros { .. } => "count_zeros",
            Op::FirstNonFinite { .. } => "first_non_finite",
            Op::Quantize { .. } => "quantize",
        }
    }
}

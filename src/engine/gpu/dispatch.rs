//! What an operator becomes: a list of dispatches.

use super::{
    add, avgpool2d, batchnorm, conv2d, copy_rows, dropout, linear, loss, maxpool2d, non_finite, norm_pool2d,
    norms, optimizer, quantize, relu, tie_census,
};
use crate::dtype::DType;
use crate::engine::op::{Call, Op, Settings};

/// Threads of a workgroup of the kernels that import `index`.
pub(super) const THREADS: usize = 256;

/// A shader file and the names that are defined in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kernel {
    pub shader: &'static str,
    pub defines: Vec<&'static str>,
}

impl Kernel {
    pub fn new(shader: &'static str, dtype: DType) -> Kernel {
        let defines = if dtype == DType::F16 { vec!["F16"] } else { vec![] };
        Kernel { shader, defines }
    }

    pub fn define(mut self, name: &'static str, defined: bool) -> Kernel {
        if defined {
            self.defines.push(name);
        }
        self
    }
}

/// Memory that a dispatch sees: a tensor of the call by its position, or the scratch buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Read(usize),
    Write(usize),
    /// A tensor that an earlier dispatch of the same call wrote.
    ReadBack(usize),
    ReadScratch,
    WriteScratch,
}

impl Binding {
    pub fn read_only(self) -> bool {
        !matches!(self, Binding::Write(_) | Binding::WriteScratch)
    }
}

/// Computes the params of a kernel.
pub(super) type WordsOf = Box<dyn Fn(&Settings) -> Vec<u32> + Send>;

/// The words of a kernel's `Params`.
pub(super) enum Params {
    Fixed(Vec<u32>),
    /// Written anew when the settings change; its length never changes.
    Settings(WordsOf),
}

impl Params {
    pub fn from_settings(words: impl Fn(&Settings) -> Vec<u32> + Send + 'static) -> Params {
        Params::Settings(Box::new(words))
    }

    /// `words`, then the order in which a sum visits the samples, see [`Settings::batch_order`].
    pub fn in_batch_order(words: Vec<u32>, site: usize, batch: usize) -> Params {
        Params::from_settings(move |settings| {
            let order = settings.batch_order(site, batch);
            let order = order.unwrap_or_else(|| (0..batch as u32).collect());
            let mut params = [words.as_slice(), &order].concat();
            // An array in a binding has at least one element.
            params.resize(words.len() + batch.max(1), 0);
            params
        })
    }
}

/// Lengths as words.
pub(super) fn words(values: &[usize]) -> Vec<u32> {
    values.iter().map(|&v| v as u32).collect()
}

/// A scalar as a word: rounded once, to f32.
pub(super) fn bits(value: f64) -> u32 {
    (value as f32).to_bits()
}

/// One kernel on some memory. Its bindings are `bindings` in order, then the params.
pub(super) struct Dispatch {
    pub kernel: Kernel,
    pub bindings: Vec<Binding>,
    /// Number of workgroups; none, nothing to do.
    pub groups: usize,
    pub params: Params,
}

impl Dispatch {
    /// One thread for each of `items`.
    pub fn elementwise(kernel: Kernel, bindings: Vec<Binding>, items: usize, params: Params) -> Dispatch {
        Dispatch { kernel, bindings, groups: items.div_ceil(THREADS), params }
    }
}

/// An operator as dispatches, and the bytes of scratch memory that they share.
pub(super) struct Lowered {
    pub dispatches: Vec<Dispatch>,
    pub scratch: usize,
}

impl From<Dispatch> for Lowered {
    fn from(dispatch: Dispatch) -> Lowered {
        Lowered { dispatches: vec![dispatch], scratch: 0 }
    }
}

pub(super) fn lower(call: &Call) -> Lowered {
    let dtype = call.dtype;
    match call.op {
        Op::Conv2dForward { geometry, bias } => conv2d::forward(&geometry, bias, dtype).into(),
        Op::Conv2dBackwardInput { geometry } => conv2d::backward_input(&geometry, dtype).into(),
        Op::Conv2dBackwardWeight { geometry, bias } => {
            conv2d::backward_weight(&geometry, bias, dtype, call.site)
        }
        Op::LinearForward { geometry, bias } => linear::forward(&geometry, bias, dtype).into(),
        Op::LinearBackwardInput { geometry } => linear::backward_input(&geometry, dtype).into(),
        Op::LinearBackwardWeight { geometry, bias } => {
            linear::backward_weight(&geometry, bias, dtype, call.site).into()
        }
        Op::MaxPool2dForward { geometry } => maxpool2d::forward(&geometry, dtype, call.site).into(),
        Op::MaxPool2dBackward { geometry } => maxpool2d::backward(&geometry, dtype, call.site).into(),
        Op::ReluForward { len } => relu::forward(len, dtype).into(),
        Op::ReluBackward { len } => relu::backward(len, dtype, call.site).into(),
        Op::Add { len } => add::forward(len, dtype).into(),
        Op::BatchNormForward { geometry, eps, momentum, parameters } => {
            batchnorm::forward(&geometry, eps, momentum, [dtype, parameters], call.site)
        }
        Op::BatchNormInference { geometry, eps, parameters } => {
            batchnorm::inference(&geometry, eps, [dtype, parameters]).into()
        }
        Op::BatchNormBackward { geometry, parameters } => {
            batchnorm::backward(&geometry, None, [dtype, parameters], call.site)
        }
        Op::BatchNormInferenceBackward { geometry, eps, parameters } => {
            batchnorm::backward(&geometry, Some(eps), [dtype, parameters], call.site)
        }
        Op::NormPool2dForward { geometry } => norm_pool2d::forward(&geometry, dtype).into(),
        Op::NormPool2dBackward { geometry } => norm_pool2d::backward(&geometry, dtype, call.site).into(),
        Op::AvgPool2dForward { geometry } => avgpool2d::forward(&geometry, dtype).into(),
        Op::AvgPool2dBackward { geometry } => avgpool2d::backward(&geometry, dtype).into(),
        Op::CopyRows { geometry } => copy_rows::copy(&geometry, dtype).into(),
        Op::DropoutForward { len, p } | Op::DropoutBackward { len, p } => {
            dropout::apply(len, p, dtype, call.site).into()
        }
        Op::CrossEntropy { batch, classes, wide_loss } => {
            loss::cross_entropy(batch, classes, wide_loss, dtype)
        }
        Op::Sgd { len, momentum, master } => optimizer::sgd(len, momentum, master, dtype, call.site).into(),
        Op::Adam { len, amsgrad, master } => optimizer::adam(len, amsgrad, master, dtype, call.site).into(),
        Op::RmsProp { len, momentum, centered, master } => {
            optimizer::rms_prop(len, [momentum, centered], master, dtype, call.site).into()
        }
        Op::Norms { len, difference } => norms::norms(len, difference, dtype).into(),
        Op::TieCensus { geometry, relu } => tie_census::tie_census(&geometry, relu, dtype, call.site),
        Op::CountZeros { len } => tie_census::count_zeros(len, dtype),
        Op::FirstNonFinite { len, slot } => non_finite::first_non_finite(len, slot, dtype).into(),
        Op::Quantize { len, format, rounding } => quantize::quantize(len, format, rounding, call.site).into(),
    }
}

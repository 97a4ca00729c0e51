use std::fmt;
use std::str::FromStr;

use super::{Kink, MaxPoolJacobian, MaxPoolKink, NormPoolKink, ReluKink};
use crate::error::{Error, Result};

/// What a framework computes at the kinks, as a named set of choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Convention {
    /// PyTorch, burn, darknet, ggml, tiny-dnn: the first of the tied elements, ReLU'(0) = 0.
    #[default]
    Pytorch,
    /// JAX: as PyTorch at max pooling and ReLU; its other kinks (abs, a norm at 0) are its own.
    Jax,
    /// TensorFlow where a window is pooled by `reduce_max`: an equal share to each of the tied elements. Its `max_pool2d`
    /// takes the first of them, as PyTorch.
    Tensorflow,
    /// candle: g k / n to each of the k tied elements of a window of n, so g / n where there is no tie; ReLU'(0) = 1.
    Candle,
    /// mlpack: the first of the tied elements in column-major order, ReLU'(0) = 0.
    Mlpack,
    /// Theano on a CPU: g to each of the tied elements; ReLU'(0) = 1/2, from (x + |x|) / 2.
    Theano,
    /// cuDNN, whose choice is not repeatable, imitated repeatably: one of the tied elements, drawn from seed 0.
    CudnnRandom,
}

impl Convention {
    /// All of them.
    pub const ALL: [Convention; 7] = [
        Convention::Pytorch,
        Convention::Jax,
        Convention::Tensorflow,
        Convention::Candle,
        Convention::Mlpack,
        Convention::Theano,
        Convention::CudnnRandom,
    ];

    /// Its choice at each kind of kink: max pooling, ReLU, norm pooling. The last is 0 for all.
    pub fn kinks(self) -> [Kink; 3] {
        let (jacobian, alpha) = match self {
            Convention::Pytorch | Convention::Jax => (MaxPoolJacobian::Native, 0.0),
            Convention::Tensorflow => (MaxPoolJacobian::Minimal, 0.0),
            Convention::Candle => (MaxPoolJacobian::Scaled, 1.0),
            Convention::Mlpack => (MaxPoolJacobian::FirstColumn, 0.0),
            Convention::Theano => (MaxPoolJacobian::All, 0.5),
            Convention::CudnnRandom => (MaxPoolJacobian::Random(0), 0.0),
        };
        [
            Kink::MaxPool(MaxPoolKink { jacobian, ..Default::default() }),
            Kink::Relu(ReluKink { alpha }),
            Kink::NormPool(NormPoolKink::default()),
        ]
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Convention::Pytorch => "pytorch",
            Convention::Jax => "jax",
            Convention::Tensorflow => "tensorflow",
            Convention::Candle => "candle",
            Convention::Mlpack => "mlpack",
            Convention::Theano => "theano",
            Convention::CudnnRandom => "cudnn-random",
        })
    }
}

impl FromStr for Convention {
    type Err = Error;

    fn from_str(text: &str) -> Result<Convention> {
        Convention::ALL.into_iter().find(|c| c.to_string() == text).ok_or_else(|| {
            let known: Vec<String> = Convention::ALL.iter().map(Convention::to_string).collect();
            Error::invalid("kinks", known.join(", "), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for convention in Convention::ALL {
            assert_eq!(convention.to_string().parse::<Convention>().unwrap(), convention);
            assert!(convention.kinks().iter().all(|kink| kink.validate().is_ok()));
        }
        let message = "caffe".parse::<Convention>().unwrap_err().to_string();
        assert!(message.contains("mlpack") && message.contains("caffe"), "{message}");
    }
}

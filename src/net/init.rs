//! How parameters start, from a seed.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;

use rand_philox::{Philox, u32_to_unit_f64};

use super::graph::{Declaration, Role};
use crate::error::{Error, Result};
use crate::shape::element_count;
use crate::tensor::filled;

/// The number of products that scales a Kaiming initialisation (He et al., 2015), as PyTorch counts them: for a
/// convolution `[O, C / groups, KH, KW]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fan {
    /// C / groups * KH * KW: keeps the variance of activations on the way forward.
    In,
    /// O * KH * KW: keeps that of gradients on the way back.
    Out,
}

/// How the parameters of a network start. Batch normalisation always starts with weight 1, bias 0, running mean 0
/// and running variance 1.
///
/// The numbers depend on the seed and the parameter's place among the network's parameters and buffers alone: networks
/// of all dtypes, engines and machines start from the same numbers, each rounded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Initialization {
    /// Weights and biases uniform on (-1 / sqrt(fan in), 1 / sqrt(fan in)), as `torch.nn.Conv2d` and
    /// `torch.nn.Linear` draw them. The published code trains LeNet-5, VGG and, on ImageNet, ResNet from these.
    #[default]
    PyTorch,
    /// Weights of convolutions and linear layers uniform on (-sqrt(6 / fan), sqrt(6 / fan)), biases 0:
    /// `torch.nn.init.kaiming_uniform_` for ReLU.
    KaimingUniform(Fan),
    /// Weights of convolutions and linear layers normal with variance 2 / fan, biases 0:
    /// `torch.nn.init.kaiming_normal_` for ReLU.
    KaimingNormal(Fan),
    /// Convolutions as `KaimingNormal(Fan::Out)`, linear layers as `PyTorch`: ResNet in torchvision and in the
    /// published code.
    ResNet,
    /// Convolutions as `KaimingNormal(Fan::In)`, linear layers as `PyTorch` but for biases of 0: DenseNet in
    /// torchvision and in the published code.
    DenseNet,
    /// Convolutions as `KaimingUniform(Fan::In)`, weights of linear layers normal with standard deviation 0.01, biases
    /// 0: the published code where it estimates the volume of the bifurcation zone.
    Volume,
}

impl Initialization {
    /// All of them.
    pub const ALL: [Initialization; 8] = [
        Initialization::PyTorch,
        Initialization::KaimingUniform(Fan::In),
        Initialization::KaimingUniform(Fan::Out),
        Initialization::KaimingNormal(Fan::In),
        Initialization::KaimingNormal(Fan::Out),
        Initialization::ResNet,
        Initialization::DenseNet,
        Initialization::Volume,
    ];

    fn distribution(self, declaration: &Declaration) -> Distribution {
        use Distribution::*;
        let convolution = declaration.shape.len() == 4;
        let fan = |fan| declaration.fan[(fan == Fan::Out) as usize] as f64;
        let kaiming_uniform = |f| Uniform((6.0 / fan(f)).sqrt());
        let kaiming_normal = |f| Normal((2.0 / fan(f)).sqrt());
        let pytorch = Uniform(1.0 / fan(Fan::In).sqrt());
        match declaration.role {
            Role::NormWeight | Role::RunningVar => Constant(1.0),
            Role::NormBias | Role::RunningMean => Constant(0.0),
            Role::Bias => match self {
                Initialization::PyTorch | Initialization::ResNet => pytorch,
                _ => Constant(0.0),
            },
            Role::Weight => match self {
                Initialization::PyTorch => pytorch,
                Initialization::KaimingUniform(f) => kaiming_uniform(f),
                Initialization::KaimingNormal(f) => kaiming_normal(f),
                Initialization::ResNet if convolution => kaiming_normal(Fan::Out),
                Initialization::DenseNet if convolution => kaiming_normal(Fan::In),
                Initialization::ResNet | Initialization::DenseNet => pytorch,
                Initialization::Volume if convolution => kaiming_uniform(Fan::In),
                Initialization::Volume => Normal(0.01),
            },
        }
    }
}

impl fmt::Display for Initialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Initialization::PyTorch => "pytorch",
            Initialization::KaimingUniform(Fan::In) => "kaiming_uniform_fan_in",
            Initialization::KaimingUniform(Fan::Out) => "kaiming_uniform_fan_out",
            Initialization::KaimingNormal(Fan::In) => "kaiming_normal_fan_in",
            Initialization::KaimingNormal(Fan::Out) => "kaiming_normal_fan_out",
            Initialization::ResNet => "resnet",
            Initialization::DenseNet => "densenet",
            Initialization::Volume => "volume",
        })
    }
}

impl FromStr for Initialization {
    type Err = Error;

    fn from_str(text: &str) -> Result<Initialization> {
        Initialization::ALL.into_iter().find(|i| i.to_string() == text).ok_or_else(|| {
            let known: Vec<String> = Initialization::ALL.iter().map(|i| i.to_string()).collect();
            Error::invalid("initialization", format!("one of {}", known.join(", ")), text)
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Constant(f64),
    /// On (-bound, bound).
    Uniform(f64),
    /// With mean 0 and this standard deviation.
    Normal(f64),
}

/// Values of parameter or buffer number `index`.
pub(super) fn values(
    initialization: Initialization,
    declaration: &Declaration,
    index: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    let mut random = Philox::from_u64_seed_stream(seed, index as u64);
    let mut uniform = || u32_to_unit_f64(random.next_u32());
    let mut values = filled(0.0, element_count(&declaration.shape)?, &declaration.name)?;
    match initialization.distribution(declaration) {
        Distribution::Constant(value) => values.fill(value),
        Distribution::Uniform(bound) => values.fill_with(|| (2.0 * uniform() - 1.0) * bound),
        Distribution::Normal(deviation) => {
            for pair in values.chunks_mut(2) {
                // Box and Muller; libm's functions give the same bits everywhere.
                let radius = deviation * (-2.0 * libm::log(uniform())).sqrt();
                let (sine, cosine) = libm::sincos(TAU * uniform());
                pair.iter_mut().zip([radius * cosine, radius * sine]).for_each(|(to, value)| *to = value);
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::engine::Engine;
    use crate::net::{Graph, Network, NetworkOptions, zoo};
    use crate::shape::Window2d;

    /// A convolution [48, 8, 3, 3] of 2 groups (fan in 72, fan out 432) and a linear layer [20, 1200], both with bias,
    /// and batch normalisation.
    fn graph() -> Graph {
        let mut g = Graph::new([16, 5, 5]);
        let x = g.grouped_conv2d("conv", g.input(), 48, Window2d::new(3, 1, 1), 2, true).unwrap();
        let x = g.batchnorm("norm", x).unwrap();
        let x = g.flatten("flatten", x).unwrap();
        g.linear("linear", x, 20, true).unwrap();
        g
    }

    /// Values of a parameter of [`graph`].
    fn drawn(initialization: Initialization, name: &str, seed: u64) -> Vec<f64> {
        let graph = graph();
        let declarations = graph.declarations();
        let index = declarations.iter().position(|d| d.name == name).unwrap();
        values(initialization, &declarations[index], index, seed).unwrap()
    }

    /// Mean square, largest and mean of a sample; fails unless they are those of the distribution, within 5 standard
    /// errors.
    fn check(what: &str, sample: &[f64], expected: Distribution) {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let square = sample.iter().map(|v| v * v).sum::<f64>() / n;
        let fourth = sample.iter().map(|v| v.powi(4)).sum::<f64>() / n;
        let largest = sample.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let (variance, kurtosis) = match expected {
            Distribution::Constant(value) => {
                return assert!(sample.iter().all(|&v| v == value), "{what}");
            }
            Distribution::Uniform(bound) => {
                assert!(largest < bound, "{what}: {largest} reaches {bound}");
                (bound * bound / 3.0, 9.0 / 5.0)
            }
            Distribution::Normal(deviation) => (deviation * deviation, 3.0),
        };
        assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{what}: mean {mean:e}");
        let error = (square / variance - 1.0).abs();
        assert!(error < 5.0 * ((kurtosis - 1.0) / n).sqrt(), "{what}: variance off by {error}");
        assert!((fourth / (square * square) - kurtosis).abs() < 0.3 || n < 1000.0, "{what}: kurtosis");
    }

    #[test]
    fn distributions() {
        use Distribution::*;
        use Initialization as I;
        let pytorch = |fan: f64| Uniform(1.0 / fan.sqrt());
        let zero = Constant(0.0);
        for (initialization, expected) in [
            (I::PyTorch, [pytorch(72.0), pytorch(72.0), pytorch(1200.0), pytorch(1200.0)]),
            (
                I::KaimingUniform(Fan::In),
                [Uniform((6f64 / 72.0).sqrt()), zero, Uniform((6f64 / 1200.0).sqrt()), zero],
            ),
            (
                I::KaimingUniform(Fan::Out),
                [Uniform((6f64 / 432.0).sqrt()), zero, Uniform((6f64 / 20.0).sqrt()), zero],
            ),
            (
                I::KaimingNormal(Fan::In),
                [Normal((2f64 / 72.0).sqrt()), zero, Normal((2f64 / 1200.0).sqrt()), zero],
            ),
            (
                I::KaimingNormal(Fan::Out),
                [Normal((2f64 / 432.0).sqrt()), zero, Normal((2f64 / 20.0).sqrt()), zero],
            ),
            (I::ResNet, [Normal((2f64 / 432.0).sqrt()), pytorch(72.0), pytorch(1200.0), pytorch(1200.0)]),
            (I::DenseNet, [Normal((2f64 / 72.0).sqrt()), zero, pytorch(1200.0), zero]),
            (I::Volume, [Uniform((6f64 / 72.0).sqrt()), zero, Normal(0.01), zero]),
        ] {
            let names = ["conv.weight", "conv.bias", "linear.weight", "linear.bias"];
            for (name, expected) in names.into_iter().zip(expected) {
                check(&format!("{initialization} {name}"), &drawn(initialization, name, 7), expected);
            }
            for (name, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
            {
                let values = drawn(initialization, &format!("norm.{name}"), 7);
                check(name, &values, Constant(value));
            }
        }
    }

    #[test]
    fn seeds_and_parameters_have_their_own_numbers() {
        for initialization in Initialization::ALL {
            let values = drawn(initialization, "conv.weight", 7);
            assert_eq!(values, drawn(initialization, "conv.weight", 7), "{initialization}");
            assert_ne!(values, drawn(initialization, "conv.weight", 8), "{initialization}");
            let mut distinct = values.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup();
            assert_eq!(distinct.len(), values.len(), "{initialization}");
            assert_ne!(values[..20], drawn(initialization, "linear.weight", 7)[..20], "{initialization}");
        }
    }

    #[test]
    fn dtypes_share_their_numbers() {
        for initialization in [Initialization::PyTorch, Initialization::Volume] {
            let mut networks = [DType::F64, DType::F32, DType::F16].map(|dtype| {
                let options = NetworkOptions { precision: dtype.into(), seed: 3, initialization };
                Network::with_options(&Engine::cpu(), &graph(), &options).unwrap()
            });
            for name in ["conv.weight", "linear.weight", "linear.bias", "norm.weight"] {
                let [exact, single, half] = networks.each_mut().map(|n| n.parameter(name).unwrap());
                assert_eq!(exact.to_f64(), drawn(initialization, name, 3), "{name}");
                assert_eq!(exact.to_dtype(DType::F32), single, "{name}");
                assert_eq!(exact.to_dtype(DType::F16), half, "{name}");
            }
        }
    }

    /// Networks that were trained from a seed can be trained again.
    #[test]
    fn numbers_of_a_seed_are_frozen() {
        let graph = zoo::lenet5(&Default::default()).unwrap();
        let first = |initialization, index: usize| {
            values(initialization, &graph.declarations()[index], index, 1).unwrap()[..2].to_vec()
        };
        assert_eq!(first(Initialization::PyTorch, 0), [0.17516116867773235, 0.0315625645685941]);
        assert_eq!(
            first(Initialization::KaimingNormal(Fan::In), 2),
            [0.21092870311338405, 0.05910405624975904]
        );
    }

    #[test]
    fn names_round_trip() {
        for initialization in Initialization::ALL {
            assert_eq!(initialization.to_string().parse::<Initialization>().unwrap(), initialization);
        }
        let error = "kaiming".parse::<Initialization>().unwrap_err().to_string();
        assert!(error.contains("kaiming_normal_fan_out") && error.contains("volume"), "{error}");
    }
}

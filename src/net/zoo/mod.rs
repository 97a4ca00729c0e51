//! The networks of the paper, with the parameter names of its published code, which are torchvision's where there
//! is such a network.

mod densenet;
mod lenet;
mod resnet;
mod vgg;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::net::{Graph, Initialization, NodeId};

pub use densenet::densenet;
pub use lenet::lenet5;
#[cfg(feature = "lab")]
pub(crate) use lenet::lenet5_with;
pub use resnet::resnet;
pub use vgg::vgg;

/// Names that [`by_name`] knows, each also with the suffix `_bn`.
pub const NAMES: [&str; 11] = [
    "lenet5",
    "vgg9",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "densenet201",
];

/// Which of the networks that go by one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Variant {
    /// The published code's for images `[3, 32, 32]`.
    #[default]
    Cifar,
    /// The published code's for images `[3, 224, 224]`: as `Cifar`, but ResNet begins with a convolution 7x7 of
    /// stride 2. Its pooling is 2x2.
    ImageNet,
    /// torchvision's, for images `[3, 224, 224]`.
    Torchvision,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Cifar => "cifar",
            Variant::ImageNet => "imagenet",
            Variant::Torchvision => "torchvision",
        })
    }
}

impl FromStr for Variant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Variant> {
        [Variant::Cifar, Variant::ImageNet, Variant::Torchvision]
            .into_iter()
            .find(|v| v.to_string() == text)
            .ok_or_else(|| Error::invalid("variant", "cifar, imagenet or torchvision", text))
    }
}

/// What may be varied in the networks of the zoo. A network ignores what it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Number of classes.
    pub classes: usize,
    /// With batch normalisation.
    pub batch_norm: bool,
    /// Channels of the first convolution, of which the others are multiples: 64 in the paper. DenseNet's growth
    /// rate is half of it. LeNet-5's channels are fixed.
    pub base_width: usize,
    /// Shape `[C, H, W]` of a sample; `None` for the network's own.
    pub input: Option<[usize; 3]>,
    /// Which of the networks of that name; LeNet-5 is one.
    pub variant: Variant,
    /// LeNet-5: widths of the two hidden fully connected layers.
    pub hidden: [usize; 2],
}

impl Default for Options {
    fn default() -> Self {
        Options {
            classes: 10,
            batch_norm: false,
            base_width: 64,
            input: None,
            variant: Variant::default(),
            hidden: [120, 84],
        }
    }
}

impl Options {
    /// What networks for colour images begin with.
    fn colour_graph(&self) -> Result<Graph> {
        const WIDEST: usize = 1 << 16;
        if !(1..=WIDEST).contains(&self.base_width) {
            return Err(Error::invalid("base_width", format!("1 to {WIDEST}"), self.base_width));
        }
        let own = match self.variant {
            Variant::Cifar => [3, 32, 32],
            Variant::ImageNet | Variant::Torchvision => [3, 224, 224],
        };
        Ok(Graph::new(self.input.unwrap_or(own)))
    }
}

/// A network by its name in [`NAMES`]. The suffix `_bn` means batch normalisation whatever `options` says.
///
/// Errors: [`Error::NotFound`] for an unknown name; those of [`Graph`] where the options do not fit the network.
///
/// ```
/// use tiebreak::net::zoo::{self, Options};
///
/// let graph = zoo::by_name("resnet18_bn", &Options { classes: 100, ..Default::default() })?;
/// assert_eq!(graph.output_shape(), [100]);
/// # Ok::<(), tiebreak::Error>(())
/// ```
pub fn by_name(name: &str, options: &Options) -> Result<Graph> {
    let (base, batch_norm) = base_name(name);
    let options = &Options { batch_norm: batch_norm || options.batch_norm, ..*options };
    match base {
        "lenet5" => lenet5(options),
        "vgg9" => vgg(9, options),
        "vgg11" => vgg(11, options),
        "vgg13" => vgg(13, options),
        "vgg16" => vgg(16, options),
        "vgg19" => vgg(19, options),
        "resnet18" => resnet(18, options),
        "resnet34" => resnet(34, options),
        "resnet50" => resnet(50, options),
        "densenet121" => densenet(121, options),
        "densenet201" => densenet(201, options),
        _ => Err(unknown(name)),
    }
}

/// The initialisation with which the published code trains a network of [`NAMES`]: on ImageNet, whichever variant, it
/// resets to PyTorch's.
pub fn published_initialization(name: &str, variant: Variant) -> Result<Initialization> {
    match base_name(name).0 {
        base if !NAMES.contains(&base) => Err(unknown(name)),
        _ if variant != Variant::Cifar => Ok(Initialization::PyTorch),
        base if base.starts_with("resnet") => Ok(Initialization::ResNet),
        base if base.starts_with("densenet") => Ok(Initialization::DenseNet),
        _ => Ok(Initialization::PyTorch),
    }
}

fn base_name(name: &str) -> (&str, bool) {
    name.strip_suffix("_bn").map_or((name, false), |base| (base, true))
}

fn unknown(name: &str) -> Error {
    let known = format!("{}, each also with _bn", NAMES.join(", "));
    Error::NotFound { what: "network", name: name.into(), known }
}

fn unknown_depth(network: &str, depth: usize, known: &str) -> Error {
    Error::NotFound { what: "depth", name: format!("{network}{depth}"), known: known.into() }
}

/// Batch normalisation where it is wanted.
fn norm(g: &mut Graph, wanted: bool, name: &str, x: NodeId) -> Result<NodeId> {
    if wanted { g.batchnorm(name, x) } else { Ok(x) }
}

fn channels(g: &Graph, x: NodeId) -> usize {
    g.nodes[x.0].shape[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements of all parameters.
    fn count(name: &str, options: &Options) -> usize {
        let declarations = by_name(name, options).unwrap().declarations();
        let parameters = declarations.iter().filter(|d| !d.role.is_buffer());
        parameters.map(|d| d.shape.iter().product::<usize>()).sum()
    }

    /// The numbers that torchvision publishes.
    #[test]
    fn torchvision_parameter_counts() {
        let options = Options { classes: 1000, variant: Variant::Torchvision, ..Default::default() };
        for (name, expected) in [
            ("vgg11", 132_863_336),
            ("vgg13", 133_047_848),
            ("vgg16", 138_357_544),
            ("vgg19", 143_667_240),
            ("vgg11_bn", 132_868_840),
            ("vgg13_bn", 133_053_736),
            ("vgg16_bn", 138_365_992),
            ("vgg19_bn", 143_678_248),
            ("resnet18_bn", 11_689_512),
            ("resnet34_bn", 21_797_672),
            ("resnet50_bn", 25_557_032),
            ("densenet121_bn", 7_978_856),
            ("densenet201_bn", 20_013_928),
        ] {
            assert_eq!(count(name, &options), expected, "{name}");
        }
    }

    /// Of the published modules, counted in PyTorch.
    #[test]
    fn published_parameter_counts() {
        for (name, plain, with_batch_norm) in [
            ("lenet5", 44_426, 44_878),
            ("vgg9", 3_915_914, 3_918_858),
            ("vgg11", 9_225_610, 9_231_114),
            ("vgg13", 9_410_122, 9_416_010),
            ("vgg16", 14_719_818, 14_728_266),
            ("vgg19", 20_029_514, 20_040_522),
            ("resnet18", 11_164_362, 11_173_962),
            ("resnet34", 21_265_098, 21_282_122),
            ("resnet50", 23_467_722, 23_520_842),
            ("densenet121", 6_880_458, 6_882_634),
            ("densenet201", 17_883_082, 17_887_050),
        ] {
            let counts = [name.to_string(), format!("{name}_bn")].map(|n| count(&n, &Options::default()));
            assert_eq!(counts, [plain, with_batch_norm], "{name}");
        }
    }

    #[test]
    fn names() {
        let options = Options { batch_norm: true, ..Default::default() };
        for name in NAMES {
            let graph = by_name(name, &options).unwrap();
            assert_eq!(graph, by_name(&format!("{name}_bn"), &Options::default()).unwrap(), "{name}");
            assert_eq!(graph.output_shape(), [10]);
            let on_imagenet = published_initialization(name, Variant::ImageNet).unwrap();
            assert_eq!(on_imagenet, Initialization::PyTorch, "{name}");
        }
        for wrong in ["", "_bn", "vgg12", "vgg11_bn_bn", "LeNet5"] {
            let error = by_name(wrong, &options).unwrap_err().to_string();
            assert!(error.contains("densenet201") && error.contains("_bn"), "{error}");
            assert!(published_initialization(wrong, Variant::Cifar).is_err());
        }
        let on_cifar = |name| published_initialization(name, Variant::Cifar).unwrap();
        assert_eq!(on_cifar("resnet18_bn"), Initialization::ResNet);
        assert_eq!(on_cifar("densenet121"), Initialization::DenseNet);
        assert!(vgg(12, &options).unwrap_err().to_string().contains("vgg12"));
        assert!(resnet(101, &options).is_err() && densenet(169, &options).is_err());
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let refused = |name: &str, options: Options| {
            assert!(by_name(name, &options).is_err(), "{name} {options:?}");
        };
        for name in NAMES {
            refused(name, Options { classes: 0, ..Default::default() });
            refused(name, Options { input: Some([3, 0, 32]), ..Default::default() });
        }
        for name in &NAMES[1..] {
            refused(name, Options { base_width: 0, ..Default::default() });
            refused(name, Options { base_width: usize::MAX, ..Default::default() });
        }
        refused("lenet5", Options { hidden: [0, 84], ..Default::default() });
        refused("densenet121", Options { base_width: 1, ..Default::default() });
        refused("vgg16", Options { input: Some([3, 16, 16]), ..Default::default() });
        let small = Options { input: Some([3, 64, 64]), variant: Variant::Torchvision, ..Default::default() };
        refused("vgg16", small);
    }

    /// The published VGG takes 32x32 alone; ours averages what is left of larger images.
    #[test]
    fn larger_images() {
        for name in ["vgg11", "resnet18", "resnet50", "densenet121"] {
            for variant in [Variant::Cifar, Variant::ImageNet] {
                let options = Options { input: Some([3, 64, 96]), variant, ..Default::default() };
                assert_eq!(by_name(name, &options).unwrap().output_shape(), [10]);
            }
        }
        let shape_of = |name: &str, variant, layer: &str| {
            let graph = by_name(name, &Options { variant, ..Default::default() }).unwrap();
            let found = graph.layers().find(|l| l.name == layer);
            found.unwrap().shape
        };
        assert_eq!(shape_of("resnet50", Variant::Cifar, "maxpool"), [64, 16, 16]);
        assert_eq!(shape_of("resnet50", Variant::ImageNet, "maxpool"), [64, 56, 56]);
        assert_eq!(shape_of("resnet50", Variant::Torchvision, "layer4.2.add"), [2048, 7, 7]);
        assert_eq!(
            shape_of("densenet121", Variant::Cifar, "features.denseblock4.denselayer16.concat"),
            [1024, 1, 1]
        );
        assert_eq!(shape_of("vgg19", Variant::ImageNet, "features.37"), [512, 1, 1]);
    }

    #[test]
    fn variants_round_trip() {
        for variant in [Variant::Cifar, Variant::ImageNet, Variant::Torchvision] {
            assert_eq!(variant.to_string().parse::<Variant>().unwrap(), variant);
        }
        assert!("".parse::<Variant>().is_err());
    }
}

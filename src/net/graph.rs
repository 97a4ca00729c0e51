//! The layers of a network and the shapes between them.

use crate::error::{Error, Result};
use crate::kink::{Kink, MaxPoolKink, NormPoolKink, ReluKink};
use crate::shape::{BatchNormGeometry, Conv2dGeometry, Pool2dGeometry, Window2d, element_count};

/// A layer of a [`Graph`], to be named as the input of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(crate) usize);

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// The network's input.
    Input,
    /// Convolution with parameters `<name>.weight` `[O, C / groups, KH, KW]` and, if `bias`, `<name>.bias` `[O]`.
    Conv2d {
        /// Output channels O.
        out_channels: usize,
        /// Kernel, stride, padding, dilation.
        window: Window2d,
        /// Groups of channels that do not see each other.
        groups: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// max(x, 0); a kink layer.
    Relu,
    /// Max pooling; a kink layer.
    MaxPool2d {
        /// Kernel, stride, padding.
        window: Window2d,
    },
    /// `[C, H, W]` seen as `[C * H * W]`.
    Flatten,
    /// Fully connected with parameters `<name>.weight` `[O, I]` and, if `bias`, `<name>.bias` `[O]`.
    Linear {
        /// Output features O.
        out_features: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Sum of two inputs of equal shape.
    Add,
    /// Batch normalisation over `[N, C, H, W]` or `[N, F]` with parameters `<name>.weight`, `<name>.bias` and buffers
    /// `<name>.running_mean`, `<name>.running_var`, each `[C]`.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
        /// Share of the new statistics in the running ones.
        momentum: f64,
    },
    /// Euclidean norm of each window; a kink layer.
    NormPool2d {
        /// Kernel, stride, padding.
        window: Window2d,
    },
    /// Mean of each window, padding counted as zeros.
    AvgPool2d {
        /// Kernel, stride, padding.
        window: Window2d,
    },
    /// Inputs one after the other along the channels.
    Concat,
    /// In training each element is 0 with probability `p`, else divided by `1 - p`; in evaluation nothing is done.
    Dropout {
        /// 0 to 1.
        p: f64,
    },
}

impl Layer {
    /// The layer's kind as it stands in tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Conv2d { .. } => "conv2d",
            Layer::Relu => "relu",
            Layer::MaxPool2d { .. } => "maxpool2d",
            Layer::Flatten => "flatten",
            Layer::Linear { .. } => "linear",
            Layer::Add => "add",
            Layer::BatchNorm { .. } => "batchnorm",
            Layer::NormPool2d { .. } => "norm_pool2d",
            Layer::AvgPool2d { .. } => "avgpool2d",
            Layer::Concat => "concat",
            Layer::Dropout { .. } => "dropout",
        }
    }

    /// The default choice of a kink layer.
    pub(super) fn default_kink(&self) -> Option<Kink> {
        match self {
            Layer::Relu => Some(Kink::Relu(ReluKink::default())),
            Layer::MaxPool2d { .. } => Some(Kink::MaxPool(MaxPoolKink::default())),
            Layer::NormPool2d { .. } => Some(Kink::NormPool(NormPoolKink::default())),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub name: String,
    pub layer: Layer,
    pub inputs: Vec<NodeId>,
    /// Without the batch dimension.
    pub shape: Vec<usize>,
}

/// What a parameter or buffer is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Multiplies the input: weights of convolutions and linear layers.
    Weight,
    /// Is added: biases of convolutions and linear layers.
    Bias,
    /// Multiplies the normalised input.
    NormWeight,
    /// Is added to it.
    NormBias,
    /// A buffer: no gradient, starts as zeros.
    RunningMean,
    /// A buffer: no gradient, starts as ones.
    RunningVar,
}

impl Role {
    /// True for what is no parameter: it has no gradient, and no optimizer changes it.
    pub fn is_buffer(self) -> bool {
        matches!(self, Role::RunningMean | Role::RunningVar)
    }
}

/// A parameter or buffer as the graph declares it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declaration {
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    pub node: usize,
    /// PyTorch's fan in (C / G KH KW or I) and fan out (O KH KW or O): the scales of initialisations. 1 for batch
    /// normalisation.
    pub fan: [usize; 2],
}

/// A layer's name, kind and output shape.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerInfo {
    /// Name, PyTorch's where the network comes from there.
    pub name: String,
    /// What it computes.
    pub layer: Layer,
    /// Output shape without the batch dimension.
    pub shape: Vec<usize>,
    /// Names of the layers that it reads.
    pub inputs: Vec<String>,
}

/// A directed acyclic graph of layers with inferred shapes; the last layer added is the output.
///
/// ```
/// use tiebreak::net::Graph;
/// use tiebreak::shape::Window2d;
///
/// let mut graph = Graph::new([1, 28, 28]);
/// let x = graph.conv2d("conv", graph.input(), 8, Window2d::new(3, 1, 1), true)?;
/// let a = graph.relu("relu", x)?;
/// let x = graph.add("skip", x, a)?;
/// let x = graph.maxpool2d("pool", x, Window2d::new(2, 2, 0))?;
/// let x = graph.flatten("flatten", x)?;
/// graph.linear("head", x, 10, true)?;
/// assert_eq!(graph.output_shape(), [10]);
/// # Ok::<(), tiebreak::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
}

impl Graph {
    /// A graph whose input has the shape `[C, H, W]` for each sample.
    pub fn new(input: [usize; 3]) -> Graph {
        let node = Node { name: "input".into(), layer: Layer::Input, inputs: vec![], shape: input.to_vec() };
        Graph { nodes: vec![node] }
    }

    /// The input.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Convolution: `[C, H, W]` to `[out_channels, OH, OW]`.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        window: Window2d,
        bias: bool,
    ) -> Result<NodeId> {
        self.grouped_conv2d(name, x, out_channels, window, 1, bias)
    }

    /// As [`Graph::conv2d`], in `groups` of channels that do not see each other; with as many groups as channels
    /// it is a depthwise convolution.
    pub fn grouped_conv2d(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        window: Window2d,
        groups: usize,
        bias: bool,
    ) -> Result<NodeId> {
        let [c, h, w] = self.image(name, x)?;
        let g =
            Conv2dGeometry::new([1, c, h, w], out_channels, window, groups).map_err(|e| in_layer(name, e))?;
        let layer = Layer::Conv2d { out_channels, window, groups, bias };
        self.push(name, layer, &[x], g.y_shape()[1..].to_vec())
    }

    /// ReLU on any shape.
    pub fn relu(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let shape = self.node(name, x)?.shape.clone();
        self.push(name, Layer::Relu, &[x], shape)
    }

    /// Max pooling: `[C, H, W]` to `[C, OH, OW]`.
    pub fn maxpool2d(&mut self, name: &str, x: NodeId, window: Window2d) -> Result<NodeId> {
        self.pool(name, x, window, Layer::MaxPool2d { window })
    }

    fn pool(&mut self, name: &str, x: NodeId, window: Window2d, layer: Layer) -> Result<NodeId> {
        let [c, h, w] = self.image(name, x)?;
        let g = Pool2dGeometry::new([1, c, h, w], window).map_err(|e| in_layer(name, e))?;
        self.push(name, layer, &[x], g.y_shape()[1..].to_vec())
    }

    /// `[C, H, W]` seen as `[C * H * W]`.
    pub fn flatten(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let len = element_count(&self.node(name, x)?.shape).map_err(|e| in_layer(name, e))?;
        self.push(name, Layer::Flatten, &[x], vec![len])
    }

    /// Fully connected: `[I]` to `[out_features]`.
    pub fn linear(&mut self, name: &str, x: NodeId, out_features: usize, bias: bool) -> Result<NodeId> {
        let shape = &self.node(name, x)?.shape;
        if !matches!(shape[..], [n] if n > 0) || out_features == 0 {
            let expected = "an input [I] (flatten first), and in and out_features of at least 1";
            return Err(Error::shape(format!("layer {name}"), expected, shape));
        }
        self.push(name, Layer::Linear { out_features, bias }, &[x], vec![out_features])
    }

    /// Sum of two tensors of equal shape, as at the end of a residual block.
    pub fn add(&mut self, name: &str, a: NodeId, b: NodeId) -> Result<NodeId> {
        let shape = self.node(name, a)?.shape.clone();
        let other = &self.node(name, b)?.shape;
        if &shape != other {
            return Err(Error::shape(format!("layer {name}"), format!("two inputs {shape:?}"), other));
        }
        self.push(name, Layer::Add, &[a, b], shape)
    }

    /// Batch normalisation of `[C, H, W]` by channel or of `[F]` by feature, with PyTorch's `eps` 1e-5 and
    /// `momentum` 0.1.
    pub fn batchnorm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.batchnorm_with(name, x, 1e-5, 0.1)
    }

    /// As [`Graph::batchnorm`] with other constants.
    pub fn batchnorm_with(&mut self, name: &str, x: NodeId, eps: f64, momentum: f64) -> Result<NodeId> {
        let shape = self.node(name, x)?.shape.clone();
        let batch: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
        BatchNormGeometry::new(&batch).map_err(|e| in_layer(name, e))?;
        let refuse = |argument, expected, got| Err(in_layer(name, Error::invalid(argument, expected, got)));
        if !(eps.is_finite() && eps >= 0.0) {
            return refuse("eps", "a finite number of at least 0", eps);
        }
        if !(0.0..=1.0).contains(&momentum) {
            return refuse("momentum", "0 to 1", momentum);
        }
        self.push(name, Layer::BatchNorm { eps, momentum }, &[x], shape)
    }

    /// Norm pooling: `[C, H, W]` to `[C, OH, OW]`, the Euclidean norm of each window.
    pub fn norm_pool2d(&mut self, name: &str, x: NodeId, window: Window2d) -> Result<NodeId> {
        self.pool(name, x, window, Layer::NormPool2d { window })
    }

    /// Average pooling: `[C, H, W]` to `[C, OH, OW]`; padding counts as zeros.
    pub fn avgpool2d(&mut self, name: &str, x: NodeId, window: Window2d) -> Result<NodeId> {
        self.pool(name, x, window, Layer::AvgPool2d { window })
    }

    /// Adaptive average pooling to 1x1: `[C, H, W]` to `[C, 1, 1]`, the mean of each plane.
    pub fn adaptive_avgpool2d(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let [_, h, w] = self.image(name, x)?;
        let plane = Window2d { kernel: [h, w], stride: [h, w], ..Window2d::new(1, 1, 0) };
        self.avgpool2d(name, x, plane)
    }

    /// Concatenation of `[C_i, H, W]` to `[sum of C_i, H, W]`, or of `[F_i]` to `[sum of F_i]`.
    pub fn concat(&mut self, name: &str, inputs: &[NodeId]) -> Result<NodeId> {
        let Some(&first) = inputs.first() else {
            return Err(Error::invalid(format!("layer {name}: inputs"), "at least one", 0));
        };
        let mut shape = self.node(name, first)?.shape.clone();
        shape[0] = 0;
        for &input in inputs {
            let other = &self.node(name, input)?.shape;
            if other[1..] != shape[1..] || other.len() != shape.len() {
                let expected = format!("inputs that agree in all but the channels with {shape:?}");
                return Err(Error::shape(format!("layer {name}"), expected, other));
            }
            shape[0] = shape[0].checked_add(other[0]).ok_or_else(|| {
                Error::shape(format!("layer {name}"), "channels that fit the address space", other)
            })?;
        }
        self.push(name, Layer::Concat, inputs, shape)
    }

    /// Dropout on any shape; `p` is the probability of a 0.
    pub fn dropout(&mut self, name: &str, x: NodeId, p: f64) -> Result<NodeId> {
        if !(0.0..=1.0).contains(&p) {
            return Err(in_layer(name, Error::invalid("p", "0 to 1", p)));
        }
        let shape = self.node(name, x)?.shape.clone();
        self.push(name, Layer::Dropout { p }, &[x], shape)
    }

    /// Shape of the output without the batch dimension.
    pub fn output_shape(&self) -> &[usize] {
        &self.nodes.last().expect("a graph has its input").shape
    }

    /// Every layer in the order in which it was added, the input first.
    pub fn layers(&self) -> impl Iterator<Item = LayerInfo> + '_ {
        let name = |id: &NodeId| self.nodes[id.0].name.clone();
        self.nodes.iter().map(move |n| LayerInfo {
            name: n.name.clone(),
            layer: n.layer,
            shape: n.shape.clone(),
            inputs: n.inputs.iter().map(name).collect(),
        })
    }

    /// Parameters and buffers in the order of the layers, weight before bias.
    pub(super) fn declarations(&self) -> Vec<Declaration> {
        let mut declarations = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut declare = |suffix: &str, shape: &[usize], role, fan| {
                let name = format!("{}.{suffix}", node.name);
                declarations.push(Declaration { name, shape: shape.to_vec(), role, node: index, fan });
            };
            match node.layer {
                Layer::Conv2d { out_channels, window, groups, bias } => {
                    let in_channels = self.nodes[node.inputs[0].0].shape[0];
                    let ([kh, kw], len) = (window.kernel, window.len());
                    let fan = [in_channels / groups * len, out_channels * len];
                    declare("weight", &[out_channels, in_channels / groups, kh, kw], Role::Weight, fan);
                    if bias {
                        declare("bias", &[out_channels], Role::Bias, fan);
                    }
                }
                Layer::Linear { out_features, bias } => {
                    let in_features = self.nodes[node.inputs[0].0].shape[0];
                    let fan = [in_features, out_features];
                    declare("weight", &[out_features, in_features], Role::Weight, fan);
                    if bias {
                        declare("bias", &[out_features], Role::Bias, fan);
                    }
                }
                Layer::BatchNorm { .. } => {
                    let channels = &node.shape[..1];
                    declare("weight", channels, Role::NormWeight, [1; 2]);
                    declare("bias", channels, Role::NormBias, [1; 2]);
                    declare("running_mean", channels, Role::RunningMean, [1; 2]);
                    declare("running_var", channels, Role::RunningVar, [1; 2]);
                }
                _ => {}
            }
        }
        declarations
    }

    fn node(&self, layer: &str, id: NodeId) -> Result<&Node> {
        self.nodes.get(id.0).ok_or_else(|| {
            Error::invalid(format!("layer {layer}: input"), "a node of this graph", format!("node {}", id.0))
        })
    }

    fn image(&self, layer: &str, id: NodeId) -> Result<[usize; 3]> {
        let shape = &self.node(layer, id)?.shape;
        shape[..].try_into().map_err(|_| Error::shape(format!("layer {layer}"), "an input [C, H, W]", shape))
    }

    fn push(&mut self, name: &str, layer: Layer, inputs: &[NodeId], shape: Vec<usize>) -> Result<NodeId> {
        if name.is_empty() || self.nodes.iter().any(|n| n.name == name) {
            return Err(Error::invalid("name", "a layer name not used before", format!("\"{name}\"")));
        }
        self.nodes.push(Node { name: name.into(), layer, inputs: inputs.to_vec(), shape });
        Ok(NodeId(self.nodes.len() - 1))
    }
}

fn in_layer(name: &str, error: Error) -> Error {
    match error {
        Error::InvalidArgument { argument, expected, got } => {
            Error::InvalidArgument { argument: format!("layer {name}: {argument}"), expected, got }
        }
        Error::Shape { argument, expected, got } => {
            Error::Shape { argument: format!("layer {name}: {argument}"), expected, got }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_layer() {
        let mut g = Graph::new([1, 4, 4]);
        let e = g.conv2d("features.0", g.input(), 2, Window2d::new(7, 1, 0), true).unwrap_err();
        assert!(e.to_string().contains("features.0"), "{e}");
        let e = g.linear("fc", g.input(), 2, true).unwrap_err();
        assert!(e.to_string().contains("fc"), "{e}");
        let c = g.conv2d("c", g.input(), 2, Window2d::new(3, 1, 1), true).unwrap();
        let e = g.add("sum", g.input(), c).unwrap_err();
        assert!(e.to_string().contains("sum"), "{e}");
        assert!(g.relu("c", c).is_err(), "names are unique");
        assert!(g.relu("r", NodeId(99)).is_err());
    }
}

//! The layers of a network and the shapes between them.

use crate::error::{Error, Result};
use crate::kink::{Kink, MaxPoolKink, ReluKink};
use crate::shape::{Conv2dGeometry, Pool2dGeometry, Window2d, element_count};

/// A layer of a [`Graph`], to be named as the input of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(super) usize);

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// The network's input.
    Input,
    /// Convolution with parameters `<name>.weight` `[O, C, KH, KW]` and, if `bias`, `<name>.bias` `[O]`.
    Conv2d {
        /// Output channels O.
        out_channels: usize,
        /// Kernel, stride, padding.
        window: Window2d,
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
        }
    }

    /// The default choice of a kink layer.
    pub(super) fn default_kink(&self) -> Option<Kink> {
        match self {
            Layer::Relu => Some(Kink::Relu(ReluKink::default())),
            Layer::MaxPool2d { .. } => Some(Kink::MaxPool(MaxPoolKink::default())),
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

/// A parameter as the graph declares it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declaration {
    pub name: String,
    pub shape: Vec<usize>,
    /// Number of inputs that one output sums over: the scale of the initialisation.
    pub fan_in: usize,
    pub node: usize,
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
        let [c, h, w] = self.image(name, x)?;
        let g = Conv2dGeometry::new([1, c, h, w], out_channels, window).map_err(|e| in_layer(name, e))?;
        let layer = Layer::Conv2d { out_channels, window, bias };
        self.push(name, layer, &[x], g.y_shape()[1..].to_vec())
    }

    /// ReLU on any shape.
    pub fn relu(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let shape = self.node(name, x)?.shape.clone();
        self.push(name, Layer::Relu, &[x], shape)
    }

    /// Max pooling: `[C, H, W]` to `[C, OH, OW]`.
    pub fn maxpool2d(&mut self, name: &str, x: NodeId, window: Window2d) -> Result<NodeId> {
        let [c, h, w] = self.image(name, x)?;
        let g = Pool2dGeometry::new([1, c, h, w], window).map_err(|e| in_layer(name, e))?;
        self.push(name, Layer::MaxPool2d { window }, &[x], g.y_shape()[1..].to_vec())
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

    /// Shape of the output without the batch dimension.
    pub fn output_shape(&self) -> &[usize] {
        &self.nodes.last().expect("a graph has its input").shape
    }

    /// Every layer in the order in which it was added, the input first.
    pub fn layers(&self) -> impl Iterator<Item = LayerInfo> + '_ {
        self.nodes.iter().map(|n| LayerInfo { name: n.name.clone(), layer: n.layer, shape: n.shape.clone() })
    }

    pub(super) fn declarations(&self) -> Vec<Declaration> {
        let mut declarations = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let (weight, bias) = match node.layer {
                Layer::Conv2d { out_channels, window, bias } => {
                    let in_channels = self.nodes[node.inputs[0].0].shape[0];
                    let [kh, kw] = window.kernel;
                    (vec![out_channels, in_channels, kh, kw], bias)
                }
                Layer::Linear { out_features, bias } => {
                    (vec![out_features, self.nodes[node.inputs[0].0].shape[0]], bias)
                }
                _ => continue,
            };
            let (out, fan_in) = (weight[0], weight[1..].iter().product());
            let mut declare = |suffix: &str, shape| {
                let name = format!("{}.{suffix}", node.name);
                declarations.push(Declaration { name, shape, fan_in, node: index });
            };
            declare("weight", weight);
            if bias {
                declare("bias", vec![out]);
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

//! Graphs as JSON text, for programs that do not build them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::graph::{Graph, Layer, NodeId};
use crate::error::{Error, Result};
use crate::shape::Window2d;

/// A number for both axes, or one for each: height, width.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(untagged)]
enum Pair {
    Both(usize),
    Each([usize; 2]),
}

impl Pair {
    fn of(values: [usize; 2]) -> Pair {
        if values[0] == values[1] { Pair::Both(values[0]) } else { Pair::Each(values) }
    }

    fn values(self) -> [usize; 2] {
        match self {
            Pair::Both(value) => [value; 2],
            Pair::Each(values) => values,
        }
    }
}

fn one() -> usize {
    1
}

fn ones() -> Pair {
    Pair::Both(1)
}

fn zeros() -> Pair {
    Pair::Both(0)
}

fn yes() -> bool {
    true
}

/// What a layer computes, with PyTorch's names and defaults.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Described {
    Conv2d {
        out_channels: usize,
        kernel: Pair,
        #[serde(default = "ones")]
        stride: Pair,
        #[serde(default = "zeros")]
        padding: Pair,
        #[serde(default = "ones")]
        dilation: Pair,
        #[serde(default = "one")]
        groups: usize,
        #[serde(default = "yes")]
        bias: bool,
    },
    Relu {},
    #[serde(rename = "maxpool2d")]
    MaxPool2d(Pooling),
    NormPool2d(Pooling),
    #[serde(rename = "avgpool2d")]
    AvgPool2d(Pooling),
    Flatten {},
    Linear {
        out_features: usize,
        #[serde(default = "yes")]
        bias: bool,
    },
    Add {},
    #[serde(rename = "batchnorm")]
    BatchNorm {
        #[serde(default = "eps")]
        eps: f64,
        #[serde(default = "momentum")]
        momentum: f64,
    },
    Concat {},
    Dropout {
        p: f64,
    },
}

fn eps() -> f64 {
    1e-5
}

fn momentum() -> f64 {
    0.1
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Pooling {
    kernel: Pair,
    /// The kernel where it is missing.
    stride: Option<Pair>,
    #[serde(default = "zeros")]
    padding: Pair,
}

impl Pooling {
    fn of(window: Window2d) -> Pooling {
        let [kernel, stride, padding] = [window.kernel, window.stride, window.padding].map(Pair::of);
        Pooling { kernel, stride: Some(stride), padding }
    }

    fn window(&self) -> Window2d {
        let stride = self.stride.unwrap_or(self.kernel);
        let [kernel, stride, padding] = [self.kernel, stride, self.padding].map(Pair::values);
        Window2d { kernel, stride, padding, dilation: [1; 2] }
    }
}

impl Graph {
    /// A graph from its description:
    ///
    /// ```
    /// let graph = tiebreak::net::Graph::from_json(r#"{
    ///   "input": [1, 28, 28],
    ///   "layers": [
    ///     {"name": "conv", "type": "conv2d", "out_channels": 6, "kernel": 5},
    ///     {"name": "relu", "type": "relu"},
    ///     {"name": "pool", "type": "maxpool2d", "kernel": 2},
    ///     {"name": "flatten", "type": "flatten"},
    ///     {"name": "head", "type": "linear", "out_features": 10}
    ///   ]}"#)?;
    /// assert_eq!(graph.output_shape(), [10]);
    /// # Ok::<(), tiebreak::Error>(())
    /// ```
    ///
    /// `input` is `[C, H, W]`. A layer reads the one before it, or those named by `inputs`, of which `add` has two and
    /// `concat` any number; the network's input is called `input`. Types and their fields, with defaults where there are
    /// some: `conv2d` (out_channels, kernel, stride 1, padding 0, dilation 1, groups 1, bias true), `linear` (out_features,
    /// bias true), `batchnorm` (eps 1e-5, momentum 0.1), `maxpool2d`, `avgpool2d`, `norm_pool2d` (kernel, stride: the kernel,
    /// padding 0), `relu`, `flatten`, `add`, `concat`, `dropout` (p). A kernel, stride or padding is a number or
    /// `[height, width]`.
    ///
    /// Errors: [`Error::InvalidArgument`], [`Error::Shape`], [`Error::NotFound`] with the name of the layer.
    pub fn from_json(text: &str) -> Result<Graph> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Description {
            input: [usize; 3],
            layers: Vec<Map<String, Value>>,
        }
        let description: Description = serde_json::from_str(text)
            .map_err(|e| Error::invalid("description", "a JSON object with `input` and `layers`", e))?;
        let mut graph = Graph::new(description.input);
        for (number, layer) in description.layers.into_iter().enumerate() {
            graph.add_described(number, layer)?;
        }
        Ok(graph)
    }

    fn add_described(&mut self, number: usize, mut layer: Map<String, Value>) -> Result<()> {
        let field = |name: &str| format!("layers[{number}].{name}");
        let Some(Value::String(name)) = layer.remove("name") else {
            return Err(Error::invalid(field("name"), "a text", "none"));
        };
        let mut ids = vec![NodeId(self.nodes.len() - 1)];
        if let Some(inputs) = layer.remove("inputs") {
            let wrong = |e| Error::invalid(format!("layer {name}: inputs"), "a list of names of layers", e);
            let names: Vec<String> = serde_json::from_value(inputs).map_err(wrong)?;
            ids = names.iter().map(|name| self.id(name)).collect::<Result<_>>()?;
        }
        let described: Described = serde_json::from_value(Value::Object(layer))
            .map_err(|e| Error::invalid(format!("layer {name}"), "a known type with its fields", e))?;
        let inputs = match described {
            Described::Add {} => 2,
            Described::Concat {} => ids.len(),
            _ => 1,
        };
        if ids.len() != inputs {
            return Err(Error::invalid(format!("layer {name}: inputs"), inputs, ids.len()));
        }
        match described {
            Described::Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias } => {
                let [kernel, stride, padding, dilation] =
                    [kernel, stride, padding, dilation].map(Pair::values);
                let window = Window2d { kernel, stride, padding, dilation };
                self.grouped_conv2d(&name, ids[0], out_channels, window, groups, bias)
            }
            Described::Relu {} => self.relu(&name, ids[0]),
            Described::MaxPool2d(pooling) => self.maxpool2d(&name, ids[0], pooling.window()),
            Described::NormPool2d(pooling) => self.norm_pool2d(&name, ids[0], pooling.window()),
            Described::AvgPool2d(pooling) => self.avgpool2d(&name, ids[0], pooling.window()),
            Described::Flatten {} => self.flatten(&name, ids[0]),
            Described::Linear { out_features, bias } => self.linear(&name, ids[0], out_features, bias),
            Described::Add {} => self.add(&name, ids[0], ids[1]),
            Described::BatchNorm { eps, momentum } => self.batchnorm_with(&name, ids[0], eps, momentum),
            Described::Concat {} => self.concat(&name, &ids),
            Described::Dropout { p } => self.dropout(&name, ids[0], p),
        }?;
        Ok(())
    }

    fn id(&self, name: &str) -> Result<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId).ok_or_else(|| Error::NotFound {
            what: "layer",
            name: name.into(),
            known: self.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The description that [`Graph::from_json`] reads.
    pub fn to_json(&self) -> String {
        let mut layers = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let described = match node.layer {
                Layer::Input => unreachable!("the input is node 0 alone"),
                Layer::Conv2d { out_channels, window, groups, bias } => {
                    let pairs = [window.kernel, window.stride, window.padding, window.dilation].map(Pair::of);
                    let [kernel, stride, padding, dilation] = pairs;
                    Described::Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias }
                }
                Layer::Relu => Described::Relu {},
                Layer::MaxPool2d { window } => Described::MaxPool2d(Pooling::of(window)),
                Layer::NormPool2d { window } => Described::NormPool2d(Pooling::of(window)),
                Layer::AvgPool2d { window } => Described::AvgPool2d(Pooling::of(window)),
                Layer::Flatten => Described::Flatten {},
                Layer::Linear { out_features, bias } => Described::Linear { out_features, bias },
                Layer::Add => Described::Add {},
                Layer::BatchNorm { eps, momentum } => Described::BatchNorm { eps, momentum },
                Layer::Concat => Described::Concat {},
                Layer::Dropout { p } => Described::Dropout { p },
            };
            let mut layer = json!({"name": node.name});
            if node.inputs != [NodeId(index - 1)] {
                let names: Vec<&str> = node.inputs.iter().map(|i| self.nodes[i.0].name.as_str()).collect();
                layer["inputs"] = json!(names);
            }
            let Ok(Value::Object(fields)) = serde_json::to_value(described) else {
                unreachable!("a struct of numbers")
            };
            layer.as_object_mut().expect("an object").extend(fields);
            layers.push(layer);
        }
        json!({"input": self.nodes[0].shape, "layers": layers}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::zoo;
    use super::*;

    #[test]
    fn every_network_of_the_zoo_comes_back() {
        for name in zoo::NAMES {
            for suffix in ["", "_bn"] {
                let graph = zoo::by_name(&format!("{name}{suffix}"), &zoo::Options::default()).unwrap();
                assert_eq!(Graph::from_json(&graph.to_json()).unwrap(), graph, "{name}{suffix}");
            }
        }
    }

    #[test]
    fn wrong_ones_name_the_layer() {
        for (layers, part) in [
            (r#"{"type": "relu"}"#, "`layers[0].name`: expected a text"),
            (r#"{"name": "a", "type": "relu", "slope": 1}"#, "layer a"),
            (r#"{"name": "a", "type": "gelu"}"#, "gelu"),
            (r#"{"name": "a", "type": "relu", "inputs": ["b"]}"#, "no layer named `b`"),
            (r#"{"name": "a", "type": "add"}"#, "`layer a: inputs`: expected 2, got 1"),
            (r#"{"name": "a", "type": "conv2d", "out_channels": 2, "kernel": 9}"#, "layer a"),
            (r#"{"name": "a", "type": "linear", "out_features": 2}"#, "flatten first"),
        ] {
            let text = format!(r#"{{"input": [1, 4, 4], "layers": [{layers}]}}"#);
            let message = Graph::from_json(&text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        for text in ["", "[]", r#"{"input": [1, 4], "layers": []}"#, r#"{"layers": []}"#] {
            assert!(Graph::from_json(text).is_err(), "{text}");
        }
    }
}

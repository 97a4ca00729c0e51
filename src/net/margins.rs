//! How near a network comes to its kinks, in units of rounding.

use super::graph::Layer;
use super::network::Network;
use crate::error::{Error, Result};

pub use crate::kink::{Margin, ulp};

/// The margins of one kink layer.
#[derive(Debug, Clone, PartialEq)]
pub enum KinkMargins {
    /// A max pooling.
    MaxPool2d {
        /// All windows.
        windows: u64,
        /// Of the windows whose maximum passes a gradient on (all those without a NaN where no ReLU is in front).
        margins: Vec<Margin>,
    },
    /// A ReLU.
    Relu {
        /// |x| of each input x.
        distances: Vec<f64>,
    },
}

/// The margins of one layer, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Margins {
    /// The layer.
    pub layer: String,
    /// Its margins.
    pub margins: KinkMargins,
}

impl Network {
    /// How near the last [`Network::loss_and_gradients`] came to the kinks of each max pooling and ReLU. In f64 the leads
    /// are those over the reals, but for 1e-16: from them, and a format's ulp, follows how often rounding ties.
    ///
    /// Errors: [`Error::Unsupported`] where no forward pass is stored, or where a pooling stands behind a layer whose output
    /// is not kept, which is neither a ReLU nor what a convolution, linear layer or batch normalisation reads too.
    pub fn margins(&mut self) -> Result<Vec<Margins>> {
        let mut all = Vec::new();
        for index in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[index];
            let (layer, kind) = (node.name.clone(), node.layer);
            let before = node.inputs.first().map_or(0, |i| i.0);
            let margins = match kind {
                Layer::Relu => {
                    let distances = self.output(before)?.to_f64().into_iter().map(f64::abs).collect();
                    KinkMargins::Relu { distances }
                }
                Layer::MaxPool2d { window } => {
                    let geometry = self.pool_geometry(index, window)?;
                    let values = self.pooled_values(before, &layer)?;
                    let passes = self.passes(before)?;
                    let windows = geometry.windows();
                    let margin = |window: usize| {
                        let elements = || geometry.elements(window).map(|(place, _)| place);
                        let margin = Margin::of(elements().map(|i| values[i]))?;
                        let alive = |i: usize| passes.as_ref().is_none_or(|passes| passes[i]);
                        elements().any(|i| values[i] == margin.max && alive(i)).then_some(margin)
                    };
                    let margins = (0..windows).filter_map(margin).collect();
                    KinkMargins::MaxPool2d { windows: windows as u64, margins }
                }
                _ => continue,
            };
            all.push(Margins { layer, margins });
        }
        Ok(all)
    }

    /// What a pooling reads.
    fn pooled_values(&mut self, before: usize, pooling: &str) -> Result<Vec<f64>> {
        let node = &self.graph.nodes[before];
        if node.layer == Layer::Relu {
            let relu = |v: f64| if v < 0.0 { 0.0 } else { v };
            return Ok(self.output(node.inputs[0].0)?.to_f64().into_iter().map(relu).collect());
        }
        let name = node.name.clone();
        let kept = self.output(before).map_err(|_| {
            let why = "margins need a ReLU before it, or a layer behind which reads the same";
            Error::Unsupported(format!("{pooling}: the output of {name} is not kept; {why}"))
        })?;
        Ok(kept.to_f64())
    }
}

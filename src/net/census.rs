//! How often a network stands on a kink: ties of max poolings and zeros before ReLUs, counted on the device.

use super::graph::Layer;
use super::network::Network;
use super::plan::Mode;
use crate::error::Result;
use crate::tensor::View;

/// Windows of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowCount {
    /// All of them.
    pub windows: u64,
    /// Those that receive a gradient that is not zero, and of whose tied elements at least one passes it on through
    /// the ReLU before (where there is one): the windows where the choice can matter.
    pub alive: u64,
}

/// Windows of a max pooling with one number of tied elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TieCount {
    /// Windows whose maximum is 0.
    pub zero: WindowCount,
    /// Windows whose maximum is not 0.
    pub nonzero: WindowCount,
}

impl TieCount {
    /// Windows of any value.
    pub fn windows(&self) -> u64 {
        self.zero.windows + self.nonzero.windows
    }

    /// Windows of any value where the choice can matter.
    pub fn alive(&self) -> u64 {
        self.zero.alive + self.nonzero.alive
    }
}

/// What was counted at one kink layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerCensus {
    /// A max pooling: windows by number of tied elements; entry 0 counts windows that hold a NaN, entry 1 those
    /// without a tie.
    MaxPool2d(Vec<TieCount>),
    /// A ReLU: inputs that are exactly 0, of how many.
    Relu {
        /// Inputs equal to 0.
        zeros: u64,
        /// All inputs.
        elements: u64,
    },
}

/// The census of one layer, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusEntry {
    /// The layer.
    pub layer: String,
    /// Its counts.
    pub counts: LayerCensus,
}

impl CensusEntry {
    /// Adds the counts of another batch of the same layer.
    pub fn add(&mut self, other: &CensusEntry) {
        match (&mut self.counts, &other.counts) {
            (LayerCensus::MaxPool2d(a), LayerCensus::MaxPool2d(b)) => {
                for (a, b) in a.iter_mut().zip(b) {
                    for (a, b) in [(&mut a.zero, &b.zero), (&mut a.nonzero, &b.nonzero)] {
                        a.windows += b.windows;
                        a.alive += b.alive;
                    }
                }
            }
            (LayerCensus::Relu { zeros, elements }, LayerCensus::Relu { zeros: z, elements: e }) => {
                *zeros += z;
                *elements += e;
            }
            _ => {}
        }
    }
}

impl Network {
    /// Forward and backward pass under the present choices, as [`Network::loss_and_gradients`], with a census of every
    /// max pooling and ReLU, in the order of the layers. Running statistics of batch normalisation stay as they are.
    ///
    /// It has a plan and memory of its own, some percent more than a training step's.
    pub fn census(&mut self, x: View, labels: &[i64]) -> Result<Vec<CensusEntry>> {
        let mode = Mode::Training { frozen: self.frozen, census: true };
        self.settings.track_running_stats = false;
        let run = self.run(x, labels, mode, None);
        self.settings.track_running_stats = true;
        run?;
        let batch = labels.len() as u64;
        let planned = self.stored_plan().expect("a plan has just run");
        let counted: Vec<_> = planned
            .plan
            .counts
            .iter()
            .enumerate()
            .filter_map(|(node, slot)| Some((node, planned.buffer((*slot)?))))
            .collect();
        let mut entries = Vec::new();
        for (node, buffer) in counted {
            let node = &self.graph.nodes[node];
            let mut words = match node.layer {
                Layer::MaxPool2d { window } => vec![0u32; (window.len() + 1) * 4],
                _ => vec![0],
            };
            {
                let _serial = self.engine.lock();
                self.session.read(buffer, bytemuck::cast_slice_mut(&mut words))?;
            }
            let counts = match node.layer {
                Layer::MaxPool2d { .. } => {
                    let count = |[dead, alive]: [u32; 2]| WindowCount {
                        windows: dead as u64 + alive as u64,
                        alive: alive as u64,
                    };
                    let row =
                        |w: &[u32]| TieCount { zero: count([w[0], w[1]]), nonzero: count([w[2], w[3]]) };
                    LayerCensus::MaxPool2d(words.chunks(4).map(row).collect())
                }
                _ => {
                    let elements = batch * node.shape.iter().product::<usize>() as u64;
                    LayerCensus::Relu { zeros: words[0] as u64, elements }
                }
            };
            entries.push(CensusEntry { layer: node.name.clone(), counts });
        }
        Ok(entries)
    }
}

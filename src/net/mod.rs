//! Networks: a graph of layers, planned once for a batch size, then run many times.

mod graph;
mod init;
mod network;
mod plan;
pub mod zoo;

pub use graph::{Graph, Layer, LayerInfo, NodeId};
pub use network::{Comparison, Difference, Evaluation, Network, ParameterInfo, Ties};

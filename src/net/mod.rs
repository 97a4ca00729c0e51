//! Networks: a graph of layers, planned once for a batch size, then run many times.

mod census;
mod compare;
mod file;
mod fingerprint;
mod graph;
mod init;
mod memory;
mod network;
mod part;
mod plan;
mod run;
mod watch;
pub mod zoo;

pub use census::{CensusEntry, LayerCensus, TieCount, WindowCount};
pub use compare::{Choice, Comparison, Difference, Norms};
pub(crate) use fingerprint::Fingerprint;
pub use graph::{Graph, Layer, LayerInfo, NodeId};
pub use init::{Fan, Initialization};
pub use memory::MemoryPlan;
pub(crate) use network::Trainable;
pub use network::{KernelProfile, Network, NetworkOptions, ParameterInfo};
pub use run::{Evaluation, Ties};
pub use watch::{NonFinite, Pass};

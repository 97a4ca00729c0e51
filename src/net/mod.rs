//! Networks: a graph of layers, planned once for a batch size, then run many times.

mod census;
mod compare;
mod description;
mod file;
mod fingerprint;
mod graph;
mod init;
mod margins;
mod memory;
mod network;
mod part;
mod plan;
mod provenance;
mod replay;
mod run;
mod taxonomy;
mod watch;
pub mod zoo;

pub use census::{CensusEntry, LayerCensus, TieCount, WindowCount};
pub use compare::{Choice, Comparison, Difference, Norms};
pub(crate) use fingerprint::Fingerprint;
pub use graph::{Graph, Layer, LayerInfo, NodeId};
pub use init::{Fan, Initialization};
pub use margins::{KinkMargins, Margin, Margins, ulp};
pub use memory::MemoryPlan;
pub(crate) use network::Trainable;
pub use network::{KernelProfile, Network, NetworkOptions, ParameterInfo};
pub use run::{Evaluation, Ties};
pub use taxonomy::{TieClass, TieClasses};
pub use watch::{NonFinite, Pass};

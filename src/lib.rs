//! Tiebreak shows what automatic differentiation computes at the kinks of a convolutional network (MaxPool
//! ties, ReLU at 0) in 16, 32 and 64 bit arithmetic, and lets a trainer choose what it computes there.
//!
//! Three levels, each useful alone: operators on your own memory ([`Engine`]), networks that live on a device
//! ([`net`], [`train`]), and experiments ([`lab`], with the feature of that name).
#![deny(unsafe_code, missing_docs)]

mod dtype;
mod engine;
mod error;
mod kink;
pub mod net;
mod precision;
mod prefetch;
mod progress;
pub mod shape;
mod tensor;
mod tensor_file;
pub mod train;
mod whole_file;

#[cfg(feature = "lab")]
pub mod data;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(feature = "lab")]
pub mod report;

#[allow(unsafe_code)] // the one place that touches foreign pointers
mod ffi;

pub use dtype::DType;
pub use engine::{
    AdamOptions, AdamState, Adapter, AdapterKind, BatchNormGradients, BatchNormOptions, BatchNormParameters,
    BatchStatistics, Device, DeviceMemory, DropoutOptions, Engine, EngineInfo, EngineOptions, LogLevel,
    Logger, MaxPool2dDiagnosis, MemoryUse, Placement, RmsPropOptions, RmsPropState, RunningStatistics,
    SgdOptions, Work, adapters,
};
pub use error::{Error, Result, Status};
pub use kink::{Composition, Convention, Kink, MaxPoolJacobian, MaxPoolKink, NormPoolKink, ReluKink};
pub use precision::{Accumulate, Format, Precision, ReductionOrder, Rounding, Simulated};
pub use prefetch::Prefetch;
pub use progress::{Listener, Progress};
pub use tensor::{Bytes, BytesMut, DeviceBytes, Tensor, View, ViewMut};

/// Compiles the README's Rust code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

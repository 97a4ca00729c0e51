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
pub mod shape;
mod tensor;
pub mod train;

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
    Device, Engine, EngineInfo, EngineOptions, KernelTime, LogLevel, Logger, Placement, SgdOptions,
};
pub use error::{Error, Result, Status};
pub use kink::{Composition, Kink, MaxPoolJacobian, MaxPoolKink, ReluKink};
pub use tensor::{Tensor, View, ViewMut};

/// Compiles the README's Rust code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

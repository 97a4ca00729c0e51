//! Memory and prepared programs of one user of an engine (a network): what both engines offer.

use crate::engine::op::{BufferId, Call, Settings, Work};
use crate::error::Result;

/// A prepared list of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProgramId(pub u32);

/// How long one kernel took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KernelTime {
    /// The operator's name on the CPU, the shader's on the GPU.
    pub name: &'static str,
    /// The call's.
    pub site: usize,
    /// Seconds on the device.
    pub seconds: f64,
    /// That of the call, for its first kernel.
    pub work: Work,
}

/// Buffers and programs on one engine. Buffers start as zeros.
pub(crate) trait Session: Send {
    /// Refuses buffers of these sizes together where they cannot be had, before any is allocated.
    fn admit(&self, sizes: &[usize], label: &str) -> Result<()>;
    /// Bytes of scratch memory that a program of these calls would hold.
    fn scratch_bytes(&self, calls: &[Call]) -> usize;
    /// A new buffer of at least `bytes` bytes; `label` stands in error messages.
    fn allocate(&mut self, bytes: usize, label: &str) -> Result<BufferId>;
    /// Copies `bytes` to the start of a buffer.
    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()>;
    /// Copies the start of a buffer to `bytes`, after everything submitted before.
    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<()>;
    /// Turns calls into a program that can be run many times.
    fn prepare(&mut self, calls: &[Call]) -> Result<ProgramId>;
    /// Runs programs in order: on the GPU, one submission without waiting for its end.
    fn run(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<()>;
    /// Runs programs one kernel at a time, timing each.
    fn profile(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<Vec<KernelTime>>;
    /// Gives buffers and programs back; their ids are not used again.
    fn release(&mut self, buffers: &[BufferId], programs: &[ProgramId]);
    /// Bytes allocated, scratch memory of the programs included.
    fn allocated_bytes(&self) -> usize;
}

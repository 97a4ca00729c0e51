//! What a network holds, and what a run would need, in bytes.

use super::network::Network;
use super::plan::{Mode, Plan};
use crate::engine::op::{BufferId, Call, Work};
use crate::error::Result;

/// Bytes that a run of one batch size needs on the engine that runs the network, known before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Parameters, their master copies and running statistics.
    pub parameters: usize,
    /// Gradients.
    pub gradients: usize,
    /// Activations and their gradients, which share memory as soon as they are dead, tie sets, input and labels.
    pub activations: usize,
    /// Memory that the GPU's kernels share; the CPU's take theirs as they run ([`crate::Engine::host_memory`]).
    pub scratch: usize,
    /// The largest single buffer.
    pub largest: usize,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> usize {
        self.parameters + self.gradients + self.activations + self.scratch
    }
}

impl Network {
    /// What a run of `batch` samples would need, optimizer state apart; nothing is allocated.
    ///
    /// @param training  with the backward pass, else evaluation alone
    pub fn memory_plan(&self, batch: usize, training: bool) -> Result<MemoryPlan> {
        let mode = if training { self.training_mode() } else { Mode::Inference };
        let mut plan = Plan::new(&self.graph, &self.parameter_buffers(), self.precision, batch, mode)?;
        // Any numbers do: nothing is run.
        let buffers: Vec<BufferId> = (0..plan.slots.len()).map(|i| BufferId(i as u32)).collect();
        plan.relocate(&buffers);
        let programs: [&[Call]; 3] = [&plan.forward, &plan.loss, &plan.backward];
        let scratch = programs.iter().map(|calls| self.session.scratch_bytes(calls)).sum();
        let parameter = |t: &super::network::Stored| {
            t.len() * (t.dtype.size() + t.master.map_or(0, |_| self.precision.parameters.size()))
        };
        let gradient = |t: &super::network::Stored| t.gradient.map_or(0, |_| t.len() * t.dtype.size());
        let largest = self.tensors.iter().map(parameter).chain(plan.slots.iter().copied()).max();
        Ok(MemoryPlan {
            parameters: self.tensors.iter().map(parameter).sum(),
            gradients: self.tensors.iter().map(gradient).sum(),
            activations: plan.slots.iter().sum(),
            scratch,
            largest: largest.unwrap_or(0),
        })
    }

    /// What a run of `batch` samples has to do, the optimizer apart; nothing is run.
    ///
    /// @param training  with the backward pass, else evaluation alone
    pub fn work(&self, batch: usize, training: bool) -> Result<Work> {
        let mode = if training { self.training_mode() } else { Mode::Inference };
        let plan = Plan::new(&self.graph, &self.parameter_buffers(), self.precision, batch, mode)?;
        let mut work = Work::default();
        [plan.forward, plan.loss, plan.backward].iter().flatten().for_each(|call| work += call.work());
        Ok(work)
    }

    /// Bytes that the network holds on its engine: parameters, gradients, optimizer state, activations, scratch.
    pub fn allocated_bytes(&self) -> usize {
        self.session.allocated_bytes()
    }
}

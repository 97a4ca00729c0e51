use crate::engine::SgdOptions;
use crate::engine::op::{BufferId, Call, Op};
use crate::engine::session::{KernelTime, ProgramId};
use crate::error::{Error, Result};
use crate::net::Network;
use crate::tensor::View;

/// Stochastic gradient descent on one network, as `torch.optim.SGD`: momentum buffers live beside the
/// parameters, in the same dtype.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    network: u64,
    program: ProgramId,
    momentum: Vec<BufferId>,
    /// No step has filled the momentum buffers yet.
    first: bool,
}

impl Sgd {
    /// An optimizer for `network`, to be used with that one only.
    pub fn new(network: &mut Network, options: SgdOptions) -> Result<Sgd> {
        options.validate()?;
        let dtype = network.dtype();
        let mut momentum = Vec::new();
        let mut calls = Vec::new();
        for (value, gradient, len) in network.parameter_buffers() {
            let mut writes = vec![value];
            if options.momentum != 0.0 {
                let buffer = network.allocate(len, "momentum buffer")?;
                momentum.push(buffer);
                writes.push(buffer);
            }
            let op = Op::Sgd { len, momentum: options.momentum != 0.0 };
            calls.push(Call { op, dtype, reads: vec![gradient], writes, site: 0 });
        }
        let program = network.prepare(&calls)?;
        Ok(Sgd { options, network: network.id(), program, momentum, first: true })
    }

    /// The scalars in use.
    pub fn options(&self) -> &SgdOptions {
        &self.options
    }

    /// Changes the step length, as schedules do.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let options = SgdOptions { learning_rate, ..self.options };
        options.validate()?;
        self.options = options;
        Ok(())
    }

    /// Updates the parameters from the gradients that the last backward pass left.
    pub fn step(&mut self, network: &mut Network) -> Result<()> {
        self.check(network)?;
        network.apply(self.program, self.options.settings(self.first))?;
        self.first = false;
        Ok(())
    }

    /// Forward, loss, backward and update on a batch x `[N, C, H, W]` with labels `[N]`: on the GPU one
    /// submission, without waiting for it. [`Network::loss`] reads the loss.
    pub fn train_step(&mut self, network: &mut Network, x: View, labels: &[i64]) -> Result<()> {
        self.check(network)?;
        network.train(x, labels, self.program, self.options.settings(self.first))?;
        self.first = false;
        Ok(())
    }

    /// As [`Sgd::train_step`], but one kernel at a time, timing each.
    ///
    /// Errors: [`Error::Unsupported`] on a GPU without timestamps.
    pub fn profile_step(
        &mut self,
        network: &mut Network,
        x: View,
        labels: &[i64],
    ) -> Result<Vec<KernelTime>> {
        self.check(network)?;
        let times = network.profile(x, labels, self.program, self.options.settings(self.first))?;
        self.first = false;
        Ok(times)
    }

    /// Gives the momentum buffers back to the network, which goes on without this optimizer.
    pub fn release(mut self, network: &mut Network) -> Result<()> {
        self.check(network)?;
        self.give_back(network);
        Ok(())
    }

    /// [`Sgd::release`] for an owner that cannot part with it yet. It makes no step after that.
    pub(crate) fn give_back(&mut self, network: &mut Network) {
        network.release(&std::mem::take(&mut self.momentum), &[self.program]);
    }

    fn check(&self, network: &Network) -> Result<()> {
        if network.id() != self.network {
            return Err(Error::invalid("network", "the one that this optimizer was created for", "another"));
        }
        Ok(())
    }
}

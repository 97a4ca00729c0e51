//! A backward pass in wide arithmetic on the branches that a run in narrow arithmetic has taken.
//!
//! Where two Jacobians of max pooling give different gradients, the difference has two causes. Over the reals, on the
//! branches that the working precision took, it may vanish: then the working precision's difference is rounding
//! (compensation). Or it stays: then the run stands on a kink (bifurcation). Both backward passes, repeated in f64 on the
//! recorded tie sets, signs and activations, tell the two apart without a threshold.

use super::network::Network;
use super::plan::{Mode, Unit};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Network {
    /// Takes over the forward pass that `recorded`, a network of the same graph, has stored: its weights, activations,
    /// tie sets and batch statistics, converted to this network's type. The loss is computed anew from the recorded
    /// logits. [`Network::backward`] and [`Network::compare_stored`] then differentiate what `recorded` has computed, in
    /// this network's arithmetic: to be exact, this network is one in f64 whatever `recorded` is. Gradients are empty until
    /// then. Returns the loss.
    ///
    /// Errors: [`Error::InvalidArgument`] for another graph; [`Error::Unsupported`] where `recorded` has stored nothing
    /// since its parameters changed.
    pub fn replay(&mut self, recorded: &mut Network) -> Result<f64> {
        if self.graph != recorded.graph {
            return Err(Error::invalid("recorded", "a network of the same graph", "another one"));
        }
        let stored = recorded.stored.as_ref().filter(|s| s.same_parameters);
        let Some((batch, mode, step)) = stored.map(|s| (s.batch, s.mode, s.step)) else {
            let why = "replay: nothing is recorded; run loss_and_gradients first";
            return Err(Error::Unsupported(why.into()));
        };
        if !matches!(mode, Mode::Training { census: false, .. }) {
            let why = "replay: a census has been recorded; run loss_and_gradients first";
            return Err(Error::Unsupported(why.into()));
        }
        for index in 0..self.tensors.len() {
            let tensor = &recorded.tensors[index];
            // What operators read, not the master copy.
            let (value, dtype, shape) = (tensor.value, tensor.dtype, tensor.info.shape.clone());
            let values = recorded.read_tensor(value, dtype, &shape)?;
            self.write_value(index, values.to_dtype(self.precision.parameters).view())?;
        }
        self.settle()?;
        self.settings.seed = recorded.settings.seed;
        self.settings.step = step;
        self.frozen = matches!(mode, Mode::Training { frozen: true, .. });

        let there = recorded.stored_plan().expect("a forward pass has its plan");
        let source: Vec<_> =
            there.plan.record.iter().map(|&(slot, unit)| (there.buffer(slot), unit)).collect();
        let bytes: Vec<usize> = there.plan.record.iter().map(|&(slot, _)| there.plan.slots[slot]).collect();
        let their_labels = there.buffer(there.plan.labels);
        let here = self.plan(batch, mode)?;
        let target: Vec<_> = here.plan.record.iter().map(|&(slot, _)| here.buffer(slot)).collect();
        let (labels, loss, loss_value) =
            (here.buffer(here.plan.labels), here.loss, here.buffer(here.plan.loss_value));
        debug_assert_eq!(source.len(), target.len(), "plans of one graph keep the same");
        for (((from, unit), bytes), to) in source.into_iter().zip(bytes).zip(target) {
            let dtypes = [&*recorded, self].map(|network| element_type(network, unit));
            match dtypes {
                [Some(from_dtype), Some(to_dtype)] => {
                    let values = recorded.read_tensor(from, from_dtype, &[bytes / from_dtype.size()])?;
                    self.write(to, values.to_dtype(to_dtype).bytes())?;
                }
                _ => self.write(to, &recorded.read_bytes(from, bytes)?)?,
            }
        }
        let classes = recorded.read_bytes(their_labels, batch * size_of::<u32>())?;
        self.write(labels, &classes)?;
        self.submit(&[loss])?;
        self.last_loss = Some(loss_value);
        let track = std::mem::replace(&mut self.settings.track_running_stats, false);
        self.store(batch, mode, true);
        self.settings.track_running_stats = track;
        self.loss()
    }

    fn read_bytes(&mut self, buffer: crate::engine::op::BufferId, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let _serial = self.engine.lock();
        self.session.read(buffer, &mut bytes)?;
        Ok(bytes)
    }

    /// All gradients one after the other, in the order of [`Network::parameters`].
    pub fn gradients_to_f64(&mut self) -> Result<Vec<f64>> {
        let names: Vec<String> = self.parameters().map(|p| p.name.clone()).collect();
        let mut all = Vec::new();
        for name in names {
            all.extend(Tensor::to_f64(&self.gradient(&name)?));
        }
        Ok(all)
    }
}

/// `None` for what is the same in each precision.
fn element_type(network: &Network, unit: Unit) -> Option<DType> {
    match unit {
        Unit::Storage => Some(network.dtype()),
        Unit::Wide => Some(if network.dtype() == DType::F64 { DType::F64 } else { DType::F32 }),
        Unit::Bytes => None,
    }
}

//! What one part of a batch leaves in a network, and the mean over all parts in its place.

use super::network::Network;
use crate::dtype::{Accumulator, Element, with_element};
use crate::engine::op::Settings;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, View, filled};

/// Where each part of a step starts, whichever part was run before.
pub(crate) struct PartStart {
    /// Running statistics, by their place among the tensors.
    statistics: Vec<(usize, Tensor)>,
    batches_tracked: Vec<i64>,
    step: u64,
}

impl Network {
    /// To be called before the parts of a step.
    ///
    /// Errors: [`Error::Unsupported`] for a simulated format, to which means would have to be rounded.
    pub(crate) fn start_parts(&mut self) -> Result<PartStart> {
        if self.precision.simulated.is_some() {
            return Err(Error::Unsupported(format!(
                "a batch in parts in {}, which is simulated",
                self.precision
            )));
        }
        let mut statistics = Vec::new();
        for index in 0..self.tensors.len() {
            if self.tensors[index].role.is_buffer() {
                statistics.push((index, self.read_value(index)?));
            }
        }
        let batches_tracked = self.tensors.iter().map(|t| t.batches_tracked).collect();
        Ok(PartStart { statistics, batches_tracked, step: self.settings.step })
    }

    /// What random draws and the order of sums depend on, in words.
    pub(crate) fn draws(&self) -> String {
        let Settings { seed, step, reduction, track_running_stats, loss_scale, .. } = &self.settings;
        let frozen = self.frozen || !track_running_stats;
        format!("of seed {seed}, step {step}, sums {reduction:?}, loss scale {loss_scale}, frozen {frozen}")
    }

    /// Elements that a part leaves.
    pub(crate) fn part_len(&self) -> usize {
        self.tensors.iter().map(|t| t.len()).sum::<usize>() + 1
    }

    /// Forward, loss and backward of part `index`: gradients, which hold the loss scale, running statistics and, last,
    /// the loss, all times `weight`. Each part draws the random numbers of a step of its own.
    pub(crate) fn run_part<A: Accumulator>(
        &mut self,
        start: &PartStart,
        index: usize,
        weight: f64,
        x: View,
        labels: &[i64],
    ) -> Result<Vec<A>> {
        self.settings.step = start.step + index as u64;
        for (index, statistics) in &start.statistics {
            self.write(self.tensors[*index].value, statistics.bytes())?;
        }
        self.forward_backward(x, labels)?;
        let weight = A::from_f64(weight);
        let mut left = filled(A::ZERO, self.part_len(), "what a part of a batch leaves")?;
        let (loss, mut rest) = left.split_last_mut().expect("there is the loss");
        *loss = weight * A::from_f64(self.loss()?);
        for index in 0..self.tensors.len() {
            let tensor = &self.tensors[index];
            let (buffer, dtype) = (tensor.gradient.unwrap_or(tensor.value), tensor.dtype);
            let values = self.read_tensor(buffer, dtype, &tensor.info.shape.clone())?;
            let (own, behind) = rest.split_at_mut(values.len());
            rest = behind;
            with_element!(dtype, T => {
                let values = bytemuck::cast_slice::<u8, T>(values.bytes());
                own.iter_mut().zip(values).for_each(|(to, v)| *to = weight * A::from_f64(v.to_f64()));
            });
        }
        Ok(left)
    }

    /// Puts the mean over the parts, laid out as [`Network::run_part`] leaves it, in place of what the last part left; the
    /// next step is the one behind `parts` others. Gives the loss.
    pub(crate) fn take_mean<A: Accumulator>(
        &mut self,
        start: &PartStart,
        parts: usize,
        mean: &[A],
    ) -> Result<f64> {
        let (loss, mut rest) = mean.split_last().expect("there is the loss");
        let tracks = self.settings.track_running_stats && !self.frozen;
        for index in 0..self.tensors.len() {
            let tensor = &mut self.tensors[index];
            tensor.batches_tracked = start.batches_tracked[index].saturating_add(i64::from(tracks));
            let (buffer, dtype) = (tensor.gradient.unwrap_or(tensor.value), tensor.dtype);
            let (own, behind) = rest.split_at(tensor.len());
            rest = behind;
            let shape = tensor.info.shape.clone();
            let mut values = Tensor::zeros(dtype, &shape)?;
            with_element!(dtype, T => {
                let values = bytemuck::cast_slice_mut::<u8, T>(values.bytes_mut());
                values.iter_mut().zip(own).for_each(|(to, v)| *to = T::from_f64(v.to_f64()));
            });
            self.write(buffer, values.bytes())?;
        }
        // What is there belongs to no single forward pass.
        (self.stored, self.last_loss) = (None, None);
        self.gradient_scale = self.settings.loss_scale;
        // The optimizer counts one more.
        self.settings.step = start.step + parts as u64 - 1;
        Ok(loss.to_f64())
    }
}

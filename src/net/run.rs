//! Plans and runs: forward, loss, backward, and what they leave behind.

use super::graph::Layer;
use super::network::{Network, check};
use super::plan::{Mode, Plan};
use super::watch::Pass;
use crate::dtype::DType;
use crate::engine::op::BufferId;
use crate::engine::session::ProgramId;
use crate::engine::{class_indices, scalar_f64};
use crate::error::{Error, Result};
use crate::kink::Kink;
use crate::shape::{Pool2dGeometry, Window2d};
use crate::tensor::{Tensor, View};

/// A training forward pass whose activations are still there.
pub(super) struct StoredForward {
    /// Its plan is the one of this batch size and mode.
    pub batch: usize,
    pub mode: Mode,
    /// The choices under which it was made.
    kinks: Vec<Option<Kink>>,
    /// The step in which it was made: a further backward pass draws the same random numbers.
    pub step: u64,
    /// No parameter has changed since: a further backward pass would be one of the same function.
    pub same_parameters: bool,
}

/// A plan with its memory.
pub(super) struct Planned {
    batch: usize,
    mode: Mode,
    pub plan: Plan,
    buffers: Vec<BufferId>,
    pub forward: ProgramId,
    pub loss: ProgramId,
    pub backward: ProgramId,
}

impl Planned {
    pub fn buffer(&self, slot: usize) -> BufferId {
        self.buffers[slot]
    }
}

/// Plans that a network keeps; more batch sizes than these are planned anew in turn.
const KEPT_PLANS: usize = 6;

/// Loss and hits on one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Number of samples whose largest logit (the first of equals) is the label's; none with a NaN logit.
    pub correct: usize,
}

/// Tie sets of a max-pooling layer, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ties {
    /// `[N, C, OH, OW]`
    pub shape: [usize; 4],
    /// For each window the number of elements that attain its maximum, at most 255; 0 where it holds a NaN.
    pub counts: Vec<u8>,
}

impl Network {
    /// Logits `[N, classes]` of a batch x `[N, C, H, W]`, in evaluation mode.
    pub fn forward(&mut self, x: View) -> Result<Tensor> {
        let batch = self.check_batch(x)?;
        let planned = self.plan(batch, Mode::Inference)?;
        let forward = planned.forward;
        let (x_buffer, logits) = (planned.buffer(planned.plan.x), planned.buffer(planned.plan.logits));
        self.write(x_buffer, x.bytes()?)?;
        self.submit(&[forward])?;
        let shape = [batch, self.graph.output_shape()[0]];
        self.read_tensor(logits, self.dtype(), &shape)
    }

    /// Loss and hits on a batch x `[N, C, H, W]` with labels `[N]`, in evaluation mode; no gradients.
    pub fn evaluate(&mut self, x: View, labels: &[i64]) -> Result<Evaluation> {
        self.run(x, labels, Mode::Inference, None)?;
        let loss = self.loss()?;
        let planned = self.plans.last().expect("a plan has just run");
        let logits = planned.buffer(planned.plan.logits);
        let classes = self.graph.output_shape()[0];
        let logits = self.read_tensor(logits, self.dtype(), &[labels.len(), classes])?.to_f64();
        let hit = |(row, &label): (&[f64], &i64)| {
            let mut best = 0;
            for (i, v) in row.iter().enumerate() {
                best = if *v > row[best] { i } else { best };
            }
            best as i64 == label && row.iter().all(|v| !v.is_nan())
        };
        let correct = logits.chunks(classes).zip(labels).filter(|&row| hit(row)).count();
        Ok(Evaluation { loss, correct })
    }

    /// Forward and backward in training mode on a batch x `[N, C, H, W]` with labels `[N]` in 0..classes: the mean
    /// cross-entropy, and the gradients in [`Network::gradient`].
    pub fn loss_and_gradients(&mut self, x: View, labels: &[i64]) -> Result<f64> {
        self.run(x, labels, self.training_mode(), None)?;
        self.loss()
    }

    /// A further backward pass, under the present choices, on the activations of the last
    /// [`Network::loss_and_gradients`].
    ///
    /// Errors: [`Error::Unsupported`] where there is no such forward pass, where parameters have changed since
    /// (a training step does that), or where a present choice is coupled and would have made another one.
    pub fn backward(&mut self) -> Result<()> {
        let refuse = |why: &str| Error::Unsupported(format!("backward: {why}; run loss_and_gradients first"));
        let Some(stored) = &self.stored else { return Err(refuse("there are no stored activations")) };
        if !stored.same_parameters {
            return Err(refuse("parameters have changed since the stored forward pass"));
        }
        if !shares_forward(&stored.kinks, &self.settings.kinks) {
            return Err(refuse("a coupled choice has a forward pass of its own"));
        }
        let step = stored.step;
        let backward = self.stored_plan().ok_or_else(|| refuse("there are no stored activations"))?.backward;
        let present = std::mem::replace(&mut self.settings.step, step);
        let done = self.submit(&[backward]);
        self.settings.step = present;
        done
    }

    /// The loss of the last [`Network::loss_and_gradients`], training step or evaluation.
    pub fn loss(&mut self) -> Result<f64> {
        let Some(buffer) = self.last_loss else {
            return Err(Error::Unsupported("loss: nothing has been run with labels".into()));
        };
        let dtype = if self.precision.is_mixed() { DType::F32 } else { self.dtype() };
        let mut bytes = [0; 8];
        let _serial = self.engine.lock();
        self.session.read(buffer, &mut bytes[..dtype.size()])?;
        Ok(scalar_f64(dtype, &bytes))
    }

    /// How many elements attain the maximum of each window of a max-pooling layer, in the last
    /// [`Network::loss_and_gradients`] or training step.
    pub fn ties(&mut self, layer: &str) -> Result<Ties> {
        let index = self.layer_index(layer)?;
        let node = &self.graph.nodes[index];
        let Layer::MaxPool2d { window } = node.layer else {
            return Err(Error::invalid(
                "layer",
                "a maxpool2d layer",
                format!("{layer}, a {}", node.layer.kind()),
            ));
        };
        let geometry = self.pool_geometry(index, window)?;
        let sets = self.tie_sets(index)?;
        let tie_bytes = crate::shape::tie_bytes(window.len());
        let count = |set: &[u8]| match set[tie_bytes - 1] & 0x80 {
            0 => set.iter().map(|b| b.count_ones()).sum::<u32>().min(255) as u8,
            _ => 0,
        };
        Ok(Ties { shape: geometry.y_shape(), counts: sets.chunks(tie_bytes).map(count).collect() })
    }

    /// Geometry of a pooling for the stored batch.
    pub(super) fn pool_geometry(&self, index: usize, window: Window2d) -> Result<Pool2dGeometry> {
        let node = &self.graph.nodes[index];
        let batch = self.stored.as_ref().map_or(1, |stored| stored.batch);
        let [c, h, w] = self.graph.nodes[node.inputs[0].0].shape[..] else { unreachable!("pools images") };
        Pool2dGeometry::new([batch, c, h, w], window)
    }

    /// The tie sets that a max pooling has stored.
    pub(super) fn tie_sets(&mut self, index: usize) -> Result<Vec<u8>> {
        let node = &self.graph.nodes[index];
        let Layer::MaxPool2d { window } = node.layer else { unreachable!("only max poolings tie") };
        let (batch, buffer) = self.stored(&node.name, |plan| plan.ties[index])?;
        let windows = batch * node.shape.iter().product::<usize>();
        let mut bytes = vec![0; windows * crate::shape::tie_bytes(window.len())];
        let _serial = self.engine.lock();
        self.session.read(buffer, &mut bytes)?;
        Ok(bytes)
    }

    /// A layer's output in the last [`Network::loss_and_gradients`] or training step, where a backward pass
    /// reads it and it is therefore kept: the inputs of convolutions, linear layers, batch normalisations and ReLUs,
    /// and the logits.
    pub fn activation(&mut self, layer: &str) -> Result<Tensor> {
        let index = self.layer_index(layer)?;
        self.output(index)
    }

    /// [`Network::activation`] by index.
    pub(super) fn output(&mut self, index: usize) -> Result<Tensor> {
        let layer = &self.graph.nodes[index].name;
        let (batch, buffer) = self.stored(layer, |plan| plan.outputs[index])?;
        let mut shape = vec![batch];
        shape.extend(&self.graph.nodes[index].shape);
        self.read_tensor(buffer, self.dtype(), &shape)
    }

    fn stored(&self, layer: &str, slot: impl Fn(&Plan) -> Option<usize>) -> Result<(usize, BufferId)> {
        let found = self.stored_plan().and_then(|p| slot(&p.plan).map(|slot| (p.batch, p.buffer(slot))));
        found.ok_or_else(|| {
            Error::Unsupported(format!("{layer}: nothing is stored; run loss_and_gradients first"))
        })
    }

    /// The plan that holds the stored activations.
    pub(super) fn stored_plan(&self) -> Option<&Planned> {
        let stored = self.stored.as_ref()?;
        self.plans.iter().find(|p| (p.batch, p.mode) == (stored.batch, stored.mode))
    }

    fn check_batch(&self, x: View) -> Result<usize> {
        let input = &self.graph.nodes[0].shape;
        let batch = x.shape().first().copied().unwrap_or(0);
        let expected: Vec<usize> = std::iter::once(batch).chain(input.iter().copied()).collect();
        if batch == 0 || x.shape() != expected {
            let input: Vec<String> = input.iter().map(|d| d.to_string()).collect();
            let expected = format!("[N, {}] with N at least 1", input.join(", "));
            return Err(Error::shape("x", expected, x.shape()));
        }
        check("x", x, self.dtype(), &expected)?;
        Ok(batch)
    }

    /// Finds or makes the plan and puts it last.
    pub(super) fn plan(&mut self, batch: usize, mode: Mode) -> Result<&Planned> {
        if mode != Mode::Inference {
            self.stored = None;
        }
        if let Some(i) = self.plans.iter().position(|p| (p.batch, p.mode) == (batch, mode)) {
            let planned = self.plans.remove(i);
            self.plans.push(planned);
        } else {
            let engine = self.engine.clone();
            let _serial = engine.lock();
            if self.plans.len() == KEPT_PLANS {
                self.drop_plan(0);
            }
            let planned = self.make_plan(batch, mode)?;
            self.plans.push(planned);
        }
        Ok(self.plans.last().expect("just pushed"))
    }

    /// Gives the memory of a plan back.
    pub(super) fn drop_plan(&mut self, index: usize) {
        let old = self.plans.remove(index);
        self.last_loss = self.last_loss.filter(|b| !old.buffers.contains(b));
        self.release_watched(&old.buffers, &[old.forward, old.loss, old.backward]);
    }

    fn make_plan(&mut self, batch: usize, mode: Mode) -> Result<Planned> {
        let mut plan = Plan::new(&self.graph, &self.parameter_buffers(), self.precision, batch, mode)?;
        let label = format!("activations of a batch of {batch}");
        let buffers = self.engine.allocate(&mut *self.session, &plan.slots, &label)?;
        plan.relocate(&buffers);
        let mut programs = Vec::new();
        let passes = [Pass::Forward, Pass::Loss, Pass::Backward];
        let mut inputs = self.inputs(batch, buffers[plan.x]);
        for (calls, pass) in [&plan.forward, &plan.loss, &plan.backward].into_iter().zip(passes) {
            match self.prepare_watched(std::mem::take(&mut inputs), calls.clone(), pass) {
                Ok(program) => programs.push(program),
                Err(error) => {
                    self.release_watched(&buffers, &programs);
                    return Err(error);
                }
            }
        }
        let [forward, loss, backward] = programs[..] else { unreachable!("three programs were prepared") };
        Ok(Planned { batch, mode, plan, buffers, forward, loss, backward })
    }

    /// Forward and loss, and in training mode backward and, if given, an optimizer's program.
    pub(super) fn run(
        &mut self,
        x: View,
        labels: &[i64],
        mode: Mode,
        optimizer: Option<ProgramId>,
    ) -> Result<()> {
        let programs = self.write_batch(x, labels, mode, optimizer)?;
        self.submit(&programs)?;
        self.step_begins(&programs);
        if mode != Mode::Inference {
            self.store(labels.len(), mode, optimizer.is_none());
        }
        Ok(())
    }

    /// A training run has left its activations and gradients.
    pub(super) fn store(&mut self, batch: usize, mode: Mode, same_parameters: bool) {
        self.gradient_scale = self.settings.loss_scale;
        let (kinks, step) = (self.settings.kinks.clone(), self.settings.step);
        self.stored = Some(StoredForward { batch, mode, kinks, step, same_parameters });
        if self.settings.track_running_stats && !self.frozen {
            for tensor in &mut self.tensors {
                tensor.batches_tracked = tensor.batches_tracked.saturating_add(1);
            }
        }
    }

    /// Checks and writes a batch: the programs that are to run on it.
    pub(super) fn write_batch(
        &mut self,
        x: View,
        labels: &[i64],
        mode: Mode,
        optimizer: Option<ProgramId>,
    ) -> Result<Vec<ProgramId>> {
        let batch = self.check_batch(x)?;
        if labels.len() != batch {
            return Err(Error::shape("labels", format!("[{batch}]"), &[labels.len()]));
        }
        let classes = *self.graph.output_shape().first().expect("checked by the plan");
        let labels = class_indices(labels, classes)?;
        let planned = self.plan(batch, mode)?;
        let mut programs = vec![planned.forward, planned.loss];
        if mode != Mode::Inference {
            programs.push(planned.backward);
        }
        programs.extend(optimizer);
        let slots = [planned.plan.x, planned.plan.labels, planned.plan.loss_value];
        let [x_buffer, label_buffer, loss] = slots.map(|s| planned.buffer(s));
        self.last_loss = Some(loss);
        self.write(x_buffer, x.bytes()?)?;
        self.write(label_buffer, bytemuck::cast_slice(&labels))?;
        Ok(programs)
    }
}

/// True where both choices at every layer have the same forward pass.
pub(super) fn shares_forward(a: &[Option<Kink>], b: &[Option<Kink>]) -> bool {
    a.iter().zip(b).all(|pair| match pair {
        (Some(Kink::MaxPool(a)), Some(Kink::MaxPool(b))) => a.shares_forward_with(b),
        _ => true,
    })
}

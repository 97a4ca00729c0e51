//! Optimizers over the parameters of one network.

use wildmatch::WildMatch;

use super::grad_scaler::GradScaler;
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, Op, OptimizerSettings};
use crate::engine::session::ProgramId;
use crate::engine::{AdamOptions, RmsPropOptions, SgdOptions};
use crate::error::{Error, Result};
use crate::net::{KernelProfile, Network, Norms, Trainable};
use crate::tensor::{Tensor, View};
use crate::tensor_file::TensorFile;

/// Which algorithm, with its scalars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Algorithm {
    /// As `torch.optim.SGD`.
    Sgd(SgdOptions),
    /// As `torch.optim.Adam`, and with `decoupled` as `AdamW`.
    Adam(AdamOptions),
    /// As `torch.optim.RMSprop`.
    RmsProp(RmsPropOptions),
}

impl From<SgdOptions> for Algorithm {
    fn from(options: SgdOptions) -> Algorithm {
        Algorithm::Sgd(options)
    }
}

impl From<AdamOptions> for Algorithm {
    fn from(options: AdamOptions) -> Algorithm {
        Algorithm::Adam(options)
    }
}

impl From<RmsPropOptions> for Algorithm {
    fn from(options: RmsPropOptions) -> Algorithm {
        Algorithm::RmsProp(options)
    }
}

impl Algorithm {
    fn validate(&self) -> Result<()> {
        match self {
            Algorithm::Sgd(o) => o.validate(),
            Algorithm::Adam(o) => o.validate(),
            Algorithm::RmsProp(o) => o.validate(),
        }
    }

    /// The step length.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Algorithm::Sgd(o) => o.learning_rate,
            Algorithm::Adam(o) => o.learning_rate,
            Algorithm::RmsProp(o) => o.learning_rate,
        }
    }

    /// PyTorch's name for it, as modules spell it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Algorithm::Sgd(_) => "sgd",
            Algorithm::Adam(o) if o.decoupled => "adamw",
            Algorithm::Adam(_) => "adam",
            Algorithm::RmsProp(_) => "rms_prop",
        }
    }

    pub(super) fn with(mut self, learning_rate: f64, weight_decay: Option<f64>) -> Algorithm {
        let (rate, decay) = match &mut self {
            Algorithm::Sgd(o) => (&mut o.learning_rate, &mut o.weight_decay),
            Algorithm::Adam(o) => (&mut o.learning_rate, &mut o.weight_decay),
            Algorithm::RmsProp(o) => (&mut o.learning_rate, &mut o.weight_decay),
        };
        *rate = learning_rate;
        *decay = weight_decay.unwrap_or(*decay);
        self
    }

    /// Names of the state tensors of a parameter, PyTorch's, in the order of the operator table.
    fn states(&self) -> Vec<&'static str> {
        match self {
            Algorithm::Sgd(o) => if_any(&[("momentum_buffer", o.momentum != 0.0)]),
            Algorithm::Adam(o) => {
                if_any(&[("exp_avg", true), ("exp_avg_sq", true), ("max_exp_avg_sq", o.amsgrad)])
            }
            Algorithm::RmsProp(o) => if_any(&[
                ("square_avg", true),
                ("momentum_buffer", o.momentum != 0.0),
                ("grad_avg", o.centered),
            ]),
        }
    }

    fn op(&self, len: usize, master: bool) -> Op {
        match *self {
            Algorithm::Sgd(o) => Op::Sgd { len, momentum: o.momentum != 0.0, master },
            Algorithm::Adam(o) => Op::Adam { len, amsgrad: o.amsgrad, master },
            Algorithm::RmsProp(o) => {
                Op::RmsProp { len, momentum: o.momentum != 0.0, centered: o.centered, master }
            }
        }
    }

    /// Scalars of the step after `steps` steps.
    fn settings(&self, steps: u64) -> OptimizerSettings {
        match self {
            Algorithm::Sgd(o) => OptimizerSettings::Sgd(o.settings(steps == 0)),
            Algorithm::Adam(o) => OptimizerSettings::Adam(o.settings(steps + 1)),
            Algorithm::RmsProp(o) => OptimizerSettings::RmsProp(o.settings()),
        }
    }
}

fn if_any(names: &[(&'static str, bool)]) -> Vec<&'static str> {
    names.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| *name).collect()
}

/// Which parameters a group holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Names that match a pattern with `*` and `?`: `features.0.*`, `*.bias`. One that matches none is refused.
    Names(String),
    /// Biases, and weights and biases of batch normalisation.
    NormsAndBiases,
}

impl Selection {
    fn holds(&self, parameter: &Trainable) -> bool {
        match self {
            Selection::Names(pattern) => WildMatch::new(pattern).matches(parameter.name),
            Selection::NormsAndBiases => parameter.norm_or_bias,
        }
    }
}

/// Parameters that are trained differently. A parameter belongs to the first group that holds it, if any does.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterGroup {
    /// Its parameters.
    pub selection: Selection,
    /// What the learning rate is multiplied by.
    pub learning_rate_factor: f64,
    /// Instead of the algorithm's `weight_decay`.
    pub weight_decay: Option<f64>,
}

impl ParameterGroup {
    /// The usual exception: biases and the parameters of batch normalisation do not decay.
    pub fn no_decay() -> ParameterGroup {
        ParameterGroup {
            selection: Selection::NormsAndBiases,
            learning_rate_factor: 1.0,
            weight_decay: Some(0.0),
        }
    }
}

/// How to create an [`Optimizer`].
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerOptions {
    /// The algorithm for parameters of no group.
    pub algorithm: Algorithm,
    /// Exceptions by parameter.
    pub groups: Vec<ParameterGroup>,
    /// Scales all gradients down together where the Euclidean norm over all of them exceeds this, as
    /// `torch.nn.utils.clip_grad_norm_`.
    pub clip_norm: Option<f64>,
    /// Dynamic loss scaling, for [`crate::Precision::MIXED`].
    pub grad_scaler: Option<GradScaler>,
}

impl<A: Into<Algorithm>> From<A> for OptimizerOptions {
    fn from(algorithm: A) -> OptimizerOptions {
        OptimizerOptions {
            algorithm: algorithm.into(),
            groups: Vec::new(),
            clip_norm: None,
            grad_scaler: None,
        }
    }
}

impl OptimizerOptions {
    pub(super) fn validate(&self) -> Result<()> {
        self.algorithm.validate()?;
        for group in &self.groups {
            let rate = self.algorithm.learning_rate() * group.learning_rate_factor;
            self.algorithm.with(rate, group.weight_decay).validate()?;
        }
        match self.clip_norm {
            Some(norm) if norm.is_nan() || norm <= 0.0 => Err(Error::invalid("clip_norm", "above 0", norm)),
            _ => self.grad_scaler.iter().try_for_each(GradScaler::validate),
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport {
    /// The loss scaler skipped the update, because a gradient was not finite.
    pub skipped: bool,
    /// Euclidean norm of all gradients before clipping, where that or loss scaling asked for it.
    pub gradient_norm: Option<f64>,
}

/// Updates the parameters of one network; its state lives beside them, in `precision().parameters`.
#[derive(Debug)]
pub struct Optimizer {
    options: OptimizerOptions,
    network: u64,
    program: ProgramId,
    states: Vec<State>,
    /// Steps that were not skipped.
    steps: u64,
}

/// State of one parameter.
#[derive(Debug)]
struct State {
    /// `<parameter>.<PyTorch's name of the state>`.
    name: String,
    shape: Vec<usize>,
    buffer: BufferId,
}

impl Optimizer {
    /// An optimizer for `network`, to be used with that one only.
    pub fn new(network: &mut Network, options: impl Into<OptimizerOptions>) -> Result<Optimizer> {
        let options = options.into();
        options.validate()?;
        for group in &options.groups {
            if let Selection::Names(pattern) = &group.selection
                && !network.trainables().any(|t| group.selection.holds(&t))
            {
                return Err(Error::invalid("groups", "a pattern that matches a parameter", pattern));
            }
        }
        let dtype = network.precision().parameters;
        let algorithm = options.algorithm;
        let names = algorithm.states();
        let sizes = network.trainables().flat_map(|t| vec![t.len * dtype.size(); names.len()]);
        let buffers = network.allocate(&sizes.collect::<Vec<_>>(), "optimizer state")?;
        let mut left = buffers.iter();
        let mut states = Vec::new();
        let mut calls = Vec::new();
        for (t, info) in network.trainables().zip(network.parameters()) {
            let own = left.by_ref().take(names.len());
            let mut writes = vec![t.param];
            for (state, &buffer) in names.iter().zip(own) {
                writes.push(buffer);
                states.push(State { name: format!("{}.{state}", t.name), shape: info.shape.clone(), buffer });
            }
            writes.extend(t.copy);
            // The last group is that of all others.
            let groups = options.groups.iter();
            let site = groups.clone().position(|g| g.selection.holds(&t)).unwrap_or(groups.len());
            let op = algorithm.op(t.len, t.copy.is_some());
            calls.push(Call { op, dtype, reads: vec![t.gradient], writes, site });
        }
        let program = network.prepare(calls);
        if program.is_err() {
            network.release(&buffers, &[]);
        }
        let program = program?;
        if let Some(scaler) = &options.grad_scaler {
            network.set_loss_scale(scaler.scale)?;
        }
        Ok(Optimizer { options, network: network.id(), program, states, steps: 0 })
    }

    /// The options in use, with the present learning rate and loss scale.
    pub fn options(&self) -> &OptimizerOptions {
        &self.options
    }

    /// Steps that changed the parameters.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the step length, as schedules do; groups keep their factors.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let algorithm = self.options.algorithm.with(learning_rate, None);
        let options = OptimizerOptions { algorithm, ..self.options.clone() };
        options.validate()?;
        self.options = options;
        Ok(())
    }

    /// Updates the parameters from the gradients that the last backward pass left.
    pub fn step(&mut self, network: &mut Network) -> Result<StepReport> {
        self.check(network)?;
        if !self.looks_at_gradients() {
            network.apply(self.program, self.settings(), 1.0)?;
            self.steps += 1;
            return Ok(StepReport::default());
        }
        let norms = network.gradient_norms()?;
        let norm = norms.iter().map(|n| n.l2 * n.l2).sum::<f64>().sqrt();
        let finite = norms.iter().all(|n: &Norms| n.non_finite == 0);
        let report =
            StepReport { skipped: self.options.grad_scaler.is_some() && !finite, gradient_norm: Some(norm) };
        if report.skipped {
            network.skip_step();
        } else {
            // As PyTorch: a coefficient above 1 is cut to 1; a NaN, which min() would lose, is not.
            let clip = match self.options.clip_norm.map(|max_norm| max_norm / (norm + 1e-6)) {
                Some(coefficient) if coefficient > 1.0 => 1.0,
                Some(coefficient) => coefficient,
                None => 1.0,
            };
            network.apply(self.program, self.settings(), clip)?;
            self.steps += 1;
        }
        if let Some(scaler) = &mut self.options.grad_scaler {
            scaler.update(finite);
            network.set_loss_scale(scaler.scale)?;
        }
        Ok(report)
    }

    /// Forward, loss, backward and update on a batch x `[N, C, H, W]` with labels `[N]`. On the GPU that is one
    /// submission without waiting for it, unless clipping or loss scaling has to look at the gradients.
    /// [`Network::loss`] reads the loss.
    pub fn train_step(&mut self, network: &mut Network, x: View, labels: &[i64]) -> Result<StepReport> {
        self.check(network)?;
        if self.looks_at_gradients() {
            network.forward_backward(x, labels)?;
            return self.step(network);
        }
        network.train(x, labels, self.program, self.settings())?;
        self.steps += 1;
        Ok(StepReport::default())
    }

    /// As [`Optimizer::train_step`] without clipping and loss scaling, one kernel at a time, timing each.
    ///
    /// Errors: [`Error::Unsupported`] on a GPU without timestamps.
    pub fn profile_step(
        &mut self,
        network: &mut Network,
        x: View,
        labels: &[i64],
    ) -> Result<Vec<KernelProfile>> {
        self.check(network)?;
        let kernels = network.profile(x, labels, self.program, self.settings())?;
        self.steps += 1;
        Ok(kernels)
    }

    /// Copies of the state tensors, as (`<parameter>.<PyTorch's name>`, values).
    pub fn state(&self, network: &mut Network) -> Result<Vec<(String, Tensor)>> {
        self.check(network)?;
        let read = |s: &State| Ok((s.name.clone(), network.read_state(s.buffer, &s.shape)?));
        self.states.iter().map(read).collect()
    }

    /// Names behind `prefix`, shapes and dtypes of the state tensors.
    pub(super) fn wanted(&self, network: &Network, prefix: &str) -> Vec<(String, Vec<usize>, DType)> {
        let dtype = network.precision().parameters;
        self.states.iter().map(|s| (format!("{prefix}{}", s.name), s.shape.clone(), dtype)).collect()
    }

    /// Takes state tensors from a file that holds them, with the options and the number of steps that belong to them.
    pub(super) fn restore(
        &mut self,
        network: &mut Network,
        file: &TensorFile,
        prefix: &str,
        options: OptimizerOptions,
        steps: u64,
    ) -> Result<()> {
        if let Some(scaler) = &options.grad_scaler {
            network.set_loss_scale(scaler.scale)?;
        }
        for state in &self.states {
            network.write_state(state.buffer, file.tensors[&format!("{prefix}{}", state.name)].view())?;
        }
        (self.options, self.steps) = (options, steps);
        Ok(())
    }

    /// Gives the state back to the network, which goes on without this optimizer.
    pub fn release(mut self, network: &mut Network) -> Result<()> {
        self.check(network)?;
        self.give_back(network);
        Ok(())
    }

    /// [`Optimizer::release`] for an owner that cannot part with it yet. It makes no step after that.
    pub(crate) fn give_back(&mut self, network: &mut Network) {
        let buffers: Vec<BufferId> = self.states.iter().map(|s| s.buffer).collect();
        network.release(&buffers, &[self.program]);
        self.states.clear();
    }

    fn looks_at_gradients(&self) -> bool {
        self.options.clip_norm.is_some() || self.options.grad_scaler.is_some()
    }

    /// Scalars by group, the last one for parameters of no group.
    fn settings(&self) -> Vec<OptimizerSettings> {
        let algorithm = self.options.algorithm;
        let groups = self.options.groups.iter().map(|group| {
            let rate = algorithm.learning_rate() * group.learning_rate_factor;
            algorithm.with(rate, group.weight_decay)
        });
        groups.chain([algorithm]).map(|a| a.settings(self.steps)).collect()
    }

    pub(super) fn check(&self, network: &Network) -> Result<()> {
        if network.id() != self.network {
            return Err(Error::invalid("network", "the one that this optimizer was created for", "another"));
        }
        Ok(())
    }
}

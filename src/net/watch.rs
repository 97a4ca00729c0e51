//! Where a training step first meets a value that is not finite, and why.
//!
//! Behind each call a look at the tensors that it stores; since all that came before was finite, the call itself is
//! where the value arose.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::network::{Network, Stored};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, Op, OptimizerSettings, Settings};
use crate::engine::session::ProgramId;
use crate::error::Result;
use crate::kink::MaxPoolJacobian;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// From the input to the logits.
    Forward,
    /// The loss and the gradient of the logits.
    Loss,
    /// From there to the gradients of the parameters.
    Backward,
    /// The update of the parameters.
    Optimizer,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pass::Forward => "forward",
            Pass::Loss => "loss",
            Pass::Backward => "backward",
            Pass::Optimizer => "optimizer",
        })
    }
}

/// The first value of a tensor that is NaN or infinite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonFinite {
    /// The part of the step.
    pub pass: Pass,
    /// The layer; "loss", or for the optimizer the parameter.
    pub layer: String,
    /// The operator that made it, as profiles call it; "input" for what the step began with.
    pub operator_name: String,
    /// The tensor that holds it: a parameter by its name, "gradient of" one, "output", or "gradient of the input".
    pub tensor: String,
    /// Its place in the tensor, in row-major order.
    pub element: usize,
    /// NaN, infinity or -infinity; a text in JSON, which has no such numbers.
    #[serde(with = "text")]
    pub value: f64,
    /// How it arose, if all that the operator read was finite.
    pub cause: String,
}

impl NonFinite {
    /// Whether it is the loss, a running statistic, or in what the optimizer writes: what follows does not mask it.
    pub fn lasts(&self) -> bool {
        match self.pass {
            Pass::Forward => [".running_mean", ".running_var"].iter().any(|name| self.tensor.ends_with(name)),
            Pass::Loss => self.tensor == LOSS,
            Pass::Backward => false,
            Pass::Optimizer => true,
        }
    }
}

/// A number as Rust prints and reads it.
mod text {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

const LOSS: &str = "loss";

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NonFinite { pass, layer, operator_name, tensor, element, value, cause } = self;
        write!(f, "{pass} pass, {layer}, {operator_name}: {value} at element {element} of {tensor}: {cause}")
    }
}

/// What is looked at in the programs of a network.
#[derive(Default)]
pub(super) struct Watch {
    programs: Vec<WatchedProgram>,
    /// The programs of the last step, in order.
    ran: Vec<ProgramId>,
}

struct WatchedProgram {
    program: ProgramId,
    pass: Pass,
    records: BufferId,
    outputs: Vec<Output>,
}

/// A tensor that a call stores.
pub(super) struct Output {
    op: Op,
    site: usize,
    /// Its position among what the call writes.
    index: usize,
    dtype: DType,
    /// It is rounded to a format that dtype carries.
    simulated: bool,
    len: usize,
    buffer: BufferId,
    /// What the call writes first: of an optimizer the parameter, whichever of its states this is.
    first: BufferId,
}

impl Output {
    fn of(call: &Call, index: usize, len: usize, dtype: DType) -> Output {
        let (buffer, first) = (call.writes[index], call.writes[0]);
        Output { op: call.op, site: call.site, index, dtype, simulated: false, len, buffer, first }
    }

    /// What a step begins with; the look is its operator.
    fn input(len: usize, dtype: DType, buffer: BufferId, site: usize) -> Output {
        let op = Op::FirstNonFinite { len, slot: 0 };
        Output { op, site, index: 0, dtype, simulated: false, len, buffer, first: buffer }
    }
}

impl Network {
    /// Lets each training step from now on look at every tensor that it stores: [`Network::non_finite`] tells
    /// where a value that is not finite arose. Steps give the same bits, and take a pass over memory longer.
    ///
    /// Of optimizers only those made after this call are watched.
    pub fn watch_non_finite(&mut self) -> Result<()> {
        if self.watch.is_none() {
            let engine = self.engine.clone();
            let _serial = engine.lock();
            while !self.plans.is_empty() {
                self.drop_plan(0);
            }
            self.stored = None;
            self.watch = Some(Watch::default());
        }
        Ok(())
    }

    /// Whether [`Network::watch_non_finite`] was called.
    pub(crate) fn watches_non_finite(&self) -> bool {
        self.watch.is_some()
    }

    /// The tensors of the last training step, [`Network::loss_and_gradients`] or [`Network::evaluate`] that hold a value that
    /// is not finite, in the order in which they were computed: the first is where it arose. Empty where
    /// [`Network::watch_non_finite`] was not called before.
    ///
    /// What follows may stop such a value: a ReLU masks it, and with a loss scale a gradient that overflows is a matter of
    /// course, its step skipped. [`NonFinite::lasts`] tells.
    pub fn non_finite(&mut self) -> Result<Vec<NonFinite>> {
        let Some(watch) = &self.watch else { return Ok(Vec::new()) };
        let of = |id: &ProgramId| watch.programs.iter().find(|p| p.program == *id);
        let _serial = self.engine.lock();
        let mut found = Vec::new();
        for watched in watch.ran.iter().filter_map(of) {
            let mut records = vec![[0u32; 2]; watched.outputs.len()];
            self.session.read(watched.records, bytemuck::cast_slice_mut(&mut records))?;
            for (output, [element, kind]) in watched.outputs.iter().zip(records) {
                if element != u32::MAX {
                    let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][kind as usize];
                    found.push(self.describe(watched.pass, output, element as usize, value));
                }
            }
        }
        Ok(found)
    }

    fn describe(&self, pass: Pass, output: &Output, element: usize, value: f64) -> NonFinite {
        let named =
            |of: &dyn Fn(&Stored) -> bool| self.tensors.iter().find(|t| of(t)).map(|t| t.info.name.clone());
        let holding = |buffer| named(&|t| t.value == buffer || t.master == Some(buffer));
        let tensor_name = holding(output.buffer);
        let layer = match (pass, self.graph.nodes.get(output.site)) {
            (Pass::Optimizer, _) => holding(output.first).expect("an optimizer writes a parameter first"),
            (Pass::Loss, _) | (_, None) => LOSS.into(),
            (_, Some(node)) => node.name.clone(),
        };
        let tensor = match (named(&|t| t.gradient == Some(output.buffer)), pass, output.index) {
            (Some(name), ..) => format!("gradient of {name}"),
            (_, Pass::Optimizer, index) => state_name(&output.op, index).into(),
            (_, Pass::Loss, 0) => LOSS.into(),
            (_, Pass::Loss, _) => "gradient of the logits".into(),
            (_, Pass::Backward, _) => "gradient of the input".into(),
            (_, Pass::Forward, 0) => "output".into(),
            (_, Pass::Forward, _) => tensor_name.clone().unwrap_or_else(|| "statistics".into()),
        };
        let (operator, tensor) = match output.op {
            Op::FirstNonFinite { .. } => ("input", tensor_name.unwrap_or_else(|| "x".into())),
            _ => (output.op.name(), tensor),
        };
        let cause = cause(output, value, &self.settings);
        NonFinite { pass, layer, operator_name: operator.into(), tensor, element, value, cause }
    }

    /// What a forward pass of `batch` samples begins with: x, and every parameter and buffer.
    pub(super) fn inputs(&self, batch: usize, x: BufferId) -> Vec<Output> {
        let len = batch * self.graph.nodes[0].shape.iter().product::<usize>();
        let tensors = self.tensors.iter().map(|t| Output::input(t.len(), t.dtype, t.value, t.node));
        std::iter::once(Output::input(len, self.dtype(), x, 0)).chain(tensors).collect()
    }

    /// Prepares calls; if the network is watched, with a look at `inputs` before them and one behind each. The engine is
    /// locked.
    pub(super) fn prepare_watched(
        &mut self,
        inputs: Vec<Output>,
        calls: Vec<Call>,
        pass: Pass,
    ) -> Result<ProgramId> {
        if self.watch.is_none() || calls.iter().all(|call| looked_at(call, None).is_empty()) {
            return self.session.prepare(&calls);
        }
        let look = |slot: usize, output: &Output| Call {
            op: Op::FirstNonFinite { len: output.len, slot },
            dtype: output.dtype,
            reads: vec![output.buffer],
            // The buffer of the records is known when they have been counted.
            writes: vec![],
            site: output.site,
        };
        let mut all: Vec<Call> = inputs.iter().enumerate().map(|(slot, output)| look(slot, output)).collect();
        let mut outputs = inputs;
        for call in calls {
            let found = looked_at(&call, outputs.last());
            all.push(call);
            for output in found {
                all.push(look(outputs.len(), &output));
                outputs.push(output);
            }
        }
        let records = self.session.allocate(outputs.len() * 8, "records of values that are not finite")?;
        for call in &mut all {
            if let Op::FirstNonFinite { .. } = call.op {
                call.writes = vec![records];
            }
        }
        let program = match self.session.prepare(&all) {
            Ok(program) => program,
            Err(error) => {
                self.session.release(&[records], &[]);
                return Err(error);
            }
        };
        let watch = self.watch.as_mut().expect("checked above");
        watch.programs.push(WatchedProgram { program, pass, records, outputs });
        Ok(program)
    }

    /// Gives buffers and programs back, with what is kept to watch these. The engine is locked.
    pub(super) fn release_watched(&mut self, buffers: &[BufferId], programs: &[ProgramId]) {
        self.session.release(buffers, programs);
        if let Some(watch) = &mut self.watch {
            watch.ran.retain(|id| !programs.contains(id));
            for old in watch.programs.extract_if(.., |p| programs.contains(&p.program)) {
                self.session.release(&[old.records], &[]);
            }
        }
    }

    /// A step begins with these programs.
    pub(super) fn step_begins(&mut self, programs: &[ProgramId]) {
        if let Some(watch) = &mut self.watch {
            watch.ran = programs.to_vec();
        }
    }

    /// A step goes on with this program.
    pub(super) fn step_goes_on(&mut self, program: ProgramId) {
        if let Some(watch) = &mut self.watch
            && !watch.ran.contains(&program)
        {
            watch.ran.push(program);
        }
    }
}

/// The tensors that a call stores, in the order in which they are computed; `before` is the last tensor before them.
fn looked_at(call: &Call, before: Option<&Output>) -> Vec<Output> {
    let parameters = match call.op {
        Op::BatchNormForward { parameters, .. }
        | Op::BatchNormInference { parameters, .. }
        | Op::BatchNormBackward { parameters, .. }
        | Op::BatchNormInferenceBackward { parameters, .. } => parameters,
        _ => call.dtype,
    };
    let stored = call.op.stored_outputs().into_iter();
    let dtype = |index| if index == 0 { call.dtype } else { parameters };
    let mut outputs: Vec<Output> =
        stored.map(|(index, len)| Output::of(call, index, len, dtype(index))).collect();
    match call.op {
        Op::CrossEntropy { wide_loss, .. } => {
            let dtype = if wide_loss { call.dtype.accumulate() } else { call.dtype };
            outputs.insert(0, Output::of(call, 0, 1, dtype));
        }
        Op::Sgd { master, len, .. } | Op::Adam { master, len, .. } | Op::RmsProp { master, len, .. } => {
            // The states, the parameter that follows from them, its copy.
            outputs.rotate_left(1);
            outputs.extend(master.then(|| Output::of(call, call.writes.len() - 1, len, DType::F16)));
        }
        Op::Quantize { len, .. } => {
            // What the call before it has stored, rounded.
            let own = Output { simulated: true, ..Output::of(call, 0, len, call.dtype) };
            outputs.push(match before {
                Some(b) => Output { op: b.op, site: b.site, index: b.index, first: b.first, ..own },
                None => own,
            });
        }
        _ => {}
    }
    outputs
}

/// PyTorch's name of what an optimizer writes at `index`.
fn state_name(op: &Op, index: usize) -> &'static str {
    let names: &[&str] = match *op {
        Op::Sgd { momentum: true, .. } => &["parameter", "momentum_buffer"],
        Op::Adam { amsgrad: true, .. } => &["parameter", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
        Op::Adam { .. } => &["parameter", "exp_avg", "exp_avg_sq"],
        Op::RmsProp { momentum: true, .. } => &["parameter", "square_avg", "momentum_buffer", "grad_avg"],
        Op::RmsProp { .. } => &["parameter", "square_avg", "grad_avg"],
        _ => &["parameter"],
    };
    names.get(index).unwrap_or(&"copy in 16 bits")
}

/// How an operator makes `value` of finite numbers.
fn cause(output: &Output, value: f64, settings: &Settings) -> String {
    let largest = match output.dtype {
        _ if output.simulated => "the simulated format",
        DType::F16 => "65504",
        DType::F32 => "3.4e38",
        DType::F64 => "1.8e308",
    };
    let exceeds = |what: &str| format!("{what} exceeds {largest}");
    let (nan, site) = (value.is_nan(), output.site);
    match output.op {
        Op::FirstNonFinite { .. } => "it was there before the step".into(),
        Op::MaxPool2dForward { .. } => match settings.maxpool(site).forward_weights() {
            Some([beta, _]) => {
                let how = format!("({}, beta = {beta})", settings.maxpool(site).composition);
                match nan {
                    true => {
                        format!("beta * x and (1 - beta) * x exceed {largest} with opposite signs {how}")
                    }
                    false => exceeds(&format!("beta * x {how}")),
                }
            }
            // The largest of finite numbers is one.
            None => "what it read was not finite".into(),
        },
        Op::MaxPool2dBackward { .. } => match settings.maxpool(site).jacobian {
            MaxPoolJacobian::Beta(beta) if nan => {
                format!("beta * g and (1 - beta) * g exceed {largest} with opposite signs (beta = {beta})")
            }
            MaxPoolJacobian::Beta(beta) => exceeds(&format!("beta * g (beta = {beta})")),
            _ => exceeds("a sum of gradients"),
        },
        Op::NormPool2dForward { .. } => exceeds("a norm"),
        Op::BatchNormForward { .. } | Op::BatchNormInference { .. } if output.index > 0 => {
            exceeds("a statistic")
        }
        Op::BatchNormForward { .. } | Op::BatchNormInference { .. } if nan => {
            "the variance overflows in the accumulate type".into()
        }
        Op::CrossEntropy { .. } if output.index == 0 => exceeds("the loss"),
        Op::CrossEntropy { .. } => {
            exceeds(&format!("the gradient times the loss scale {}", settings.loss_scale))
        }
        Op::Adam { .. } => match (state_name(&output.op, output.index), settings.optimizers.get(site)) {
            ("exp_avg_sq" | "max_exp_avg_sq", _) => exceeds("g^2"),
            ("parameter", Some(OptimizerSettings::Adam(adam))) if rounds_to_zero(adam.eps, output.dtype) => {
                let quotient = if nan { "0 / 0" } else { "a division by 0" };
                format!("{quotient}: exp_avg_sq is 0, and eps = {:e} rounds to 0", adam.eps)
            }
            ("parameter", _) => exceeds("exp_avg / (sqrt(exp_avg_sq) + eps)"),
            (state, _) => exceeds(state),
        },
        Op::Sgd { .. } | Op::RmsProp { .. } => match state_name(&output.op, output.index) {
            "parameter" => exceeds("the updated parameter"),
            "square_avg" => exceeds("g^2"),
            state => exceeds(state),
        },
        _ if nan => "partial sums overflow with opposite signs".into(),
        _ => exceeds("a sum"),
    }
}

fn rounds_to_zero(v: f64, dtype: DType) -> bool {
    match dtype {
        DType::F16 => half::f16::from_f64(v) == half::f16::ZERO,
        DType::F32 => v as f32 == 0.0,
        DType::F64 => v == 0.0,
    }
}

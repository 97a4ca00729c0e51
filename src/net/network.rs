//! A network on an engine: parameters, gradients, plans, and the choices at its kinks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::graph::{Graph, LayerInfo};
use super::init;
use super::plan::{Mode, ParameterBuffers, Plan};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, Settings, SgdSettings};
use crate::engine::session::{KernelTime, ProgramId, Session};
use crate::engine::{Engine, Placement, class_indices, scalar_f64};
use crate::error::{Error, Result};
use crate::kink::Kink;
use crate::shape::element_count;
use crate::tensor::{Tensor, View};

/// A network whose parameters, gradients and activations live on an engine.
///
/// The first run with a batch size plans it: buffers are allocated and kernels chosen once. The few most recent
/// plans are kept.
pub struct Network {
    engine: Engine,
    graph: Graph,
    dtype: DType,
    placement: Placement,
    session: Box<dyn Session>,
    parameters: Vec<Parameter>,
    settings: Settings,
    /// The most recently used last.
    plans: Vec<Planned>,
    stored: Option<StoredForward>,
    /// Where the last run with labels left its loss.
    last_loss: Option<BufferId>,
    id: u64,
}

/// A training forward pass whose activations are still there.
struct StoredForward {
    /// Its plan is the training plan of this batch size.
    batch: usize,
    /// The choices under which it was made.
    kinks: Vec<Option<Kink>>,
    /// No parameter has changed since: a further backward pass would be one of the same function.
    same_parameters: bool,
}

struct Parameter {
    info: ParameterInfo,
    value: BufferId,
    gradient: BufferId,
}

struct Planned {
    batch: usize,
    mode: Mode,
    plan: Plan,
    buffers: Vec<BufferId>,
    forward: ProgramId,
    loss: ProgramId,
    backward: ProgramId,
}

/// Plans that a network keeps; more batch sizes than these are planned anew in turn.
const KEPT_PLANS: usize = 6;

/// A parameter's name and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// `<layer>.weight` or `<layer>.bias`.
    pub name: String,
    /// Shape: `[O, C, KH, KW]`, `[O, I]` or `[O]`.
    pub shape: Vec<usize>,
}

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

/// How far two gradients of one parameter are apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The parameter.
    pub name: String,
    /// Sum of absolute differences.
    pub l1: f64,
    /// Euclidean norm of the difference.
    pub l2: f64,
    /// Largest absolute difference.
    pub linf: f64,
    /// Number of elements that are not equal.
    pub differing: usize,
}

/// Gradients of two choices on the same weights and batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// By parameter.
    pub differences: Vec<Difference>,
    /// Loss under the first and the second choice: equal where they share a forward pass.
    pub losses: [f64; 2],
    /// False where a coupled composition made a second forward pass necessary.
    pub shared_forward: bool,
}

impl Comparison {
    /// Sums over the parameters of the L1 norms, as the published code does for thresholds.
    pub fn l1(&self) -> f64 {
        self.differences.iter().map(|d| d.l1).sum()
    }

    /// Sums over the parameters of the Linf norms, as the published code does for volumes.
    pub fn linf(&self) -> f64 {
        self.differences.iter().map(|d| d.linf).sum()
    }
}

impl Network {
    /// A network with PyTorch's default initialisation from `seed`: the same values for each dtype, rounded.
    ///
    /// With a GPU engine, f64 (and f16 without `SHADER_F16`) is placed on the CPU: [`Network::placement`].
    pub fn new(engine: &Engine, graph: &Graph, dtype: DType, seed: u64) -> Result<Network> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        if !matches!(graph.output_shape(), [n] if *n > 0) {
            let expected = "[classes] with at least one class";
            return Err(Error::shape("output of the network", expected, graph.output_shape()));
        }
        let _serial = engine.lock();
        let mut session = engine.session(dtype);
        let mut parameters = Vec::new();
        for (index, declaration) in graph.declarations().iter().enumerate() {
            let bytes = element_count(&declaration.shape)? * dtype.size();
            let value = session.allocate(bytes, &declaration.name)?;
            let gradient = session.allocate(bytes, &format!("gradient of {}", declaration.name))?;
            let values = init::default_values(declaration, index, seed)?;
            session.write(value, Tensor::from_f64(dtype, &declaration.shape, &values)?.bytes())?;
            let info = ParameterInfo { name: declaration.name.clone(), shape: declaration.shape.clone() };
            parameters.push(Parameter { info, value, gradient });
        }
        let kinks = graph.nodes.iter().map(|n| n.layer.default_kink()).collect();
        Ok(Network {
            engine: engine.clone(),
            graph: graph.clone(),
            dtype,
            placement: engine.placement(dtype),
            session,
            parameters,
            settings: Settings { kinks, ..Default::default() },
            plans: Vec::new(),
            stored: None,
            last_loss: None,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The engine that it was created on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Type of parameters, activations and gradients.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether the GPU runs it, and if a GPU engine does not, why.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Every layer, the input first.
    pub fn layers(&self) -> Vec<LayerInfo> {
        self.graph.layers().collect()
    }

    /// Every parameter, in the order of the layers.
    pub fn parameters(&self) -> impl Iterator<Item = &ParameterInfo> {
        self.parameters.iter().map(|p| &p.info)
    }

    /// Bytes that the network holds on its engine: parameters, gradients, optimizer state, activations.
    pub fn allocated_bytes(&self) -> usize {
        self.session.allocated_bytes()
    }

    /// Chooses what a kink layer computes from the next run on; `None` means every layer of the kink's kind.
    ///
    /// Errors: [`Error::NotFound`] for an unknown layer, [`Error::InvalidArgument`] for a layer of another
    /// kind or a choice that is not finite.
    pub fn set_kink(&mut self, layer: Option<&str>, kink: Kink) -> Result<()> {
        match kink {
            Kink::MaxPool(k) => k.validate()?,
            Kink::Relu(k) => k.validate()?,
        }
        let same_kind = |slot: &Option<Kink>| {
            slot.is_some_and(|k| std::mem::discriminant(&k) == std::mem::discriminant(&kink))
        };
        match layer {
            None => self.settings.kinks.iter_mut().filter(|k| same_kind(k)).for_each(|k| *k = Some(kink)),
            Some(name) => {
                let index = self.layer_index(name)?;
                let slot = &mut self.settings.kinks[index];
                if !same_kind(slot) {
                    let wanted = match kink {
                        Kink::MaxPool(_) => "a maxpool2d layer",
                        Kink::Relu(_) => "a relu layer",
                    };
                    let got = format!("{name}, a {} layer", self.graph.nodes[index].layer.kind());
                    return Err(Error::invalid("layer", wanted, got));
                }
                *slot = Some(kink);
            }
        }
        Ok(())
    }

    /// The choice at a layer; `None` for a layer without a kink.
    pub fn kink(&self, layer: &str) -> Result<Option<Kink>> {
        Ok(self.settings.kinks[self.layer_index(layer)?])
    }

    /// A copy of a parameter.
    pub fn parameter(&mut self, name: &str) -> Result<Tensor> {
        let p = self.find(name)?;
        let (shape, buffer) = (p.info.shape.clone(), p.value);
        self.read_tensor(buffer, &shape)
    }

    /// Overwrites a parameter with values of the same shape and dtype.
    pub fn set_parameter(&mut self, name: &str, values: View) -> Result<()> {
        let p = self.find(name)?;
        self.check(name, values, &p.info.shape)?;
        let buffer = p.value;
        self.parameters_change();
        self.write(buffer, values.bytes())
    }

    /// A copy of the gradient that the last backward pass left.
    pub fn gradient(&mut self, name: &str) -> Result<Tensor> {
        let p = self.find(name)?;
        let (shape, buffer) = (p.info.shape.clone(), p.gradient);
        self.read_tensor(buffer, &shape)
    }

    /// Logits `[N, classes]` of a batch x `[N, C, H, W]`.
    pub fn forward(&mut self, x: View) -> Result<Tensor> {
        let batch = self.check_batch(x)?;
        let planned = self.plan(batch, Mode::Inference)?;
        let forward = planned.forward;
        let (x_buffer, logits) = (planned.buffer(planned.plan.x), planned.buffer(planned.plan.logits));
        self.write(x_buffer, x.bytes())?;
        self.submit(&[forward])?;
        let shape = [batch, self.graph.output_shape()[0]];
        self.read_tensor(logits, &shape)
    }

    /// Loss and hits on a batch x `[N, C, H, W]` with labels `[N]`; no gradients.
    pub fn evaluate(&mut self, x: View, labels: &[i64]) -> Result<Evaluation> {
        self.run(x, labels, Mode::Inference, None)?;
        let loss = self.loss()?;
        let planned = self.plans.last().expect("a plan has just run");
        let logits = planned.buffer(planned.plan.logits);
        let classes = self.graph.output_shape()[0];
        let logits = self.read_tensor(logits, &[labels.len(), classes])?.to_f64();
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

    /// Forward and backward on a batch x `[N, C, H, W]` with labels `[N]` in 0..classes: the mean
    /// cross-entropy, and the gradients in [`Network::gradient`].
    pub fn loss_and_gradients(&mut self, x: View, labels: &[i64]) -> Result<f64> {
        self.run(x, labels, Mode::Training, None)?;
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
        let backward = self.stored_plan().ok_or_else(|| refuse("there are no stored activations"))?.backward;
        self.submit(&[backward])
    }

    /// Gradients under the present choices against those with `kink` at `layer` (`None`: every layer of its
    /// kind), on one stored forward pass unless a coupled composition needs its own.
    ///
    /// Afterwards the choices are what they were, and loss, gradients and stored activations are theirs.
    pub fn compare(
        &mut self,
        x: View,
        labels: &[i64],
        layer: Option<&str>,
        kink: Kink,
    ) -> Result<Comparison> {
        let before = self.settings.kinks.clone();
        self.set_kink(layer, kink)?;
        let shared_forward = shares_forward(&before, &self.settings.kinks);
        let other_loss = self.loss_and_gradients(x, labels);
        let other = other_loss.and_then(|loss| Ok((loss, self.gradients()?)));
        self.settings.kinks = before;
        let (other_loss, other) = other?;
        let loss = if shared_forward {
            self.backward()?;
            other_loss
        } else {
            self.loss_and_gradients(x, labels)?
        };
        let own = self.gradients()?;
        let differences = self.parameters.iter().zip(own.iter().zip(&other));
        let differences = differences.map(|(p, (a, b))| difference(&p.info.name, a, b)).collect();
        Ok(Comparison { differences, losses: [loss, other_loss], shared_forward })
    }

    /// The loss of the last [`Network::loss_and_gradients`], training step or evaluation.
    pub fn loss(&mut self) -> Result<f64> {
        let Some(buffer) = self.last_loss else {
            return Err(Error::Unsupported("loss: nothing has been run with labels".into()));
        };
        let mut bytes = [0; 8];
        let _serial = self.engine.lock();
        self.session.read(buffer, &mut bytes[..self.dtype.size()])?;
        Ok(scalar_f64(self.dtype, &bytes))
    }

    /// How many elements attain the maximum of each window of a max-pooling layer, in the last
    /// [`Network::loss_and_gradients`] or training step.
    pub fn ties(&mut self, layer: &str) -> Result<Ties> {
        let index = self.layer_index(layer)?;
        let node = &self.graph.nodes[index];
        let super::Layer::MaxPool2d { window } = node.layer else {
            return Err(Error::invalid(
                "layer",
                "a maxpool2d layer",
                format!("{layer}, a {}", node.layer.kind()),
            ));
        };
        let [c, h, w] = node.shape[..] else { unreachable!("max pooling gives images") };
        let (batch, buffer) = self.stored(layer, |plan| plan.ties[index])?;
        let tie_bytes = crate::shape::tie_bytes(window.len());
        let mut bytes = vec![0; batch * c * h * w * tie_bytes];
        let _serial = self.engine.lock();
        self.session.read(buffer, &mut bytes)?;
        let count = |set: &[u8]| match set[tie_bytes - 1] & 0x80 {
            0 => set.iter().map(|b| b.count_ones()).sum::<u32>().min(255) as u8,
            _ => 0,
        };
        Ok(Ties { shape: [batch, c, h, w], counts: bytes.chunks(tie_bytes).map(count).collect() })
    }

    /// A layer's output in the last [`Network::loss_and_gradients`] or training step, where a backward pass
    /// reads it and it is therefore kept: the inputs of convolutions, linear layers and ReLUs.
    pub fn activation(&mut self, layer: &str) -> Result<Tensor> {
        let index = self.layer_index(layer)?;
        let (batch, buffer) = self.stored(layer, |plan| plan.outputs[index])?;
        let mut shape = vec![batch];
        shape.extend(&self.graph.nodes[index].shape);
        self.read_tensor(buffer, &shape)
    }

    fn stored(&self, layer: &str, slot: impl Fn(&Plan) -> Option<usize>) -> Result<(usize, BufferId)> {
        let found = self.stored_plan().and_then(|p| slot(&p.plan).map(|slot| (p.batch, p.buffer(slot))));
        found.ok_or_else(|| {
            Error::Unsupported(format!("{layer}: nothing is stored; run loss_and_gradients first"))
        })
    }

    fn layer_index(&self, name: &str) -> Result<usize> {
        self.graph.nodes.iter().position(|n| n.name == name).ok_or_else(|| Error::NotFound {
            what: "layer",
            name: name.to_string(),
            known: self.graph.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn find(&self, name: &str) -> Result<&Parameter> {
        self.parameters.iter().find(|p| p.info.name == name).ok_or_else(|| Error::NotFound {
            what: "parameter",
            name: name.to_string(),
            known: self.parameters().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn check(&self, argument: &str, view: View, shape: &[usize]) -> Result<()> {
        if view.dtype() != self.dtype {
            return Err(Error::dtype(argument, self.dtype, view.dtype()));
        }
        if view.shape() != shape {
            return Err(Error::shape(argument, format!("{shape:?}"), view.shape()));
        }
        Ok(())
    }

    fn check_batch(&self, x: View) -> Result<usize> {
        let input = &self.graph.nodes[0].shape;
        let batch = x.shape().first().copied().unwrap_or(0);
        let expected: Vec<usize> = std::iter::once(batch).chain(input.iter().copied()).collect();
        if batch == 0 || x.shape() != expected {
            let expected = format!("[N, {}] with N at least 1", join(input));
            return Err(Error::shape("x", expected, x.shape()));
        }
        self.check("x", x, &expected)?;
        Ok(batch)
    }

    fn read_tensor(&mut self, buffer: BufferId, shape: &[usize]) -> Result<Tensor> {
        let mut tensor = Tensor::zeros(self.dtype, shape)?;
        let _serial = self.engine.lock();
        self.session.read(buffer, tensor.bytes_mut())?;
        Ok(tensor)
    }

    fn gradients(&mut self) -> Result<Vec<Tensor>> {
        let names: Vec<String> = self.parameters().map(|p| p.name.clone()).collect();
        names.iter().map(|name| self.gradient(name)).collect()
    }

    /// The plan that holds the stored activations.
    fn stored_plan(&self) -> Option<&Planned> {
        let batch = self.stored.as_ref()?.batch;
        self.plans.iter().find(|p| (p.batch, p.mode) == (batch, Mode::Training))
    }

    /// To be called before anything writes parameters.
    fn parameters_change(&mut self) {
        if let Some(stored) = &mut self.stored {
            stored.same_parameters = false;
        }
    }

    /// Finds or makes the plan and puts it last.
    fn plan(&mut self, batch: usize, mode: Mode) -> Result<&Planned> {
        if mode == Mode::Training {
            self.stored = None;
        }
        if let Some(i) = self.plans.iter().position(|p| (p.batch, p.mode) == (batch, mode)) {
            let planned = self.plans.remove(i);
            self.plans.push(planned);
        } else {
            let engine = self.engine.clone();
            let _serial = engine.lock();
            if self.plans.len() == KEPT_PLANS {
                let old = self.plans.remove(0);
                self.last_loss = self.last_loss.filter(|b| !old.buffers.contains(b));
                self.session.release(&old.buffers, &[old.forward, old.loss, old.backward]);
            }
            let planned = self.make_plan(batch, mode)?;
            self.plans.push(planned);
        }
        Ok(self.plans.last().expect("just pushed"))
    }

    fn make_plan(&mut self, batch: usize, mode: Mode) -> Result<Planned> {
        let declarations = self.graph.declarations();
        let parameters: Vec<ParameterBuffers> = self
            .parameters
            .iter()
            .zip(&declarations)
            .map(|(p, d)| ParameterBuffers { node: d.node, value: p.value, gradient: p.gradient })
            .collect();
        let mut plan = Plan::new(&self.graph, &parameters, self.dtype, batch, mode)?;
        let mut buffers = Vec::new();
        let mut programs = Vec::new();
        let mut prepare = || -> Result<()> {
            for &bytes in &plan.slots {
                let label = format!("activations of a batch of {batch}");
                buffers.push(self.session.allocate(bytes, &label)?);
            }
            plan.relocate(&buffers);
            for calls in [&plan.forward, &plan.loss, &plan.backward] {
                programs.push(self.session.prepare(calls)?);
            }
            Ok(())
        };
        if let Err(error) = prepare() {
            self.session.release(&buffers, &programs);
            return Err(error);
        }
        let [forward, loss, backward] = programs[..] else { unreachable!("three programs were prepared") };
        Ok(Planned { batch, mode, plan, buffers, forward, loss, backward })
    }

    /// Runs programs in one submission.
    fn submit(&mut self, programs: &[ProgramId]) -> Result<()> {
        let _serial = self.engine.lock();
        self.session.run(programs, &self.settings)
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()> {
        let _serial = self.engine.lock();
        self.session.write(buffer, bytes)
    }

    /// Forward and loss, and in training mode backward and, if given, an optimizer's program.
    fn run(&mut self, x: View, labels: &[i64], mode: Mode, optimizer: Option<ProgramId>) -> Result<()> {
        let programs = self.load(x, labels, mode, optimizer)?;
        self.submit(&programs)?;
        if mode == Mode::Training {
            self.store(labels.len(), optimizer.is_none());
        }
        Ok(())
    }

    /// A training run has left its activations.
    fn store(&mut self, batch: usize, same_parameters: bool) {
        self.stored = Some(StoredForward { batch, kinks: self.settings.kinks.clone(), same_parameters });
    }

    /// Checks and writes a batch: the programs that are to run on it.
    fn load(
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
        if mode == Mode::Training {
            programs.push(planned.backward);
        }
        programs.extend(optimizer);
        let slots = [planned.plan.x, planned.plan.labels, planned.plan.loss_value];
        let [x_buffer, label_buffer, loss] = slots.map(|s| planned.buffer(s));
        self.last_loss = Some(loss);
        self.write(x_buffer, x.bytes())?;
        self.write(label_buffer, bytemuck::cast_slice(&labels))?;
        Ok(programs)
    }
}

/// What an optimizer needs of a network.
impl Network {
    /// Tells networks apart.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Value and gradient buffers and the element count of each parameter.
    pub(crate) fn parameter_buffers(&self) -> Vec<(BufferId, BufferId, usize)> {
        let len = |p: &Parameter| p.info.shape.iter().product();
        self.parameters.iter().map(|p| (p.value, p.gradient, len(p))).collect()
    }

    /// A zeroed buffer for optimizer state.
    pub(crate) fn allocate(&mut self, elements: usize, label: &str) -> Result<BufferId> {
        let _serial = self.engine.lock();
        self.session.allocate(elements * self.dtype.size(), label)
    }

    /// Prepares an optimizer's calls.
    pub(crate) fn prepare(&mut self, calls: &[Call]) -> Result<ProgramId> {
        let _serial = self.engine.lock();
        self.session.prepare(calls)
    }

    /// Gives an optimizer's memory back.
    pub(crate) fn release(&mut self, buffers: &[BufferId], programs: &[ProgramId]) {
        let _serial = self.engine.lock();
        self.session.release(buffers, programs);
    }

    /// Runs an optimizer's program on the gradients that are there.
    pub(crate) fn apply(&mut self, program: ProgramId, sgd: SgdSettings) -> Result<()> {
        self.settings.sgd = sgd;
        self.parameters_change();
        self.submit(&[program])?;
        self.settings.step += 1;
        Ok(())
    }

    /// Forward, loss, backward and an optimizer's program in one submission.
    pub(crate) fn train(
        &mut self,
        x: View,
        labels: &[i64],
        program: ProgramId,
        sgd: SgdSettings,
    ) -> Result<()> {
        self.settings.sgd = sgd;
        self.run(x, labels, Mode::Training, Some(program))?;
        self.settings.step += 1;
        Ok(())
    }

    /// As [`Network::train`], one kernel at a time.
    pub(crate) fn profile(
        &mut self,
        x: View,
        labels: &[i64],
        program: ProgramId,
        sgd: SgdSettings,
    ) -> Result<Vec<KernelTime>> {
        self.settings.sgd = sgd;
        let programs = self.load(x, labels, Mode::Training, Some(program))?;
        let engine = self.engine.clone();
        let _serial = engine.lock();
        let times = self.session.profile(&programs, &self.settings)?;
        self.store(labels.len(), false);
        self.settings.step += 1;
        Ok(times)
    }
}

impl Planned {
    fn buffer(&self, slot: usize) -> BufferId {
        self.buffers[slot]
    }
}

fn shares_forward(a: &[Option<Kink>], b: &[Option<Kink>]) -> bool {
    a.iter().zip(b).all(|pair| match pair {
        (Some(Kink::MaxPool(a)), Some(Kink::MaxPool(b))) => a.shares_forward_with(b),
        _ => true,
    })
}

fn difference(name: &str, a: &Tensor, b: &Tensor) -> Difference {
    let mut d = Difference { name: name.to_string(), l1: 0.0, l2: 0.0, linf: 0.0, differing: 0 };
    for (a, b) in a.to_f64().into_iter().zip(b.to_f64()) {
        // Equal infinities are no difference.
        let gap = if a == b { 0.0 } else { (a - b).abs() };
        d.l1 += gap;
        d.l2 += gap * gap;
        // max() would lose a NaN.
        d.linf = if gap > d.linf || gap.is_nan() { gap } else { d.linf };
        d.differing += (a != b) as usize;
    }
    d.l2 = d.l2.sqrt();
    d
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", ")
}

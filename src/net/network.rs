//! A network on an engine: its parameters and the choices at its kinks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::Comparer;
use super::graph::{Graph, LayerInfo, Role};
use super::init::{self, Initialization};
use super::plan::{Mode, ParameterBuffers, with_rounding};
use super::run::{Planned, StoredForward};
use super::watch::{Pass, Watch};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, Op, OptimizerSettings, Settings, Work};
use crate::engine::session::{KernelTime, ProgramId, Session};
use crate::engine::{Engine, Placement};
use crate::error::{Error, Result};
use crate::kink::{Convention, Kink};
use crate::precision::{Precision, ReductionOrder, Simulated};
use crate::shape::element_count;
use crate::tensor::{Tensor, View};

/// A network whose parameters, gradients and activations live on an engine.
///
/// The first run with a batch size plans it: buffers are allocated and kernels chosen once. The few most recent
/// plans are kept.
pub struct Network {
    pub(super) engine: Engine,
    pub(super) graph: Graph,
    pub(super) precision: Precision,
    placement: Placement,
    pub(super) session: Box<dyn Session>,
    pub(super) tensors: Vec<Stored>,
    pub(super) settings: Settings,
    /// Whether training runs take the running statistics of batch normalisation.
    pub(super) frozen: bool,
    /// The most recently used last.
    pub(super) plans: Vec<Planned>,
    pub(super) stored: Option<StoredForward>,
    /// Where the last run with labels left its loss.
    pub(super) last_loss: Option<BufferId>,
    /// The factor that the gradients hold.
    pub(super) gradient_scale: f64,
    pub(super) comparer: Option<Comparer>,
    pub(super) watch: Option<Watch>,
    /// Rounds every parameter and buffer to the simulated format.
    settle: Option<ProgramId>,
    id: u64,
}

/// A parameter, or a buffer (running statistics), which has no gradient.
pub(super) struct Stored {
    pub info: ParameterInfo,
    pub role: Role,
    pub node: usize,
    /// Type of `value` and `gradient`.
    pub dtype: DType,
    /// What operators read.
    pub value: BufferId,
    /// What optimizers change, where that is not `value`.
    pub master: Option<BufferId>,
    pub gradient: Option<BufferId>,
    /// Of running statistics: batches that they have taken, PyTorch's `num_batches_tracked`.
    pub batches_tracked: i64,
}

impl Stored {
    pub fn len(&self) -> usize {
        self.info.shape.iter().product()
    }
}

/// How to create a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkOptions {
    /// Its arithmetic; f32 by default.
    pub precision: Precision,
    /// Seed of initialisation and dropout.
    pub seed: u64,
    /// How parameters start; as in PyTorch by default.
    pub initialization: Initialization,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        NetworkOptions { precision: DType::F32.into(), seed: 0, initialization: Initialization::default() }
    }
}

/// The name and shape of a parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// `<layer>.weight`, `<layer>.bias`, `<layer>.running_mean` or `<layer>.running_var`.
    pub name: String,
    /// Shape: `[O, C / groups, KH, KW]`, `[O, I]`, `[O]` or `[C]`.
    pub shape: Vec<usize>,
}

/// What one kernel of a step took.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelProfile {
    /// Name of the layer, "loss" or "optimizer".
    pub layer: String,
    /// The operator's name on the CPU, the shader's on the GPU.
    pub kernel: &'static str,
    /// Seconds on the device.
    pub seconds: f64,
    /// What there was to do; on the GPU, where an operator may take several kernels, that of all stands at the first.
    pub work: Work,
}

impl Network {
    /// A network with PyTorch's default initialisation from `seed`: the same values for each precision, rounded.
    ///
    /// With a GPU engine, f64 (and f16 without `SHADER_F16`) is placed on the CPU: [`Network::placement`].
    pub fn new(
        engine: &Engine,
        graph: &Graph,
        precision: impl Into<Precision>,
        seed: u64,
    ) -> Result<Network> {
        let precision = precision.into();
        Network::with_options(engine, graph, &NetworkOptions { precision, seed, ..Default::default() })
    }

    /// As [`Network::new`] with every option.
    pub fn with_options(engine: &Engine, graph: &Graph, options: &NetworkOptions) -> Result<Network> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        if !matches!(graph.output_shape(), [n] if *n > 0) {
            let expected = "[classes] with at least one class";
            return Err(Error::shape("output of the network", expected, graph.output_shape()));
        }
        let precision = options.precision;
        precision.validate()?;
        let placement = engine.placement(precision);
        let serial = engine.lock();
        let mut session = engine.session(&placement);
        let declarations = graph.declarations();
        let dtype_of = |role: Role| match role {
            Role::Weight | Role::Bias => precision.storage,
            _ => precision.parameters,
        };
        // Value, gradient and master copy of each, as they are taken below.
        let mut sizes = Vec::new();
        for declaration in &declarations {
            let (len, dtype) = (element_count(&declaration.shape)?, dtype_of(declaration.role));
            // What no memory holds is refused as such.
            let bytes = |dtype: DType| len.saturating_mul(dtype.size());
            sizes.push(bytes(dtype));
            sizes.extend((!declaration.role.is_buffer()).then(|| bytes(dtype)));
            sizes.extend((dtype != precision.parameters).then(|| bytes(precision.parameters)));
        }
        let label = "parameters and their gradients";
        let mut buffers = engine.allocate(&mut *session, &sizes, label)?.into_iter();
        let mut next = || buffers.next().expect("one for each size");
        let mut tensors = Vec::new();
        for (index, declaration) in declarations.into_iter().enumerate() {
            let dtype = dtype_of(declaration.role);
            let value = next();
            let gradient = (!declaration.role.is_buffer()).then(&mut next);
            let master = (dtype != precision.parameters).then(&mut next);
            let values = init::values(options.initialization, &declaration, index, options.seed)?;
            for (dtype, buffer) in [(dtype, Some(value)), (precision.parameters, master)] {
                if let Some(buffer) = buffer {
                    let tensor = Tensor::from_f64(dtype, &declaration.shape, &values)?;
                    session.write(buffer, tensor.bytes())?;
                }
            }
            let info = ParameterInfo { name: declaration.name, shape: declaration.shape };
            let (role, node) = (declaration.role, declaration.node);
            tensors.push(Stored { info, role, node, dtype, value, master, gradient, batches_tracked: 0 });
        }
        let settings = Settings {
            kinks: graph.nodes.iter().map(|n| n.layer.default_kink()).collect(),
            seed: options.seed,
            accumulate: precision.accumulate,
            ..Default::default()
        };
        let settle = match precision.simulated {
            None => None,
            Some(Simulated { format, rounding }) => {
                let quantize = |(site, t): (usize, &Stored)| {
                    let op = Op::Quantize { len: t.len(), format, rounding };
                    Call { op, dtype: t.dtype, reads: vec![], writes: vec![t.value], site }
                };
                let calls: Vec<Call> = tensors.iter().enumerate().map(quantize).collect();
                let program = session.prepare(&calls)?;
                session.run(&[program], &settings)?;
                Some(program)
            }
        };
        drop(serial);
        Ok(Network {
            engine: engine.clone(),
            graph: graph.clone(),
            precision,
            placement,
            session,
            tensors,
            settings,
            frozen: false,
            plans: Vec::new(),
            stored: None,
            last_loss: None,
            gradient_scale: 1.0,
            comparer: None,
            watch: None,
            settle,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The engine that it was created on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its arithmetic.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Type of activations, and of the batches that it takes.
    pub fn dtype(&self) -> DType {
        self.precision.storage
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
        self.tensors.iter().filter(|t| !t.role.is_buffer()).map(|t| &t.info)
    }

    /// The running statistics of batch normalisation, in the order of the layers.
    pub fn buffers(&self) -> impl Iterator<Item = &ParameterInfo> {
        self.tensors.iter().filter(|t| t.role.is_buffer()).map(|t| &t.info)
    }

    /// Chooses what a kink layer computes from the next run on; `None` means every layer of the kink's kind.
    ///
    /// Errors: [`Error::NotFound`] for an unknown layer, [`Error::InvalidArgument`] for a layer of another
    /// kind or a choice that is not finite.
    pub fn set_kink(&mut self, layer: Option<&str>, kink: Kink) -> Result<()> {
        kink.validate()?;
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
                        Kink::NormPool(_) => "a norm_pool2d layer",
                    };
                    let got = format!("{name}, a {} layer", self.graph.nodes[index].layer.kind());
                    return Err(Error::invalid("layer", wanted, got));
                }
                *slot = Some(kink);
            }
        }
        Ok(())
    }

    /// Chooses what a framework computes, at every kink layer, from the next run on.
    pub fn set_kinks(&mut self, convention: Convention) {
        for kink in convention.kinks() {
            self.set_kink(None, kink).expect("the numbers of a convention are finite");
        }
    }

    /// The choice at a layer; `None` for a layer without a kink.
    pub fn kink(&self, layer: &str) -> Result<Option<Kink>> {
        Ok(self.settings.kinks[self.layer_index(layer)?])
    }

    /// The order of sums over the batch, from the next run on.
    pub fn set_reduction_order(&mut self, order: ReductionOrder) {
        self.settings.reduction = order;
    }

    /// Lets training runs take the running statistics of batch normalisation instead of those of the batch, and
    /// leave them as they are.
    pub fn freeze_batchnorm(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// What the loss is multiplied by before it is differentiated, so that small gradients do not underflow;
    /// [`Network::gradient`] and optimizers divide by it again.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        if !(scale > 0.0 && scale <= f32::MAX as f64) {
            return Err(Error::invalid("loss_scale", "above 0 and within the range of f32", scale));
        }
        self.settings.loss_scale = scale;
        Ok(())
    }

    /// A copy of a parameter, of type `precision().parameters`.
    pub fn parameter(&mut self, name: &str) -> Result<Tensor> {
        let index = self.find("parameter", name)?;
        self.read_value(index)
    }

    /// Overwrites a parameter with values of the same shape, of type `precision().parameters`.
    pub fn set_parameter(&mut self, name: &str, values: View) -> Result<()> {
        let index = self.find("parameter", name)?;
        self.write_value(index, values)?;
        self.settle()
    }

    /// A copy of a buffer (running statistics), of type `precision().parameters`.
    pub fn buffer(&mut self, name: &str) -> Result<Tensor> {
        let index = self.find("buffer", name)?;
        self.read_value(index)
    }

    /// Overwrites a buffer with values of the same shape, of type `precision().parameters`.
    pub fn set_buffer(&mut self, name: &str, values: View) -> Result<()> {
        let index = self.find("buffer", name)?;
        self.write_value(index, values)?;
        self.settle()
    }

    /// A copy of the gradient that the last backward pass left, of type `precision().parameters`.
    pub fn gradient(&mut self, name: &str) -> Result<Tensor> {
        let index = self.find("parameter", name)?;
        let tensor = &self.tensors[index];
        let (dtype, shape) = (tensor.dtype, tensor.info.shape.clone());
        let gradient = tensor.gradient.expect("parameters have gradients");
        let raw = self.read_tensor(gradient, dtype, &shape)?;
        let wanted = self.precision.parameters;
        if self.gradient_scale == 1.0 {
            return Ok(if dtype == wanted { raw } else { raw.to_dtype(wanted) });
        }
        let values: Vec<f64> = raw.to_f64().iter().map(|v| v / self.gradient_scale).collect();
        Tensor::from_f64(wanted, &shape, &values)
    }

    pub(super) fn read_value(&mut self, index: usize) -> Result<Tensor> {
        let tensor = &self.tensors[index];
        let (buffer, shape) = (tensor.master.unwrap_or(tensor.value), tensor.info.shape.clone());
        self.read_tensor(buffer, self.precision.parameters, &shape)
    }

    /// To be followed by [`Network::settle`].
    pub(super) fn write_value(&mut self, index: usize, values: View) -> Result<()> {
        let tensor = &self.tensors[index];
        check(&tensor.info.name, values, self.precision.parameters, &tensor.info.shape)?;
        let (value, master, dtype) = (tensor.value, tensor.master, tensor.dtype);
        self.parameters_change();
        match master {
            None => self.write(value, values.bytes()?),
            Some(master) => {
                self.write(master, values.bytes()?)?;
                self.write(value, values.to_tensor()?.to_dtype(dtype).bytes())
            }
        }
    }

    /// Rounds what has been written to the simulated format, if there is one.
    pub(super) fn settle(&mut self) -> Result<()> {
        match self.settle {
            Some(program) => self.submit(&[program]),
            None => Ok(()),
        }
    }

    pub(super) fn layer_index(&self, name: &str) -> Result<usize> {
        self.graph.nodes.iter().position(|n| n.name == name).ok_or_else(|| Error::NotFound {
            what: "layer",
            name: name.to_string(),
            known: self.graph.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The index of a parameter or buffer.
    fn find(&self, what: &'static str, name: &str) -> Result<usize> {
        let of_kind = |t: &&Stored| t.role.is_buffer() == (what == "buffer");
        self.tensors.iter().position(|t| t.info.name == name && of_kind(&t)).ok_or_else(|| {
            let known: Vec<&str> =
                self.tensors.iter().filter(of_kind).map(|t| t.info.name.as_str()).collect();
            Error::NotFound { what, name: name.to_string(), known: known.join(", ") }
        })
    }

    pub(super) fn read_tensor(&mut self, buffer: BufferId, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let mut tensor = Tensor::zeros(dtype, shape)?;
        let _serial = self.engine.lock();
        self.session.read(buffer, tensor.bytes_mut())?;
        Ok(tensor)
    }

    /// To be called before anything writes parameters.
    fn parameters_change(&mut self) {
        if let Some(stored) = &mut self.stored {
            stored.same_parameters = false;
        }
    }

    /// The buffers that plans read and write.
    pub(super) fn parameter_buffers(&self) -> Vec<ParameterBuffers> {
        let buffers = |t: &Stored| ParameterBuffers {
            node: t.node,
            role: t.role,
            value: t.value,
            gradient: t.gradient,
        };
        self.tensors.iter().map(buffers).collect()
    }

    /// Runs programs in one submission.
    pub(super) fn submit(&mut self, programs: &[ProgramId]) -> Result<()> {
        let _serial = self.engine.lock();
        self.session.run(programs, &self.settings)
    }

    pub(super) fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()> {
        let _serial = self.engine.lock();
        self.session.write(buffer, bytes)
    }
}

/// What an optimizer needs of a parameter.
pub(crate) struct Trainable<'a> {
    pub name: &'a str,
    /// True for biases and the parameters of batch normalisation.
    pub norm_or_bias: bool,
    pub len: usize,
    /// What the optimizer changes, of type `precision().parameters`.
    pub param: BufferId,
    pub gradient: BufferId,
    /// The rounded copy that operators read, where `param` is a master copy; then the gradient has its type.
    pub copy: Option<BufferId>,
}

/// What an optimizer needs of a network.
impl Network {
    /// Tells networks apart.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn trainables(&self) -> impl Iterator<Item = Trainable<'_>> {
        self.tensors.iter().filter_map(|t| {
            Some(Trainable {
                name: &t.info.name,
                norm_or_bias: t.role != Role::Weight,
                len: t.len(),
                param: t.master.unwrap_or(t.value),
                gradient: t.gradient?,
                copy: t.master.map(|_| t.value),
            })
        })
    }

    /// Training steps so far, skipped ones too: a part of the counter of random draws.
    pub fn steps(&self) -> u64 {
        self.settings.step
    }

    /// Goes on counting from here.
    pub(crate) fn set_steps(&mut self, steps: u64) {
        self.settings.step = steps;
    }

    /// Zeroed buffers of these sizes in bytes, all or none.
    pub(crate) fn allocate(&mut self, sizes: &[usize], label: &str) -> Result<Vec<BufferId>> {
        let _serial = self.engine.lock();
        self.engine.allocate(&mut *self.session, sizes, label)
    }

    /// A copy of optimizer state, of type `precision().parameters`.
    pub(crate) fn read_state(&mut self, buffer: BufferId, shape: &[usize]) -> Result<Tensor> {
        self.read_tensor(buffer, self.precision.parameters, shape)
    }

    /// Overwrites optimizer state.
    pub(crate) fn write_state(&mut self, buffer: BufferId, values: View) -> Result<()> {
        self.write(buffer, values.bytes()?)
    }

    /// Prepares calls of an optimizer or a comparison.
    pub(crate) fn prepare(&mut self, calls: Vec<Call>) -> Result<ProgramId> {
        let calls = with_rounding(calls, self.precision.simulated, 4);
        let engine = self.engine.clone();
        let _serial = engine.lock();
        self.prepare_watched(vec![], calls, Pass::Optimizer)
    }

    /// Gives the memory of an optimizer or a comparison back.
    pub(crate) fn release(&mut self, buffers: &[BufferId], programs: &[ProgramId]) {
        let engine = self.engine.clone();
        let _serial = engine.lock();
        self.release_watched(buffers, programs);
    }

    /// Runs an optimizer's program on the gradients that are there, times `clip`.
    pub(crate) fn apply(
        &mut self,
        program: ProgramId,
        groups: Vec<OptimizerSettings>,
        clip: f64,
    ) -> Result<()> {
        self.set_optimizer(groups, clip / self.gradient_scale);
        self.parameters_change();
        self.submit(&[program])?;
        self.step_goes_on(program);
        self.settings.step += 1;
        Ok(())
    }

    /// Counts a step whose update was skipped, so that the next one draws other random numbers.
    pub(crate) fn skip_step(&mut self) {
        self.settings.step += 1;
    }

    /// Forward, loss, backward and an optimizer's program in one submission.
    pub(crate) fn train(
        &mut self,
        x: View,
        labels: &[i64],
        program: ProgramId,
        groups: Vec<OptimizerSettings>,
    ) -> Result<()> {
        self.set_optimizer(groups, 1.0 / self.settings.loss_scale);
        self.run(x, labels, self.training_mode(), Some(program))?;
        self.settings.step += 1;
        Ok(())
    }

    /// Forward, loss and backward without waiting for them.
    pub(crate) fn forward_backward(&mut self, x: View, labels: &[i64]) -> Result<()> {
        self.run(x, labels, self.training_mode(), None)
    }

    /// As [`Network::train`], one kernel at a time.
    pub(crate) fn profile(
        &mut self,
        x: View,
        labels: &[i64],
        optimizer: ProgramId,
        groups: Vec<OptimizerSettings>,
    ) -> Result<Vec<KernelProfile>> {
        self.set_optimizer(groups, 1.0 / self.settings.loss_scale);
        let programs = self.write_batch(x, labels, self.training_mode(), Some(optimizer))?;
        let engine = self.engine.clone();
        let serial = engine.lock();
        let mut kernels = Vec::new();
        for program in programs {
            for time in self.session.profile(&[program], &self.settings)? {
                let layer = match self.graph.nodes.get(time.site) {
                    _ if program == optimizer => "optimizer".into(),
                    Some(node) => node.name.clone(),
                    None => "loss".into(),
                };
                let KernelTime { name, seconds, work, .. } = time;
                kernels.push(KernelProfile { layer, kernel: name, seconds, work });
            }
        }
        drop(serial);
        self.store(labels.len(), self.training_mode(), false);
        self.settings.step += 1;
        Ok(kernels)
    }

    fn set_optimizer(&mut self, groups: Vec<OptimizerSettings>, grad_scale: f64) {
        self.settings.optimizers = groups;
        self.settings.grad_scale = grad_scale;
    }

    pub(super) fn training_mode(&self) -> Mode {
        Mode::Training { frozen: self.frozen, census: false }
    }
}

/// That a view has this dtype and shape.
pub(super) fn check(argument: &str, view: View, dtype: DType, shape: &[usize]) -> Result<()> {
    if view.dtype() != dtype {
        return Err(Error::dtype(argument, dtype, view.dtype()));
    }
    if view.shape() != shape {
        return Err(Error::shape(argument, format!("{shape:?}"), view.shape()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that was skipped has not changed what the stored activations belong to.
    #[test]
    fn a_backward_pass_drops_what_its_forward_pass_dropped() {
        let mut graph = Graph::new([1, 4, 4]);
        let x = graph.flatten("flatten", graph.input()).unwrap();
        let x = graph.linear("first", x, 20, true).unwrap();
        let x = graph.dropout("dropout", x, 0.5).unwrap();
        graph.linear("last", x, 3, true).unwrap();
        let mut network = Network::new(&Engine::cpu(), &graph, DType::F32, 1).unwrap();
        let x = Tensor::from_f64(DType::F32, &[2, 1, 4, 4], &[0.5; 32]).unwrap();
        network.loss_and_gradients(x.view(), &[0, 1]).unwrap();
        let gradient = network.gradient("first.bias").unwrap();
        network.skip_step();
        network.backward().unwrap();
        assert_eq!(network.gradient("first.bias").unwrap(), gradient);
        assert_eq!(network.steps(), 1);
        network.loss_and_gradients(x.view(), &[0, 1]).unwrap();
        assert_ne!(network.gradient("first.bias").unwrap(), gradient, "another step drops others");
    }
}

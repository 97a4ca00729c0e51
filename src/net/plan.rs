//! From a graph and a batch size to calls on shared buffers.
//!
//! Backward never writes into what it reads from the forward pass, so that several backward passes under
//! different choices can follow one forward pass.

use super::graph::{Graph, Layer, Node, NodeId, Role};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, LinearGeometry, Op, RowsGeometry};
use crate::error::{Error, Result};
use crate::precision::{Precision, Simulated};
use crate::shape::{BatchNormGeometry, Conv2dGeometry, Pool2dGeometry, element_count};

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Forward and loss in evaluation mode; activations share memory as soon as they are dead.
    Inference,
    /// Forward, loss and backward; what backward reads stays.
    Training {
        /// Batch normalisation takes the running statistics, as in evaluation mode.
        frozen: bool,
        /// Kink layers count their ties and zeros on the way back.
        census: bool,
    },
}

impl Mode {
    fn frozen(self) -> bool {
        !matches!(self, Mode::Training { frozen: false, .. })
    }
}

/// Type of the elements of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// The storage type.
    Storage,
    /// The accumulate type.
    Wide,
    /// Sets and numbers that are the same in each precision.
    Bytes,
}

/// A tensor of the plan.
#[derive(Debug, Clone)]
struct Value {
    bytes: usize,
    unit: Unit,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Memory of the network: a parameter or its gradient.
    Network(BufferId),
    /// Shared memory, assigned by lifetime.
    Slot(Option<usize>),
    /// Memory that nothing else shares: what the host writes or reads.
    Own(Option<usize>),
}

type ValueId = usize;

/// The buffers of one parameter, or of one buffer, which has no gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParameterBuffers {
    pub node: usize,
    pub role: Role,
    pub value: BufferId,
    pub gradient: Option<BufferId>,
}

/// Calls on numbered buffers of given sizes.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub forward: Vec<Call>,
    pub loss: Vec<Call>,
    pub backward: Vec<Call>,
    /// Bytes of each buffer to allocate; calls name them by [`Plan::relocate`].
    pub slots: Vec<usize>,
    pub x: usize,
    pub labels: usize,
    pub logits: usize,
    pub loss_value: usize,
    /// Slot of each layer's output, where it is kept until the next run.
    pub outputs: Vec<Option<usize>>,
    /// Slot of each max pooling's tie sets, where it is kept until the next run.
    pub ties: Vec<Option<usize>>,
    /// Slot of each kink layer's counts, in a census.
    pub counts: Vec<Option<usize>>,
    /// What the forward pass leaves for loss and backward, x and logits included: slots in the order of the layers, the
    /// same for each precision but for the type.
    pub record: Vec<(usize, Unit)>,
}

/// Largest number of elements of one tensor: GPU kernels index with 32 bits.
const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Marks a buffer number of a plan as a slot until [`Plan::relocate`].
const SLOT: u32 = 1 << 31;

impl Plan {
    pub fn new(
        graph: &Graph,
        parameters: &[ParameterBuffers],
        precision: Precision,
        batch: usize,
        mode: Mode,
    ) -> Result<Plan> {
        let dtype = precision.storage;
        let counts = vec![None; graph.nodes.len()];
        Builder { graph, parameters, precision, dtype, batch, mode, values: Vec::new(), counts }.build()
    }

    /// Replaces slot numbers by the session's buffers.
    pub fn relocate(&mut self, buffers: &[BufferId]) {
        let all = self.forward.iter_mut().chain(&mut self.loss).chain(&mut self.backward);
        for id in all.flat_map(|call| call.reads.iter_mut().chain(&mut call.writes)) {
            if id.0 & SLOT != 0 {
                *id = buffers[(id.0 & !SLOT) as usize];
            }
        }
    }
}

/// Inserts the rounding to a simulated format behind each call. `program` tells apart the draws of programs that
/// run in one step.
pub(super) fn with_rounding(calls: Vec<Call>, simulated: Option<Simulated>, program: usize) -> Vec<Call> {
    let Some(Simulated { format, rounding }) = simulated else { return calls };
    let mut rounded = Vec::with_capacity(3 * calls.len());
    for call in calls {
        let outputs = call.op.stored_outputs();
        let (dtype, writes) = (call.dtype, call.writes.clone());
        rounded.push(call);
        for (index, len) in outputs {
            let (op, site) = (Op::Quantize { len, format, rounding }, program << 24 | rounded.len());
            rounded.push(Call { op, dtype, reads: vec![], writes: vec![writes[index]], site });
        }
    }
    rounded
}

struct Builder<'a> {
    graph: &'a Graph,
    parameters: &'a [ParameterBuffers],
    precision: Precision,
    dtype: DType,
    batch: usize,
    mode: Mode,
    values: Vec<Value>,
    /// The counts of a census, by layer.
    counts: Vec<Option<ValueId>>,
}

impl Builder<'_> {
    fn value(&mut self, bytes: usize, place: Place) -> ValueId {
        self.values.push(Value { bytes, unit: Unit::Bytes, place });
        self.values.len() - 1
    }

    fn slot(&mut self, elements: usize) -> ValueId {
        self.stored(elements, Place::Slot(None))
    }

    /// A value of the storage type.
    fn stored(&mut self, elements: usize, place: Place) -> ValueId {
        let id = self.value(elements * self.dtype.size(), place);
        self.values[id].unit = Unit::Storage;
        id
    }

    /// A value of the accumulate type.
    fn wide(&mut self, elements: usize) -> ValueId {
        let id = self.value(elements * self.accumulate_bytes(), Place::Slot(None));
        self.values[id].unit = Unit::Wide;
        id
    }

    /// Elements of a layer's output for the whole batch.
    fn len(&self, node: usize) -> Result<usize> {
        let node = &self.graph.nodes[node];
        let mut shape = vec![self.batch];
        shape.extend(&node.shape);
        element_count(&shape).ok().filter(|&len| len <= MAX_ELEMENTS).ok_or_else(|| {
            Error::shape(format!("layer {}", node.name), format!("at most {MAX_ELEMENTS} elements"), &shape)
        })
    }

    /// Calls name values by their index until slots are assigned.
    fn call(&self, op: Op, site: usize, reads: &[ValueId], writes: &[ValueId]) -> Call {
        let ids = |values: &[ValueId]| values.iter().map(|&v| BufferId(v as u32)).collect();
        Call { op, dtype: self.dtype, reads: ids(reads), writes: ids(writes), site }
    }

    /// Values of the parameters of `node`, weight, then bias, or of its running statistics, mean, then variance.
    fn parameter_values(&mut self, node: usize, running: bool) -> Vec<ValueId> {
        let of_node = self.parameters.iter().filter(|p| p.node == node && p.role.is_buffer() == running);
        let buffers: Vec<BufferId> = of_node.map(|p| p.value).collect();
        buffers.into_iter().map(|b| self.value(0, Place::Network(b))).collect()
    }

    /// The gradients of the parameters of `node`, weight, then bias.
    fn parameter_gradients(&mut self, node: usize) -> Vec<ValueId> {
        let of_node = self.parameters.iter().filter(|p| p.node == node);
        let buffers: Vec<BufferId> = of_node.filter_map(|p| p.gradient).collect();
        buffers.into_iter().map(|b| self.value(0, Place::Network(b))).collect()
    }

    /// Bytes of an element of the accumulate type.
    fn accumulate_bytes(&self) -> usize {
        self.dtype.size().max(4)
    }

    fn norm_geometry(&self, node: &Node) -> Result<BatchNormGeometry> {
        let mut shape = vec![self.batch];
        shape.extend(&node.shape);
        BatchNormGeometry::new(&shape)
    }

    fn pool_geometry(&self, node: &Node, window: crate::shape::Window2d) -> Result<Pool2dGeometry> {
        Pool2dGeometry::new(self.image(node.inputs[0]), window)
    }

    /// The place of each input in a concatenation: (input, elements of a sample, offset in a sample of the sum).
    fn concat_parts(&self, node: &Node) -> Vec<(NodeId, usize, usize)> {
        let mut offset = 0;
        let part = |&input: &NodeId| {
            let len = self.graph.nodes[input.0].shape.iter().product();
            offset += len;
            (input, len, offset - len)
        };
        node.inputs.iter().map(part).collect()
    }

    fn image(&self, id: NodeId) -> [usize; 4] {
        let shape = &self.graph.nodes[id.0].shape;
        [self.batch, shape[0], shape[1], shape[2]]
    }

    fn linear_geometry(&self, node: &Node, out_features: usize) -> LinearGeometry {
        let in_features = self.graph.nodes[node.inputs[0].0].shape[0];
        LinearGeometry { batch: self.batch, in_features, out_features }
    }

    fn build(mut self) -> Result<Plan> {
        let graph = self.graph;
        let &[classes] = graph.output_shape() else {
            return Err(Error::shape("output of the network", "[classes]", graph.output_shape()));
        };
        // No product below exceeds these by more than the size of an element.
        for node in 0..graph.nodes.len() {
            self.len(node)?;
        }
        let own = Place::Own(None);
        let x = self.stored(self.len(0)?, own);
        let labels = self.value(self.batch * 4, own);
        let wide_loss = self.precision.is_mixed();
        let loss_bytes = if wide_loss { self.accumulate_bytes() } else { self.dtype.size() };
        let loss_value = self.value(loss_bytes, own);
        let row_loss = self.wide(self.batch);

        let mut outputs: Vec<ValueId> = vec![x];
        let mut extras: Vec<Vec<ValueId>> = vec![vec![]];
        let mut forward = Vec::new();
        if let Some(Simulated { format, rounding }) = self.precision.simulated {
            let op = Op::Quantize { len: self.len(0)?, format, rounding };
            forward.push(self.call(op, 0, &[], &[x]));
        }
        for (site, node) in graph.nodes.iter().enumerate().skip(1) {
            let (y, extra) = self.forward(site, node, &outputs, &mut forward)?;
            outputs.push(y);
            extras.push(extra);
        }
        let logits = *outputs.last().expect("the input at least");
        self.values[logits].place = own;
        let glogits = self.slot(self.batch * classes);
        let loss_op = Op::CrossEntropy { batch: self.batch, classes, wide_loss };
        let loss =
            vec![self.call(loss_op, graph.nodes.len(), &[logits, labels], &[loss_value, glogits, row_loss])];
        let backward = match self.mode {
            Mode::Inference => Vec::new(),
            Mode::Training { .. } => self.backward(&outputs, &extras, glogits)?,
        };
        let simulated = self.precision.simulated;
        let ties = (0..graph.nodes.len()).map(|site| match graph.nodes[site].layer {
            Layer::MaxPool2d { .. } => extras[site].first().copied(),
            _ => None,
        });
        let draft = Draft {
            forward: with_rounding(forward, simulated, 1),
            loss: with_rounding(loss, simulated, 2),
            backward: with_rounding(backward, simulated, 3),
            x,
            labels,
            logits,
            loss_value,
            ties: ties.collect(),
            counts: std::mem::take(&mut self.counts),
            outputs,
        };
        self.finish(draft)
    }

    /// Emits the forward calls of a layer: its output, and what it leaves for the backward pass.
    fn forward(
        &mut self,
        site: usize,
        node: &Node,
        outputs: &[ValueId],
        calls: &mut Vec<Call>,
    ) -> Result<(ValueId, Vec<ValueId>)> {
        let len = self.len(site)?;
        let input = outputs[node.inputs[0].0];
        let mut reads = vec![input];
        let mut extra = Vec::new();
        let op = match node.layer {
            Layer::Input => unreachable!("the input is node 0 alone"),
            Layer::Flatten => return Ok((input, extra)),
            Layer::Dropout { .. } if self.mode == Mode::Inference => return Ok((input, extra)),
            Layer::Conv2d { out_channels, window, groups, bias } => {
                reads.extend(self.parameter_values(site, false));
                let geometry = Conv2dGeometry::new(self.image(node.inputs[0]), out_channels, window, groups)?;
                Op::Conv2dForward { geometry, bias }
            }
            Layer::Linear { out_features, bias } => {
                reads.extend(self.parameter_values(site, false));
                Op::LinearForward { geometry: self.linear_geometry(node, out_features), bias }
            }
            Layer::BatchNorm { eps, momentum } => {
                let (geometry, parameters) = (self.norm_geometry(node)?, self.precision.parameters);
                reads.extend(self.parameter_values(site, false));
                let running = self.parameter_values(site, true);
                if self.mode.frozen() {
                    reads.extend(running);
                    Op::BatchNormInference { geometry, eps, parameters }
                } else {
                    if geometry.per_channel() < 2 {
                        let expected = "more than one value per channel in training mode";
                        let argument = format!("layer {}: x", node.name);
                        return Err(Error::shape(argument, expected, &[self.batch, geometry.channels]));
                    }
                    extra = (0..2).map(|_| self.wide(geometry.channels)).collect();
                    let y = self.slot(len);
                    let op = Op::BatchNormForward { geometry, eps, momentum, parameters };
                    let writes = [&[y], &extra[..], &running].concat();
                    calls.push(self.call(op, site, &reads, &writes));
                    return Ok((y, extra));
                }
            }
            Layer::Relu => Op::ReluForward { len },
            Layer::MaxPool2d { window } => {
                let geometry = self.pool_geometry(node, window)?;
                let bytes = element_count(&geometry.ties_shape())?;
                extra = vec![self.value(bytes, Place::Slot(None))];
                Op::MaxPool2dForward { geometry }
            }
            Layer::NormPool2d { window } => {
                Op::NormPool2dForward { geometry: self.pool_geometry(node, window)? }
            }
            Layer::AvgPool2d { window } => {
                Op::AvgPool2dForward { geometry: self.pool_geometry(node, window)? }
            }
            Layer::Add => {
                reads.push(outputs[node.inputs[1].0]);
                Op::Add { len }
            }
            Layer::Concat => {
                let (y, total) = (self.slot(len), node.shape.iter().product());
                for (input, len, offset) in self.concat_parts(node) {
                    let (from, to) = ([len, 0], [total, offset]);
                    let geometry = RowsGeometry { rows: self.batch, len, from, to };
                    calls.push(self.call(Op::CopyRows { geometry }, site, &[outputs[input.0]], &[y]));
                }
                return Ok((y, extra));
            }
            Layer::Dropout { p } => Op::DropoutForward { len, p },
        };
        let y = self.slot(len);
        let writes = [&[y], &extra[..]].concat();
        calls.push(self.call(op, site, &reads, &writes));
        Ok((y, extra))
    }

    fn backward(
        &mut self,
        outputs: &[ValueId],
        extras: &[Vec<ValueId>],
        glogits: ValueId,
    ) -> Result<Vec<Call>> {
        let graph = self.graph;
        let census = matches!(self.mode, Mode::Training { census: true, .. });
        let mut calls = Vec::new();
        // A gradient is wanted wherever a parameter lies before it; in a census everywhere.
        let mut wanted = vec![false; graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            let has_parameters = self.parameters.iter().any(|p| p.node == i);
            wanted[i] = census || has_parameters || node.inputs.iter().any(|n| wanted[n.0]);
        }
        let mut gradients: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
        *gradients.last_mut().expect("the input at least") = Some(glogits);
        for (site, node) in graph.nodes.iter().enumerate().skip(1).rev() {
            let Some(gy) = gradients[site].filter(|_| wanted[site]) else { continue };
            let input = node.inputs[0];
            let (x, y, extra) = (outputs[input.0], outputs[site], &extras[site]);
            let in_len = self.len(input.0)?;
            let mut reads = vec![gy];
            // What makes the gradient of a single input from `reads`.
            let op = match node.layer {
                Layer::Input => unreachable!("the input is node 0 alone"),
                Layer::Flatten => {
                    self.contribute(&mut gradients, &mut calls, input, gy)?;
                    continue;
                }
                Layer::Add => {
                    for &input in node.inputs.iter().filter(|i| wanted[i.0]) {
                        self.contribute(&mut gradients, &mut calls, input, gy)?;
                    }
                    continue;
                }
                Layer::Concat => {
                    let total = node.shape.iter().product();
                    for (input, len, offset) in self.concat_parts(node) {
                        if wanted[input.0] {
                            let (from, to) = ([total, offset], [len, 0]);
                            let geometry = RowsGeometry { rows: self.batch, len, from, to };
                            let gx = self.slot(self.batch * len);
                            calls.push(self.call(Op::CopyRows { geometry }, site, &[gy], &[gx]));
                            self.contribute(&mut gradients, &mut calls, input, gx)?;
                        }
                    }
                    continue;
                }
                Layer::BatchNorm { eps, .. } => {
                    let (geometry, parameters) = (self.norm_geometry(node)?, self.precision.parameters);
                    let weight = self.parameter_values(site, false)[0];
                    let (op, statistics) = if self.mode.frozen() {
                        let op = Op::BatchNormInferenceBackward { geometry, eps, parameters };
                        (op, self.parameter_values(site, true))
                    } else {
                        (Op::BatchNormBackward { geometry, parameters }, extra.clone())
                    };
                    let gx = self.slot(in_len);
                    let reads = [&[x, gy, weight], &statistics[..]].concat();
                    let writes = [&[gx], &self.parameter_gradients(site)[..]].concat();
                    calls.push(self.call(op, site, &reads, &writes));
                    if wanted[input.0] {
                        self.contribute(&mut gradients, &mut calls, input, gx)?;
                    }
                    continue;
                }
                Layer::Conv2d { out_channels, window, groups, bias } => {
                    let geometry = Conv2dGeometry::new(self.image(input), out_channels, window, groups)?;
                    let writes = self.parameter_gradients(site);
                    let op = Op::Conv2dBackwardWeight { geometry, bias };
                    calls.push(self.call(op, site, &[x, gy], &writes));
                    reads.push(self.parameter_values(site, false)[0]);
                    Op::Conv2dBackwardInput { geometry }
                }
                Layer::Linear { out_features, bias } => {
                    let geometry = self.linear_geometry(node, out_features);
                    let writes = self.parameter_gradients(site);
                    let op = Op::LinearBackwardWeight { geometry, bias };
                    calls.push(self.call(op, site, &[x, gy], &writes));
                    reads.push(self.parameter_values(site, false)[0]);
                    Op::LinearBackwardInput { geometry }
                }
                Layer::Relu => {
                    if census {
                        let count = self.value(4, Place::Own(None));
                        self.counts[site] = Some(count);
                        calls.push(self.call(Op::CountZeros { len: in_len }, site, &[x], &[count]));
                    }
                    reads = vec![x, gy];
                    Op::ReluBackward { len: in_len }
                }
                Layer::MaxPool2d { window } => {
                    let geometry = self.pool_geometry(node, window)?;
                    let ties = extra[0];
                    if census {
                        let before = &graph.nodes[input.0];
                        let relu = before.layer == Layer::Relu;
                        let mut reads = vec![ties, y, gy];
                        reads.extend(relu.then(|| outputs[before.inputs[0].0]));
                        let bytes = (window.len() + 1) * 4 * size_of::<u32>();
                        let counts = self.value(bytes, Place::Own(None));
                        self.counts[site] = Some(counts);
                        let relu_site = if relu { input.0 } else { site };
                        let op = Op::TieCensus { geometry, relu };
                        calls.push(self.call(op, relu_site, &reads, &[counts]));
                    }
                    reads.push(ties);
                    Op::MaxPool2dBackward { geometry }
                }
                Layer::NormPool2d { window } => {
                    reads = vec![x, y, gy];
                    Op::NormPool2dBackward { geometry: self.pool_geometry(node, window)? }
                }
                Layer::AvgPool2d { window } => {
                    Op::AvgPool2dBackward { geometry: self.pool_geometry(node, window)? }
                }
                Layer::Dropout { p } => Op::DropoutBackward { len: in_len, p },
            };
            if wanted[input.0] {
                let gx = self.slot(in_len);
                calls.push(self.call(op, site, &reads, &[gx]));
                self.contribute(&mut gradients, &mut calls, input, gx)?;
            }
        }
        Ok(calls)
    }

    /// Adds `gradient` to what other consumers of `input` have contributed.
    fn contribute(
        &mut self,
        gradients: &mut [Option<ValueId>],
        calls: &mut Vec<Call>,
        input: NodeId,
        gradient: ValueId,
    ) -> Result<()> {
        gradients[input.0] = Some(match gradients[input.0] {
            None => gradient,
            Some(before) => {
                let len = self.len(input.0)?;
                let sum = self.slot(len);
                calls.push(self.call(Op::Add { len }, input.0, &[before, gradient], &[sum]));
                sum
            }
        });
        Ok(())
    }

    /// Assigns slots: a value lives from its first to its last call; what backward reads from before it, and
    /// what the host reads, lives to the end.
    fn finish(mut self, draft: Draft) -> Result<Plan> {
        let calls: Vec<&Call> = draft.forward.iter().chain(&draft.loss).chain(&draft.backward).collect();
        let kept_from = draft.forward.len() + draft.loss.len();
        let mut first = vec![usize::MAX; self.values.len()];
        let mut last = vec![0; self.values.len()];
        let mut kept = vec![false; self.values.len()];
        for (time, call) in calls.iter().enumerate() {
            for id in call.reads.iter().chain(&call.writes) {
                let v = id.0 as usize;
                first[v] = first[v].min(time);
                last[v] = time;
                kept[v] |= time >= kept_from && first[v] < kept_from;
            }
        }
        let mut slots: Vec<usize> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for (value, kept) in self.values.iter_mut().zip(kept) {
            let stays = kept && matches!(value.place, Place::Slot(_));
            if stays || matches!(value.place, Place::Own(_)) {
                slots.push(value.bytes);
                value.place = Place::Own(Some(slots.len() - 1));
            }
        }
        let mut by_start: Vec<ValueId> = (0..self.values.len()).filter(|&v| first[v] != usize::MAX).collect();
        by_start.sort_by_key(|&v| first[v]);
        let mut alive: Vec<ValueId> = Vec::new();
        for v in by_start {
            let Place::Slot(None) = self.values[v].place else { continue };
            alive.retain(|&a| {
                let dead = last[a] < first[v];
                if let (true, Place::Slot(Some(slot))) = (dead, self.values[a].place) {
                    free.push(slot);
                }
                !dead
            });
            // The free slot that has to grow least, or wastes least.
            let bytes = self.values[v].bytes;
            let best = (0..free.len()).min_by_key(|&i| {
                let size = slots[free[i]];
                (bytes.saturating_sub(size), size.saturating_sub(bytes))
            });
            let slot = match best {
                Some(i) => free.swap_remove(i),
                None => {
                    slots.push(0);
                    slots.len() - 1
                }
            };
            slots[slot] = slots[slot].max(bytes);
            self.values[v].place = Place::Slot(Some(slot));
            alive.push(v);
        }

        let values = &self.values;
        let locate = |calls: Vec<Call>| -> Vec<Call> {
            let locate = |id: BufferId| match values[id.0 as usize].place {
                Place::Network(buffer) => buffer,
                Place::Slot(slot) | Place::Own(slot) => {
                    BufferId(slot.expect("every value of a call has its slot") as u32 | SLOT)
                }
            };
            calls
                .into_iter()
                .map(|mut call| {
                    call.reads.iter_mut().chain(&mut call.writes).for_each(|id| *id = locate(*id));
                    call
                })
                .collect()
        };
        let own = |v: ValueId| match values[v].place {
            Place::Own(slot) => slot,
            _ => None,
        };
        let recorded = |v: &ValueId| {
            let by_forward = *v == draft.x || first[*v] < draft.forward.len();
            by_forward && *v != draft.labels
        };
        let record = (0..values.len()).filter(recorded).filter_map(|v| Some((own(v)?, values[v].unit)));
        Ok(Plan {
            x: own(draft.x).expect("x has its own memory"),
            labels: own(draft.labels).expect("labels have their own memory"),
            logits: own(draft.logits).expect("logits have their own memory"),
            loss_value: own(draft.loss_value).expect("the loss has its own memory"),
            outputs: draft.outputs.iter().map(|&v| own(v)).collect(),
            ties: draft.ties.iter().map(|v| v.and_then(own)).collect(),
            counts: draft.counts.iter().map(|v| v.and_then(own)).collect(),
            record: record.collect(),
            forward: locate(draft.forward),
            loss: locate(draft.loss),
            backward: locate(draft.backward),
            slots,
        })
    }
}

/// Calls that name values, before these have slots.
struct Draft {
    forward: Vec<Call>,
    loss: Vec<Call>,
    backward: Vec<Call>,
    x: ValueId,
    labels: ValueId,
    logits: ValueId,
    loss_value: ValueId,
    outputs: Vec<ValueId>,
    ties: Vec<Option<ValueId>>,
    counts: Vec<Option<ValueId>>,
}

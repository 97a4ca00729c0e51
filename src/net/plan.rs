//! From a graph and a batch size to calls on shared buffers.
//!
//! Backward never writes into what it reads from the forward pass, so that several backward passes under
//! different choices can follow one forward pass.

use super::graph::{Graph, Layer, Node, NodeId};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, LinearGeometry, Op};
use crate::error::{Error, Result};
use crate::shape::{Conv2dGeometry, Pool2dGeometry, element_count};

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Forward and loss; activations share memory as soon as they are dead.
    Inference,
    /// Forward, loss and backward; what backward reads stays.
    Training,
}

/// A tensor of the plan.
#[derive(Debug, Clone)]
struct Value {
    bytes: usize,
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

/// The buffers of one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParameterBuffers {
    pub node: usize,
    pub value: BufferId,
    pub gradient: BufferId,
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
}

/// Marks a buffer number of a plan as a slot until [`Plan::relocate`].
const SLOT: u32 = 1 << 31;

impl Plan {
    pub fn new(
        graph: &Graph,
        parameters: &[ParameterBuffers],
        dtype: DType,
        batch: usize,
        mode: Mode,
    ) -> Result<Plan> {
        Builder { graph, parameters, dtype, batch, values: Vec::new() }.build(mode)
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

struct Builder<'a> {
    graph: &'a Graph,
    parameters: &'a [ParameterBuffers],
    dtype: DType,
    batch: usize,
    values: Vec<Value>,
}

impl Builder<'_> {
    fn value(&mut self, bytes: usize, place: Place) -> ValueId {
        self.values.push(Value { bytes, place });
        self.values.len() - 1
    }

    fn slot(&mut self, elements: usize) -> ValueId {
        self.value(elements * self.dtype.size(), Place::Slot(None))
    }

    /// Elements of a layer's output for the whole batch.
    fn len(&self, node: usize) -> Result<usize> {
        let mut shape = vec![self.batch];
        shape.extend(&self.graph.nodes[node].shape);
        element_count(&shape)
    }

    /// Calls name values by their index until slots are assigned.
    fn call(&self, op: Op, site: usize, reads: &[ValueId], writes: &[ValueId]) -> Call {
        let ids = |values: &[ValueId]| values.iter().map(|&v| BufferId(v as u32)).collect();
        Call { op, dtype: self.dtype, reads: ids(reads), writes: ids(writes), site }
    }

    /// Values of the parameters of `node` (weight, then bias) or of their gradients.
    fn parameter_values(&mut self, node: usize, gradients: bool) -> Vec<ValueId> {
        let buffers: Vec<BufferId> = self
            .parameters
            .iter()
            .filter(|p| p.node == node)
            .map(|p| if gradients { p.gradient } else { p.value })
            .collect();
        buffers.into_iter().map(|b| self.value(0, Place::Network(b))).collect()
    }

    fn image(&self, id: NodeId) -> [usize; 4] {
        let shape = &self.graph.nodes[id.0].shape;
        [self.batch, shape[0], shape[1], shape[2]]
    }

    fn linear_geometry(&self, node: &Node, out_features: usize) -> LinearGeometry {
        let in_features = self.graph.nodes[node.inputs[0].0].shape[0];
        LinearGeometry { batch: self.batch, in_features, out_features }
    }

    fn build(mut self, mode: Mode) -> Result<Plan> {
        let graph = self.graph;
        let &[classes] = graph.output_shape() else {
            return Err(Error::shape("output of the network", "[classes]", graph.output_shape()));
        };
        let own = Place::Own(None);
        let x_bytes = self.len(0)?.checked_mul(self.dtype.size());
        let x_bytes = x_bytes.ok_or_else(|| Error::shape("x", "a batch that fits memory", &[self.batch]))?;
        let x = self.value(x_bytes, own);
        let labels = self.value(self.batch * 4, own);
        let loss_value = self.value(self.dtype.size(), own);
        let row_loss = self.value(self.batch * self.dtype.size().max(4), Place::Slot(None));

        let mut outputs: Vec<ValueId> = vec![x];
        let mut ties: Vec<Option<ValueId>> = vec![None];
        let mut forward = Vec::new();
        for (site, node) in graph.nodes.iter().enumerate().skip(1) {
            let len = self.len(site)?;
            let input = outputs[node.inputs[0].0];
            let mut reads = vec![input];
            let mut tie_value = None;
            let op = match node.layer {
                Layer::Input => unreachable!("the input is node 0 alone"),
                Layer::Flatten => {
                    outputs.push(input);
                    ties.push(None);
                    continue;
                }
                Layer::Conv2d { out_channels, window, bias } => {
                    reads.extend(self.parameter_values(site, false));
                    let geometry = Conv2dGeometry::new(self.image(node.inputs[0]), out_channels, window)?;
                    Op::Conv2dForward { geometry, bias }
                }
                Layer::Linear { out_features, bias } => {
                    reads.extend(self.parameter_values(site, false));
                    Op::LinearForward { geometry: self.linear_geometry(node, out_features), bias }
                }
                Layer::Relu => Op::ReluForward { len },
                Layer::MaxPool2d { window } => {
                    let geometry = Pool2dGeometry::new(self.image(node.inputs[0]), window)?;
                    let bytes = element_count(&geometry.ties_shape())?;
                    tie_value = Some(self.value(bytes, Place::Slot(None)));
                    Op::MaxPool2dForward { geometry }
                }
                Layer::Add => {
                    reads.push(outputs[node.inputs[1].0]);
                    Op::Add { len }
                }
            };
            let y = self.slot(len);
            let writes: Vec<ValueId> = [Some(y), tie_value].into_iter().flatten().collect();
            forward.push(self.call(op, site, &reads, &writes));
            outputs.push(y);
            ties.push(tie_value);
        }
        let logits = *outputs.last().expect("the input at least");
        self.values[logits].place = own;
        let glogits = self.slot(self.batch * classes);
        let loss_op = Op::CrossEntropy { batch: self.batch, classes };
        let loss = vec![self.call(loss_op, 0, &[logits, labels], &[loss_value, glogits, row_loss])];
        let backward = match mode {
            Mode::Inference => Vec::new(),
            Mode::Training => self.backward(&outputs, &ties, glogits)?,
        };
        self.finish(Draft { forward, loss, backward, x, labels, logits, loss_value, outputs, ties })
    }

    fn backward(
        &mut self,
        outputs: &[ValueId],
        ties: &[Option<ValueId>],
        glogits: ValueId,
    ) -> Result<Vec<Call>> {
        let graph = self.graph;
        let mut calls = Vec::new();
        // A gradient is wanted wherever a parameter lies before it.
        let mut wanted = vec![false; graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            let has_parameters = self.parameters.iter().any(|p| p.node == i);
            wanted[i] = has_parameters || node.inputs.iter().any(|n| wanted[n.0]);
        }
        let mut gradients: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
        *gradients.last_mut().expect("the input at least") = Some(glogits);
        for (site, node) in graph.nodes.iter().enumerate().rev() {
            let Some(gy) = gradients[site] else { continue };
            if !wanted[site] {
                continue;
            }
            let input = node.inputs[0];
            let gx_wanted = wanted[input.0];
            let x = outputs[input.0];
            let in_len = self.len(input.0)?;
            match node.layer {
                Layer::Input => {}
                Layer::Flatten => self.contribute(&mut gradients, &mut calls, input, gy)?,
                Layer::Add => {
                    for &input in &node.inputs {
                        if wanted[input.0] {
                            self.contribute(&mut gradients, &mut calls, input, gy)?;
                        }
                    }
                }
                Layer::Conv2d { out_channels, window, bias } => {
                    let geometry = Conv2dGeometry::new(self.image(input), out_channels, window)?;
                    let writes = self.parameter_values(site, true);
                    let op = Op::Conv2dBackwardWeight { geometry, bias };
                    calls.push(self.call(op, site, &[x, gy], &writes));
                    let weight = self.parameter_values(site, false)[0];
                    let op = Op::Conv2dBackwardInput { geometry };
                    self.input_gradient(&mut gradients, &mut calls, gx_wanted, input, |b, gx| {
                        b.call(op, site, &[gy, weight], &[gx])
                    })?;
                }
                Layer::Linear { out_features, bias } => {
                    let geometry = self.linear_geometry(node, out_features);
                    let writes = self.parameter_values(site, true);
                    let op = Op::LinearBackwardWeight { geometry, bias };
                    calls.push(self.call(op, site, &[x, gy], &writes));
                    let weight = self.parameter_values(site, false)[0];
                    let op = Op::LinearBackwardInput { geometry };
                    self.input_gradient(&mut gradients, &mut calls, gx_wanted, input, |b, gx| {
                        b.call(op, site, &[gy, weight], &[gx])
                    })?;
                }
                Layer::Relu => {
                    let op = Op::ReluBackward { len: in_len };
                    self.input_gradient(&mut gradients, &mut calls, gx_wanted, input, |b, gx| {
                        b.call(op, site, &[x, gy], &[gx])
                    })?;
                }
                Layer::MaxPool2d { window } => {
                    let geometry = Pool2dGeometry::new(self.image(input), window)?;
                    let ties = ties[site].expect("the forward pass of a max pooling has tie sets");
                    let op = Op::MaxPool2dBackward { geometry };
                    self.input_gradient(&mut gradients, &mut calls, gx_wanted, input, |b, gx| {
                        b.call(op, site, &[gy, ties], &[gx])
                    })?;
                }
            }
        }
        Ok(calls)
    }

    /// Emits the call that makes the gradient of `input`, where that is wanted.
    fn input_gradient(
        &mut self,
        gradients: &mut [Option<ValueId>],
        calls: &mut Vec<Call>,
        wanted: bool,
        input: NodeId,
        call: impl FnOnce(&Self, ValueId) -> Call,
    ) -> Result<()> {
        if !wanted {
            return Ok(());
        }
        let len = self.len(input.0)?;
        let gx = self.slot(len);
        calls.push(call(self, gx));
        self.contribute(gradients, calls, input, gx)
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
        Ok(Plan {
            x: own(draft.x).expect("x has its own memory"),
            labels: own(draft.labels).expect("labels have their own memory"),
            logits: own(draft.logits).expect("logits have their own memory"),
            loss_value: own(draft.loss_value).expect("the loss has its own memory"),
            outputs: draft.outputs.iter().map(|&v| own(v)).collect(),
            ties: draft.ties.iter().map(|v| v.and_then(own)).collect(),
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
}

"""Networks: parameters, gradients and activations that live on an engine."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import _abi
from ._handle import Handle
from ._library import lib
from ._record import Choice, Properties, array, filled, options, text
from .array import Array, DType, Labels, byte_pointer
from .array import labels as label_pointer
from .data import Dataset
from .engine import Engine
from .graph import Graph, TensorProperties, ZooOptions
from .kink import Kink, KinkKind, kink_of, kink_struct
from .progress import Progress, listening
from .status import Error, Status
from .tensor import Operand, as_operand, view, view_mut


class ReductionOrder(Choice):
    """Order of the sums over the batch in gradients of parameters and in batch statistics."""

    FIXED = _abi.TB_REDUCTION_ORDER_FIXED
    """The order of the samples."""
    SEEDED = _abi.TB_REDUCTION_ORDER_SEEDED
    """An order drawn from a seed, the layer and the number of training steps: imitates, repeatably, the order of GPU
    atomics."""


@dataclass(frozen=True)
class NetworkProperties(Properties):
    """What a network is."""

    dtype: DType
    """Of the batches that it takes, its activations and logits."""
    parameter_dtype: DType
    """Of parameters, buffers and gradients as the host reads and writes them. Another with "mixed" precision."""
    gpu: bool
    """True where a GPU runs it."""
    parameter_count: int
    """Number of parameter tensors."""
    buffer_count: int
    """Number of buffers: running statistics of batch normalisation."""
    layer_count: int
    """Number of layers, the input counted."""
    census_count: int
    """Number of entries of a census."""
    classes: int
    allocated_bytes: int
    """Bytes that it holds on its engine."""
    input_shape: tuple[int, int, int]
    """`[C, H, W]` of the input."""
    precision: str
    """Its arithmetic, as it was asked for."""
    placement: str
    """Why a GPU engine leaves it to the CPU; empty where it does not."""


@dataclass(frozen=True)
class Difference(Properties):
    """How far two gradients of one parameter are apart."""

    name: str
    """The parameter."""
    l1: float
    """Sum of absolute differences."""
    l2: float
    """Euclidean norm of the difference."""
    linf: float
    """Largest absolute difference."""
    differing: int
    """Number of elements that are not equal."""


@dataclass(frozen=True)
class Comparison(Properties):
    """Gradients under the present choices and under an alternative, on the same weights and batch."""

    l1: float
    """Sum over the parameters of the L1 norms of the differences."""
    l2: float
    """Sum over the parameters of the Euclidean norms of the differences."""
    linf: float
    """Sum over the parameters of the largest absolute differences."""
    differing: int
    """Number of gradient elements that are not equal."""
    losses: tuple[float, float]
    """Loss under the present choices and under the alternative."""
    shared_forward: bool
    """True where one forward pass served both; the compositions coupled and forward need their own."""
    differences: tuple[Difference, ...]
    """One for each parameter, where they were asked for."""


@dataclass(frozen=True)
class Norms(Properties):
    """Norms of the gradient of one parameter."""

    name: str
    """The parameter."""
    l1: float
    """Sum of absolute values."""
    l2: float
    """Euclidean norm."""
    linf: float
    """Largest absolute value."""
    non_finite: int
    """Number of elements that are not finite."""


@dataclass(frozen=True)
class CensusEntry(Properties):
    """What was counted at one kink layer, of a max pooling for one number of ties."""

    layer: str
    kind: KinkKind
    ties: int
    """MaxPool: the number of elements that attain the maximum, from 0 (windows that hold a NaN) and 1 (no tie) to all
    of the window. ReLU: 0."""
    zero: int
    """MaxPool: windows with so many ties whose maximum is 0. ReLU: inputs that are 0."""
    zero_alive: int
    """MaxPool: those of them where the choice can matter: they receive a gradient that is not 0, and at least one tied
    element passes it on through the ReLU before, where there is one. ReLU: 0."""
    nonzero: int
    """MaxPool: windows with so many ties whose maximum is not 0. ReLU: inputs that are not 0."""
    nonzero_alive: int
    """MaxPool: those of them where the choice can matter. ReLU: 0."""


@dataclass(frozen=True)
class TieClasses(Properties):
    """The windows of one max pooling by the cause of their tie."""

    layer: str
    windows: int
    """All windows: the sum of the next five."""
    nan: int
    """Windows that hold a NaN."""
    untied: int
    """Windows whose maximum one element attains: there is nothing to choose."""
    masked: int
    """Tied windows of which no tied element passes a gradient on through the ReLU before: no choice can be seen."""
    structural: int
    """Tied windows whose tied elements are all the same function of the weights, on the branches that the run took:
    they see the same pixels through the same active ReLUs and maxima, and are equal in any arithmetic. What a choice
    does cancels in the gradients of weights, but for rounding."""
    accidental: int
    """The other tied windows: rounding has made them tie, or chance. A choice changes the gradient."""


class Pass(Choice):
    """A part of a training step."""

    FORWARD = _abi.TB_PASS_FORWARD
    """From the input to the logits."""
    LOSS = _abi.TB_PASS_LOSS
    """The loss and the gradient of the logits."""
    BACKWARD = _abi.TB_PASS_BACKWARD
    """From there to the gradients of the parameters."""
    OPTIMIZER = _abi.TB_PASS_OPTIMIZER
    """The update of the parameters."""


@dataclass(frozen=True)
class NonFinite(Properties):
    """The first value of a tensor that is NaN or infinite."""

    pass_: Pass
    """The part of the step."""
    lasts: bool
    """True where it is the loss, a running statistic, or in what the optimizer writes: nothing that follows masks
    it."""
    layer: str
    """The layer; "loss", or for the optimizer the parameter."""
    operator_name: str
    """The operator that made it, as `KernelProfile.kernel` calls it on the CPU; "input" for what the step began
    with."""
    tensor: str
    """The tensor that holds it: "x", a parameter or buffer by its name, "gradient of" a parameter, "gradient of the
    input", "gradient of the logits", "output", "statistics", "loss"; of an optimizer "parameter", "copy in 16 bits", or
    a state by PyTorch's name."""
    element: int
    """Its place in the tensor, in row-major order."""
    value: float
    """NaN, infinity or -infinity."""
    cause: str
    """How it arose, if all that the operator read was finite."""


@dataclass(frozen=True)
class MemoryPlan(Properties):
    """Bytes that a run needs on the engine that runs the network."""

    parameters: int
    """Parameters, their master copies and running statistics."""
    gradients: int
    activations: int
    """Activations and their gradients, which share memory as soon as they are dead, tie sets, input and labels."""
    scratch: int
    """Memory that the GPU's kernels share; the CPU's take theirs as they run."""
    largest: int
    """The largest single buffer."""
    total: int
    """All of it, `largest` apart, which is a part of it."""


@dataclass(frozen=True)
class Work(Properties):
    """What a run has to do at the least."""

    operations: int
    """Additions and multiplications of convolutions and linear layers, two for each product. All else is bound by
    memory and counts as 0."""
    bytes: int
    """Of the tensors, each read or written once."""


Alternative: TypeAlias = "Kink | Mapping[str, Kink]"
"""What replaces present choices in a comparison: one choice for every layer of its kind, or choices by layer."""


class Network(Handle):
    """A network on an engine. Calls on one engine run one after the other."""

    _kind = "network"

    def __init__(
        self,
        engine: Engine,
        graph: Graph | str,
        precision: str | None = None,
        *,
        zoo: ZooOptions | None = None,
        initialization: str | None = None,
        seed: int = 0,
    ) -> None:
        """Creates a network.

        Args:
            engine: what runs it. On a GPU engine f64 (and f16 where the GPU has none) is placed on the CPU;
                `info.placement` says so.
            graph: a graph whose output is `[classes]`, or a name of the zoo as for `Graph.from_zoo`
            precision: "f16", "f32" (None, the default) or "f64" throughout; "mixed": f16 operators on f32 parameters,
                to be trained with loss scaling; "f16+narrow": sums in f16 too, on the CPU; or every stored value
                rounded to a simulated format: "bf16", "tf32", "e4m3", "e5m2", any
                "e<exponent bits>m<fraction bits>", each also as "e5m2:stochastic(<seed>)", and stored in f64 with
                "/f64" behind it
            zoo: which of the networks of that name
            initialization: "pytorch" (None, the default), "kaiming_uniform_fan_in", "kaiming_uniform_fan_out",
                "kaiming_normal_fan_in", "kaiming_normal_fan_out", or as published "resnet", "densenet", "volume"
            seed: of initialisation and dropout. The same values for each precision, each rounded once.
        """
        choice = options(_abi.tb_network_options, "network_options")
        choice.precision, choice.initialization, choice.seed = text(precision), text(initialization), seed
        if isinstance(graph, Graph):
            if zoo is not None:
                raise TypeError("zoo: counts with a name of the zoo, not with a graph")
            super().__init__(lib.network_create_from_graph, engine, graph, choice)
        else:
            super().__init__(lib.network_create, engine, text(graph), zoo and zoo._struct(), choice)
        # Keeps the engine's log function, which the network calls too.
        self._engine = engine

    @property
    def info(self) -> NetworkProperties:
        """What it is."""
        return NetworkProperties._of(filled(_abi.tb_network_properties, lib.network_info, self))

    @property
    def parameters(self) -> list[TensorProperties]:
        """Name and shape of every parameter."""
        return self._tensors(lib.network_parameter_info, self.info.parameter_count)

    @property
    def buffers(self) -> list[TensorProperties]:
        """Name and shape of every buffer: running statistics of batch normalisation."""
        return self._tensors(lib.network_buffer_info, self.info.buffer_count)

    @property
    def layers(self) -> list[TensorProperties]:
        """Name, kind and output shape of every layer, the input first."""
        return self._tensors(lib.network_layer_info, self.info.layer_count)

    def _tensors(self, function: Any, count: int) -> list[TensorProperties]:
        kind = _abi.tb_tensor_properties
        return [TensorProperties._of(filled(kind, function, self, index)) for index in range(count)]

    def _shape(self, tensors: Sequence[TensorProperties], name: str) -> tuple[int, ...]:
        for tensor in tensors:
            if tensor.name == name:
                return tensor.shape
        raise Error(Status.NOT_FOUND, f"{name}: expected one of {', '.join(t.name for t in tensors)}")

    def set_kink(self, layer: str | None, kink: Kink) -> None:
        """Chooses what a kink layer computes from the next run on, without building the network again.

        Args:
            layer: its name; None for every layer of the kink's kind
            kink: the choice
        """
        lib.network_set_kink(self, text(layer), kink_struct(kink))

    def set_kinks(self, convention: str) -> None:
        """Chooses what a framework computes, at every kink layer, from the next run on.

        Args:
            convention: "pytorch", "jax", "tensorflow", "candle", "mlpack", "theano" or "cudnn-random"
        """
        lib.network_set_kinks(self, text(convention))

    def kink(self, layer: str) -> Kink:
        """The present choice at a kink layer."""
        return kink_of(filled(_abi.tb_kink, lib.network_kink, self, text(layer)))

    def set_reduction_order(self, order: ReductionOrder | str, seed: int = 0) -> None:
        """Chooses the order of sums over the batch, from the next run on; the seed counts with
        `ReductionOrder.SEEDED`."""
        lib.network_set_reduction_order(self, ReductionOrder(order).value, seed)

    def freeze_batchnorm(self, frozen: bool = True) -> None:
        """Lets training runs take the running statistics of batch normalisation instead of those of the batch, and
        leave them as they are."""
        lib.network_freeze_batchnorm(self, frozen)

    def set_loss_scale(self, scale: float) -> None:
        """Chooses what the loss is multiplied by before it is differentiated, so that small gradients do not
        underflow; gradients that are read, norms, comparisons and optimizers divide by it again."""
        lib.network_set_loss_scale(self, scale)

    def read_parameter(self, name: str, values: Array | None = None) -> Array:
        """A copy of a parameter, in `values` where that is given: its shape, of `info.parameter_dtype`."""
        return self._read(lib.network_read_parameter, self.parameters, name, values)

    def write_parameter(self, name: str, values: Operand) -> None:
        """Overwrites a parameter with values of its shape, of `info.parameter_dtype`."""
        lib.network_write_parameter(self, text(name), view("values", values))

    def read_gradient(self, name: str, values: Array | None = None) -> Array:
        """A copy of a parameter's gradient as the last backward pass left it."""
        return self._read(lib.network_read_gradient, self.parameters, name, values)

    def read_buffer(self, name: str, values: Array | None = None) -> Array:
        """A copy of a buffer, such as "features.3.running_mean"."""
        return self._read(lib.network_read_buffer, self.buffers, name, values)

    def write_buffer(self, name: str, values: Operand) -> None:
        """Overwrites a buffer with values of its shape, of `info.parameter_dtype`."""
        lib.network_write_buffer(self, text(name), view("values", values))

    def _read(
        self, function: Any, tensors: Sequence[TensorProperties], name: str, values: Array | None
    ) -> Array:
        if values is None:
            values = np.empty(self._shape(tensors, name), self.info.parameter_dtype.numpy)
        function(self, text(name), view_mut("values", values))
        return values

    def forward(self, x: Operand, *, logits: Array | None = None) -> Array:
        """Logits `[N, classes]` of a batch `[N, C, H, W]` of the network's dtype."""
        x = as_operand("x", x)
        if logits is None:
            logits = np.empty((*x.shape[:1], self.info.classes), x.dtype)
        lib.network_forward(self, view("x", x), view_mut("logits", logits))
        return logits

    def loss_and_gradients(self, x: Operand, labels: Labels) -> float:
        """Forward and backward pass: the gradients stay in the network.

        Args:
            x: `[N, C, H, W]` of the network's dtype
            labels: N class numbers

        Returns:
            the mean cross-entropy
        """
        loss = c.c_double()
        lib.network_loss_and_gradients(self, view("x", x), *label_pointer(labels), c.byref(loss))
        return loss.value

    def backward(self) -> None:
        """A further backward pass, under the present choices, on the activations of the last `loss_and_gradients`.

        Raises:
            Error: `Status.UNSUPPORTED` where there are none, where parameters have changed since, or where a choice
                is coupled or forward and would have made others
        """
        lib.network_backward(self)

    def evaluate(self, x: Operand, labels: Labels) -> tuple[float, int]:
        """Mean cross-entropy of a batch, and the number of samples whose largest logit is the label's."""
        loss, correct = c.c_double(), c.c_size_t()
        lib.network_evaluate(self, view("x", x), *label_pointer(labels), c.byref(loss), c.byref(correct))
        return loss.value, correct.value

    def ties(self, layer: str, batch: int, *, counts: Array | None = None) -> Array:
        """How many elements attain the maximum of each window of a max pooling, in the last `loss_and_gradients` or
        training step; 0 where a window holds a NaN.

        Args:
            layer: a maxpool2d layer's name
            batch: N, the number of samples of that run
            counts: out: uint8 `[N, C, OH, OW]`
        """
        shape = (batch, *self._shape(self.layers, layer))
        counts = np.empty(shape, np.uint8) if counts is None else counts
        lib.network_ties(self, text(layer), byte_pointer("counts", counts, write=True), counts.nbytes)
        return counts

    def read_activation(self, layer: str, batch: int, *, values: Array | None = None) -> Array:
        """A copy of a layer's output in the last `loss_and_gradients` or training step, where a backward pass reads
        it and it is therefore kept: inputs of convolutions, linear layers, batch normalisations and ReLUs, and the
        logits.

        Args:
            layer: a layer's name
            batch: N, the number of samples of that run
            values: out: `[N, ...]` as `layers` says, of the network's dtype

        Raises:
            Error: `Status.UNSUPPORTED` where it is not kept
        """
        shape = (batch, *self._shape(self.layers, layer))
        values = np.empty(shape, self.info.dtype.numpy) if values is None else values
        lib.network_read_activation(self, text(layer), view_mut("values", values))
        return values

    def compare(
        self,
        x: Operand,
        labels: Labels,
        alternatives: Sequence[Alternative],
        *,
        differences: bool = False,
    ) -> list[Comparison]:
        """Gradients under the present choices against those under each of several alternatives, on one stored forward
        pass, but for the compositions coupled and forward, which need their own. Afterwards choices, gradients and
        activations are the present ones'.

        Args:
            x: `[N, C, H, W]` of the network's dtype
            labels: N class numbers
            alternatives: at least one
            differences: also by parameter

        Returns:
            one for each alternative
        """
        return self._compare(
            lib.network_compare, alternatives, differences, view("x", x), *label_pointer(labels)
        )

    def compare_stored(
        self, alternatives: Sequence[Alternative], *, differences: bool = False
    ) -> list[Comparison]:
        """As `compare`, on the stored forward pass, such as one that `replay` took over: no alternative may have
        another one.

        Raises:
            Error: `Status.UNSUPPORTED` as of `backward`, for an alternative too
        """
        return self._compare(lib.network_compare_stored, alternatives, differences)

    def _compare(
        self, function: Any, alternatives: Sequence[Alternative], differences: bool, *batch: Any
    ) -> list[Comparison]:
        choices = [
            _abi.tb_choice(number, text(layer), c.pointer(kink_struct(kink)))
            for number, alternative in enumerate(alternatives)
            for layer, kink in _by_layer(alternative)
        ]
        comparisons = array(_abi.tb_comparison, len(alternatives))
        parameters = self.info.parameter_count if differences else 0
        apart = array(_abi.tb_difference, len(alternatives) * parameters)
        function(
            self,
            *batch,
            (_abi.tb_choice * len(choices))(*choices),
            len(choices),
            comparisons,
            len(comparisons),
            apart if differences else None,
            len(apart),
        )
        parts = [Difference._of(struct) for struct in apart]
        return [
            Comparison._of(struct, differences=tuple(parts[i * parameters : (i + 1) * parameters]))
            for i, struct in enumerate(comparisons)
        ]

    def replay(self, recorded: Network) -> float:
        """Takes over the forward pass of the last `loss_and_gradients` of another network of the same graph: weights,
        activations, tie sets and batch statistics, converted to this network's dtypes. `backward` and `compare_stored`
        then differentiate, in this network's arithmetic, what the other has computed. With float64 here that tells two
        causes of a difference between choices apart: one that vanishes was rounding of the other's backward pass, one
        that stays is there over the reals, on the branches that the other took.

        Args:
            recorded: another network, of any precision, on any engine

        Returns:
            the mean cross-entropy of the other's logits

        Raises:
            Error: `Status.INVALID_ARGUMENT` for this network itself or one of another graph, `Status.UNSUPPORTED` where
                recorded has stored nothing since its parameters changed
        """
        loss = c.c_double()
        lib.network_replay(self, recorded, c.byref(loss))
        return loss.value

    def gradient_norms(self) -> list[Norms]:
        """Norms of the gradients that the last backward pass left, one for each of `parameters`."""
        norms = array(_abi.tb_norms, self.info.parameter_count)
        lib.network_gradient_norms(self, norms, len(norms))
        return [Norms._of(struct) for struct in norms]

    def census(self, x: Operand, labels: Labels) -> list[CensusEntry]:
        """Forward and backward pass with a census of every max pooling and ReLU: how often the network stands on a
        kink. Running statistics of batch normalisation stay as they are.

        Args:
            x: `[N, C, H, W]` of the network's dtype
            labels: N class numbers

        Returns:
            for each max pooling and ReLU in the order of the layers, of a max pooling KH KW + 1, by number of ties
            from 0
        """
        entries = array(_abi.tb_census_entry, self.info.census_count)
        lib.network_census(self, view("x", x), *label_pointer(labels), entries, len(entries))
        return [CensusEntry._of(struct) for struct in entries]

    def tie_classes(self) -> list[TieClasses]:
        """Why the windows of each max pooling tied in the last `loss_and_gradients`.

        Raises:
            Error: `Status.UNSUPPORTED` where no forward pass is stored, or no backward pass needs what a max pooling
                would store: there are no parameters before it, or it has no part in the output
        """
        count = c.c_size_t()
        lib.network_tie_classes(self, None, 0, c.byref(count))
        entries = array(_abi.tb_tie_classes, count.value)
        lib.network_tie_classes(self, entries if count.value else None, len(entries), c.byref(count))
        return [TieClasses._of(struct) for struct in entries]

    def watch_non_finite(self) -> None:
        """Lets each training step from now on look at every tensor that it stores: `non_finite` tells where a value
        that is not finite arose. Steps give the same bits, and take a pass over memory longer. Of optimizers only those
        created after this call are watched. What the last run has stored is given back, so `backward` needs another
        run first."""
        lib.network_watch_non_finite(self)

    def non_finite(self) -> list[NonFinite]:
        """The tensors of the last training step, `loss_and_gradients` or `evaluate` that hold a value that is not
        finite, in the order in which they were computed: the first is where it arose. Empty where `watch_non_finite`
        was not called before that run.

        What follows may stop such a value: a ReLU masks it, and with a loss scale a gradient that overflows is a matter
        of course, its step skipped. `NonFinite.lasts` tells.
        """
        count = c.c_size_t()
        lib.network_non_finite(self, None, 0, c.byref(count))
        entries = array(_abi.tb_non_finite, count.value)
        lib.network_non_finite(self, entries if count.value else None, len(entries), c.byref(count))
        # Another thread may have run a step between.
        return [NonFinite._of(struct) for struct in entries[: count.value]]

    def memory_plan(self, batch: int, *, training: bool = True) -> MemoryPlan:
        """What a run of one batch size would need, an optimizer's state apart; nothing is allocated."""
        plan = filled(_abi.tb_memory_plan, lib.network_memory_plan, self, batch, training)
        return MemoryPlan._of(plan)

    def work(self, batch: int, *, training: bool = True) -> Work:
        """What a run of one batch size has to do, the optimizer apart; nothing is run."""
        return Work._of(filled(_abi.tb_work, lib.network_work, self, batch, training))

    def evaluate_dataset(
        self, dataset: Dataset, batch_size: int, *, progress: Progress | None = None
    ) -> tuple[float, int]:
        """Mean cross-entropy of all images of a data set in evaluation mode, and the number of them whose largest logit
        is the label's; NaN where there is none.

        Args:
            dataset: its images have the shape of the network's input
            batch_size: images of a run
            progress: hears of images done, before the first and after each run
        """
        loss, correct = c.c_double(), c.c_size_t()
        with listening(progress) as hear:
            lib.network_evaluate_dataset(
                self, dataset, batch_size, hear, None, c.byref(loss), c.byref(correct)
            )
        return loss.value, correct.value

    def copy_state(self, source: Network) -> None:
        """Takes over parameters and buffers of another network of the same graph, each rounded to
        `info.parameter_dtype`."""
        lib.network_copy_state(self, source)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes parameters and buffers to a safetensors file, as a PyTorch `state_dict`. The file appears whole or
        not at all."""
        lib.network_save(self, text(os.fspath(path)))

    def load(self, path: str | os.PathLike[str], *, convert: bool = False) -> None:
        """Reads parameters and buffers from a safetensors file, one written by `save` or by PyTorch.

        Args:
            path: the file
            convert: values of another dtype are rounded to `info.parameter_dtype`, not refused

        Raises:
            Error: `Status.FORMAT` for a damaged file, or one whose names, shapes or dtypes differ. The network then
                stays as it was.
        """
        lib.network_load(self, text(os.fspath(path)), convert)


def _by_layer(alternative: Alternative) -> list[tuple[str | None, Kink]]:
    return list(alternative.items()) if isinstance(alternative, Mapping) else [(None, alternative)]

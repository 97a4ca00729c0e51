"""Optimizers of networks."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import _abi
from ._handle import Handle
from ._library import lib
from ._record import Properties, array, filled, options, text
from .array import Labels
from .array import labels as label_pointer
from .data import Augmentation, Dataset
from .network import Network
from .progress import Progress, listening
from .step import SGD, Algorithm, AlgorithmKind
from .tensor import Operand, view


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained differently. A parameter belongs to the first group that holds it."""

    names: str | None = None
    """Which: a pattern with * and ?, such as "features.0.*", that matches at least one; None means biases, and weights
    and biases of batch normalisation."""
    learning_rate_factor: float = 1.0
    weight_decay: float | None = None
    """Instead of the optimizer's, where it is not None."""

    def _struct(self) -> Any:
        struct = options(_abi.tb_parameter_group, "parameter_group")
        struct.names = text(self.names)
        struct.learning_rate_factor = self.learning_rate_factor
        if self.weight_decay is not None:
            struct.weight_decay = self.weight_decay
        return struct


@dataclass(frozen=True)
class GradScaler:
    """Dynamic loss scaling, as `torch.amp.GradScaler`: a step with a gradient that is not finite is skipped and the
    scale multiplied by `backoff_factor`; after `growth_interval` good steps in a row it is multiplied by
    `growth_factor`."""

    loss_scale: float = 65536.0
    """At first."""
    growth_interval: int = 2000
    growth_factor: float = 2.0
    backoff_factor: float = 0.5


@dataclass(frozen=True)
class OptimizerProperties(Properties):
    """Where an optimizer stands."""

    learning_rate: float
    loss_scale: float
    """What the next loss is scaled by; 1 without loss scaling."""
    steps: int
    """Steps that changed the parameters."""
    algorithm: AlgorithmKind


@dataclass(frozen=True)
class StepReport(Properties):
    """What a step did."""

    loss: float
    """The mean cross-entropy of the last run with labels, before the update; NaN where there was none."""
    gradient_norm: float
    """Euclidean norm of all gradients before clipping; NaN unless clipping or loss scaling asked for it."""
    loss_scale: float
    """What the next loss is scaled by; 1 without loss scaling."""
    skipped: bool
    """True where loss scaling skipped the update because a gradient was not finite."""


@dataclass(frozen=True)
class KernelProfile(Properties):
    """What one kernel of a training step took."""

    layer: str
    """The layer's name, "loss" or "optimizer"."""
    kernel: str
    """The operator's name on the CPU, the shader's on a GPU."""
    seconds: float
    """On the device."""
    operations: int
    """As in `Work`. On a GPU, where an operator may take several kernels, that of all stands at the first."""
    bytes: int
    """As in `Work`."""


@dataclass(frozen=True)
class EpochReport(Properties):
    """What an epoch did."""

    loss: float
    """The mean of the losses of all samples, each before the update of its step; NaN where there was none."""
    steps: int
    """Steps made."""
    skipped: int
    """Those whose update loss scaling skipped."""


class Optimizer(Handle):
    """Updates the parameters of one network, which it keeps alive."""

    _kind = "optimizer"

    def __init__(
        self,
        network: Network,
        algorithm: Algorithm | None = None,
        *,
        groups: Sequence[ParameterGroup] = (),
        clip_norm: float = 0.0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        """Creates an optimizer.

        Args:
            network: stays usable on its own
            algorithm: `SGD(...)`, the default, `Adam(...)`, `AdamW(...)` or `RMSprop(...)`
            groups: exceptions by parameter
            clip_norm: scales all gradients down together where the Euclidean norm over all of them exceeds this;
                0 means never
            grad_scaler: dynamic loss scaling; None means none
        """
        choice = (algorithm or SGD())._struct()
        choice.groups = (_abi.tb_parameter_group * len(groups))(*(group._struct() for group in groups))
        choice.group_count, choice.clip_norm = len(groups), clip_norm
        if grad_scaler is not None:
            choice.grad_scaler, choice.loss_scale = True, grad_scaler.loss_scale
            choice.growth_interval = grad_scaler.growth_interval
            choice.growth_factor, choice.backoff_factor = (
                grad_scaler.growth_factor,
                grad_scaler.backoff_factor,
            )
        super().__init__(lib.optimizer_create, network, choice)
        self._network = network

    @property
    def info(self) -> OptimizerProperties:
        """Where it stands."""
        return OptimizerProperties._of(filled(_abi.tb_optimizer_properties, lib.optimizer_info, self))

    @property
    def learning_rate(self) -> float:
        """The present step length; to be set, as schedules do. Groups keep their factors."""
        return self.info.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        lib.optimizer_set_learning_rate(self, value)

    def step(self) -> StepReport:
        """Updates the parameters from the gradients that the last `Network.loss_and_gradients` or
        `Network.backward` left."""
        return StepReport._of(filled(_abi.tb_step_report, lib.optimizer_step, self))

    def train_step(self, x: Operand, labels: Labels) -> StepReport:
        """A whole training step: forward, loss, backward, update; waits for its loss.

        Args:
            x: `[N, C, H, W]` of the network's dtype
            labels: N class numbers
        """
        struct = _abi.tb_step_report(struct_size=c.sizeof(_abi.tb_step_report))
        lib.optimizer_train_step(self, view("x", x), *label_pointer(labels), struct)
        return StepReport._of(struct)

    def submit_train_step(self, x: Operand, labels: Labels) -> None:
        """As `train_step`, without a report: on a GPU nothing waits for the step, unless clipping or loss scaling has
        to look at the gradients."""
        lib.optimizer_train_step(self, view("x", x), *label_pointer(labels), None)

    def train_epoch(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        augmentation: Augmentation | None = None,
        progress: Progress | None = None,
    ) -> EpochReport:
        """One epoch of training: `train_step` on all images of a data set once, in the order of `Dataset.order`; the
        last batch may be smaller. Between two steps other threads may use the network, and Ctrl-C stops it.

        Args:
            dataset: its images have the shape of the network's input
            batch_size: images of a step
            seed, epoch: of the order
            augmentation: None: the images as they are
            progress: hears of images done, before the first and after each step

        Raises:
            Error: `Status.CANCELLED`: what was trained stays trained
        """
        struct = _abi.tb_epoch_report(struct_size=c.sizeof(_abi.tb_epoch_report))
        changes = augmentation and augmentation._struct()
        with listening(progress) as hear:
            lib.optimizer_train_epoch(self, dataset, batch_size, seed, epoch, changes, hear, None, struct)
        return EpochReport._of(struct)

    def profile_step(self, x: Operand, labels: Labels) -> list[KernelProfile]:
        """As `train_step` without clipping and loss scaling, one kernel at a time, each timed.

        Args:
            x: `[N, C, H, W]` of the network's dtype
            labels: N class numbers

        Returns:
            the kernels in the order in which they ran, 16384 at most

        Raises:
            Error: `Status.UNSUPPORTED` on a GPU without timestamps
        """
        # The step is made whatever the room: it cannot be asked for first.
        kernels, count = array(_abi.tb_kernel_profile, 16384), c.c_size_t()
        lib.optimizer_profile_step(
            self, view("x", x), *label_pointer(labels), kernels, len(kernels), c.byref(count)
        )
        return [KernelProfile._of(struct) for struct in kernels[: count.value]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a whole run to a safetensors file: the network's parameters and buffers, the optimizer's state, the
        counters that random draws and bias corrections depend on, learning rate and loss scale, and the names of
        precision and algorithm. The file appears whole or not at all.

        Seed, choices at kinks, frozen batch normalisation, order of sums and the other scalars of the optimizer are
        not in it: who goes on with the run sets them again.
        """
        lib.optimizer_save(self, text(os.fspath(path)))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Goes on with a run that `save` wrote, for a network and an optimizer created with the same options, under
        the same choices: the next steps give the bits that they would have given there.

        Raises:
            Error: `Status.FORMAT` for a damaged file, or one of another network, precision or algorithm. Network and
                optimizer then stay as they were.
        """
        lib.optimizer_load(self, text(os.fspath(path)))

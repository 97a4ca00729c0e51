"""Algorithms of optimizers, and their steps on arrays in the caller's memory, as methods of `Engine`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from . import _abi
from ._library import lib
from ._record import Choice, options
from .array import Array
from .tensor import Operand, Tensor, optional_view_mut, view, view_mut


class AlgorithmKind(Choice):
    """How parameters are updated, with PyTorch's order of operations."""

    SGD = _abi.TB_ALGORITHM_SGD
    ADAM = _abi.TB_ALGORITHM_ADAM
    ADAMW = _abi.TB_ALGORITHM_ADAMW
    RMS_PROP = _abi.TB_ALGORITHM_RMS_PROP


class Algorithm:
    """An algorithm with its scalars: `SGD`, `Adam`, `AdamW` or `RMSprop`."""

    _kind: ClassVar[AlgorithmKind]

    def _struct(self) -> Any:
        """A `tb_optimizer_options`."""
        struct = options(_abi.tb_optimizer_options, "optimizer_options", self._kind.value)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                getattr(struct, field.name)[:] = value
            else:
                setattr(struct, field.name, value)
        return struct


@dataclass(frozen=True)
class SGD(Algorithm):
    """Stochastic gradient descent: `torch.optim.SGD`."""

    learning_rate: float = 0.01
    momentum: float = 0.0
    """Share of the momentum buffer that is kept; 0 keeps no buffer."""
    weight_decay: float = 0.0
    """This times the parameter is added to the gradient."""
    dampening: float = 0.0
    """Share of the gradient that the momentum buffer does not take."""
    nesterov: bool = False
    """Nesterov's momentum, which needs momentum above 0 and no dampening."""
    _kind: ClassVar[AlgorithmKind] = AlgorithmKind.SGD


@dataclass(frozen=True)
class Adam(Algorithm):
    """`torch.optim.Adam`."""

    learning_rate: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    """Shares of the two moving averages that a step keeps."""
    eps: float = 1e-8
    """Added to the root of the average; 1e-8 is 0 in float16."""
    weight_decay: float = 0.0
    """This times the parameter is added to the gradient."""
    amsgrad: bool = False
    """Divide by the largest second average so far."""
    _kind: ClassVar[AlgorithmKind] = AlgorithmKind.ADAM


@dataclass(frozen=True)
class AdamW(Adam):
    """`torch.optim.AdamW`: Adam with decoupled weight decay."""

    weight_decay: float = 0.01
    """Share of the parameter, times the learning rate, that a step takes away."""
    _kind: ClassVar[AlgorithmKind] = AlgorithmKind.ADAMW


@dataclass(frozen=True)
class RMSprop(Algorithm):
    """`torch.optim.RMSprop`."""

    learning_rate: float = 0.01
    alpha: float = 0.99
    """Share of the moving averages that a step keeps."""
    eps: float = 1e-8
    """Added to the root of the average; 1e-8 is 0 in float16."""
    weight_decay: float = 0.0
    """This times the parameter is added to the gradient."""
    momentum: float = 0.0
    """Share of the momentum buffer that is kept; 0 keeps no buffer."""
    centered: bool = False
    """Divide by the standard deviation of the gradient, not its root mean square."""
    _kind: ClassVar[AlgorithmKind] = AlgorithmKind.RMS_PROP


class Steps:
    """Single steps; `Engine` is their only subclass. All arrays have one shape and dtype and are changed in place."""

    def sgd_step(
        self,
        sgd: SGD,
        grad: Operand,
        param: Array | Tensor,
        momentum_buffer: Array | Tensor | None = None,
        *,
        first: bool = False,
    ) -> None:
        """One step of stochastic gradient descent.

        Args:
            sgd: the scalars
            grad: any shape
            param: in and out: the shape of grad
            momentum_buffer: in and out: the shape of grad; None exactly when momentum is 0
            first: True at the first step, where the buffer's contents do not count
        """
        buffer = optional_view_mut("momentum_buffer", momentum_buffer)
        lib.sgd_step(self, sgd._struct(), first, view("grad", grad), view_mut("param", param), buffer)

    def adam_step(
        self,
        adam: Adam,
        step: int,
        grad: Operand,
        param: Array | Tensor,
        exp_avg: Array | Tensor,
        exp_avg_sq: Array | Tensor,
        max_exp_avg_sq: Array | Tensor | None = None,
    ) -> None:
        """One step of Adam or AdamW. The state is zeros before the first step.

        Args:
            adam: the scalars
            step: number of this step, from 1
            grad: any shape
            param: in and out: the shape of grad
            exp_avg, exp_avg_sq: in and out: moving averages of the gradient and of its square
            max_exp_avg_sq: in and out: the largest exp_avg_sq so far; None exactly without amsgrad
        """
        lib.adam_step(
            self,
            adam._struct(),
            step,
            view("grad", grad),
            view_mut("param", param),
            view_mut("exp_avg", exp_avg),
            view_mut("exp_avg_sq", exp_avg_sq),
            optional_view_mut("max_exp_avg_sq", max_exp_avg_sq),
        )

    def rms_prop_step(
        self,
        rms_prop: RMSprop,
        grad: Operand,
        param: Array | Tensor,
        square_avg: Array | Tensor,
        momentum_buffer: Array | Tensor | None = None,
        grad_avg: Array | Tensor | None = None,
    ) -> None:
        """One step of RMSprop. The state is zeros before the first step.

        Args:
            rms_prop: the scalars
            grad: any shape
            param: in and out: the shape of grad
            square_avg: in and out: moving average of the gradient's square
            momentum_buffer: in and out; None exactly when momentum is 0
            grad_avg: in and out: moving average of the gradient; None exactly without centered
        """
        lib.rms_prop_step(
            self,
            rms_prop._struct(),
            view("grad", grad),
            view_mut("param", param),
            view_mut("square_avg", square_avg),
            optional_view_mut("momentum_buffer", momentum_buffer),
            optional_view_mut("grad_avg", grad_avg),
        )

"""What the backward pass computes where there is no derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from . import _abi
from ._record import Choice, options


class KinkKind(Choice):
    """Which kink a choice is about."""

    MAXPOOL = _abi.TB_KINK_MAXPOOL
    RELU = _abi.TB_KINK_RELU
    NORM_POOL = _abi.TB_KINK_NORM_POOL


class Jacobian(Choice):
    """What the backward pass of MaxPool gives to the set A of the k elements of a window that attain its maximum, in
    row-major order, where g is the upstream gradient."""

    NATIVE = _abi.TB_JACOBIAN_NATIVE
    """g to the first of A: PyTorch's max_pool2d."""
    LAST = _abi.TB_JACOBIAN_LAST
    """g to the last of A."""
    MINIMAL = _abi.TB_JACOBIAN_MINIMAL
    """g / k to each of A: the Clarke Jacobian of least norm."""
    BETA = _abi.TB_JACOBIAN_BETA
    """beta * minimal + (1 - beta) * native."""
    RANDOM = _abi.TB_JACOBIAN_RANDOM
    """g to one of A, drawn uniformly from a seed: repeatable."""
    FIRST_COLUMN = _abi.TB_JACOBIAN_FIRST_COLUMN
    """g to the first of A in column-major order: mlpack."""
    ALL = _abi.TB_JACOBIAN_ALL
    """g to each of A, which is no Jacobian of the maximum: Theano."""
    SCALED = _abi.TB_JACOBIAN_SCALED
    """g k / n to each of A, n the elements of a window, also where k = 1, which is no Jacobian of the maximum:
    candle."""


class Composition(Choice):
    """How `Jacobian.BETA` is evaluated in floating point."""

    EXACT = _abi.TB_COMPOSITION_EXACT
    """The forward is the maximum; the backward multiplies g once by a coefficient formed in float64."""
    SPLIT = _abi.TB_COMPOSITION_SPLIT
    """The forward is the maximum; the backward is that of the published program."""
    COUPLED = _abi.TB_COMPOSITION_COUPLED
    """The published program, operation by operation in the storage type: its forward is not the maximum."""
    FORWARD = _abi.TB_COMPOSITION_FORWARD
    """The forward of the published program, the backward of `Jacobian.NATIVE`."""


@dataclass(frozen=True)
class MaxPoolKink:
    """The choice at ties of a max pooling.

    `MaxPoolKink("beta", beta=100.0, composition="split")`; names stand for members of the enumerations.
    """

    jacobian: Jacobian | str = Jacobian.NATIVE
    beta: float = 0.0
    """Counts with `Jacobian.BETA`; any number within the range of float32. 0 is native, 1 is minimal."""
    composition: Composition | str = Composition.EXACT
    """Counts with `Jacobian.BETA`."""
    seed: int = 0
    """Counts with `Jacobian.RANDOM`."""
    _kind: ClassVar[KinkKind] = KinkKind.MAXPOOL

    def __post_init__(self) -> None:
        object.__setattr__(self, "jacobian", Jacobian(self.jacobian))
        object.__setattr__(self, "composition", Composition(self.composition))

    def _fill(self, struct: Any) -> None:
        struct.jacobian = Jacobian(self.jacobian).value
        struct.composition = Composition(self.composition).value
        struct.beta, struct.seed = self.beta, self.seed


@dataclass(frozen=True)
class ReluKink:
    """The choice of ReLU at 0."""

    alpha: float = 0.0
    """The derivative at 0; any number within the range of float32."""
    _kind: ClassVar[KinkKind] = KinkKind.RELU

    def _fill(self, struct: Any) -> None:
        struct.alpha = self.alpha


@dataclass(frozen=True)
class NormPoolKink:
    """The choice on windows of zeros of a norm pooling."""

    at_zero: float = 0.0
    """What each element gets of g; any number within the range of float32."""
    _kind: ClassVar[KinkKind] = KinkKind.NORM_POOL

    def _fill(self, struct: Any) -> None:
        struct.at_zero = self.at_zero


Kink: TypeAlias = "MaxPoolKink | ReluKink | NormPoolKink"
"""The choice made at one layer."""


def kink_struct(kink: Kink) -> Any:
    """A `tb_kink`."""
    if not isinstance(kink, (MaxPoolKink, ReluKink, NormPoolKink)):
        raise TypeError(f"kink: expected a MaxPoolKink, ReluKink or NormPoolKink, got {type(kink).__name__}")
    struct = options(_abi.tb_kink, "kink")
    struct.kind = kink._kind.value
    kink._fill(struct)
    return struct


def optional_kink(kink: Kink | None) -> Any:
    """A `tb_kink`; NULL, what PyTorch computes, for None."""
    return None if kink is None else kink_struct(kink)


def kink_of(struct: Any) -> Kink:
    """The choice that a `tb_kink` describes."""
    kind = KinkKind(struct.kind)
    if kind is KinkKind.MAXPOOL:
        return MaxPoolKink(
            Jacobian(struct.jacobian), struct.beta, Composition(struct.composition), struct.seed
        )
    return ReluKink(struct.alpha) if kind is KinkKind.RELU else NormPoolKink(struct.at_zero)

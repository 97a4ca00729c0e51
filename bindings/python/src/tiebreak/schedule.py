"""Learning rates by epoch, with the values of PyTorch's `torch.optim.lr_scheduler`."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass

from . import _abi
from ._library import lib
from ._record import Choice, options


class ScheduleKind(Choice):
    """How a learning rate depends on the epoch."""

    CONSTANT = _abi.TB_SCHEDULE_CONSTANT
    """The same throughout."""
    STEP = _abi.TB_SCHEDULE_STEP
    """Times gamma every step_size epochs."""
    MULTI_STEP = _abi.TB_SCHEDULE_MULTI_STEP
    """Times gamma at each milestone."""
    EXPONENTIAL = _abi.TB_SCHEDULE_EXPONENTIAL
    """Times gamma every epoch."""
    COSINE = _abi.TB_SCHEDULE_COSINE
    """eta_min + (base - eta_min) (1 + cos(pi epoch / t_max)) / 2."""


@dataclass(frozen=True)
class Schedule:
    """A schedule: `Schedule("step", step_size=10)`."""

    kind: ScheduleKind | str = ScheduleKind.CONSTANT
    gamma: float = 0.1
    """Step, multi-step, exponential: factor of each change."""
    step_size: int = 1
    """Step: epochs between two changes."""
    milestones: Sequence[int] = ()
    """Multi-step: epochs at which the rate changes."""
    t_max: int = 1
    """Cosine: epochs from the base rate down to eta_min. It rises again after that."""
    eta_min: float = 0.0
    """Cosine: the lowest rate."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ScheduleKind(self.kind))

    def learning_rate(self, base: float, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0, for `Optimizer.learning_rate`; `base` is that of epoch 0."""
        struct = options(_abi.tb_schedule, "schedule")
        struct.kind = ScheduleKind(self.kind).value
        struct.gamma, struct.step_size = self.gamma, self.step_size
        struct.milestones = (c.c_uint64 * len(self.milestones))(*self.milestones)
        struct.milestone_count = len(self.milestones)
        struct.t_max, struct.eta_min = self.t_max, self.eta_min
        rate = c.c_double()
        lib.schedule_learning_rate(struct, base, epoch, c.byref(rate))
        return rate.value

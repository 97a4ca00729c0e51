"""The GPU adapters of this machine."""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass

from . import _abi
from ._library import lib
from ._record import Choice, Properties, array


class AdapterKind(Choice):
    """What an adapter is."""

    OTHER = _abi.TB_ADAPTER_OTHER
    """The driver does not say."""
    DISCRETE = _abi.TB_ADAPTER_DISCRETE
    """A GPU with memory of its own."""
    INTEGRATED = _abi.TB_ADAPTER_INTEGRATED
    """A GPU that shares the host's memory."""
    VIRTUAL = _abi.TB_ADAPTER_VIRTUAL
    """A GPU given to a virtual machine."""
    SOFTWARE = _abi.TB_ADAPTER_SOFTWARE
    """A driver that computes on the CPU, no hardware."""


@dataclass(frozen=True)
class AdapterProperties(Properties):
    """A GPU, or a driver that imitates one."""

    name: str
    """What `adapter` of `Engine` chooses by."""
    driver: str
    """Driver and version."""
    kind: AdapterKind
    f16: bool
    """True where f16 runs on it."""
    timestamps: bool
    """True where it times kernels, which `Optimizer.profile_step` needs."""
    largest_buffer: int
    """Bytes of the largest buffer."""
    largest_binding: int
    """Bytes that a kernel can reach of one buffer: the largest tensor has the smaller of both."""
    unusable: str
    """Why an engine cannot use it; empty where it can."""


def adapters() -> list[AdapterProperties]:
    """The GPU adapters that there are; none in a build without a GPU engine."""
    count = c.c_size_t()
    lib.adapters(None, 0, c.byref(count))
    found = array(_abi.tb_adapter_properties, count.value)
    lib.adapters(found if count.value else None, len(found), c.byref(count))
    return [AdapterProperties._of(struct) for struct in found[: count.value]]

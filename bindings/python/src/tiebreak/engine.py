"""Engines: what runs operators and networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import _abi, _callback
from ._handle import Handle
from ._library import lib
from ._record import Choice, Properties, filled, options, text
from .operators import Operators
from .step import Steps


class Device(Choice):
    """Where an engine computes."""

    AUTO = _abi.TB_DEVICE_AUTO
    """A hardware GPU where there is one, else the CPU."""
    CPU = _abi.TB_DEVICE_CPU
    """f16, f32 and f64."""
    GPU = _abi.TB_DEVICE_GPU
    """A GPU, a software one too: f16 (where it can) and f32; f64 stays on the CPU."""


class LogLevel(Choice):
    """How serious a log message is."""

    WARNING = _abi.TB_LOG_LEVEL_WARNING
    """Something was done otherwise than asked, or failed."""
    INFO = _abi.TB_LOG_LEVEL_INFO
    """What was chosen."""


@dataclass(frozen=True)
class EngineProperties(Properties):
    """What an engine computes with."""

    gpu: bool
    """True where a GPU is in use."""
    gpu_f16: bool
    """True where f16 runs on the GPU."""
    threads: int
    """Threads of the CPU engine."""
    name: str
    """Name of the GPU adapter, or "cpu"."""
    driver: str
    """Driver and version of the GPU, or the CPU's architecture."""


@dataclass(frozen=True)
class MemoryUse(Properties):
    """Bytes that an engine holds for all its networks and calls."""

    host_bytes: int
    """In host memory, now: what the CPU computes with."""
    host_peak: int
    """The most so far."""
    device_bytes: int
    """On the GPU, now; 0 where there is none."""
    device_peak: int
    """The most so far."""


class Engine(Operators, Steps, Handle):
    """Runs networks, and operators on arrays.

    Calls on one engine run one after the other, from whatever thread; Python's other threads go on meanwhile.
    """

    _kind = "engine"

    def __init__(
        self,
        device: Device | str = Device.AUTO,
        *,
        threads: int = 0,
        adapter: str | None = None,
        log: Callable[[LogLevel, str], object] | None = None,
        memory_limit: int = 0,
    ) -> None:
        """Creates an engine.

        Args:
            device: where it computes: "auto", "cpu" or "gpu".
            threads: of the CPU engine; 0 takes all cores. Results do not depend on it.
            adapter: part of the name of the GPU adapter to take, in any case; None takes the best.
            log: receives messages, from any thread, by one at a time; must not call the engine. What it raises is
                raised by the call that it interrupted.
            memory_limit: bytes that one network may hold; 0: on the CPU what the system has available, on a GPU
                what the driver gives.

        Raises:
            Error: `Status.UNSUPPORTED` where a GPU was asked for and there is none.
        """
        choice = options(_abi.tb_engine_options, "engine_options")
        choice.device = Device(device).value
        choice.threads, choice.memory_limit = threads, memory_limit
        choice.adapter = text(adapter)
        if log is not None:
            tell = log

            def write(level: int, message: bytes, _: object) -> None:
                tell(LogLevel(level), message.decode("utf-8", "replace"))

            # Must live as long as the engine, or a network on it, which holds this object.
            self._log = _abi.tb_log_callback(_callback.guarded(write))
            choice.log = self._log
        super().__init__(lib.engine_create, choice)

    @property
    def info(self) -> EngineProperties:
        """What it computes with."""
        return EngineProperties._of(filled(_abi.tb_engine_properties, lib.engine_info, self))

    @property
    def memory(self) -> MemoryUse:
        """What it holds."""
        return MemoryUse._of(filled(_abi.tb_memory_use, lib.engine_memory, self))

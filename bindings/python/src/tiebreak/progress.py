"""Functions that hear how far long work has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from . import _abi, _callback

Progress: TypeAlias = "Callable[[int, int], object]"
"""`progress(done, total)`, in the unit that the method says. True stops the work with `Status.CANCELLED`; what it
raises stops the work too and comes out of the call. It may use the library."""


def listener(progress: Progress | None) -> Any:
    """A `tb_progress_callback`. There is always one, so that Ctrl-C can stop the work between two steps."""

    def hear(done: int, total: int, _: object) -> int:
        return progress is not None and progress(done, total) is True

    return _abi.tb_progress_callback(_callback.guarded(hear, failed=1))

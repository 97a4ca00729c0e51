"""Python functions that the library calls: their exceptions wait until the library has returned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

# An exception cannot pass through the library, and the interpreter would drop it, a KeyboardInterrupt too.
_waiting = threading.local()
_started_here = threading.local()


def guarded(function: Callable[..., Any], failed: object = None) -> Callable[..., Any]:
    """`function` for the library to call, which gets `failed` where it raises.

    What it raises is raised by the call that it interrupted, or, on a thread of the library, goes to
    `sys.unraisablehook`.
    """

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BaseException as error:
            if getattr(_started_here, "depth", 0) == 0:
                raise
            if getattr(_waiting, "error", None) is None:
                _waiting.error = error
        return failed

    return call


def enter() -> None:
    """A call of the library begins on this thread."""
    _started_here.depth = getattr(_started_here, "depth", 0) + 1


def leave() -> None:
    """It has returned: raises what a callback raised in it."""
    _started_here.depth -= 1
    error = getattr(_waiting, "error", None)
    if error is not None:
        _waiting.error = None
        raise error

"""Functions that hear how far long work has come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from . import _abi, _callback

Progress: TypeAlias = "Callable[[int, int], object]"
"""`progress(done, total)`, in the unit that the method says. True stops the work with `Status.CANCELLED`; what it
raises stops the work too and comes out of the call. It may use the library."""


@contextmanager
def listening(progress: Progress | None) -> Iterator[Any]:
    """A `tb_progress_callback` for a call in the block. There is always one, so that Ctrl-C can stop the work.

    Meanwhile a signal's handler waits for the callback: the interpreter would run it as the callback begins, where what
    it raises is lost.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    waiting: list[tuple[int, Any]] = []

    def hear(done: int, total: int, _: object) -> int:
        if waiting and callable(handler):
            handler(*waiting.pop())
        return progress is not None and progress(done, total) is True

    if callable(handler):
        signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield _abi.tb_progress_callback(_callback.guarded(hear, failed=1))
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
    if waiting and callable(handler):
        handler(*waiting.pop())

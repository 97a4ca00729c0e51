"""Objects of the library and their end."""

from __future__ import annotations

import ctypes as c
import os
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from ._library import lib

Self = TypeVar("Self", bound="Handle")


def _free(function: str, token: int, process: int) -> None:
    # A forked child has the parent's tokens without the threads behind them.
    if os.getpid() == process:
        getattr(lib, function)(token)


class Handle:
    """An object of the library: freed by `close`, at the end of a `with`, or with the last reference.

    Whatever else needs it keeps it alive inside of the library. A call on a closed one is an `Error` with
    `Status.INVALID_HANDLE`. May be used from any thread.
    """

    _kind: ClassVar[str]

    def __init__(self, create: Callable[..., None], *arguments: Any) -> None:
        """`create(*arguments, out)` writes the token, whatever it raises after that."""
        token = c.c_void_p()
        try:
            create(*arguments, c.byref(token))
        finally:
            self._own(token)

    @classmethod
    def _adopt(cls: type[Self], token: c.c_void_p) -> Self:
        """The object of a token that a call has written; of 0 where it failed."""
        handle = cls.__new__(cls)
        handle._own(token)
        return handle

    def _own(self, token: c.c_void_p) -> None:
        # What ctypes passes in place of the object.
        self._as_parameter_ = token
        self._end = weakref.finalize(self, _free, f"{self._kind}_free", token.value or 0, os.getpid())

    def close(self) -> None:
        """Frees it. Closing twice is fine."""
        self._end()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return not self._end.alive

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # One object of the library has one owner: copies of what holds it share it.
    def __copy__(self: Self) -> Self:
        return self

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} lives in this process and cannot be pickled")

"""The shared library: found, loaded, and its functions with their types."""

from __future__ import annotations

import ctypes as c
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import _abi, _callback
from .status import Error, Status

NAME = {"darwin": "libtiebreak.dylib", "win32": "tiebreak.dll"}.get(sys.platform, "libtiebreak.so")


def _path() -> str:
    """TIEBREAK_LIBRARY, else the library in this package."""
    chosen = os.environ.get("TIEBREAK_LIBRARY")
    path = Path(chosen) if chosen else Path(__file__).with_name(NAME)
    if not path.is_file():
        hint = "set TIEBREAK_LIBRARY to the shared library of tiebreak, or install the wheel, which holds it"
        raise ImportError(f"no library {path}: {hint}")
    return str(path)


def _checked(function: Callable[..., int], last_error: Callable[[], bytes]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        _callback.enter()
        try:
            status = function(*arguments)
        finally:
            _callback.leave()
        if status != _abi.TB_STATUS_OK:
            raise Error(Status(status), last_error().decode("utf-8", "replace"))

    return call


def _load(path: str) -> SimpleNamespace:
    """The functions of the header without their prefix `tb_`; one that fails raises `Error`."""
    library = c.CDLL(path)
    # A library without this function is none of ours.
    try:
        library.tb_abi_version.restype = c.c_uint32
        version = library.tb_abi_version()
    except AttributeError as error:
        raise ImportError(f"{path} is no library of tiebreak: {error}") from None
    if version != _abi.TB_ABI_VERSION:
        raise ImportError(f"{path}: expected binary interface {_abi.TB_ABI_VERSION}, got {version}")
    functions: dict[str, Any] = {}
    for name, (result, arguments) in _abi.FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{path} is older than this package: it has no {name}") from None
        function.restype, function.argtypes = result, arguments
        status = result is _abi.tb_status
        functions[name.removeprefix("tb_")] = (
            _checked(function, library.tb_last_error_message) if status else function
        )
    return SimpleNamespace(**functions)


lib = _load(_path())


def version() -> str:
    """Version of the library in use, such as "0.1.0"."""
    text: bytes = lib.version_string()
    return text.decode()


def abi_version() -> int:
    """Version of its binary interface."""
    number: int = lib.abi_version()
    return number


def status_name(status: Status) -> str:
    """The C name of a status, such as "TB_STATUS_SHAPE_MISMATCH"."""
    name: bytes = lib.status_name(status.value)
    return name.decode()

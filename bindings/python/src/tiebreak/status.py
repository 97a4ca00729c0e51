"""Statuses and errors of the library."""

from __future__ import annotations

from enum import Enum

from . import _abi


class Status(Enum):
    """Why a call failed. The numbers are those of the C ABI, and frozen."""

    NULL_POINTER = _abi.TB_STATUS_NULL_POINTER
    INVALID_HANDLE = _abi.TB_STATUS_INVALID_HANDLE
    INVALID_ARGUMENT = _abi.TB_STATUS_INVALID_ARGUMENT
    SHAPE_MISMATCH = _abi.TB_STATUS_SHAPE_MISMATCH
    DTYPE_MISMATCH = _abi.TB_STATUS_DTYPE_MISMATCH
    NOT_FOUND = _abi.TB_STATUS_NOT_FOUND
    IO = _abi.TB_STATUS_IO
    FORMAT = _abi.TB_STATUS_FORMAT
    UNSUPPORTED = _abi.TB_STATUS_UNSUPPORTED
    DEVICE = _abi.TB_STATUS_DEVICE
    DEVICE_LOST = _abi.TB_STATUS_DEVICE_LOST
    OUT_OF_MEMORY = _abi.TB_STATUS_OUT_OF_MEMORY
    CANCELLED = _abi.TB_STATUS_CANCELLED
    PANIC = _abi.TB_STATUS_PANIC


class Error(Exception):
    """A call failed. Its text names the function, the argument, what was expected and what came."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The reason, to be compared with."""

    def __reduce__(self) -> tuple[type[Error], tuple[Status, str]]:
        return type(self), (self.status, str(self))

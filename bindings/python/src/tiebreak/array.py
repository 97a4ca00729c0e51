"""Arrays at the border: NumPy's own memory, or any array in host memory that speaks DLPack."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _abi
from ._record import Choice
from .status import Error, Status


class SupportsDLPack(Protocol):
    """An array of another library: PyTorch, JAX ..."""

    def __dlpack__(self, *, stream: None = None) -> Any: ...

    def __dlpack_device__(self) -> Any: ...


Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of float16, float32 or float64 (uint8 for tie sets), C-contiguous and aligned."""

ArrayLike: TypeAlias = "npt.NDArray[Any] | SupportsDLPack"
"""What is accepted for an `Array`: it, or an array in host memory with `__dlpack__`. Nothing is ever copied."""

Labels: TypeAlias = "Sequence[int] | npt.NDArray[Any] | SupportsDLPack"
"""N class numbers: any integers; copied where they are not int64."""


class DType(Choice):
    """Type of the elements of a tensor."""

    F16 = _abi.TB_DTYPE_F16
    F32 = _abi.TB_DTYPE_F32
    F64 = _abi.TB_DTYPE_F64
    BYTE = _abi.TB_DTYPE_BYTE
    """Of tie sets in a `Tensor`, nothing else."""

    @property
    def numpy(self) -> np.dtype[Any]:
        """The same as NumPy's."""
        return _NUMPY[self]

    @classmethod
    def of(cls, dtype: Any) -> DType:
        """That of a NumPy dtype, or of a name: "f16" as well as "float16"."""
        for member, known in _NUMPY.items():
            if dtype == known or dtype == member.name.lower():
                return member
        raise Error(Status.DTYPE_MISMATCH, f"dtype: expected float16, float32, float64 or uint8, got {dtype}")


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.BYTE: np.dtype(np.uint8),
}
_NUMBERS: dict[Any, int] = {
    dtype: member.value for member, dtype in _NUMPY.items() if member is not DType.BYTE
}


def as_array(name: str, value: Any) -> Array:
    """`value` seen as a NumPy array, without a copy."""
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "__dlpack__"):
        raise TypeError(f"{name}: expected a NumPy array or one with __dlpack__, got {type(value).__name__}")
    try:
        return np.from_dlpack(value)
    except Exception as error:
        raise TypeError(f"{name}: {type(value).__name__} does not give its memory: {error}") from error


def _check_layout(name: str, array: Array) -> None:
    if not (array.flags.c_contiguous and array.flags.aligned):
        fault = "strides" if not array.flags.c_contiguous else "an address"
        raise Error(
            Status.INVALID_ARGUMENT,
            f"{name}: expected a C-contiguous, aligned array, got {fault} {array.strides} of shape {array.shape}; "
            "numpy.ascontiguousarray makes a copy",
        )


def _check_writable(name: str, array: Array) -> None:
    if not array.flags.writeable:
        raise Error(Status.INVALID_ARGUMENT, f"{name}: expected a writable array, got a read-only one")


def _dtype(name: str, array: Array, *, byte: bool) -> int:
    if byte and array.dtype == np.uint8:
        return DType.BYTE.value
    number = _NUMBERS.get(array.dtype)
    # The same number of bytes in another order is no NumPy equal: '>f4' is not in the table.
    if number is None:
        raise Error(Status.DTYPE_MISMATCH, f"{name}: expected float16, float32 or float64, got {array.dtype}")
    return number


def _fill(struct: Any, name: str, array: Array, *, byte: bool) -> Any:
    _check_layout(name, array)
    struct.dtype = _dtype(name, array, byte=byte)
    struct.data = array.ctypes.data
    struct.shape = (c.c_int64 * array.ndim)(*array.shape)
    struct.rank = array.ndim
    # The memory must outlive the struct.
    struct.array = array
    return struct


def view(name: str, value: ArrayLike, *, byte: bool = False) -> Any:
    """A `tb_view` of an array that the library reads; `byte`: also of uint8."""
    return _fill(_abi.tb_view(), name, as_array(name, value), byte=byte)


def view_mut(name: str, value: ArrayLike, *, byte: bool = False) -> Any:
    """A `tb_view_mut` of an array that the library writes."""
    array = as_array(name, value)
    _check_writable(name, array)
    return _fill(_abi.tb_view_mut(), name, array, byte=byte)


def shape4(name: str, array: Any) -> tuple[int, int, int, int]:
    """The shape of an array that must have four dimensions."""
    if array.ndim != 4:
        raise Error(Status.SHAPE_MISMATCH, f"{name}: expected 4 dimensions, got shape {list(array.shape)}")
    n, ch, h, w = array.shape
    return n, ch, h, w


def byte_pointer(name: str, array: Array, *, write: bool = False) -> Any:
    """The address of an array of bytes."""
    if array.dtype != np.uint8:
        raise Error(Status.DTYPE_MISMATCH, f"{name}: expected uint8, got {array.dtype}")
    _check_layout(name, array)
    if write:
        _check_writable(name, array)
    return array.ctypes.data_as(c.POINTER(c.c_uint8))


def labels(value: Labels) -> tuple[Any, int]:
    """Address and number of class numbers."""
    array = as_array("labels", value) if hasattr(value, "__dlpack__") else np.asarray(value)
    if array.ndim != 1 or not (array.dtype.kind in "iu" or array.size == 0):
        got = f"{array.dtype} of shape {list(array.shape)}"
        raise Error(Status.INVALID_ARGUMENT, f"labels: expected N integers, got {got}")
    array = np.ascontiguousarray(array, np.int64)
    return array.ctypes.data_as(c.POINTER(c.c_int64)), array.size

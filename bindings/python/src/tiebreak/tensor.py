"""Tensors in memory of an engine, and arrays of either kind as arguments of its operators."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _abi, _capsule, array
from ._handle import Handle
from ._library import lib
from ._record import filled
from .array import Array, ArrayLike, DType

if TYPE_CHECKING:
    from .engine import Engine


class Tensor(Handle):
    """A tensor in memory of an engine, dense and row-major: on a GPU the device's, on the CPU host memory.

    Operators of that engine take it in place of a NumPy array and use it where it lies; an operator whose first array
    is a tensor gives tensors. What else takes an array copies it. On the CPU it speaks DLPack:
    `numpy.from_dlpack(tensor)`, `torch.from_dlpack(tensor)` see its memory and keep it alive.
    """

    _kind = "tensor"

    def __init__(self, engine: Engine, shape: Sequence[int], dtype: DType | str | npt.DTypeLike) -> None:
        """A tensor of zeros.

        Args:
            engine: on a GPU engine f64, and f16 where the GPU has none, lie in host memory, where their operators run;
                `gpu` says so
            shape: any
            dtype: of the elements; `DType.BYTE` for tie sets
        """
        number = (dtype if isinstance(dtype, DType) else DType.of(dtype)).value
        super().__init__(lib.tensor_create, engine, number, (c.c_int64 * len(shape))(*shape), len(shape))
        self._engine = engine
        info = filled(_abi.tb_tensor_properties, lib.tensor_info, self)
        self.shape: tuple[int, ...] = tuple(info.shape[: info.rank])
        """Its dimensions, outermost first."""
        self.dtype: np.dtype[Any] = DType(info.dtype).numpy
        """Type of its elements, as NumPy's."""
        self.gpu = bool(info.gpu)
        """True where it lies on a GPU."""

    @classmethod
    def of(cls, engine: Engine, values: ArrayLike) -> Tensor:
        """A copy of an array."""
        host = array.as_array("values", values)
        tensor = cls(engine, host.shape, host.dtype)
        tensor.write(host)
        return tensor

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def write(self, values: ArrayLike) -> None:
        """Copies an array of the tensor's shape and dtype into it."""
        lib.tensor_write(self, array.view("values", values, byte=True))

    def read(self, values: Array | None = None) -> Array:
        """A copy as a NumPy array, after everything that operators have written to it."""
        if values is None:
            values = np.empty(self.shape, self.dtype)
        lib.tensor_read(self, array.view_mut("values", values, byte=True))
        return values

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self.dtype}, gpu={self.gpu})"

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Its memory, shared, for `from_dlpack` of other libraries; a tensor on a GPU is an `Error`."""
        if copy or (dl_device or self.__dlpack_device__()) != self.__dlpack_device__():
            raise BufferError("a tensor shares its memory where it lies; `read` makes a copy")
        versioned = max_version is not None and max_version[0] >= 1
        managed = c.c_void_p()
        lib.dlpack_export(view("tensor", self), versioned, c.byref(managed))
        return _capsule.new(managed.value or 0, versioned=versioned)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's number of host memory."""
        return 1, 0


Operand: TypeAlias = "ArrayLike | Tensor"
"""An array that an operator reads: in host memory, or a tensor of the engine."""

Result: TypeAlias = Any
"""What an operator gives: a NumPy array, or a `Tensor` where its first array is one."""


def as_operand(name: str, value: Operand) -> Array | Tensor:
    """A tensor, or `value` seen as a NumPy array."""
    return value if isinstance(value, Tensor) else array.as_array(name, value)


def _tensor(struct: Any, tensor: Tensor) -> Any:
    struct.dtype, struct.data = _abi.TB_DTYPE_TENSOR, tensor._as_parameter_.value
    struct.tensor = tensor
    return struct


def view(name: str, value: Operand) -> Any:
    """A `tb_view` of what the library reads."""
    return _tensor(_abi.tb_view(), value) if isinstance(value, Tensor) else array.view(name, value)


def optional_view(name: str, value: Operand | None) -> Any:
    """A `tb_view`, or NULL."""
    return None if value is None else view(name, value)


def view_mut(name: str, value: Operand) -> Any:
    """A `tb_view_mut` of what the library writes."""
    return _tensor(_abi.tb_view_mut(), value) if isinstance(value, Tensor) else array.view_mut(name, value)


def optional_view_mut(name: str, value: Operand | None) -> Any:
    """A `tb_view_mut`, or NULL."""
    return None if value is None else view_mut(name, value)


def output(
    name: str, value: Operand | None, shape: Sequence[int], like: Any, dtype: npt.DTypeLike | None = None
) -> Any:
    """The caller's array for a result, or a new one of the kind of `like`. The library checks the caller's."""
    if value is not None:
        return as_operand(name, value)
    dtype = np.dtype(like.dtype if dtype is None else dtype)
    return Tensor(like._engine, shape, dtype) if isinstance(like, Tensor) else np.empty(shape, dtype)


def ties_arguments(name: str, value: Array | Tensor, *, write: bool = False) -> tuple[Any, int]:
    """Address and number of bytes of tie sets."""
    if isinstance(value, Tensor):
        return c.cast(value._as_parameter_, c.POINTER(c.c_uint8)), _abi.TB_TIES_TENSOR
    return array.byte_pointer(name, value, write=write), value.nbytes

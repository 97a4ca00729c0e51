"""C structs as Python's data: options on the way in, properties on the way out."""

from __future__ import annotations

import ctypes as c
import functools
from collections.abc import Callable, Iterable
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar, get_type_hints

from ._library import lib

Record = TypeVar("Record", bound="Properties")


class Choice(Enum):
    """An enumeration whose members can also be given by name: `Jacobian("minimal")`."""

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        names = {member.name.lower(): member for member in cls}
        if isinstance(value, str) and value.lower() in names:
            return names[value.lower()]
        raise ValueError(f"{cls.__name__}: expected one of {', '.join(names)}, got {value!r}")


def options(kind: type[Any], name: str, *arguments: Any) -> Any:
    """The struct `kind` with the defaults of `tb_<name>_init`."""
    struct = kind()
    getattr(lib, f"{name}_init")(c.byref(struct), c.sizeof(struct), *arguments)
    return struct


def text(value: str | None) -> bytes | None:
    """A string as C has it."""
    return None if value is None else value.encode()


def pair(value: int | Iterable[int]) -> tuple[int, int]:
    """Height and width, from one number for both or from two."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


class Properties:
    """A dataclass with the fields of a struct that the library fills; a keyword of Python has `_` behind it."""

    @classmethod
    def _of(cls: type[Record], struct: Any, **more: Any) -> Record:
        kind: Any = cls
        values = {
            name: convert(getattr(struct, name.removesuffix("_")))
            for name, convert in _converters(kind)
            if name not in more
        }
        return cls(**values, **more)


@functools.cache
def _converters(cls: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    hints = get_type_hints(cls)
    known: dict[Any, Callable[[Any], Any]] = {
        bool: bool,
        int: int,
        float: float,
        str: lambda value: value.decode("utf-8", "replace"),
    }
    return [(field.name, known.get(hints[field.name]) or _other(hints[field.name])) for field in fields(cls)]


def _other(hint: Any) -> Callable[[Any], Any]:
    return hint if isinstance(hint, type) and issubclass(hint, Enum) else tuple


def filled(kind: type[Any], function: Callable[..., None], *arguments: Any) -> Any:
    """A struct `kind` that `function(*arguments, out)` fills."""
    struct = kind()
    struct.struct_size = c.sizeof(struct)
    function(*arguments, c.byref(struct))
    return struct


def array(kind: type[Any], count: int) -> Any:
    """`count` structs `kind` for the library to fill; the first one speaks for all."""
    structs = (kind * count)()
    if count:
        structs[0].struct_size = c.sizeof(kind)
    return structs

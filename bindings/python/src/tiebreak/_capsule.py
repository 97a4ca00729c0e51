"""Capsules of DLPack: how Python hands a DLPack struct from one library to another."""

from __future__ import annotations

import ctypes as c
from typing import Any

_api = c.pythonapi
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = c.py_object, [c.c_void_p, c.c_char_p, c.c_void_p]
_is_valid = _api.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = c.c_int, [c.c_void_p, c.c_char_p]
_pointer = _api.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = c.c_void_p, [c.c_void_p, c.c_char_p]

_Deleter = c.CFUNCTYPE(None, c.c_void_p)


class _DLTensor(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("device", c.c_int32 * 2),
        ("ndim", c.c_int32),
        ("dtype", c.c_uint32),
        ("shape", c.c_void_p),
        ("strides", c.c_void_p),
        ("byte_offset", c.c_uint64),
    ]


class _Legacy(c.Structure):
    _fields_ = [("tensor", _DLTensor), ("context", c.c_void_p), ("deleter", _Deleter)]


class _Versioned(c.Structure):
    _fields_ = [("version", c.c_uint32 * 2), ("context", c.c_void_p), ("deleter", _Deleter)]


# The names must outlive the capsules.
_NAMES = (b"dltensor", b"dltensor_versioned")
_KINDS = dict(zip(_NAMES, (_Legacy, _Versioned), strict=True))


def _unused(capsule: int) -> None:
    # A consumer renames the capsule and calls the deleter itself.
    for name, kind in _KINDS.items():
        if _is_valid(capsule, name):
            managed = _pointer(capsule, name)
            kind.from_address(managed).deleter(managed)


_destructor = c.PYFUNCTYPE(None, c.c_void_p)(_unused)


def new(managed: int, *, versioned: bool) -> Any:
    """A capsule around the struct at this address; one that nobody consumes frees it."""
    return _new(managed, _NAMES[versioned], c.cast(_destructor, c.c_void_p))

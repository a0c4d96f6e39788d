"""Reads matrices of other libraries by the buffer protocol or DLPack. Imports none of them."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any, NoReturn

from ._error import Error

# What `struct` calls floating numbers.
FORMATS = {"d": "float64", "f": "float32", "e": "float16"}
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

# DLPack's codes of dtypes and of places that this process can read.
DTYPES = {(2, 64): "float64", (2, 32): "float32", (2, 16): "float16", (4, 16): "bfloat16"}
HOST_PLACES = {1, 3}


def read_matrix(array: Any, what: str) -> tuple[str, int, int, bytes]:
    """(dtype, rows, columns, bytes) of an array with two dimensions, whatever its strides are."""
    found = of_buffer(array, what) or of_dlpack(array, what)
    if found is None:
        raise Error(
            "array",
            f"{what}: a `{type(array).__name__}` is no array",
            "numpy arrays, torch tensors and whatever else has the buffer protocol or DLPack are taken; "
            "`numpy.asarray(…, dtype='float32')` makes one of a list",
        )
    dtype, shape, data = found
    if len(shape) != 2 or 0 in shape:
        raise Error(
            "array",
            f"{what}: has shape {list(shape)}, expected [rows, columns]",
            f"`{what}.reshape(len({what}), -1)` makes a matrix of the weight of a convolution",
        )
    return dtype, shape[0], shape[1], data


def of_buffer(array: Any, what: str) -> tuple[str, tuple[int, ...], bytes] | None:
    """What the buffer protocol says, or None where there is none."""
    is_bfloat16 = str(getattr(array, "dtype", "")) == "bfloat16"
    try:
        # Buffers have no name for bfloat16; its bits do.
        view = memoryview(array.view("uint16") if is_bfloat16 else array)
    except (TypeError, ValueError, BufferError, RuntimeError, AttributeError):
        return None
    order, letter = view.format[:-1], view.format[-1:]
    dtype = "bfloat16" if is_bfloat16 else FORMATS.get(letter)
    if dtype is None or order not in ("", "@", "=", "<" if sys.byteorder == "little" else ">"):
        wrong_dtype(what, str(getattr(array, "dtype", f"numbers of format `{view.format}`")))
    return dtype, tuple(view.shape or ()), view.tobytes()


def wrong_dtype(what: str, found: str) -> NoReturn:
    raise Error(
        "array",
        f"{what}: holds {found}, expected float64, float32, float16 or bfloat16",
        f"`{what}.astype('float32')` of numpy, `{what}.float()` of torch",
    )


class Place(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("number", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, as versions before 1.0 hand it over."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("place", Place),
        ("dimensions", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def of_dlpack(array: Any, what: str) -> tuple[str, tuple[int, ...], bytes] | None:
    """What DLPack says, or None where there is none."""
    if not hasattr(array, "__dlpack__"):
        return None
    # A parameter of torch hands itself over only without its gradient.
    array = array.detach() if hasattr(array, "detach") else array
    try:
        place = int(array.__dlpack_device__()[0])
    except (BufferError, RuntimeError, TypeError, ValueError):
        place = None
    if place not in HOST_PLACES:
        raise Error(
            "array",
            f"{what}: lies in the memory of a device",
            f"`{what}.cpu()` of torch brings it here",
        )
    try:
        capsule = array.__dlpack__()
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        wrong_dtype(what, f"numbers that cannot be handed over ({error})")
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = Tensor.from_address(pointer_of(capsule, b"dltensor"))
    dtype = DTYPES.get((tensor.code, tensor.bits))
    if dtype is None or tensor.lanes != 1:
        wrong_dtype(what, str(getattr(array, "dtype", "other numbers")))
    shape = tuple(tensor.shape[: tensor.dimensions])
    if len(shape) != 2 or 0 in shape:
        return dtype, shape, b""
    strides = tuple(tensor.strides[:2]) if tensor.strides else (shape[1], 1)
    # The capsule owns the memory until it goes.
    return dtype, shape, gathered(tensor.data + tensor.byte_offset, shape, strides, BYTES[dtype])


def gathered(address: int, shape: tuple[int, int], strides: tuple[int, int], width: int) -> bytes:
    """The bytes of a matrix, row after row."""
    rows, columns = shape
    if strides == (columns, 1):
        return ctypes.string_at(address, math.prod(shape) * width)
    span = (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1
    view = memoryview(ctypes.string_at(address, span * width))
    numbers = view.cast("H") if width == 2 else view.cast("I") if width == 4 else view.cast("Q")
    data = bytearray()
    for row in range(rows):
        start = row * strides[0]
        if strides[1] == 0:
            data += numbers[start : start + 1].tobytes() * columns
        else:
            data += numbers[start : start + (columns - 1) * strides[1] + 1 : strides[1]].tobytes()
    return bytes(data)

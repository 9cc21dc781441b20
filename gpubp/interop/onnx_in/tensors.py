"""Arrays of the tensors in an ONNX file, each size checked before any memory is taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .refused import Refused

Array = np.ndarray[Any, Any]
NUMBERS = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
BFLOAT16, STRING = 16, 8
NAMES = {
    8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
}  # fmt: skip
# The fields that hold numbers where there are no raw bytes, by the type of the numbers.
FIELDS = {1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data", 13: "uint64_data"}
MOST_AXES = 16


def type_name(number: int) -> str:
    """What a type of ONNX is called.

    >>> type_name(1), type_name(16), type_name(99)
    ('float32', 'bfloat16', 'type 99')
    """
    return NUMBERS.get(number) or NAMES.get(number) or f"type {number}"


def array_of(tensor: Any) -> Array:
    """The array of a TensorProto, bfloat16 as float32, texts as objects. Raises Refused where its parts don't fit.

    >>> import onnx
    >>> array_of(onnx.helper.make_tensor("W", onnx.TensorProto.FLOAT, [2], [1.0, 2.0]))
    array([1., 2.], dtype=float32)
    """
    shape, kind = tuple(int(n) for n in tensor.dims), int(tensor.data_type)
    if tensor.data_location == 1 or len(tensor.external_data):
        raise Refused(
            "its numbers are in another file (external data), which is not opened; write the model into one file: "
            "onnx.save(onnx.load(PATH), NEW_PATH)"
        )
    if any(n < 0 for n in shape) or len(shape) > MOST_AXES:
        raise Refused(f"the shape {shape} is none")
    if tensor.HasField("segment"):
        raise Refused("it is a part of a larger tensor (segment)")
    count = math.prod(shape)
    if kind == STRING:
        if len(tensor.string_data) != count:
            raise Refused(f"the shape {shape} needs {count} texts, and it has {len(tensor.string_data)}")
        return np.array([bytes(text).decode() for text in tensor.string_data], object).reshape(shape)
    if kind not in NUMBERS and kind != BFLOAT16:
        raise Refused(f"its numbers are of {type_name(kind)}, which gpubp does not read")
    stored = np.dtype("<u2" if kind == BFLOAT16 else NUMBERS[kind]).newbyteorder("<")
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(raw) != count * stored.itemsize:
            raise Refused(
                f"the shape {shape} of {type_name(kind)} needs {count * stored.itemsize} bytes, not {len(raw)}"
            )
        found = np.frombuffer(raw, stored).reshape(shape)
    else:
        held = getattr(tensor, FIELDS.get(kind, "int32_data"))
        if len(held) != count:
            raise Refused(f"the shape {shape} needs {count} numbers, and it has {len(held)}")
        found = np.array(held, FIELDS_TYPES.get(kind, "int32"))
        with np.errstate(all="ignore"):
            if kind in (BFLOAT16, 10):  # their bits as whole numbers
                found = (found & 0xFFFF).astype("<u2").view(np.uint16 if kind == BFLOAT16 else np.float16)
            found = found.astype(stored).reshape(shape)
    if kind == BFLOAT16:
        found = (found.astype("<u4") << 16).view("<f4")
    return found.astype(found.dtype.newbyteorder("="), copy=False)


FIELDS_TYPES = {1: "float32", 11: "float64", 7: "int64", 12: "uint64", 13: "uint64"}

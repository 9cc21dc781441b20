"""Safetensors files of anyone: read with every length checked before memory is taken.

    8 bytes    N, the length of the header, little-endian
    N bytes    JSON: name -> {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}; "__metadata__" -> texts
    the rest   the numbers, in C order; the pieces cover it without gaps and without lying over each other

(https://github.com/huggingface/safetensors, "Format"). `model_file` reads those that gpubp wrote.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ModelFileError

HEADER = 100_000_000  # bytes at most, the format's own limit
AXES = 64  # as many as NumPy has
TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class Piece(NamedTuple):
    """Where a tensor lies in a file.

    >>> Piece("F32", (2, 3), 0, 24).shape
    (2, 3)
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, Piece], dict[str, str]]:
    """(pieces by name, metadata) of a safetensors file; the offsets of pieces are from the beginning of the file.

    Raises ModelFileError for a file that is not whole, or not in this format.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> save_file({"fc.bias": np.zeros(2, "float32")}, path)
    >>> read_header(path)[0]["fc.bias"].shape
    (2,)
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _wrong(path, f"it says that its header has {length} bytes, and the file has {size}")
            if length > HEADER:
                raise _wrong(path, f"its header has {length} bytes, and may have {HEADER}")
            text = file.read(length)
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except ModelFileError:
        raise
    except OSError as problem:
        raise ModelFileError(f"{path} can't be read: {problem.strerror or problem}") from problem
    except (ValueError, RecursionError) as problem:
        raise _wrong(path, f"its header is no JSON ({str(problem)[:100]})") from problem
    if not isinstance(header, dict):
        raise _wrong(path, "its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _wrong(path, "its __metadata__ are no texts")
    pieces = {name: _piece(path, name, entry, 8 + length) for name, entry in header.items()}
    end = 8 + length
    for name, piece in sorted(pieces.items(), key=lambda one: one[1][2:]):
        if piece.begin != end:
            raise _wrong(path, f"{name[:100]!r} begins at byte {piece.begin}, and what is before it ends at {end}")
        end = piece.end
    if end != size:
        raise _wrong(path, f"its arrays end at byte {end}, and the file at {size}")
    return pieces, metadata


def read_piece(path: str | os.PathLike[str], name: str, piece: Piece) -> np.ndarray[Any, Any]:
    """The numbers of one tensor. bfloat16 comes as float32, which holds each of its numbers.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> save_file({"fc.bias": np.ones(2, "float32")}, path)
    >>> read_piece(path, "fc.bias", read_header(path)[0]["fc.bias"]).tolist()
    [1.0, 1.0]
    """
    try:
        with open(path, "rb") as file:
            file.seek(piece.begin)
            content = file.read(piece.end - piece.begin)
    except OSError as problem:
        raise ModelFileError(f"{path} can't be read: {problem.strerror or problem}") from problem
    if len(content) != piece.end - piece.begin:
        raise _wrong(path, f"{name[:100]!r} is cut short")
    a = np.frombuffer(content, TYPES[piece.dtype]).reshape(piece.shape)
    return from_bfloat16(a) if piece.dtype == "BF16" else a


def from_bfloat16(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float32 numbers whose upper halves are these 16 bits.

    >>> from_bfloat16(np.array([0x3F80, 0xC000], "uint16")).tolist()
    [1.0, -2.0]
    """
    made: np.ndarray[Any, Any] = (bits.astype(np.uint32) << 16).view(np.float32)
    return made


def _piece(path: Path, name: str, entry: Any, start: int) -> Piece:
    if not name.isprintable():
        raise _wrong(path, f"it has the name {name[:100]!r}")
    if not isinstance(entry, Mapping) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _wrong(path, f"{name[:100]!r} is not described by dtype, shape and data_offsets alone")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _whole_numbers(shape) or len(shape) > AXES:
        raise _wrong(path, f"{name[:100]!r} has the shape {str(shape)[:100]}")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _wrong(path, f"{name[:100]!r} has the offsets {str(offsets)[:100]}")
    if not isinstance(dtype, str) or dtype not in TYPES:
        raise ModelFileError(
            f"{path}: {name[:100]!r} holds {str(dtype)[:40]}, which is not read; save it by .float(), as float32"
        )
    size = math.prod(shape) * np.dtype(TYPES[dtype]).itemsize
    if size != offsets[1] - offsets[0]:
        raise _wrong(path, f"{name[:100]!r} of shape {shape} needs {size} bytes, and has {offsets[1] - offsets[0]}")
    return Piece(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole_numbers(given: Any) -> bool:
    return isinstance(given, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in given)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in it")
    return made


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _wrong(path: str | os.PathLike[str], why: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is no whole safetensors file: {why}; it is damaged, was cut short, or is something else"
    )

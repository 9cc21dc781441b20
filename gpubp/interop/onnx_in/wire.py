"""A look at the bytes of an ONNX file before a library parses them: how many parts there are, and how deeply they nest.

An ONNX file is one protobuf message: fields, each a number with a kind, of which kind 2 has a length and that many
bytes, which may be a message again. Parsed, an empty message takes a hundred times the two bytes that it has in the
file. So the fields are counted first, by their headers alone.
"""

from __future__ import annotations

MOST_BYTES = 2**31 - 1  # of a protobuf message
MOST_FIELDS = 2_000_000  # a network of 10,000 nodes has some 300,000
MOST_DEPTH = 32

# The fields that are messages, by the message that they are in: those that a library makes objects of.
MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Plain", 14: "Plain", 20: "Training", 25: "Function", 26: "Plain"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Info", 12: "Info", 13: "Info", 14: "Annotation", 15: "Sparse", 16: "Plain"},
    "Node": {5: "Attribute", 9: "Plain", 10: "Device"},
    "Attribute": {
        5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 14: "Type", 15: "Type", 22: "Sparse", 23: "Sparse",
    },
    "Tensor": {3: "Plain", 13: "Plain", 16: "Plain"},
    "Info": {2: "Type", 4: "Plain"},
    "Type": {1: "TensorType", 4: "Elements", 5: "Map", 8: "TensorType", 9: "Elements", 7: "Plain"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Plain"},
    "Elements": {1: "Type"},
    "Map": {2: "Type"},
    "Training": {1: "Graph", 2: "Graph", 3: "Plain", 4: "Plain"},
    "Function": {7: "Node", 9: "Plain", 11: "Attribute", 12: "Info", 14: "Plain"},
    "Annotation": {2: "Plain"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Device": {2: "Sharding"},
    "Sharding": {3: "Plain", 4: "Dimension"},
    "Dimension": {3: "Plain"},
    "Plain": {},
}  # fmt: skip


def check_wire(content: bytes) -> None:
    """Raise ValueError, in words, for bytes that are no protobuf message, or have too many or too deeply nested parts.

    >>> check_wire(b"")
    >>> check_wire(b"\\x08")
    Traceback (most recent call last):
    ...
    ValueError: it ends in the middle of a number
    """
    waiting = [("Model", 0, len(content), 0)]
    fields = 0
    while waiting:
        kind, at, end, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"its parts are nested more than {MOST_DEPTH} deep")
        inner = MESSAGES[kind]
        while at < end:
            key, at = _number(content, at, end)
            fields += 1
            if fields > MOST_FIELDS:
                raise ValueError(f"it has more than {MOST_FIELDS:,} parts")
            match key & 7:
                case 0:
                    _, at = _number(content, at, end)
                case 1:
                    at += 8
                case 5:
                    at += 4
                case 2:
                    length, at = _number(content, at, end)
                    if (of := inner.get(key >> 3)) is not None:
                        waiting.append((of, at, min(at + length, end), depth + 1))
                    at += length
                case other:
                    raise ValueError(f"it has a part of kind {other}, which ONNX files have not")
            if at > end:
                raise ValueError("it ends in the middle of a part")


def _number(content: bytes, at: int, end: int) -> tuple[int, int]:
    """(a whole number that is written with 7 bits a byte, where the next part begins)"""
    value = shift = 0
    while True:
        if at >= end:
            raise ValueError("it ends in the middle of a number")
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("it has a number of more than 64 bits")

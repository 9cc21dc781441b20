"""OnnxGraph: what an ONNX file says, as plain Python objects, checked.

The file is parsed by the library onnx from bytes, so that no other file is read, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ModelFileError
from ..onnx_out.graph import onnx_library
from .refused import Refused
from .tensors import Array, array_of, type_name
from .wire import MOST_BYTES, check_wire

MOST_NODES = 20_000
OLDEST = 6  # version of ONNX's operators
STANDARD = ("", "ai.onnx")  # the domains of ONNX's own operators


@dataclass(frozen=True)
class Other:
    """An attribute or a type that gpubp has no use for. what: what it is called. content: a digest of what it holds.

    >>> Other("a graph").what
    'a graph'
    """

    what: str
    content: str = ""


def _printed(name: str) -> str:
    """A name in one line, without what would command a terminal, and its end left out where it is very long."""
    kept = name if len(name) <= 120 else f"{name[:120]}..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. inputs, outputs: names of tensors, "" for one that is left out.

    >>> Node("Relu", "", "act", ("x",), ("y",), {}).shown
    'Relu "act"'
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """Operator and name, as messages have them; a node without a name goes by its output."""
        op = self.op if self.domain in STANDARD else f"{self.domain}.{self.op}"
        return f'{_printed(op)} "{_printed(self.name or (self.outputs[0] if self.outputs else ""))}"'

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number; Refused if it is something else."""
        return float(self._attribute(name, (float, int), default, "a number"))

    def whole(self, name: str, default: int) -> int:
        """An attribute that is a whole number; Refused if it is something else."""
        return int(self._attribute(name, (int,), default, "a whole number"))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text; Refused if it is something else."""
        return str(self._attribute(name, (str,), default, "a text"))

    def list(self, name: str, kind: type = int) -> list[Any] | None:
        """An attribute that is a list, None where it is not there; Refused if it is something else."""
        found = self._attribute(name, (list,), None, "a list")
        if found is not None and not all(isinstance(item, kind) for item in found):
            raise Refused(f"its attribute {name} must be a list of {kind.__name__}, and is {found!r:.80}")
        return None if found is None else list(found)

    def _attribute(self, name: str, kinds: tuple[type, ...], default: Any, called: str) -> Any:
        found = self.attributes.get(name, default)
        if found is not None and not isinstance(found, kinds):
            raise Refused(f"its attribute {name} must be {called}, and is {found!r:.80}")
        return found


@dataclass(frozen=True)
class Info:
    """A graph's input or output. kind: number of its type, 0 if unknown. shape: numbers, names, or None for an axis
    of any length; None where the file does not say it.

    >>> Info("x", 1, ("batch", 3)).name
    'x'
    """

    name: str
    kind: int
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in an order in which they can be computed, constants by name, and what the file says of itself."""

    nodes: Sequence[Node]
    constants: Mapping[str, Array | Refused]
    inputs: Sequence[Info]
    outputs: Sequence[Info]
    opset: int
    told: Mapping[str, str] = field(default_factory=dict)
    producer: str = ""


def read_graph(path: str | os.PathLike[str]) -> OnnxGraph:
    """What the file says. Raises ModelFileError where it is no ONNX file, is damaged, or does not fit together.

    >>> read_graph("nothing.onnx")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.onnx
    """
    onnx = onnx_library()
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no plain file"
        raise ModelFileError(f"{path} {what}" if path.exists() else f"there is no file {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ModelFileError(f"{path} has {path.stat().st_size:,} bytes, and an ONNX file at most {MOST_BYTES:,}")
    try:
        content = path.read_bytes()
        check_wire(content)
        model = onnx.ModelProto()
        model.ParseFromString(content)
        del content
        return graph_of(model)
    except (DecodeError, OSError, ValueError, OverflowError, TypeError) as problem:
        raise ModelFileError(
            f"{path} is no whole ONNX file ({problem}): it is damaged, was cut short, or is something else"
        ) from problem
    except Refused as problem:
        raise ModelFileError(f"{path}: {problem}") from None


def graph_of(model: Any) -> OnnxGraph:
    """What a ModelProto says. Raises Refused where its parts do not fit together."""
    if not model.HasField("graph") or not len(model.graph.node):
        raise Refused("it has no graph with nodes")
    sets = {str(s.domain): int(s.version) for s in model.opset_import}
    opset = sets.get("", sets.get("ai.onnx", 1 if int(model.ir_version) < 3 else 0))
    if not opset:
        raise Refused("it does not say which version of ONNX's operators it uses (opset_import)")
    newest = int(onnx_library().defs.onnx_opset_version())
    if not OLDEST <= opset <= newest:
        mend = "; a newer library onnx may read it: pip install -U onnx" if opset > newest else ""
        raise Refused(f"it uses version {opset} of ONNX's operators, and {OLDEST} to {newest} are read{mend}")
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise Refused(f"it has {len(graph.node):,} nodes, and {MOST_NODES:,} are read at most")
    if len(graph.sparse_initializer):
        raise Refused("it has sparse tensors, which gpubp does not read")
    constants: dict[str, Array | Refused] = {}
    for tensor in graph.initializer:
        name = str(tensor.name)
        if name in constants:
            raise Refused(f"it has two tensors called {name!r:.80}")
        constants[name] = _array_or_why(tensor, name)
    inputs = [_info(i) for i in graph.input]
    nodes = [_node(n) for n in graph.node]
    _check_names(nodes, constants, [i.name for i in inputs])
    return OnnxGraph(
        nodes,
        constants,
        [i for i in inputs if i.name not in constants],
        [_info(o) for o in graph.output],
        opset,
        {str(entry.key): str(entry.value) for entry in model.metadata_props},
        f"{model.producer_name!s:.60} {model.producer_version!s:.40}".strip(),
    )


def _array_or_why(tensor: Any, name: str) -> Array | Refused:
    """A tensor that can't be read matters only where a node uses it."""
    try:
        return array_of(tensor)
    except Refused as problem:
        return Refused(f"the tensor {name!r:.80}: {problem}")


def _check_names(nodes: Iterable[Node], constants: Iterable[str], inputs: Sequence[str]) -> None:
    """Every tensor is made once, and before it is used, so that there is no circle."""
    if len(set(inputs)) < len(inputs):
        raise Refused("it has two inputs of one name")
    known = {"", *constants, *inputs}
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise Refused(f"{node.shown} needs {name!r:.80}, which no node before it makes")
        for name in filter(None, node.outputs):
            if name in known:
                raise Refused(f"{node.shown} makes {name!r:.80}, which there already is")
            known.add(name)


def _info(info: Any) -> Info:
    if not info.type.HasField("tensor_type"):
        return Info(str(info.name), -1, None)
    of = info.type.tensor_type
    shape: tuple[int | str | None, ...] | None = None
    if of.HasField("shape"):
        shape = tuple(int(d.dim_value) if d.HasField("dim_value") else str(d.dim_param) or None for d in of.shape.dim)
        if any(isinstance(n, int) and n < 0 for n in shape):
            raise Refused(f"{info.name!s:.80} has the shape {shape}")
    return Info(str(info.name), int(of.elem_type), shape)


def _node(node: Any) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        name = str(attribute.name)
        if name in attributes:
            raise Refused(f"{node.op_type!s:.40} {node.name!s:.80} has two attributes {name!r:.40}")
        attributes[name] = _value(attribute)
    return Node(
        str(node.op_type),
        str(node.domain),
        str(node.name),
        tuple(map(str, node.input)),
        tuple(map(str, node.output)),
        attributes,
    )


# Kinds of attributes, by the numbers that ONNX gives them; files of the first version give none.
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 6, 7, 8


def _value(attribute: Any) -> Any:
    kind = int(attribute.type)
    if kind == 0:
        held = {"f": 1, "i": 2, "s": 3, "t": 4}
        kind = next((k for name, k in held.items() if attribute.HasField(name)), 0)
        kind = kind or next(
            (k for n, k in (("floats", 6), ("ints", 7), ("strings", 8)) if len(getattr(attribute, n))), 0
        )
    if kind == _FLOAT:
        return float(attribute.f)
    if kind == _INT:
        return int(attribute.i)
    if kind == _STRING:
        return bytes(attribute.s).decode(errors="replace")
    if kind == _TENSOR:
        try:
            return array_of(attribute.t)
        except Refused as problem:
            return problem
    if kind == _FLOATS:
        return [float(f) for f in attribute.floats]
    if kind == _INTS:
        return [int(i) for i in attribute.ints]
    if kind == _STRINGS:
        return [bytes(s).decode(errors="replace") for s in attribute.strings]
    what = {5: "a graph", 10: "graphs", 11: "a sparse tensor"}.get(kind, f"of kind {kind}")
    return Other(what, hashlib.sha256(attribute.SerializeToString(deterministic=True)).hexdigest())


def type_of(info: Info) -> str:
    """What the type of an input or output is called.

    >>> type_of(Info("x", 1, None)), type_of(Info("x", -1, None))
    ('float32', 'no tensor')
    """
    return "no tensor" if info.kind < 0 else type_name(info.kind)

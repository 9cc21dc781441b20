"""Graph: an ONNX graph under construction, and Value, a tensor in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import MissingDependencyError

Array = np.ndarray[Any, Any]
OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
BATCH = "batch"  # the name of the first axis, which has any length
ML = "ai.onnx.ml"


def onnx_library() -> Any:
    """The library onnx, or MissingDependencyError with the command that installs it.

    >>> onnx_library().__name__
    'onnx'
    """
    try:
        import onnx
    except ImportError as problem:
        raise MissingDependencyError("ONNX files need the library onnx: pip install 'gpubp[onnx]'") from problem
    return onnx


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    name: of the tensor. shape: as gpubp has it, batch first, a text standing for an axis of any length.
    channels_first: whether the tensor has the last axis of `shape` behind the batch's, as ONNX has images.

    >>> Value("x", ("batch", 28, 28, 3), channels_first=True).stored
    ('batch', 3, 28, 28)
    """

    name: str
    shape: tuple[int | str, ...]
    channels_first: bool = False

    @property
    def stored(self) -> tuple[int | str, ...]:
        """The shape of the tensor itself."""
        return (self.shape[0], self.shape[-1], *self.shape[1:-1]) if self.channels_first else self.shape


class Graph:
    """An ONNX graph under construction: nodes in their order, and constants by name.

    parameters: the arrays of a network by name; those that are used become constants under these names. dtype: of the
    network. path: of the layer whose nodes are made, which names them.

    >>> g = Graph({"W": np.eye(2, dtype=np.float32)}, np.dtype(np.float32))
    >>> g.node("MatMul", [Value("x", ("batch", 2)), g.parameter("W")], ("batch", 2))
    Value(name='MatMul', shape=('batch', 2), channels_first=False)
    """

    def __init__(self, parameters: Mapping[str, Array], dtype: np.dtype[Any]) -> None:
        self.onnx = onnx_library()
        self.dtype = dtype
        self.path = ""
        self.mask: Any = None  # the TimeMask of the layer whose nodes are made; None where all steps are there
        self.rows: Value | None = None  # (1,), how many rows were given, where `with_a_row` may have added one
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self._parameters = parameters
        self._taken: set[str] = set()
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._turned: dict[Value, Value] = {}
        self._renamed: dict[str, str] = {}
        self.flattened: dict[Value, tuple[Value, Array]] = {}  # rows made of images: the image, and where numbers went

    @property
    def element_type(self) -> int:
        """The number that ONNX has for the network's type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def named(self, wanted: str) -> str:
        """`wanted`, or where that is taken, the same with a number behind it; it is taken from now on."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[Value | str],
        shape: Sequence[int | str],
        channels_first: bool = False,
        **more: Any,
    ) -> Value:
        """Add a node with one output; returns that output, of this shape. more: attributes, and `domain`."""
        (made,) = self.node_of_several(op, inputs, [shape], **more)
        return replace(made, channels_first=channels_first)

    def node_of_several(
        self, op: str, inputs: Sequence[Value | str], shapes: Sequence[Sequence[int | str] | None], **more: Any
    ) -> list[Value]:
        """Add a node with several outputs, of these shapes; None for an output that is not wanted."""
        name = self.named(f"{self.path}/{op}" if self.path else op)
        outputs = [name if i == 0 else self.named(f"{name}:{i}") for i in range(len(shapes))]
        wanted = ["" if shape is None else output for output, shape in zip(outputs, shapes, strict=True)]
        of = [value if isinstance(value, str) else value.name for value in inputs]
        given = {key: value for key, value in more.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(op, of, wanted, name=name, **given))
        return [Value(out, tuple(() if shape is None else shape)) for out, shape in zip(wanted, shapes, strict=True)]

    def constant(self, array: Any, name: str = "constant") -> str:
        """The name of a constant with these numbers or texts; equal ones are one. name: of a new one."""
        array = np.asarray(array)
        content = repr(array.tolist()).encode() if array.dtype.kind in "OU" else array.tobytes()
        key = (array.dtype.kind + str(array.itemsize if array.dtype.kind not in "OU" else ""), array.shape, content)
        if key not in self._by_content:
            self._by_content[key] = made = self.named(f"{self.path}/{name}" if self.path else name)
            self.constants[made] = array
        return self._by_content[key]

    def number(self, value: float) -> str:
        """The name of a constant with one number of the network's type."""
        return self.constant(np.asarray(value, self.dtype))

    def whole(self, *values: int) -> str:
        """The name of a constant with a list of whole numbers, as shapes and axes are given."""
        return self.constant(np.asarray(values, np.int64))

    def parameter(self, name: str) -> str:
        """The name of a constant with the parameter or running statistic `name`, which is the same name."""
        if name not in self.constants:
            self._taken.add(name)
            self.constants[name] = np.ascontiguousarray(self._parameters[name])
        return name

    def array(self, name: str) -> Array:
        """The numbers of the parameter or running statistic `name`, for constants that are made of them."""
        return self._parameters[name]

    def changed(self, name: str, array: Any) -> str:
        """The name of a constant that is made of the parameter `name`: that name, or one like it where it is taken."""
        array = np.ascontiguousarray(array, self.dtype)
        if name in self.constants and not np.array_equal(self.constants[name], array):
            return self.constant(array, name)
        self._taken.add(name)
        self.constants[name] = array
        return name

    def channels_first(self, x: Value) -> Value:
        """The value with its channels behind the batch, by a transpose where it is stored otherwise."""
        return x if x.channels_first or len(x.shape) < 3 else self._turn(x)

    def channels_last(self, x: Value) -> Value:
        """The value as gpubp has it, by a transpose where it is stored otherwise."""
        return self._turn(x) if x.channels_first else x

    def alike(self, values: Sequence[Value]) -> list[Value]:
        """The values, all with their channels first if one has, else all as they are."""
        first = any(value.channels_first for value in values)
        return [self.channels_first(value) if first else value for value in values]

    def same(self, x: Value, y: Value) -> None:
        """Note that y is x in the other order, so that no transpose is needed. What is not used is not written."""
        self._turned |= {x: y, y: x}

    def _turn(self, x: Value) -> Value:
        """The same value in the other order; each is made once."""
        if x not in self._turned:
            inner = list(range(1, len(x.shape)))
            perm = [0, *inner[1:], 1] if x.channels_first else [0, inner[-1], *inner[:-1]]
            self.same(x, self.node("Transpose", [x], x.shape, not x.channels_first, perm=perm))
        return self._turned[x]

    def model(self, inputs: Iterable[Any], outputs: Iterable[Any], metadata: Mapping[str, str], name: str) -> Any:
        """The whole model. inputs, outputs: what `tensor` makes. metadata: texts by name."""
        helper, outputs = self.onnx.helper, list(outputs)
        wanted, nodes = {output.name for output in outputs}, []
        for node in reversed(self.nodes):  # those whose result nobody reads, as of a transpose that was not needed, go
            if wanted.intersection(node.output):
                wanted |= {*node.input, *_read_inside(node)} - {""}  # which stands for an input that is left out
                nodes.append(node)
        graph = helper.make_graph(nodes[::-1], name, list(inputs), outputs)
        sets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML for node in nodes):
            sets.append(helper.make_opsetid(ML, ML_OPSET))
        made = helper.make_model(graph, opset_imports=sets, ir_version=IR_VERSION)
        helper.set_model_props(made, dict(metadata))
        for name, array in self.constants.items():  # last, since the helpers above copy what they are given
            if name in wanted:
                made.graph.initializer.add().CopyFrom(self._tensor(name, array))
        return made

    def handed_out(self, value: Value, name: str, dtype: Any = None, told: str = "") -> Any:
        """The description of an output `name` with this value. dtype: as in `tensor`, None for the network's type.

        The node that makes the value gives its result that name, where no other node reads it. A row that was added to
        the given ones is left out.
        """
        wanted, at = self.named(name), self._renamed.get(value.name, value.name)
        makers = [node for node in self.nodes if at in node.output]
        if self.rows is not None:
            self.node("Slice", [at, self.whole(0), self.rows, self.whole(0)], value.shape)
            self.nodes[-1].output[0] = wanted
        elif makers and not any(at in (*node.input, *_read_inside(node)) for node in self.nodes):
            (maker,) = makers
            maker.output[list(maker.output).index(at)] = self._renamed[at] = wanted
        else:
            self.node("Identity", [at], value.shape)
            self.nodes[-1].output[0] = wanted
        return self.tensor(wanted, dtype or self.dtype, value.shape, told)

    def tensor(self, name: str, dtype: Any, shape: Sequence[int | str], told: str = "") -> Any:
        """The description of an input or output: name, type of numbers ("str" for texts), shape, and what it is."""
        of = (
            self.onnx.TensorProto.STRING
            if dtype == "str"
            else self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        )
        return self.onnx.helper.make_tensor_value_info(name, of, list(shape), told)

    def _tensor(self, name: str, array: Array) -> Any:
        if array.dtype.kind in "OU":
            texts = [text.encode() for text in array.ravel().tolist()]
            return self.onnx.helper.make_tensor(name, self.onnx.TensorProto.STRING, array.shape, texts)
        return self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _read_inside(node: Any) -> Iterator[str]:
    """The names that the inner graphs of a node, such as of a Loop, read."""
    for attribute in node.attribute:
        for inner in attribute.g.node if attribute.HasField("g") else ():
            yield from inner.input
            yield from _read_inside(inner)

"""Reader: the nodes of a graph one after the other, each of which gives values.

    @reads("Relu")
    def relu(r, node): ...        r: the Reader; returns the value of the node's output, or a list of them

A function raises Refused where the node can't become a layer. All such nodes are collected and named at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...layers import Flatten, Layer, Reshape
from .layout import Axes, Axis, Layout, Part, flat, length, order_of, shown, sizes
from .model import STANDARD, Node, OnnxGraph
from .refused import UNFIT, Refused
from .sizes import Size
from .steps import Step
from .values import Array, Const, Data, Filled, Joined, Later, Unknown, Value

Reads = Callable[["Reader", Node], "Value | list[Value]"]
READS: dict[str, Reads] = {}
MAKES: dict[type[Any], Callable[[Reader, Any], Data]] = {}  # from kinds of values to steps
MOST_IN_A_ROW = 2**28  # numbers of one row anywhere in the network


def reads(*ops: str) -> Callable[[Reads], Reads]:
    """A decorator: the function reads the nodes of these operators.

    >>> from gpubp.interop.onnx_in import importing
    >>> READS["Relu"].__name__
    'activation'
    """

    def register(function: Reads) -> Reads:
        READS.update(dict.fromkeys(ops, function))
        return function

    return register


def makes(*kinds: type[Any]) -> Callable[[Any], Any]:
    """A decorator: the function makes a step of a value of these kinds.

    >>> from gpubp.interop.onnx_in import importing
    >>> sorted(kind.__name__ for kind in MAKES)
    ['Attending', 'Ending', 'Expr', 'Joined', 'Later', 'Linear', 'Normalized', 'Padded', 'Piece', 'Scaled', 'Statistic']
    """

    def register(function: Any) -> Any:
        MAKES.update(dict.fromkeys(kinds, function))
        return function

    return register


@dataclass(frozen=True)
class Options:
    """What the user says of a file. gelu: "exact", or "tanh" for the tanh form in place of the error function.

    >>> Options().gelu
    'exact'
    """

    gelu: str = "exact"


class Reader:
    """Values by name, and the steps that they became.

    problems: (node, why) of what can't be read. notes: what the user should know. readers: of each name, how many
    nodes that are needed read it. batch: the part of the layouts that counts the rows.
    """

    def __init__(self, graph: OnnxGraph, name: str, layout: Layout, words: bool, options: Options) -> None:
        self.graph, self.opset, self.options = graph, graph.opset, options
        self.input, self.batch = layout, layout.batch
        self.values: dict[str, Value] = {name: Data(0, layout, words)}
        self.steps: list[Step] = [Step(None)]
        self.problems: list[tuple[Node | None, str]] = []
        self.of_order = 0  # problems that another order of the input's axes might solve
        self.unusual = 0  # nodes on images that have their channels elsewhere than ONNX's operators have them
        self.notes: list[str] = []
        self.readers: dict[str, int] = {}
        self.folded = 0  # numbers in constants that were computed, so far
        self.held = sum(a.size for a in graph.constants.values() if isinstance(a, np.ndarray))
        self.node: Node | None = None
        self._regrouped: dict[Any, int] = {}
        self.activations: dict[Any, tuple[int, Any, Layout]] = {}  # steps of formulas
        self.linears: dict[int, Any] = {}  # what a Dense or a convolution was made of, by its step
        self.norms: dict[int, Axes] = {}  # gpubp's axes behind a LayerNorm, by its step

    def read(self, nodes: Sequence[Node], output: str) -> None:
        """Read the nodes, which are all that `output` needs, in their order."""
        self.readers = {output: 1}
        for node in nodes:
            for name in node.inputs:
                self.readers[name] = self.readers.get(name, 0) + 1
        for node in nodes:
            self.node = node
            try:
                found = self._read(node)
            except Refused as problem:
                self.note(problem, node)
                found = [Unknown(problem.layout)]
            made = found if isinstance(found, list) else [found]
            for i, name in enumerate(node.outputs):
                if name:
                    self.values[name] = made[i] if i < len(made) else Unknown()

    def note(self, problem: Refused, node: Node | None) -> None:
        """Keep a problem, once."""
        entry = (problem.node or node, str(problem))
        if entry not in self.problems:
            self.problems.append(entry)
            self.of_order += problem.order

    def _read(self, node: Node) -> Value | list[Value]:
        function = READS.get(node.op if node.domain in STANDARD else f"{node.domain}.{node.op}")
        if function is None:
            given = next((self.layout_of(v) for v in self.inputs(node) if v is not None), None)
            inner = any(getattr(a, "what", "").startswith("a graph") for a in node.attributes.values())
            raise Refused(
                "a node with a graph inside is not read" if inner else "gpubp has no layer for this operator",
                layout=given if node.op in SAME_SHAPE else None,
            )
        if any(isinstance(value, Unknown) and value.layout is None for value in self.inputs(node)):
            return [Unknown()] * len(node.outputs)
        try:
            return function(self, node)
        except UNFIT as problem:
            raise Refused(f"what it says does not fit together ({problem})") from None

    # -- what functions of operators ask for ---------------------------------------------------------------------------

    def value(self, node: Node, number: int) -> Value | None:
        """The value of an input; None where the node has none in this place."""
        name = node.inputs[number] if number < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.values:
            self.values[name] = self._constant(name)
        found = self.values[name]
        if isinstance(found, Unknown):
            if found.layout is None:
                raise Refused("it is behind a node that can't be read")
            found = self.values[name] = self._stand_in(found.layout)
        if isinstance(found, Joined) and node.op not in OF_PIECES:
            found = self.values[name] = self.data(found)
        return found

    def _constant(self, name: str) -> Value:
        array = self.graph.constants.get(name)
        if array is None:
            raise Refused(f"its input {name!r:.80} is an input of the file; gpubp's networks have one input")
        if isinstance(array, Refused):
            raise Refused(str(array))
        return Const(array, name)

    def _stand_in(self, layout: Layout) -> Data:
        """Data in place of what could not be read, so that the nodes behind it are looked at."""
        self.steps.append(Step(None, (0,)))
        return Data(len(self.steps) - 1, layout)

    def inputs(self, node: Node) -> list[Value | None]:
        """The values of all inputs."""
        return [self._peek(name) for name in node.inputs]

    def _peek(self, name: str) -> Value | None:
        found = self.values.get(name)
        if found is None and name in self.graph.constants and not isinstance(self.graph.constants[name], Refused):
            return Const(self.graph.constants[name], name)  # type: ignore[arg-type]
        return found

    def needed(self, node: Node, number: int) -> Value:
        """The value of an input that there must be."""
        found = self.value(node, number)
        if found is None:
            raise Refused(f"it has no input number {number}")
        return found

    def constant(self, node: Node, number: int, called: str) -> Array | None:
        """The array of an input that must be a constant; None where there is none. called: what messages call it."""
        found = self.value(node, number)
        if isinstance(found, Filled):
            found = expanded(found)
        if found is not None and not isinstance(found, Const):
            raise Refused(f"its {called} depends on the input, and must be a constant")
        return None if found is None else found.array

    def numbers(self, node: Node, number: int, called: str) -> Array | None:
        """As `constant`, in float32 or float64, without half precision and sizes."""
        array = self.constant(node, number, called)
        if array is None:
            return None
        if array.dtype.kind not in "fiu":
            raise Refused(f"its {called} is of {array.dtype}")
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        return array

    def list_of(self, node: Node, name: str, number: int | None) -> list[Any] | None:
        """Whole numbers that are an attribute in older files and an input in newer ones; None where there are none."""
        found = node.list(name)
        if found is None and number is not None and (array := self.constant(node, number, name)) is not None:
            if array.ndim > 1 or array.dtype.kind not in "iuO":
                raise Refused(f"its {name} must be a list of whole numbers, and is {array.dtype} {array.shape}")
            found = array.reshape(-1).tolist()
        return found

    # -- values that become steps --------------------------------------------------------------------------------------

    def data(self, value: Value | None) -> Data:
        """The value as the output of a step; Refused where it is no data of the network."""
        if isinstance(value, Data):
            return value
        make = MAKES.get(type(value))
        if make is None:
            what = f"the constant {value.name!r:.60}" if isinstance(value, Const) else "a constant"
            raise Refused(f"it reads {what if value is not None else 'nothing'} where the network's data are expected")
        try:
            return make(self, value)
        except Refused as problem:
            if problem.node is None or problem.layout is None:
                raise
            self.note(problem, None)  # of a node before this one, which is looked at all the same
            return self._stand_in(problem.layout)

    def step(
        self,
        layer: Layer | None,
        inputs: Sequence[Data],
        layout: Layout,
        nodes: Sequence[Any] = (),
        arrays: dict[str, Array] | None = None,
        merge: str = "",
    ) -> Data:
        """A new step, which gives data of this layout."""
        row = [n for n in layout.row if not isinstance(n, Size)]
        if np.prod([float(n) for n in row]) > MOST_IN_A_ROW:
            raise Refused(f"it would give rows of shape {shown(layout.row)}, more than {MOST_IN_A_ROW:,} numbers each")
        named = tuple(nodes) or ((self.node,) if self.node else ())
        self.steps.append(Step(layer, tuple(d.step for d in inputs), arrays or {}, merge, named))
        return Data(len(self.steps) - 1, layout)

    def layout_of(self, value: Any) -> Layout | None:
        """The layout of what depends on the input; None for constants."""
        return getattr(value, "layout", None)

    def layout(self, value: Value) -> Layout:
        """The layout of what depends on the input; Refused for constants."""
        found = self.layout_of(value)
        if found is None:
            raise Refused("it reads a constant where the network's data are expected")
        return found

    def regrouped(self, x: Data, gp: Axes) -> Data:
        """The data with the axes `gp`, by Flatten or Reshape if need be; Refused if numbers had to change places."""
        if x.layout.gp == gp:
            return x
        if flat(x.layout.gp) != flat(gp):
            raise Refused(_other_order(x.layout, gp), order=True)
        layout = replace(x.layout, gp=gp)
        if tuple(map(length, gp)) == tuple(map(length, x.layout.gp)):
            return Data(x.step, layout, x.words)
        if any(isinstance(n, Size) for n in layout.row):
            raise Refused(
                f"it makes rows of shape {shown(layout.row)} of {shown(x.layout.row)}, which gpubp's layers can't for "
                "any length; say the length: from_onnx(..., input_shape=...)"
            )
        key = (x.step, gp)
        if key not in self._regrouped:
            row = tuple(int(n) for n in layout.row if isinstance(n, int))
            if not row:
                raise Refused("it makes one number of each row, without an axis for it, which gpubp's rows have")
            layer: Layer = Flatten() if len(row) == 1 else Reshape(row)
            self._regrouped[key] = self.step(layer, [x], layout).step
        return Data(self._regrouped[key], layout, x.words)

    def with_last(self, x: Data, axis: Axis) -> Data:
        """The data with these parts, in any order, as gpubp's last axis."""
        parts = {part for part in axis if part.size != 1}
        if self.batch in parts:
            raise Refused("it computes over the rows, and gpubp's layers have each row by itself")
        order = flat(x.layout.gp)
        tail = order[len(order) - len(parts) :] if parts else []
        if set(tail) != parts:
            raise Refused(_other_order(x.layout, (*x.layout.gp[:1], axis)), order=True)
        if {part for part in x.layout.gp[-1] if part.size != 1} == parts and len(x.layout.gp) > 1:
            return x
        groups: list[Axis] = [
            tuple(part for part in group if part not in parts and (part.size != 1 or part is self.batch))
            for group in x.layout.gp
        ]
        kept = tuple(group for group in groups if group)
        return self.regrouped(x, (*kept, tuple(tail)))

    def same_order(self, one: Data, other: Data) -> tuple[Data, Data]:
        """Two pieces of data of one shape in the file, so that gpubp's arrays have one shape and order too."""
        if one.layout.shape != other.layout.shape:
            raise Refused(
                f"it joins {shown(one.layout.shape)} and {shown(other.layout.shape)}; gpubp adds what has one shape"
            )
        if order_of(one.layout) != order_of(other.layout):
            raise Refused(
                "its inputs have their numbers in different order here, and gpubp has no layer that transposes"
            )
        if one.layout.row == other.layout.row:
            return one, other
        if len(one.layout.row) < len(other.layout.row):
            return self._as_row(one, other.layout), other
        return one, self._as_row(other, one.layout)

    def _as_row(self, x: Data, like: Layout) -> Data:
        row = sizes(tuple(map(Part, like.row)))
        layer: Layer = Flatten() if len(row) == 1 else Reshape(row)
        return Data(self.step(layer, [x], like).step, like)


OF_PIECES = ("Gather", "Slice", "Split", "Concat", "Identity")  # which may need a part of what was joined alone
SAME_SHAPE = {
    "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "LRN", "LpNormalization", "Hardmax", "CumSum", "Not", "IsInf",
    "MeanVarianceNormalization",
    "QuantizeLinear", "DequantizeLinear", "FakeQuant",
}  # fmt: skip


def expanded(value: Filled) -> Const:
    """A repeated array in memory, where its shape is known and it is small; Refused else."""
    if any(isinstance(n, Size) for n in value.shape):
        raise Refused(f"it needs a constant of the shape {shown(value.shape)}, which depends on the rows")
    shape = tuple(int(n) for n in value.shape if isinstance(n, int))
    if np.prod([float(n) for n in shape]) > 2**20:
        raise Refused(
            f"it needs a constant of the shape {shape}, which the file does not hold; it is too large to make"
        )
    return Const(np.broadcast_to(value.array, shape))


def _other_order(layout: Layout, gp: Axes) -> str:
    return (
        f"it needs its input with the axes in another order than gpubp has them there: rows of {shown(layout.row)} "
        f"for {shown(map(length, gp[1:]))}; gpubp has no layer that transposes"
    )


@makes(Later)
def _later(r: Reader, value: Later) -> Data:
    if not value.made:
        value.made.append(value.make(r).step)
    return Data(value.made[0], value.layout)

"""read_onnx: an ONNX file as layers, with the arrays of their parameters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import ModelFileError
from ...layers import Flatten, Layer, LogSoftmax, PReLU, Reshape, Sigmoid, Softmax
from . import (
    arithmetic,
    attention,
    constants,
    convolutions,
    dense,
    formulas,
    images,
    norms,
    pieces,
    poolings,
    prelu,
    recurrent,
    reductions,
    resized,
    shapes,
    softmax,
)
from .layout import Axis, Layout, Part, flat, length, shown
from .model import Info, Node, OnnxGraph, read_graph, type_of
from .own import Own, read_own
from .pixels import are_pixels
from .reader import MOST_IN_A_ROW, Options, Reader
from .refused import UNFIT, Refused
from .sizes import Size
from .steps import Composed, compose
from .tensors import NUMBERS
from .values import Array, Data, Ending, Unknown, Value

READERS = (  # the files that say how operators are read
    arithmetic, attention, constants, convolutions, dense, formulas, images, norms, pieces, poolings, prelu, recurrent,
    reductions, resized, shapes, softmax,
)  # fmt: skip
SHOWN_PROBLEMS = 40


@dataclass(frozen=True)
class Imported:
    """What an ONNX file became.

    layers: a Sequential. input_shape: of one row. arrays: parameters and states by name. dtype: of the network.
    metadata: for the network's, what the outputs stand for, and under "imported" a report in words. more: what else a
    file of gpubp's says: seed, frozen parameters, numerics.
    """

    layers: Layer
    input_shape: tuple[int | None, ...]
    arrays: Mapping[str, Array]
    dtype: str
    metadata: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)


def read_onnx(
    path: str | os.PathLike[str],
    input_shape: Sequence[int | None] | None = None,
    output: str | None = None,
    gelu: str = "exact",
) -> Imported:
    """The layers that compute what the file computes, in evaluation, up to the probabilities of classes.

    input_shape: of one row as gpubp has it, where the file leaves lengths open. output: the name of the output that the
    network computes, where there are several. gelu: "tanh" takes the tanh form of GELU for the one with the error
    function.

    Raises ModelFileError, which names all that can't be read, MissingDependencyError without the library onnx.

    >>> read_onnx("nothing.onnx")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.onnx
    """
    graph = read_graph(path)
    if output is None and (own := read_own(graph)) is not None:
        return _again(path, own)
    try:
        wanted = _output(graph, output)
        nodes = _needed(graph, wanted)
        source = _input(graph, nodes)
        tries = [
            _Try(graph, nodes, source, wanted, layout, Options(gelu)) for layout in _layouts(source, input_shape, nodes)
        ]
    except Refused as problem:
        raise ModelFileError(f"{path}: {problem}") from None
    best = min(tries, key=_worse)
    if best.problems:
        raise ModelFileError(_message(path, best.problems))
    assert best.composed is not None and best.data is not None
    return best.imported(path, source)


def _worse(t: _Try) -> tuple[int, ...]:
    """What is better has the smaller numbers: no problems, rows as the first axis, slopes that channels share, and
    channels where ONNX has them."""
    if t.problems:
        return 1, t.reader.of_order, len(t.problems)
    return 0, t.reader.input.ox[0] != (t.reader.batch,), t.slopes, t.reader.unusual, t.reshapes


def _again(path: str | os.PathLike[str], own: Own) -> Imported:
    """The network that gpubp itself wrote."""
    lines = [f"{os.path.basename(path)}: the network that gpubp wrote, with its layers and the bits of its weights"]
    lines += [f"{name}: the file has only the part that is used; the rest is 0 now" for name in own.lost]
    axes = list(range(len(own.input_shape) + 1))
    told = {"report": lines, "input_axes": axes, "output_axes": []}
    metadata = {**own.config["metadata"], "imported": told}
    kept = {name: own.config[name] for name in ("seed", "frozen", "numerics") if name in own.config}
    return Imported(own.layers, own.input_shape, own.arrays, own.dtype, metadata, kept)


def _output(graph: OnnxGraph, output: str | None) -> str:
    """The name of the tensor that the network computes."""
    names = [o.name for o in graph.outputs]
    if output is not None:
        if output not in names:
            raise Refused(f"it has no output {output!r}; it has {', '.join(names)}")
        return output
    zipped = {name for node in graph.nodes if node.op == "ZipMap" for name in node.outputs}  # a list, of numbers
    floats = ("float32", "float64", "float16", "bfloat16")
    real = [o.name for o in graph.outputs if o.name in zipped or type_of(o) in floats]
    found = real if len(real) == 1 else names
    if len(found) != 1:
        raise Refused(
            f"it has the outputs {', '.join(names)}; say which one: from_onnx(..., output={names[0]!r})"
            if names
            else "it has no outputs"
        )
    return found[0]


def _needed(graph: OnnxGraph, output: str) -> list[Node]:
    """The nodes that an output needs, in their order."""
    wanted, found = {output}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs) - {""}:
            wanted |= {*node.inputs}
            found.append(node)
    return found[::-1]


def _input(graph: OnnxGraph, nodes: Iterable[Node]) -> Info:
    read = {name for node in nodes for name in node.inputs}
    used = [i for i in graph.inputs if i.name in read]
    if len(used) != 1:
        named = ", ".join(f"{i.name} ({type_of(i)})" for i in used) or "none"
        raise Refused(f"its output needs the inputs: {named}; gpubp's networks take one")
    fits = type_of(used[0]) in ("float32", "float64", "float16", "bfloat16", "int32", "int64")
    if not fits and not are_pixels(used[0], nodes):
        raise Refused(f"its input {used[0].name!r} is of {type_of(used[0])}, and gpubp's networks take numbers")
    return used[0]


def _layouts(source: Info, given: Sequence[int | None] | None, nodes: Iterable[Node]) -> list[Layout]:
    """What the axes of the input may be: rows first or second, as they are in the file, or channels last."""
    shape = source.shape
    if shape is None:
        if given is None:
            raise Refused(
                f"it does not say the shape of its input {source.name!r}; say it: from_onnx(..., input_shape=...)"
            )
        shape = (None,) * (len(given) + 1)
    if len(shape) < 2:
        raise Refused(f"its input {source.name!r} has the shape {shape}, and needs rows of numbers")
    if len(shape) > 8 or 0 in shape:
        raise Refused(f"its input {source.name!r} has the shape {shape}")
    second = isinstance(shape[0], int) or not isinstance(shape[1], int)  # else the first axis is open, and the rows'
    steps = len(shape) > 2 and any(n.op in ("LSTM", "GRU", "RNN", "MatMul") for n in nodes)
    places = [0, 1] if second and steps else [0]
    found: list[Layout] = []
    why = Refused("")
    for rows in places:
        inner = [n for n in range(len(shape)) if n != rows]
        for order in [inner] + ([[*inner[1:], inner[0]]] if len(inner) > 1 else []):
            try:
                found.append(_layout(source, shape, rows, order, given))
            except Refused as problem:
                why = why if str(why) else problem
    if not found:
        raise why
    return found


def _layout(
    source: Info, shape: Sequence[int | str | None], rows: int, order: Sequence[int], given: Sequence[int | None] | None
) -> Layout:
    sizes: list[Any] = [n if isinstance(n, int) else Size(1, (n or f"axis {i}",)) for i, n in enumerate(shape)]
    if given is not None:
        if len(given) != len(order):
            raise Refused(
                f"its input {source.name!r} has the shape {shown(sizes)}, and input_shape={tuple(given)} has "
                f"{len(given)} numbers, not {len(order)}"
            )
        for place, n in zip(order, given, strict=True):
            if isinstance(sizes[place], int) and n != sizes[place]:
                raise Refused(
                    f"its input {source.name!r} has the shape {shown(sizes)}; input_shape={tuple(given)} is "
                    "none of its rows"
                )
            if n is not None:
                sizes[place] = int(n)
    open_axes = [place for place in order if isinstance(sizes[place], Size)]
    if open_axes and (open_axes != [order[0]] or len(order) > 2):
        raise Refused(
            f"it leaves lengths of its input {source.name!r} open, {shown(sizes)}; say the shape of a row, with the "
            "channels of images last: from_onnx(..., input_shape=...)"
        )
    parts = [(Part(n),) for n in sizes]
    layout = Layout((parts[rows], *(parts[n] for n in order)), tuple(parts), parts[rows][0])
    numbers = float(np.prod([float(n) for n in layout.row if isinstance(n, int)]))
    if numbers > MOST_IN_A_ROW:
        raise Refused(f"a row of its input {source.name!r} has {numbers:,.0f} numbers, and {MOST_IN_A_ROW:,} are read")
    return layout


class _Try:
    """The graph read with one layout of its input."""

    def __init__(
        self, graph: OnnxGraph, nodes: list[Node], source: Info, wanted: str, layout: Layout, options: Options
    ) -> None:
        words = type_of(source).startswith("int")
        self.reader = r = Reader(graph, source.name, layout, words, options)
        self.ending = ""
        self.composed: Composed | None = None
        self.data: Data | None = None
        self.reshapes = self.slopes = 0
        r.read(nodes, wanted)
        try:
            if not r.problems:
                self._finish(r.values.get(wanted))
        except Refused as problem:
            r.note(problem, None)
        except UNFIT as problem:
            r.note(Refused(f"its parts do not fit together ({problem})"), None)
        self.problems = r.problems

    def _finish(self, value: Value | None) -> None:
        r = self.reader
        if value is None or isinstance(value, Unknown):
            raise Refused("its output is not made by its nodes")
        x = self._logits(value) if isinstance(value, Ending) and value.x.step else None
        x = self.data = _in_output_order(r, r.data(value)) if x is None else x
        if x.step == 0:
            raise Refused("it computes nothing, and there is no layer to train")
        if r.problems:
            return
        self.composed = compose(r.steps, x.step)
        layers = [layer for _, layer in self.composed.layer.walk()]
        self.reshapes = sum(isinstance(layer, Flatten | Reshape) for layer in layers)
        self.slopes = sum(isinstance(layer, PReLU) and layer.slopes == "each" for layer in layers)

    def _logits(self, value: Ending) -> Data | None:
        """The outputs before a softmax that SoftmaxCrossEntropy contains; None where it is not over their last axis."""
        try:
            x = _in_output_order(self.reader, replace(value.x, layout=value.layout))
        except Refused:
            return None
        if set(flat([x.layout.gp[-1]])) != set(flat([value.axis])):
            return None
        self.ending = value.kind
        return x

    def imported(self, path: str | os.PathLike[str], source: Info) -> Imported:
        """What the user gets."""
        r, composed = self.reader, self.composed
        assert composed is not None and self.data is not None
        dtype = _dtype(r.graph, source, composed.arrays)
        with np.errstate(all="ignore"):
            arrays = {name: np.ascontiguousarray(a, dtype) for name, a in composed.arrays.items()}
        shape = tuple(int(n) if isinstance(n, int) else None for n in r.input.row)
        metadata: dict[str, Any] = {"imported": self._told(path, source)}
        if self.ending:
            metadata["task"] = "classes"
        return Imported(composed.layer, shape, arrays, dtype, metadata)

    def _told(self, path: str | os.PathLike[str], source: Info) -> dict[str, Any]:
        r, composed, x = self.reader, self.composed, self.data
        assert composed is not None and x is not None
        lines = [f"{os.path.basename(path)}: ONNX {r.opset}{f', by {r.graph.producer}' if r.graph.producer else ''}"]
        for place, layer, nodes in composed.origins:
            named = ", ".join(node.shown for node in nodes) or "the layout of the file"
            lines.append(f"{place}  {layer!r:.100}  {named:.200}")
        if self.ending:
            lines.append(f"{self.ending} at the end is a part of SoftmaxCrossEntropy: the outputs are logits")
        elif composed.origins and isinstance(last := composed.origins[-1][1], Sigmoid | Softmax | LogSoftmax):
            loss = "BinaryCrossEntropy" if isinstance(last, Sigmoid) else "SoftmaxCrossEntropy"
            lines.append(
                f"the {type(last).__name__} at the end stays; {loss}, which contains it, needs a network without"
            )
        into, out = _axes(r.input), _axes(x.layout)
        if into != sorted(into):
            lines.append(f"rows have their axes in another order: X.transpose{tuple(into)} of what the file takes")
        if len(x.layout.gp) != len(x.layout.ox):
            lines.append(f"outputs are rows of {shown(x.layout.row)}, and the file gives {shown(x.layout.shape)}")
        elif out != sorted(out):
            lines.append(f"outputs have their axes in another order: y.transpose{tuple(out)} of what the file gives")
        if type_of(source) in ("float16", "bfloat16"):
            lines.append(f"the numbers of the file are {type_of(source)}, and float32 here")
        lines += _shared(r) + list(dict.fromkeys(r.notes))
        return {"report": lines, "input_axes": into, "output_axes": out}


def _axes(layout: Layout) -> list[int]:
    """The axes of the file's tensor in gpubp's order. Those of length 1 stand where gpubp has such, or else last."""

    def wide(axis: Axis) -> list[Part]:
        return [part for part in axis if part.size != 1 or part is layout.batch]

    place = {part: (n, m) for n, axis in enumerate(layout.gp) for m, part in enumerate(axis)}
    thin = [n for n, axis in enumerate(layout.gp) if not wide(axis)]
    key: dict[int, tuple[float, ...]] = {}
    for number, axis in enumerate(layout.ox):
        own = [place[part] for part in wide(axis) or axis if part in place]
        if own and (wide(axis) or own[0][0] in thin):
            key[number] = own[0]
            thin = [n for n in thin if wide(axis) or n != own[0][0]]
    for number in range(len(layout.ox)):
        if number not in key:
            key[number] = (thin.pop(0), 0) if thin else (float("inf"), number)
    return sorted(key, key=key.__getitem__)


def _in_output_order(r: Reader, x: Data) -> Data:
    """The output with its axes as in the file, or with those of images and sequences as gpubp has them."""
    rest: list[Axis] = [axis for axis in x.layout.ox if axis != (r.batch,) and flat([axis])]
    if len(rest) != sum(bool(flat([axis])) for axis in x.layout.ox) - (r.batch.size != 1):
        raise Refused("the rows are no axis of their own in its output")
    if sum(axis == (r.batch,) for axis in x.layout.ox) != 1:
        raise Refused("the rows are no axis of their own in its output")
    wanted: tuple[Axis, ...] = ((r.batch,), *(rest or [()]))
    if flat(wanted) == flat(x.layout.gp):
        given = [flat([axis]) for axis in x.layout.gp[1:] if flat([axis])]
        return _no_more_axes(r, x) if given == [flat([axis]) for axis in rest] else r.regrouped(x, wanted)
    groups = [flat([axis]) for axis in x.layout.gp[1:] if flat([axis])]
    if sorted(map(id, (part for g in groups for part in g))) != sorted(map(id, flat(rest))) or any(
        flat([axis]) not in groups for axis in rest
    ):
        raise Refused(
            f"its output {shown(map(length, rest))} has the numbers of rows {shown(x.layout.row)} in another order, "
            "and gpubp has no layer that transposes"
        )
    return _no_more_axes(r, x)


def _no_more_axes(r: Reader, x: Data) -> Data:
    """The output without axes of length 1 that the file's tensor has not, where a layer can leave them out."""
    more = len(x.layout.gp) - len(x.layout.ox)
    more = min(more, len(x.layout.gp) - 2)  # a row has an axis
    ones = [n for n, axis in enumerate(x.layout.gp) if n and length(axis) == 1][: max(more, 0)]
    if not ones or more < 0 or len(x.layout.gp) == 2 or any(isinstance(n, Size) for n in x.layout.row):
        return x
    return r.regrouped(x, tuple(axis for n, axis in enumerate(x.layout.gp) if n not in ones))


def _dtype(graph: OnnxGraph, source: Info, arrays: Mapping[str, Array]) -> str:
    if type_of(source).startswith("int"):
        given = [a.dtype for a in graph.constants.values() if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        return "float64" if given and all(d == np.float64 for d in given) else "float32"
    return "float64" if NUMBERS.get(source.kind) == "float64" else "float32"


def _shared(r: Reader) -> list[str]:
    found = []
    for name, count in r.readers.items():
        array = r.graph.constants.get(name)
        if count > 1 and isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.ndim > 1:
            found.append(f"{name} is read by {count} nodes; each layer has numbers of its own from now on")
    return found


def _message(path: str | os.PathLike[str], problems: Sequence[tuple[Node | None, str]]) -> str:
    lines = [f"{node.shown}: {why}" if node is not None else why for node, why in problems]
    if len(lines) == 1:
        return f"{path} can't be read as layers of gpubp: {lines[0]}"
    more = [f"and {len(lines) - SHOWN_PROBLEMS} more"] if len(lines) > SHOWN_PROBLEMS else []
    listed = "\n  ".join([*lines[:SHOWN_PROBLEMS], *more])
    return f"{path} can't be read as layers of gpubp:\n  {listed}"

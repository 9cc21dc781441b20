"""The outputs of an ONNX graph: what the numbers of a network stand for.

With z (n, K) the outputs of the network, and what its metadata say of them:

    classes    "label" (n,) the class of the largest z, "probabilities" (n, K) softmax(z)
    labels     "label" (n, K) 1 where z > 0, else 0, (n,) if K = 1, "probabilities" (n, K) σ(z)
    labels, of which a single one tells two classes apart
               "label" (n,) the second class where z > 0, "probabilities" (n, 2) σ(-z), σ(z)
    numbers    "output" z, or for a table "prediction" (n,) μ + σ z in the units of the target
    link       "prediction" z, or exp(z) where the link is "log"; (n,) if K = 1
    scores, by the loss that they tell
               "output" z
    unknown    "output" z

Labels go by z and not by probabilities, which may be rounded to equal numbers. Where the loss that they tell takes
probabilities, z takes the place of softmax(z) and σ(z), and ½ that of 0.

Where a network has outputs for each step of rows of different lengths, they are (n, time, K), and "label" (n, time).
Behind a row's end "output" and "probabilities" are 0, and "label" is the first class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ExportError
from ...losses import numbers_told, told_outputs
from ...tables import Preparation
from .graph import ML, Graph, Value
from .time_mask import TIME

PROBABILITIES = "probabilities"  # what outputs may be to the loss
LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max  # whole numbers that a label may be


def add_outputs(
    g: Graph, z: Value, metadata: Mapping[str, Any], table: Preparation | None, raw: bool = False
) -> list[Any]:
    """Add the nodes behind the outputs z of a network; returns the descriptions of the graph's outputs.

    table: the preparation of the table that the network was trained on, if there is one. raw: whether z is given out as
    it is. Raises ExportError where the table's target needs other outputs than z.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> [output.name for output in add_outputs(g, Value("z", ("batch", 3)), {"task": "classes"}, None)]
    ['label', 'probabilities']
    """
    g.path = ""
    z = _without_padding(g, g.channels_last(z))
    if raw:
        return [_as_it_is(g, z, metadata)]
    task = metadata.get("task") or (None if table is None else _task_of(table, z))
    if table is not None and table.target.kind == "numbers":
        _check(table, z, 1)
        return [_in_units(g, z, table)]
    are = told_outputs(metadata)
    if task == "classes" and are != "scores":
        return _one_of_classes(g, z, _classes(metadata, table, z) or range(int(z.shape[-1])), are)
    if task == "labels" and are != "scores":
        two = _two_classes(metadata, table) if z.shape[1:] == (1,) else None
        return _one_of_two(g, z, two, are) if two else _yes_or_no(g, z, are)
    if "link" in metadata:
        return [_by_link(g, z, metadata["link"])]
    return [_as_it_is(g, z, metadata)]


def _as_it_is(g: Graph, z: Value, metadata: Mapping[str, Any]) -> Any:
    are = numbers_told(metadata)
    return g.handed_out(z, "output", told=f"the outputs of the last layer{f', {are}' if are else ''}")


def _without_padding(g: Graph, y: Value) -> Value:
    """y, and where it has time steps behind the end of a row, 0 there."""
    return g.mask.without_padding(g, y) if TIME in y.shape else y


def _task_of(table: Preparation, z: Value) -> str:
    """What a table's target is, where the network says nothing."""
    return "labels" if z.shape[1:] == (1,) and len(table.target.classes) == 2 else table.target.kind


def _check(table: Preparation, z: Value, outputs: int) -> None:
    if z.shape[1:] != (outputs,):
        raise ExportError(
            f"the network has outputs of shape {z.shape[1:]}, and {table.target.name}, the target of its table, needs "
            f"{outputs}; with raw=True the outputs are written as they are"
        )


def _classes(metadata: Mapping[str, Any], table: Preparation | None, z: Value) -> Sequence[Any] | None:
    """What the classes are called, one for each output; None where nobody says it."""
    if table is not None:
        _check(table, z, len(table.target.classes))
        return table.target.classes
    return _told_classes(metadata, int(z.shape[-1]))


def _two_classes(metadata: Mapping[str, Any], table: Preparation | None) -> Sequence[Any] | None:
    """The classes that a single yes or no tells apart, no first; None where it is a label by itself."""
    return _told_classes(metadata, 2) if table is None else table.target.classes


def _told_classes(metadata: Mapping[str, Any], count: int) -> list[Any] | None:
    for name in ("names", "classes"):
        known = metadata.get(name)
        if isinstance(known, list) and len(known) == count:
            return known
    return None


def _one_of_classes(g: Graph, z: Value, classes: Sequence[Any], are: str) -> list[Any]:
    at = g.node("ArgMax", [z], z.shape[:-1], axis=-1, keepdims=0)
    p = z if are == PROBABILITIES else _without_padding(g, g.node("Softmax", [z], z.shape, axis=-1))
    return [_label(g, at, classes), _probabilities(g, p, classes)]


def _one_of_two(g: Graph, z: Value, classes: Sequence[Any], are: str) -> list[Any]:
    no = g.node("Sub", [g.number(1.0), z], z.shape) if are == PROBABILITIES else g.node("Neg", [z], z.shape)
    p = g.node("Concat", [no, z], (*z.shape[:-1], 2), axis=-1)
    if are != PROBABILITIES:
        p = g.node("Sigmoid", [p], p.shape)  # 1 - σ(z) = σ(-z), which keeps the digits of a small one
    return [_label(g, _is_yes(g, z, are), classes), _probabilities(g, p, classes)]


def _yes_or_no(g: Graph, z: Value, are: str) -> list[Any]:
    label = g.handed_out(_is_yes(g, z, are), "label", np.int64, "1 for yes, 0 for no")
    p = z if are == PROBABILITIES else _without_padding(g, g.node("Sigmoid", [z], z.shape))
    return [label, g.handed_out(p, "probabilities", told="of yes, of each label by itself")]


def _is_yes(g: Graph, z: Value, are: str) -> Value:
    """1 where z > 0, or ½ for probabilities; (n,) of a single one."""
    at = g.node("Greater", [z, g.number(0.5 if are == PROBABILITIES else 0.0)], z.shape)
    at = g.node("Cast", [at], z.shape, to=int(g.onnx.TensorProto.INT64))
    return g.node("Reshape", [at, g.whole(-1)], z.shape[:1]) if z.shape[1:] == (1,) else at


def _label(g: Graph, at: Value, classes: Sequence[Any]) -> Any:
    """The class with the number `at`, a whole number where all classes are such, else a text."""
    whole = all(type(c) is int and LEAST <= c <= MOST for c in classes)
    keys = list(range(len(classes)))
    label = at
    if list(classes) != keys or not whole:
        given: dict[str, Any] = {"values_strings": [str(c) for c in classes], "default_string": ""}
        if whole:
            given = {"values_int64s": list(classes), "default_int64": -1}
        label = g.node("LabelEncoder", [at], at.shape, domain=ML, keys_int64s=keys, **given)
    return g.handed_out(label, "label", np.int64 if whole else "str", f"one of {len(classes)} classes")


def _probabilities(g: Graph, p: Value, classes: Sequence[Any]) -> Any:
    shown = ", ".join(str(c) for c in classes[:4]) + (", ..." if len(classes) > 4 else "")
    return g.handed_out(p, "probabilities", told=f"of the classes {shown}, in this order")


def _in_units(g: Graph, z: Value, table: Preparation) -> Any:
    """μ + σ z in float64, in the network's type again."""
    target, double = table.target, int(g.onnx.TensorProto.DOUBLE)
    flat = _column(g, z)
    wide = g.node("Cast", [flat], flat.shape, to=double)
    scaled = g.node("Mul", [wide, g.constant(np.float64(target.scale))], flat.shape)
    moved = g.node("Add", [scaled, g.constant(np.float64(target.mean))], flat.shape)
    back = g.node("Cast", [moved], flat.shape, to=g.element_type)
    return g.handed_out(back, "prediction", told=f"{target.name} in its own units")


def _by_link(g: Graph, z: Value, link: str) -> Any:
    y = g.node("Exp", [z], z.shape) if link == "log" else z
    return g.handed_out(_column(g, y) if y.shape[1:] == (1,) else y, "prediction", told="the predicted numbers")


def _column(g: Graph, z: Value) -> Value:
    return g.node("Reshape", [z, g.whole(-1)], z.shape[:1])

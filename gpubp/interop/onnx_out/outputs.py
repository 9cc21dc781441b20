"""The outputs of an ONNX graph: what the numbers of a network stand for.

With z (n, K) the outputs of the network, and what its metadata say of them:

    classes    "probabilities" (n, K) softmax(z), "label" (n,) the class of the largest
    labels     "probabilities" (n, K) σ(z); a single one that tells two classes apart has both, (n, 2), and "label"
    numbers    "output" z, or for a table "prediction" (n,) μ + σ z in the units of the target
    unknown    "output" z

Where a network has outputs for each step of rows of different lengths, they are (n, time, K), and "label" (n, time).
Behind a row's end "output" and "probabilities" are 0, and "label" is the first class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...tables import Preparation
from .graph import ML, Graph, Value
from .time_mask import TIME


def add_outputs(g: Graph, z: Value, metadata: Mapping[str, Any], table: Preparation | None) -> list[Any]:
    """Add the nodes behind the outputs z of a network; returns the descriptions of the graph's outputs.

    table: the preparation of the table that the network was trained on, if there is one.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> [output.name for output in add_outputs(g, Value("z", ("batch", 3)), {"task": "classes"}, None)]
    ['label', 'probabilities']
    """
    g.path = ""
    z = g.channels_last(z)
    task = metadata.get("task")
    if table is not None and table.target.kind == "numbers":
        return [_in_units(g, z, table.target.mean, table.target.scale)]
    if task == "classes":
        p = _without_padding(g, g.node("Softmax", [z], z.shape, axis=-1))
        return _judged(g, p, _classes(metadata, table, int(z.shape[-1])))
    if task == "labels":
        p = g.node("Sigmoid", [z], z.shape)
        if table is None:
            return [_handed_out(g, _without_padding(g, p), "probabilities")]
        other = g.node("Sub", [g.number(1.0), p], p.shape)
        both = g.node("Concat", [other, p], (*z.shape[:-1], 2), axis=-1)
        return _judged(g, both, list(table.target.classes))
    return [_handed_out(g, _without_padding(g, z), "output")]


def _without_padding(g: Graph, y: Value) -> Value:
    """y, and where it has time steps behind the end of a row, 0 there."""
    return g.mask.without_padding(g, y) if TIME in y.shape else y


def _classes(metadata: Mapping[str, Any], table: Preparation | None, K: int) -> Sequence[Any]:
    """What the K classes are called."""
    if table is not None:
        return table.target.classes
    for name in ("names", "classes"):
        known = metadata.get(name)
        if isinstance(known, list) and len(known) == K:
            return known
    return range(K)


def _judged(g: Graph, p: Value, classes: Sequence[Any]) -> list[Any]:
    """The label of the largest probability, and the probabilities."""
    at = g.node("ArgMax", [p], p.shape[:-1], axis=-1, keepdims=0)
    texts = not all(isinstance(c, int) for c in classes)
    keys = list(range(len(classes)))
    label = at
    if list(classes) != keys:
        given: dict[str, Any] = {"values_int64s": list(classes), "default_int64": -1}
        if texts:
            given = {"values_strings": [str(c) for c in classes], "default_string": ""}
        label = g.node("LabelEncoder", [at], at.shape, domain=ML, keys_int64s=keys, **given)
    return [_handed_out(g, label, "label", "str" if texts else np.int64), _handed_out(g, p, "probabilities")]


def _in_units(g: Graph, z: Value, mean: float, scale: float) -> Any:
    """μ + σ z in float64, in the network's type again."""
    double = int(g.onnx.TensorProto.DOUBLE)
    flat = g.node("Reshape", [z, g.whole(-1)], z.shape[:1])
    wide = g.node("Cast", [flat], flat.shape, to=double)
    scaled = g.node("Mul", [wide, g.constant(np.float64(scale))], flat.shape)
    moved = g.node("Add", [scaled, g.constant(np.float64(mean))], flat.shape)
    return _handed_out(g, g.node("Cast", [moved], flat.shape, to=g.element_type), "prediction")


def _handed_out(g: Graph, value: Value, name: str, dtype: Any = None) -> Any:
    """The value under the name of an output."""
    if g.rows is None:
        made = g.node("Identity", [value], value.shape)
    else:
        made = g.node("Slice", [value, g.whole(0), g.rows, g.whole(0)], value.shape)
    g.nodes[-1].output[0] = g.named(name)
    assert made.shape == value.shape
    return g.tensor(name, dtype or g.dtype, value.shape)

"""Files that gpubp wrote itself: the same network again, with its layers, its table and the bits of its weights.

Such a file says what the network was made of. Its numbers stand in the graph, some of them in another order, so the
order is found by writing the same network once more, with numbers that say where they stand: parameter k is 2⁴⁰ + k,
and where that number comes out, the file has the parameter's value. Then the network is written with the values, and
must give the very file that was read. If it does not, because another program has changed the graph or another version
of gpubp wrote it, the graph alone counts, and is read like any other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backends import get_backend
from ...config import real
from ...errors import GpubpError
from ...layers import Layer
from ...layers.binding import plan_of
from ...layers.bound import float_type, planned_row, row_shape
from ...model_file import layers_of
from ..onnx_out.export import onnx_model
from ..onnx_out.tables import PREPARED
from ..onnx_out.told import CONFIG
from .model import OnnxGraph, graph_of
from .refused import UNFIT, Refused
from .tensors import Array

FIRST = 2**40  # more than any number that a graph has for other reasons; float64 has it exactly, and all behind it
MOST_IN_A_ROW = 2**24
LONGEST = 2**13  # steps of an attention, which has a square of them


@dataclass(frozen=True)
class Own:
    """What a file of gpubp's says of its network. config: all but the layers, as a model file has it. lost: names of
    parameters of which the graph has only a part."""

    layers: Layer
    input_shape: tuple[int | None, ...]
    arrays: Mapping[str, Array]
    dtype: str
    config: Mapping[str, Any]
    lost: tuple[str, ...]


class _Network:
    """What `onnx_model` asks of a network."""

    def __init__(
        self, layers: Layer, row: tuple[Any, ...], dtype: Any, metadata: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> None:
        self.layers, self.input_shape, self.dtype, self.metadata = layers, row, np.dtype(dtype), metadata
        self.has_lengths, self.seed, self.frozen = row[0] is None, 0, frozenset[str]()
        self.parameters, self.states, self.backend = arrays, dict[str, Array](), get_backend("cpu")


def read_own(graph: OnnxGraph) -> Own | None:
    """The network, if gpubp wrote this file and nobody has changed its graph; None else.

    >>> read_own(OnnxGraph([], {}, [], [], 20)) is None
    True
    """
    if CONFIG not in graph.told:
        return None
    for raw in (False, True):
        try:
            if (found := _read(graph, json.loads(graph.told[CONFIG]), raw)) is not None:
                return found
        except (GpubpError, Refused, KeyError, AttributeError, MemoryError, *UNFIT):
            continue
    return None


def _read(graph: OnnxGraph, told: Mapping[str, Any], raw: bool) -> Own | None:
    layers, row, dtype = layers_of(told), row_shape(told["input_shape"], lengths=True), float_type(told["dtype"])
    held = sum(a.size for a in graph.constants.values() if isinstance(a, np.ndarray))
    planned = planned_row(row)
    if math.prod(planned) > MOST_IN_A_ROW or max(planned) > LONGEST and "MultiHeadAttention" in repr(layers):
        return None
    plan = plan_of(layers, (1, *planned))
    shapes = {name: p.shape for name, p in (plan.all_parameters() | plan.all_states()).items()}
    count = sum(map(math.prod, shapes.values()))
    if count > 4 * held + 2**16:
        return None
    metadata, columns = {**_meant(graph.told), **told["metadata"]}, _columns(graph.told)
    ends = np.cumsum([0, *map(math.prod, shapes.values())]).tolist()
    numbered = {
        name: np.arange(FIRST + start, FIRST + end, dtype=np.float64).reshape(shape)
        for (name, shape), start, end in zip(shapes.items(), ends, ends[1:], strict=False)
    }
    places = graph_of(onnx_model(_network(layers, row, np.float64, metadata, numbered), metadata, columns, raw))
    values, known = np.zeros(count, dtype), np.zeros(count, bool)
    for name, at in places.constants.items():
        given = graph.constants.get(name)
        if isinstance(at, np.ndarray) and isinstance(given, np.ndarray) and at.dtype == np.float64:
            if given.shape == at.shape and given.dtype == dtype:
                there = (at >= FIRST) & (at < FIRST + count)
                where = (at[there] - FIRST).astype(np.int64)
                values[where], known[where] = given[there], True
    for name, start in zip(shapes, ends, strict=False):
        if name in told.get("counts", {}):  # which no node reads
            values[start], known[start] = real(told["counts"][name]), True
    arrays = {name: values[s:e].reshape(shapes[name]) for name, s, e in zip(shapes, ends, ends[1:], strict=False)}
    again = graph_of(onnx_model(_network(layers, row, dtype, metadata, arrays), metadata, columns, raw))
    if not same_graph(graph, again):
        return None
    lost = tuple(name for name, s, e in zip(shapes, ends, ends[1:], strict=False) if not known[s:e].all())
    return Own(layers, row, arrays, str(dtype), {**told, "metadata": metadata}, lost)


def _meant(told: Mapping[str, str]) -> dict[str, Any]:
    """What the file says of the outputs beside its description, which leaves out metadata that are large."""
    found: dict[str, Any] = {name: told[name] for name in ("task", "data") if name in told}
    return found | {name: json.loads(told[name]) for name in ("classes", "names") if name in told}


def _columns(told: Mapping[str, str]) -> dict[str, str] | str | None:
    """The forms of the columns of a table, as `to_onnx` was asked for them."""
    if "features" in told:
        return PREPARED
    return {about["name"]: about["form"] for about in json.loads(told["columns"])} if "columns" in told else None


def _network(*of: Any) -> Any:
    return _Network(*of)


def same_graph(one: OnnxGraph, other: OnnxGraph) -> bool:
    """Whether two files have the same nodes, inputs and outputs, and constants of the same bits.

    >>> same_graph(OnnxGraph([], {}, [], [], 20), OnnxGraph([], {"a": np.zeros(1)}, [], [], 20))
    False
    """
    if (one.inputs, one.outputs, one.opset) != (other.inputs, other.outputs, other.opset):
        return False
    if one.constants.keys() != other.constants.keys() or len(one.nodes) != len(other.nodes):
        return False
    if not all(_same(a, other.constants[name]) for name, a in one.constants.items()):
        return False
    for a, b in zip(one.nodes, other.nodes, strict=True):
        if (a.op, a.domain, a.name, a.inputs, a.outputs) != (b.op, b.domain, b.name, b.inputs, b.outputs):
            return False
        if a.attributes.keys() != b.attributes.keys():
            return False
        if not all(_same(value, b.attributes[name]) for name, value in a.attributes.items()):
            return False
    return True


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool((a == b).all()) if a.dtype.kind == "O" else a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)

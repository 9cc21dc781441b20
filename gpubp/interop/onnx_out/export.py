"""to_onnx: a network as one ONNX file, which takes what `predict` takes and gives what its outputs stand for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import __version__
from ...atomic import write_parts
from ...backends.arrays import as_numpy
from ...errors import ExportError
from ...layers.bound import BoundLayers
from ...tables import Preparation
from . import (
    activations,
    attention,
    basic,
    ensemble,
    images,
    normalization,
    over_time,
    over_windows,
    recurrent,
    texts,
    words,
)
from .graph import BATCH, IR_VERSION, OPSET, Graph, Value
from .lowering import check_layers, lower
from .outputs import add_outputs
from .rows import with_a_row
from .tables import PREPARED, table_inputs
from .time_mask import TIME, mask_of_lengths

LAYERS = (  # the files that say how layers are written
    activations, attention, basic, ensemble, images, normalization, over_time, over_windows, recurrent, texts, words
)  # fmt: skip
MOST_BYTES = 2**31 - 2**20  # of a protobuf message


def to_onnx(
    network: BoundLayers,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    columns: Mapping[str, str] | str | None = None,
) -> Any:
    """Write a network as an ONNX file of opset 20; returns the model as the library onnx has it.

    metadata: of the network, which says what its outputs stand for. columns: of a table, the form in which some are
    given, as `tables.forms` tells, or "prepared" for rows as `predict` takes them. Raises ExportError for layers and
    columns that ONNX has nothing for, all named at once, MissingDependencyError without the library onnx, OSError where
    the file can't be written.

    >>> import os, tempfile, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), 4, device="cpu")
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> [node.op_type for node in to_onnx(net, {}, path).graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Identity']
    """
    check_layers(network.layers)
    network.backend.synchronize()
    arrays = {name: as_numpy(a) for name, a in (*network.parameters.items(), *network.states.items())}
    g = Graph(arrays, network.dtype)
    table = Preparation.of(network)
    told = _told(metadata)
    if table is None or columns == PREPARED:
        if columns is not None and table is None:
            raise ExportError("columns are those of a table, and this network was not trained on one")
        given, inputs = _inputs(g, network)
    else:
        inputs, row, told["columns"] = table_inputs(g, table, columns, taken=arrays)
        given = [row]
    x, *lengths = with_a_row(g, network.layers, *given)
    if lengths:
        g.mask = mask_of_lengths(g, x, *lengths)
        x = g.mask.without_padding(g, x)  # whatever stands there
    z = lower(g, network.layers, x)
    outputs = add_outputs(g, z, metadata, table)
    model = g.model(inputs, outputs, told, "gpubp")
    model.producer_name, model.producer_version = "gpubp", __version__
    content = _bytes_of(model)
    write_parts(path, [content])
    return model


def _inputs(g: Graph, network: BoundLayers) -> tuple[list[Value], list[Any]]:
    """The rows, and where they have different lengths, these; and the descriptions of the graph's inputs."""
    x = Value(g.named("input"), (BATCH, *(TIME if n is None else n for n in network.input_shape)))
    described = [g.tensor(x.name, network.dtype, x.shape)]
    if not network.has_lengths:
        return [x], described
    lengths = Value(g.named("lengths"), (BATCH,))
    return [x, lengths], [*described, g.tensor(lengths.name, np.int64, lengths.shape)]


def _bytes_of(model: Any) -> bytes:
    size = model.ByteSize()
    if size > MOST_BYTES:
        raise ExportError(f"the network takes {size:,} bytes, and an ONNX file at most {MOST_BYTES:,}")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _told(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What the file says of itself, as texts by name."""
    told = {"gpubp": __version__, "opset": str(OPSET), "ir": str(IR_VERSION)}
    for name in ("task", "data"):
        if isinstance(metadata.get(name), str):
            told[name] = metadata[name]
    for name in ("classes", "names"):
        if isinstance(metadata.get(name), list):
            told[name] = json.dumps(metadata[name], ensure_ascii=False)
    return told

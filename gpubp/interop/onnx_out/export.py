"""to_onnx: a network as one ONNX file, which takes what `predict` takes and gives what its outputs stand for."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...atomic import write_parts
from ...backends.arrays import as_numpy
from ...errors import ExportError
from ...layers.bound import BoundLayers, float_type
from ...tables import Preparation
from . import (
    activations,
    attention,
    basic,
    convolutions,
    ensemble,
    images,
    normalization,
    over_time,
    over_windows,
    recurrent,
    resized,
    softmax,
    texts,
    words,
)
from .graph import BATCH, Array, Graph, Value, onnx_library
from .lowering import check_layers, lower
from .outputs import add_outputs
from .rows import with_a_row
from .tables import PREPARED, table_inputs
from .time_mask import TIME, mask_of_lengths
from .told import described, features, meant, plain, told

LAYERS = (  # the files that say how layers are written
    activations, attention, basic, convolutions, ensemble, images, normalization, over_time, over_windows, recurrent,
    resized, softmax, texts, words,
)  # fmt: skip
MOST_BYTES = 2**31 - 2**20  # of a protobuf message


def to_onnx(
    network: BoundLayers,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    columns: Mapping[str, str] | str | None = None,
    raw: bool = False,
    dtype: Any = None,
) -> Any:
    """Write a network as an ONNX file of opset 20; returns the model as the library onnx has it.

    metadata: of the network, which says what its outputs stand for. columns: of a table, the form in which some are
    given, as `tables.forms` tells, or "prepared" for rows as `predict` takes them. raw: whether the file gives the
    network's outputs as they are, whatever they stand for. dtype: "float32" or "float64", None for the network's. The
    same network has the same file, byte for byte.

    Raises ExportError for layers and columns that ONNX has nothing for, all named at once, for networks of 2 GB, and
    for parameters that float32 can't hold, ValueError for another dtype, MissingDependencyError without the library
    onnx, OSError where the file can't be written, InUseError while another thread trains the network.

    >>> import os, tempfile, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), 4, device="cpu")
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> [node.op_type for node in to_onnx(net, {}, path).graph.node]
    ['Gemm', 'Relu', 'Gemm']
    """
    onnx_library()
    path, dtype = Path(path), network.dtype if dtype is None else float_type(dtype)
    _check_place(path)
    check_layers(network.layers)
    with network.one_thread.during("to_onnx"), network.backend.active():
        network.backend.synchronize()
        model = onnx_model(network, plain(metadata), columns, raw, dtype)
        content: bytes = model.SerializeToString(deterministic=True)
    _check_size(len(content))
    write_parts(path, [content])
    return model


def onnx_model(
    network: BoundLayers,
    metadata: Mapping[str, Any],
    columns: Mapping[str, str] | str | None,
    raw: bool,
    dtype: np.dtype[Any] | None = None,
) -> Any:
    """The model that `to_onnx` writes, of a network whose layers have been checked, and metadata that are plain.

    >>> import gpubp as bp
    >>> onnx_model(bp.Network(bp.Dense(2), 4, device="cpu"), {}, None, False).ir_version
    10
    """
    dtype, arrays = dtype or network.dtype, {**network.parameters, **network.states}
    _check_size(sum(int(a.size) for a in arrays.values()) * dtype.itemsize)
    g = Graph({name: _converted(name, a, dtype) for name, a in arrays.items()}, dtype)
    table, answers = Preparation.of(network), meant(metadata)
    texts = told(network, metadata, answers, dtype)
    if table is None or columns == PREPARED:
        if columns is not None and table is None:
            raise ExportError("columns are those of a table, and this network was not trained on one")
        given, inputs = _inputs(g, network)
        texts |= features(table)
    else:
        inputs, row, texts["columns"] = table_inputs(g, table, columns, taken=arrays)
        given = [row]
    x, *lengths = with_a_row(g, network.layers, *given)
    if lengths:
        g.path = "lengths"
        g.mask = mask_of_lengths(g, x, *lengths)
        g.path = ""
        x = g.mask.without_padding(g, x)  # whatever stands there
    z = lower(g, network.layers, x)
    outputs = add_outputs(g, z, answers, table, raw)
    _check_size(sum(a.nbytes for a in g.constants.values()))
    model = g.model(inputs, outputs, texts, "gpubp")
    model.producer_name, model.producer_version = "gpubp", __version__
    model.doc_string = described(model)
    return model


def _converted(name: str, array: Any, dtype: np.dtype[Any]) -> Array:
    try:
        with np.errstate(over="raise"):
            return as_numpy(array).astype(dtype, copy=False)
    except FloatingPointError:
        raise ExportError(f"{name} has numbers that {dtype} can't hold; write the network in {array.dtype}") from None


def _inputs(g: Graph, network: BoundLayers) -> tuple[list[Value], list[Any]]:
    """The rows, and where they have different lengths, these; and the descriptions of the graph's inputs."""
    x = Value(g.named("input"), (BATCH, *(TIME if n is None else n for n in network.input_shape)))
    found = [g.tensor(x.name, g.dtype, x.shape, "rows as the network's predict takes them")]
    if not network.has_lengths:
        return [x], found
    lengths = Value(g.named("lengths"), (BATCH,))
    return [x, lengths], [*found, g.tensor(lengths.name, np.int64, lengths.shape, "how many time steps each row has")]


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ExportError(f"the network takes {size:,} bytes, and an ONNX file at most {MOST_BYTES:,}")


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "an ONNX model is a file, and this is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write an ONNX file in", str(path.parent))

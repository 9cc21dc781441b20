"""write: a network as one C99 file, without dependencies and without allocation."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...atomic import write_parts
from ...backends.arrays import as_numpy
from ...errors import ExportError, in_bytes
from ...layers import Embedding
from ...layers.bound import BoundLayers
from ...losses import told_outputs
from ...tables import Preparation
from ...tables.preparation import METADATA as TABLE
from . import basic, compositions, convolutions, images, resized, sequences
from .about import about, task_of
from .code import Code
from .file import File
from .lowering import check_layers, lower
from .timing import Timing, in_time, time_of_a_row

LAYERS = (basic, compositions, convolutions, images, resized, sequences)  # the files that say how layers are written
MOST_NUMBERS = 8_000_000  # of weights: some 130 MB of text, for which a compiler takes gigabytes of memory


@dataclass(frozen=True)
class Report:
    """What a file in C needs.

    weights, memory: bytes of constant arrays, and of working memory. multiplications: by weights, for a row. seconds:
    of a row, None where that was not measured. measured: with which compiler and processor, or why not.

    >>> print(Report(9640, 128, 2368))
    9.4 KB of weights, 128 B of working memory, 2,368 multiplications for a row
    """

    weights: int
    memory: int
    multiplications: int
    seconds: float | None = None
    measured: str = ""

    def __str__(self) -> str:
        sizes = f"{in_bytes(self.weights)} of weights, {in_bytes(self.memory)} of working memory"
        time = f", {in_time(self.seconds)}" if self.seconds is not None else ""
        return f"{sizes}, {self.multiplications:,} multiplications{time} for a row"


def write(
    network: BoundLayers,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    name: str = "",
    probabilities: bool = False,
    time: bool = False,
) -> Report:
    """Write a network as a C99 file with the function `void predict(const float *x, float *y)`; see docs/interop.md.

    metadata: of the network, which says what its outputs stand for. name: goes before all names of the file, as in
    `name_predict`, so that a program can have several networks. probabilities: whether there is a function
    `predict_probabilities` beside it. time: whether to compile the file, measure the time of a row, and say it in the
    comment; without it the file is the same to the byte for the same network.

    Raises ExportError for layers that can't be written, all named at once, for rows of different lengths and for
    networks of more than 8 million numbers; ValueError for a name that is none in C; ModelFileError for metadata of a
    table that are damaged; OSError where the file can't be written.

    >>> import tempfile, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), 4, device="cpu")
    >>> print(write(net, {}, os.path.join(tempfile.mkdtemp(), "model.c")))
    232 B of weights, 32 B of working memory, 48 multiplications for a row
    """
    file = file_of(network, metadata, name, probabilities)
    timing = Timing(None, "")
    if time:
        sizes = file.code.x.size, file.result.size
        timing = time_of_a_row(file.text(), f"{file.prefix}predict", file.real, *sizes)
    write_parts(path, (piece.encode("ascii") for piece in file.text(timing.sentence())))
    size = file.code.dtype.itemsize
    return Report(file.weights * size, file.memory * size, file.code.multiplications, *timing)


def file_of(network: BoundLayers, metadata: Mapping[str, Any], name: str, probabilities: bool) -> File:
    """The file of a network, before it is written; see `write`.

    >>> import gpubp as bp
    >>> file_of(bp.Network(bp.Dense(2), 4, device="cpu"), {}, "small", False).declarations()[0]
    'void small_predict(const float *x, float *y);'
    """
    _check_name(name)
    if network.has_lengths:
        raise ExportError(
            f"C code is for rows of one length, and this network has rows of any length, {network.input_shape}; make a "
            "network of the same layers with a number of time steps in place of None, and give it the parameters"
        )
    check_layers(network.layers)
    count = sum(int(a.size) for a in (*network.parameters.values(), *network.states.values()))
    if count > MOST_NUMBERS:
        raise ExportError(
            f"the network has {count:,} numbers, and a file in C at most {MOST_NUMBERS:,}: compilers need gigabytes of "
            "memory for more; an ONNX file takes it"
        )
    task = task_of(metadata)
    activation = {"classes": "softmax", "labels": "sigmoids"}.get(task, "")
    if probabilities and not activation:
        raise ExportError(
            'probabilities are those of classes or labels, and net.metadata["task"] is '
            f"{metadata.get('task')!r:.100}; without them, predict gives what net.predict gives"
        )
    if probabilities and (are := told_outputs(metadata)) in ("probabilities", "scores"):
        why = (
            "outputs are probabilities already"
            if are == "probabilities"
            else "outputs are scores, of which there are none"
        )
        raise ExportError(f"probabilities: the network was trained by a loss to which its {why}; predict gives them")
    network.backend.synchronize()
    arrays = {n: as_numpy(a) for n, a in (*network.parameters.items(), *network.states.items())}
    code = Code(arrays, network.dtype, tuple(map(int, network.input_shape)), network.backend.numerics)
    result = lower(code, network.layers, code.x, keep=True)
    result = code.own(result, keep=result.number == code.x.number)
    table = Preparation.of(network) if TABLE in metadata else None
    words = any(isinstance(layer, Embedding) for _, layer in network.layers.walk())
    return File(
        code,
        result,
        name,
        tuple(about(code.x.shape, result.shape, metadata, table, words)),
        task == "classes" and len(result.shape) == 1,
        activation if probabilities else "",
    )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"([A-Za-z][A-Za-z0-9_]{0,30})?", name):
        raise ValueError(
            f"name goes before names in C: a letter, then letters, digits and _, 31 at most; got {name!r:.100}"
        )

"""What an ONNX file says of itself: a sentence on its inputs and outputs, and texts by name.

gpubp, opset, ir     the versions that wrote it
task, data           what the network is for, and the data that it was trained on, where that is known
classes, names       the classes of the outputs, as JSON
columns              the columns of a table that the inputs take, as JSON: see `tables.inputs`
features             the names of the numbers of a row, as JSON, of a table that the file does not prepare
gpubp.config         the network without the parameters that nodes read, as JSON, as in gpubp's own files
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ... import __version__
from ...config import ConfigError, as_plain
from ...layers import BatchNorm
from ...layers.bound import BoundLayers
from ...layers.plan import join
from ...tables import Preparation
from .graph import IR_VERSION, OPSET

CONFIG = "gpubp.config"
MOST_CONFIG = 2**20  # characters of the network's description


def told(network: BoundLayers, metadata: Mapping[str, Any], answers: Mapping[str, Any], dtype: Any) -> dict[str, str]:
    """The texts by name. answers: as `meant` gives them. dtype: of the file.

    >>> import gpubp as bp
    >>> list(told(bp.Network(bp.Dense(2), 4, device="cpu"), {}, {"task": "numbers"}, "float32"))
    ['gpubp', 'opset', 'ir', 'task', 'gpubp.config']
    """
    found = {"gpubp": __version__, "opset": str(OPSET), "ir": str(IR_VERSION)}
    for name in ("task", "data"):
        if isinstance(answers.get(name), str):
            found[name] = answers[name]
    for name in ("classes", "names"):
        if isinstance(answers.get(name), list):
            found[name] = json.dumps(answers[name], ensure_ascii=False)
    config = _config(network, metadata, dtype)
    return found if config is None else {**found, CONFIG: config}


def features(table: Preparation | None) -> dict[str, str]:
    """The names of the numbers of a row of a table, for a file that takes such rows.

    >>> from gpubp.tables import NumberColumn, TableTarget
    >>> features(Preparation((NumberColumn("rooms", 3.0, 1.0),), TableTarget("price", "numbers")))
    {'features': '["rooms"]'}
    """
    return {} if table is None else {"features": json.dumps(table.outputs, ensure_ascii=False)}


def _config(network: BoundLayers, metadata: Mapping[str, Any], dtype: Any) -> str | None:
    """The network's description, without metadata that are large or no JSON; None where its layers are no JSON."""
    numerics = network.backend.numerics
    for kept in (metadata, {}):
        with suppress(ConfigError, ValueError, AttributeError):  # an argument that is not kept, or is no JSON
            config = {
                "layers": network.layers.config(),
                "input_shape": list(network.input_shape),
                "dtype": str(dtype),
                "seed": network.seed,
                "frozen": sorted(network.frozen),
                "metadata": dict(kept),
                **({} if numerics == "ordinary" else {"numerics": numerics}),
                **counts_of(network),
            }
            text = json.dumps(config, ensure_ascii=False, allow_nan=False)
            if len(text) <= MOST_CONFIG:
                return text
    return None


def counts_of(network: Any) -> dict[str, dict[str, float]]:
    """Running values that no node needs: how many batches are in the means of a BatchNorm(momentum=None).

    >>> import gpubp as bp
    >>> counts_of(bp.Network(bp.BatchNorm(momentum=None), 4, device="cpu"))
    {'counts': {'count': 0.0}}
    """
    arrays = {**network.parameters, **network.states}
    paths = [path for path, layer in network.layers.walk() if isinstance(layer, BatchNorm) and layer.momentum is None]
    names = [join(path, "count") for path in paths]
    found = {name: float(network.backend.to_host(arrays[name])[0]) for name in names if name in arrays}
    return {"counts": found} if found else {}


def meant(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata, with what a file that an estimator wrote says of the network's outputs.

    >>> meant({"estimator": {"class": "MLPClassifier", "answers": {"task": "labels"}}})["task"]
    'labels'
    """
    estimator = metadata.get("estimator")
    answers = estimator.get("answers") if isinstance(estimator, Mapping) else None
    return {**metadata, **answers} if isinstance(answers, Mapping) else metadata


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as Python's own numbers, texts and lists, without those that can't be written to any file.

    >>> plain({"names": ("a", "b"), "made by": object})
    {'names': ['a', 'b']}
    """
    found = {}
    for name, value in metadata.items():
        with suppress(ConfigError, AttributeError):
            found[str(name)] = as_plain(value)
    return found


def described(model: Any) -> str:
    """A sentence on each input and output of a model.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> import numpy as np
    >>> g = Graph({}, np.dtype(np.float32))
    >>> print(described(g.model([g.tensor("x", np.float32, ("batch", 4), "rows")], [], {}, "gpubp")))
    A network trained with gpubp. Input x, float32 (batch, 4): rows.
    """
    found = ["A network trained with gpubp."]
    found += [f"Input {_line(i)}." for i in model.graph.input]
    return " ".join([*found, *(f"Output {_line(o)}." for o in model.graph.output)])


def _line(tensor: Any) -> str:
    import onnx

    of = tensor.type.tensor_type
    texts = of.elem_type == onnx.TensorProto.STRING
    kind = "text" if texts else str(onnx.helper.tensor_dtype_to_np_dtype(of.elem_type))
    shape = ", ".join(d.dim_param or str(d.dim_value) for d in of.shape.dim)
    line = f"{tensor.name}, {kind} ({shape}{',' if len(of.shape.dim) == 1 else ''})"
    return f"{line}: {tensor.doc_string}" if tensor.doc_string else line

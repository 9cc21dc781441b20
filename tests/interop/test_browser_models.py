"""Networks of many kinds in onnxruntime-web, in a real browser: the predictions of gpubp, raw cells of tables too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from web_pages import found_by, why_not

import gpubp as bp
from gpubp.cli.onnx_check import OnnxFile, inputs_of
from gpubp.cli.random_rows import random_rows
from gpubp.cli.table_cells import cells, random_batch
from gpubp.tables import CategoryColumn, DateColumn, NumberColumn, Preparation, TableTarget, TextColumn, YesNoColumn
from gpubp.tables.dates import DateFormat, DurationFormat
from gpubp.tables.formats import NumberFormat
from gpubp.text import Vocabulary

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

LIBRARY = '<script src="node_modules/onnxruntime-web/dist/ort.wasm.min.js"></script>'
SCRIPT = """
ort.env.wasm.numThreads = 1;
const found = {};
for (const [name, inputs] of Object.entries(await (await fetch("inputs.json")).json())) {
  const kinds = {float32: Float32Array, float64: Float64Array, int64: BigInt64Array}, feeds = {};
  for (const [input, {type, shape, data}] of Object.entries(inputs)) {
    const numbers = type === "int64" ? data.map(BigInt) : data.map(v => v === null ? NaN : v);
    feeds[input] = new ort.Tensor(type, type === "string" ? data : kinds[type].from(numbers), shape);
  }
  try {
    const session = await ort.InferenceSession.create(name), outputs = await session.run(feeds);
    found[name] = Object.values(outputs).map(y => [y.dims, Array.from(y.data, String)]);
  } catch (problem) { found[name] = String(problem); }
}
return found;
"""

NETWORKS = {
    "dense": (bp.Sequential(bp.Dense(8), bp.SiLU(), bp.LayerNorm(), bp.Dense(3), bp.Softplus()), 5),
    "cnn": (bp.Sequential(bp.Conv2D(4, 3), bp.BatchNorm(), bp.MaxPool2D(2), bp.Flatten(), bp.Dense(3)), (8, 8, 1)),
    "words": (bp.Sequential(bp.Embedding(30, 4), bp.MeanOverTime(), bp.Dense(3)), (6,)),
    "gru": (bp.Sequential(bp.Bidirectional(bp.GRU(4)), bp.Dense(2)), (None, 3)),
    "lstm": (bp.Sequential(bp.LSTM(4, return_sequences=True), bp.Dense(2)), (7, 3)),
    "attention": (bp.Sequential(bp.MultiHeadAttention(2), bp.MeanOverTime(), bp.Dense(2)), (None, 4)),
}  # fmt: skip
COLUMNS = (
    NumberColumn("area", 2.0, 3.0, missing=True, log=1.5, edges=(-1.0, 2.0, 5.0, 9.0)),
    YesNoColumn("garden", 0.5, 0.5, missing=True),
    CategoryColumn("town", ("Rome", "Oslo", "3", "New York", "Zürich"), other=True, missing=True),
    CategoryColumn("street", ("a  b", "y z"), embed=3),
    NumberColumn("paid", 200.0, 100.0, written=NumberFormat(",", ".", unit="€")),
    DateColumn("built", 1e9, 1e8, ("trend", "year")),
    DateColumn("sold", 1e9, 1e8, written=DateFormat("dmy", ".")),
    NumberColumn("open", 4e4, 2e4, written=DateFormat("time")),
    NumberColumn("stay", 5e4, 3e4, written=DurationFormat()),
    TextColumn("review", Vocabulary(("good", "bad", "naïve")), 5),
)


def written(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as the page takes them: NaN is null."""
    return {
        name: {
            "type": "string" if a.dtype.kind == "O" else str(a.dtype),
            "shape": a.shape,
            "data": [None if isinstance(v, float) and np.isnan(v) else v for v in a.ravel().tolist()],
        }
        for name, a in inputs.items()
    }


def table_of(prepared: Preparation, path: Path, forms: dict[str, str]) -> tuple[dict[str, Any], Any]:
    """Write a network for these columns; returns the inputs of the file for random cells, and what it predicts."""
    layers = bp.Sequential(*filter(None, [prepared.embedding]), bp.Dense(4), bp.Tanh(), bp.Dense(1))
    net = bp.Network(layers, prepared.width, device="cpu")
    prepared.keep_in(net)
    net.to_onnx(path, columns=forms)
    file = OnnxFile.read(path, net)
    form, example, called = (file.of_columns(what) for what in ("form", "example", "input"))
    batch = random_batch(prepared, form, example, 40)
    X = prepared.transform(batch)
    inputs = {called[name]: a for name, a in cells(prepared, form, batch, X).items()}
    return inputs, prepared.target.answers(net.predict(X))


def test_networks_and_tables_predict_what_gpubp_predicts(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    inputs, expected = {}, {}
    for name, (layers, shape) in NETWORKS.items():
        net = bp.Network(layers, shape, device="cpu", seed=1)
        path, X = tmp_path / f"{name}.onnx", random_rows(net, 5)
        net.to_onnx(path)
        inputs[path.name] = written(inputs_of(OnnxFile.read(path, net), net, X))
        expected[path.name] = net.predict(X)
    prepared = Preparation(COLUMNS, TableTarget("price", "numbers", mean=5.0, scale=2.0), missing=("unknown",))
    numbers = ("garden", "paid", "built", "sold", "open", "stay")
    for name, forms in (("texts.onnx", {"area": "text"}), ("numbers.onnx", dict.fromkeys(numbers, "number"))):
        given, expected[name] = table_of(prepared, tmp_path / name, forms)
        inputs[name] = written(given)
    (tmp_path / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
    found = found_by(SCRIPT, tmp_path, files=LIBRARY)
    for name, y in expected.items():
        assert not isinstance(found[name], str), f"{name}: {found[name]}"
        ((shape, numbers),) = found[name]
        assert tuple(shape) == y.shape, name
        assert np.abs(np.array(numbers, float).reshape(shape) - y).max() < 1e-5 * max(1.0, np.abs(y).max()), name

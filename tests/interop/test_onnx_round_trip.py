"""Networks written as ONNX and read again: the same layers and bits, and the same numbers from the graph alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import onnx, saved
from onnx_runs import as_trained

import gpubp as bp
from layer_cases import LAYERS, LayerCase

# What gpubp writes for these is read only where the file also says what it was made of.
NO_GRAPH = {
    "MelSpectrogram-half", "MelSpectrogram-overlapping", "MelSpectrogram-apart", "MeanOverTime/root", "EmbedColumns",
    "EmbedColumns-words-alone", "WordColumns", "WordColumns-two-texts", "Ensemble-classes",
    "Ensemble-classes-more-axes", "Ensemble-labels", "Ensemble-one-member", "MultiHeadAttention-one-step",
    "AdaptiveAvgPool2D", "AdaptiveMaxPool2D", "AvgPool2D-counted", "MaxPool2D-dilated",
}  # fmt: skip


def written(net: bp.Network, folder: Path, **options: Any) -> Path:
    path = folder / "model.onnx"
    net.to_onnx(path, **options)
    return path


def graph_alone(path: Path) -> Path:
    """The file without what it says of itself."""
    made = onnx.load(path)
    del made.metadata_props[:]
    return saved(made, path.parent)


def same(net: bp.Network, again: bp.Network) -> None:
    """Assert that both have the same layers, and the same bits."""
    assert repr(again.layers) == repr(net.layers)
    assert again.input_shape == net.input_shape and again.dtype == net.dtype and again.frozen == net.frozen
    assert again.sha256() == net.sha256()


@pytest.mark.parametrize("case", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers(tmp_path: Path, case: LayerCase, dtype: str) -> None:
    net = as_trained(bp.Network(case.network_layers(), case.shape[1:], device="cpu", dtype=dtype))
    X = case.x(np.random.default_rng(1))
    path = written(net, tmp_path)
    again = bp.from_onnx(path, device="cpu")
    assert "the network that gpubp wrote" in again.metadata["imported"]["report"][0]
    if case.id == "PositionalEmbedding-longer":  # whose last positions are not in the graph
        assert "only the part that is used" in again.metadata["imported"]["report"][1]
    else:
        same(net, again)
    y = net.predict(X)
    assert (again.predict(X) == y).all()
    if dtype == "float32":
        from_graph(net, graph_alone(path), X, y, case.id)


def from_graph(net: bp.Network, path: Path, X: np.ndarray, y: np.ndarray, name: str) -> None:
    """The graph alone gives the same numbers, and parameters of the same bits."""
    if name in NO_GRAPH:
        with pytest.raises(bp.ModelFileError):
            bp.from_onnx(path, device="cpu")
        return
    again = bp.from_onnx(path, device="cpu")
    assert again.metadata["imported"]["input_axes"] == list(range(X.ndim))
    found = again.predict(X)
    assert found.shape == y.shape and np.abs(found - y).max() <= 1e-5 * max(1.0, np.abs(y).max())
    if name not in ("PositionalEmbedding-longer", "Ensemble"):  # whose factor goes into the Dense behind it
        assert numbers_of(net) == numbers_of(again)


def numbers_of(net: bp.Network) -> set[bytes]:
    """All arrays but those of 1 or 0 alone, which stand in a file for those that a layer does not have, and counts."""
    arrays = {**net.parameters, **net.states}
    counts = {name for name in arrays if name.rpartition(".")[2] == "count"}
    filled = {name for name, a in arrays.items() if (a == 0).all() or (a == 1).all()}
    return {a.tobytes() for name, a in arrays.items() if name not in counts | filled}


@pytest.mark.parametrize(
    "layers",
    [
        bp.Sequential(bp.Embedding(9, 4), bp.Bidirectional(bp.LSTM(3, return_sequences=True)), bp.MeanOverTime()),
        bp.Sequential(bp.Embedding(9, 4), bp.PositionalEncoding(), bp.MultiHeadAttention(2, causal=True)),
    ],
)
def test_rows_of_any_length(tmp_path: Path, layers: bp.Layer) -> None:
    net = as_trained(bp.Network(layers, (None,), device="cpu"))
    rows = [np.arange(n) % 9 for n in (3, 1, 7)]
    again = bp.from_onnx(written(net, tmp_path), device="cpu")
    same(net, again)
    for one, other in zip(net.predict(rows), again.predict(rows), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("task", ["classes", "labels", "numbers", None])
def test_what_outputs_stand_for(tmp_path: Path, task: str | None, raw: bool) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(8), bp.Dropout(0.2), bp.Dense(3)), 4, device="cpu")
    net.freeze("0.*")
    net.metadata = {"task": task, "names": ["cat", "dog", "owl"], "made": [1, 2]} if task else {}
    path = written(net, tmp_path, raw=raw)
    again = bp.from_onnx(path, device="cpu")
    same(net, again)
    assert {k: v for k, v in again.metadata.items() if k != "imported"} == net.metadata
    assert bp.from_onnx(path, bp.Dense(5), device="cpu").layers.children[-1] == bp.Dense(5)


@pytest.mark.parametrize("columns", [None, "prepared", {"rooms": "text"}])
def test_tables(tmp_path: Path, columns: Any) -> None:
    pytest.importorskip("pyarrow")
    from gpubp.tables import CategoryColumn, NumberColumn, Preparation, TableTarget

    table = Preparation(
        (NumberColumn("rooms", 3.0, 1.0), CategoryColumn("town", ("Rome", "Oslo"))),
        TableTarget("price", "numbers", 5.0, 2.0),
    )
    net = as_trained(bp.Network(bp.Dense(1), table.width, device="cpu"))
    table.keep_in(net)
    again = bp.from_onnx(written(net, tmp_path, columns=columns), device="cpu")
    same(net, again)
    assert Preparation.of(again) == table


def test_a_graph_that_was_changed_counts_and_not_what_the_file_says_of_itself(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Sequential(bp.Dense(8), bp.Dropout(0.2), bp.Tanh(), bp.Dense(3)), 4, device="cpu"))
    path = written(net, tmp_path)
    made = onnx.load(path)
    made.graph.node[1].op_type = "Relu"
    again = bp.from_onnx(saved(made, tmp_path), device="cpu")
    assert again.layers == bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3))
    assert (again.parameters["2.W"] == net.parameters["3.W"]).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": {"class": "Nothing"}}, {"input_shape": [5]}, {"input_shape": [10**9]}, {"dtype": "float16"},
        {"layers": {"class": "Dense", "units": 10**9}}, {"metadata": 3}, {"layers": []}, "no JSON", 7,
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_the_graph_is_left_aside(tmp_path: Path, changed: Any) -> None:
    net = as_trained(bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(3)), 4, device="cpu"))
    path = written(net, tmp_path)
    made = onnx.load(path)
    (entry,) = [e for e in made.metadata_props if e.key == "gpubp.config"]
    entry.value = json.dumps({**json.loads(entry.value), **changed}) if isinstance(changed, dict) else str(changed)
    again = bp.from_onnx(saved(made, tmp_path), device="cpu")
    assert again.sha256() == net.sha256()
    assert "ONNX 20" in again.metadata["imported"]["report"][0]

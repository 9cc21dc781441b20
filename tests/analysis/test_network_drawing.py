"""plot_network: which numbers it shows, what it takes, and what it refuses."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.explain.drawings.svg import short

SVG = "{http://www.w3.org/2000/svg}"
X = np.random.default_rng(0).normal(size=(100, 2))


@pytest.fixture
def net() -> bp.Network:
    return bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh(), bp.Dense(1)), 2, device="cpu", dtype="float64")


def words(svg: str, css: str) -> list[str]:
    """What is written in a class of the drawing."""
    return [e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}text") if e.get("class", "") == css]


def test_without_rows_it_shows_the_weights(net: bp.Network) -> None:
    drawing = bp.plot_network(net)
    shown = words(drawing.svg, "")
    assert sorted(shown) == sorted(short(v) for a in net.parameters.values() for v in a.ravel())
    assert not words(drawing.svg, "y") and not words(drawing.svg, "d") and "href" not in drawing.svg


def test_with_rows_it_shows_activations(net: bp.Network) -> None:
    drawing = bp.plot_network(net, X)
    a = X[0] @ net.parameters["0.W"] + net.parameters["0.b"]
    z = net.predict(X[:1])[0]
    assert words(drawing.svg, "y") == [short(v) for v in (*X[0], *a, *np.tanh(a), *z)]
    assert not words(drawing.svg, "d") and "L = " not in drawing.svg


def test_with_targets_it_shows_gradients_of_64_rows_at_most(net: bp.Network) -> None:
    y, loss = X[:, 0] - X[:, 1], bp.MeanSquaredError()
    svg = bp.plot_network(net, X, y, loss).svg
    value, gradients = net.loss_and_gradients(loss, X[:64], y[:64])
    assert {short(v) for a in gradients.values() for v in a.ravel()} <= set(words(svg, "d"))
    assert f"L = {short(value)}" in words(svg, "strong")


def test_the_loss_is_the_one_of_training(net: bp.Network) -> None:
    y = X[:, 0]
    with pytest.raises(ValueError, match="the network tells none"):
        bp.plot_network(net, X, y)
    bp.Trainer(net, bp.Huber(), bp.SGD(0.1)).fit(X, y, epochs=1)
    assert bp.plot_network(net, X, y).svg == bp.plot_network(net, X, y, bp.Huber()).svg


def test_the_network_stays_as_it_is() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.Dropout(0.5), bp.Dense(1)), 2, device="cpu")
    parameters, states = net.flat.copy(), net.states.flat.copy()
    trained = bp.plot_network(net, X, X[:, :1], bp.MeanSquaredError()).svg
    judged = bp.plot_network(net, X, X[:, :1], bp.MeanSquaredError(), training=False).svg
    assert (net.flat == parameters).all() and (net.states.flat == states).all()
    assert trained != judged


def test_lists_tables_and_sparse_rows_are_taken(net: bp.Network) -> None:
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    y, loss = X[:, 0], bp.MeanSquaredError()
    given = (X.tolist(), pandas.DataFrame(X, columns=["a", "b"]), sparse.csr_matrix(X))
    assert {bp.plot_network(net, rows, list(y), loss).svg for rows in given} == {bp.plot_network(net, X, y, loss).svg}


def test_rows_of_different_lengths() -> None:
    net = bp.Network(bp.Sequential(bp.GRU(2, return_sequences=True), bp.LSTM(3), bp.Dense(2)), (None, 3), device="cpu")
    rows = [np.ones((4, 3)), np.ones((2, 3))]
    assert "T steps of time" in bp.plot_network(net).svg and "rows of (T, 3)" in bp.plot_network(net).svg
    svg = bp.plot_network(net, rows, [0, 1], bp.SoftmaxCrossEntropy()).svg
    value, _ = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), rows, [0, 1])
    assert f"L = {short(value)} over 2 rows" in words(svg, "muted")
    shown = words(bp.plot_network(net, rows).svg, "y")  # of rows of ones, without padding
    assert shown[:2] == ["|x|", "1"]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"path": "net.png"}, ValueError, r"ends in \.svg"),
        ({"path": "nowhere/net.svg"}, ValueError, "make it first"),
        ({"y": [1.0]}, ValueError, "give X too"),
        ({"X": X, "loss": bp.MeanSquaredError()}, ValueError, "give y too"),
        ({"X": X[:, :1]}, bp.DataError, "rows of shape"),
        ({"X": X, "y": [1.0], "loss": bp.MeanSquaredError()}, bp.DataError, "each row of X needs"),
        ({"X": X, "y": X[:, 0], "loss": "mse"}, TypeError, "loss"),
    ],
)
def test_what_does_not_fit_is_refused(
    net: bp.Network, given: dict[str, Any], error: type[Exception], said: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        bp.plot_network(net, **given)
    assert not list(tmp_path.iterdir())


def test_it_needs_no_matplotlib(net: bp.Network, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    drawing = bp.plot_network(net, path=tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == drawing.svg + "\n"
    with pytest.raises(TypeError, match="network"):
        bp.plot_network(bp.Dense(3))

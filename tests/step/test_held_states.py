"""Batches that weigh nothing, and single rows, leave running statistics as they are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp

MSE = bp.MeanSquaredError()
LAYERS = bp.Sequential(bp.Dense(3), bp.BatchNorm(momentum=0.5), bp.Tanh(), bp.Dense(1))
SINGLE = 'BatchNorm\\(0.5\\) at "1": a batch has one row, .* leaves 1.var as it is'


class Seen(bp.Layer):
    """A user's own layer that counts batches and keeps their mean."""

    def plan(self, x: Any) -> bp.Plan:
        zeros = bp.Zeros()
        states = {"batches": bp.Parameter((1,), zeros), "mean": bp.Parameter(x[1:], zeros, rows=3)}
        return bp.Plan(output=x, states=states, arrays={"y": x, "m": x[1:]})

    def forward(self, ws: Any, x: Any) -> Any:
        if ws.training and ws.context.first == 0:
            ws.xp.add(ws.batches, 1.0, out=ws.batches)
            ws.be.sum_rows(x, out=ws.m)
            ws.xp.add(ws.mean, ws.m, out=ws.mean)
        ws.xp.copyto(ws.y, x)
        return ws.y

    def backward(self, ws: Any, dy: Any) -> Any:
        return dy


def fitted(
    weights: Any = None, backend: Any = "cpu", rows: int = 16, layers: bp.Layer = LAYERS, batch: int = 4, **options: Any
) -> bp.Trainer:
    rng = np.random.default_rng(1)
    X, y = rng.normal(3.0, 2.0, size=(rows, 3)), rng.normal(size=rows)
    net = bp.Network(layers, 3, device=backend, seed=2)
    trainer = bp.Trainer(net, MSE, bp.SGD(0.0), batch_size=batch, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        trainer.fit(X, y, epochs=3, shuffle=False, sample_weight=weights, verbose=False)
    return trainer


def states(trainer: bp.Trainer) -> dict[str, np.ndarray]:
    net = trainer.network
    return {name: np.array(net.backend.to_host(a)) for name, a in net.states.items()}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, a in one.items():
        np.testing.assert_allclose(a, other[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "raise"}, {"on_nonfinite": "skip"}, {"workers": 2}], ids=repr)
@pytest.mark.parametrize("on", ["cpu", "cuda"])
def test_a_batch_that_weighs_nothing_leaves_running_values(on: str, options: dict[str, Any]) -> None:
    """Two batches with weights and two without have the running values of the two alone."""
    weights = np.repeat([1.0, 0.0, 2.0, 0.0], 4)
    trainer = fitted(weights, "cpu" if on == "cpu" else device(), **options)
    rng = np.random.default_rng(1)
    X, y = rng.normal(3.0, 2.0, size=(16, 3)), rng.normal(size=16)
    net = bp.Network(LAYERS, 3, device="cpu", seed=2)
    alone = bp.Trainer(net, MSE, bp.SGD(0.0), batch_size=4)
    kept = weights > 0
    alone.fit(X[kept], y[kept], epochs=3, shuffle=False, sample_weight=weights[kept], verbose=False)
    assert_equal(states(trainer), states(alone))


def test_a_mean_is_that_of_the_rows_with_a_weight() -> None:
    """As many rows of weight 0, whose values are others: the running mean ends at the mean of the rest."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(10.0, 1.0, (64, 1)), rng.normal(-50.0, 1.0, (64, 1))])
    net = bp.Network(bp.Sequential(bp.BatchNorm(), bp.Dense(1)), 1, device="cpu")
    trainer = bp.Trainer(net, MSE, bp.SGD(0.001), batch_size=16)
    weights = np.repeat([1.0, 0.0], 64)
    trainer.fit(X, np.zeros(128), epochs=30, shuffle=False, sample_weight=weights, verbose=False)
    assert net.states["0.mean"].item() == pytest.approx(X[:64].mean(), abs=0.1)
    assert net.states["0.var"].item() == pytest.approx(X[:64].var(), rel=0.5)


@pytest.mark.parametrize("on", ["cpu", "cuda"])
@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "rollback"}], ids=repr)
def test_a_single_row_moves_the_mean_and_not_the_variance(on: str, options: dict[str, Any]) -> None:
    backend = "cpu" if on == "cpu" else device()
    whole, ragged = fitted(backend=backend, rows=16, **options), fitted(backend=backend, rows=17, **options)
    net = bp.Network(LAYERS, 3, device="cpu", seed=2)
    rng = np.random.default_rng(1)
    X = rng.normal(3.0, 2.0, size=(17, 3))
    h = X.astype("float32") @ net.parameters["0.W"]
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        for k in range(5):
            part = h[4 * k : 4 * k + 4]
            mean = 0.5 * mean + 0.5 * part.mean(axis=0)
            var = 0.5 * var + 0.5 * part.var(axis=0) if len(part) > 1 else var
    np.testing.assert_allclose(states(ragged)["1.mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(states(ragged)["1.var"], var, rtol=1e-4)
    assert states(whole).keys() == states(ragged).keys()


@pytest.mark.parametrize(
    ("rows", "batch", "weights", "words"),
    [
        (17, 4, None, SINGLE + ".*\\(n % batch_size != 1\\)"),
        (4, 1, None, 'at "1": a batch has one row, .*; take batches of 2 or more rows'),
        (8, 4, [1, 0, 0, 0, 1, 1, 1, 1], SINGLE),
    ],
)
def test_a_single_row_is_warned_of_once(rows: int, batch: int, weights: Any, words: str) -> None:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(rows, 3)), rng.normal(size=rows)
    trainer = bp.Trainer(bp.Network(LAYERS, 3, device="cpu"), MSE, bp.SGD(0.01), batch_size=batch)
    with pytest.warns(RuntimeWarning, match=words) as warned:
        trainer.fit(X, y, epochs=3, shuffle=False, sample_weight=weights, verbose=False)
        trainer.fit(X, y, epochs=2, sample_weight=weights, verbose=False)
        trainer.step(X[:1], y[:1])
    assert len([w for w in warned if issubclass(w.category, RuntimeWarning)]) == 1


def test_nothing_is_warned_of_where_there_are_numbers_enough(rng: np.random.Generator) -> None:
    """One picture has many numbers of a channel; a frozen layer takes the running values; LayerNorm has none."""
    pictures = bp.Sequential(bp.Conv2D(2, 2), bp.BatchNorm(), bp.Flatten(), bp.Dense(1))
    net = bp.Network(pictures, (4, 4, 1), device="cpu")
    bp.Trainer(net, MSE, bp.SGD(0.01)).step(rng.normal(size=(1, 4, 4, 1)), [1.0])
    assert (net.states["1.var"] != 1.0).all()
    frozen = bp.Network(LAYERS, 3, device="cpu")
    frozen.freeze("1.*")
    bp.Trainer(frozen, MSE, bp.SGD(0.01)).step(rng.normal(size=(1, 3)), [1.0])
    rows = bp.Network(bp.Sequential(bp.LayerNorm(), bp.Dense(1)), 3, device="cpu")
    bp.Trainer(rows, MSE, bp.SGD(0.01)).step(rng.normal(size=(1, 3)), [1.0])


def test_single_rows_in_compiled_steps(compiled_at_once: None) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    trainer = fitted(rows=40, batch=1)
    assert (states(trainer)["1.var"] == 1.0).all() and (states(trainer)["1.mean"] != 0.0).all()


def test_layers_inside_others_and_several_at_once() -> None:
    block = bp.Residual(bp.Sequential(bp.Dense(3), bp.BatchNorm()))
    layers = bp.Sequential(block, bp.Parallel(bp.BatchNorm(), bp.Dense(2)), bp.Dense(1))
    trainer = bp.Trainer(bp.Network(layers, 3, device="cpu"), MSE, bp.SGD(0.01))
    with pytest.warns(
        RuntimeWarning, match='BatchNorm\\(\\) at "0.0.1", BatchNorm\\(\\) at "1.0": a batch has one row'
    ):
        trainer.step(np.ones((1, 3)), [1.0])
    assert all((a == 1.0).all() for name, a in states(trainer).items() if name.endswith("var"))


def test_states_of_an_own_layer_are_held_too() -> None:
    weights = np.array([1.0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1])
    layers = bp.Sequential(Seen(), bp.Dense(1))
    rng = np.random.default_rng(1)
    X = rng.normal(3.0, 2.0, size=(16, 3))
    for backend in ("cpu", device()):
        trainer = fitted(weights, backend, layers=layers)
        assert states(trainer)["0.batches"].item() == 3 * 3
        np.testing.assert_allclose(states(trainer)["0.mean"], 3 * X[:4].sum(axis=0), rtol=1e-5)


def test_a_step_without_weights_still_counts_for_the_optimizer() -> None:
    """As in PyTorch and Keras: gradients are 0, momentum goes on."""
    X, y = np.ones((8, 3)), np.ones(8)
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    trainer = bp.Trainer(net, MSE, bp.SGD(0.01, momentum=0.9), batch_size=4)
    trainer.fit(X, y, sample_weight=np.repeat([1.0, 0.0], 4), shuffle=False, verbose=False)
    assert trainer.step_count == 2 and np.isfinite(net.flat).all()

"""Workers: a step shared among threads equals the step of one thread."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS
from gpubp.step import workers
from gpubp.step.workers import Team, advised

TWO = [1, 2]


def trained(
    count: int,
    layers: bp.Layer,
    loss: bp.Loss,
    optimizer: bp.Optimizer,
    X: Any,
    y: Any,
    fit: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """A fit with ragged last batches, by so many workers, and all that came of it."""
    net = bp.Network(layers, X.shape[1:], device="cpu", dtype="float64", seed=3)
    trainer = bp.Trainer(net, loss, optimizer, batch_size=4, seed=5, workers=count, **options)
    history = trainer.fit(X, y, epochs=3, verbose=False, **(fit or {}))
    assert trainer.last_step is not None and trainer.last_step.workers == count
    return {
        "parameters": net.flat,
        "states": np.concatenate([np.zeros(1), *(a.ravel() for a in net.states.values())]),
        "moments": np.array([m.flat for m in trainer.update.moments.values()]),
        "history": np.array([history[name] for name in sorted(history)]),
        "loss": np.array(trainer.loss),
    }


def assert_alike(*args: Any, counts: tuple[int, int] = (1, 2), **options: Any) -> None:
    one, other = (trained(count, *args, **options) for count in counts)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer(case: Any, rng: np.random.Generator) -> None:
    """Batch normalization's sums and dropout's masks among them."""
    X, y = case.x(rng, rows=10), rng.normal(size=(10, 3))
    assert_alike(case.network_layers(), bp.MeanSquaredError(), bp.SGD(0.05), X, y)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss(case: Any, rng: np.random.Generator) -> None:
    shape = (10, *case.shape[1:])
    X, y = rng.normal(size=(*shape[:-1], 4)), case.targets(rng, shape)
    fit = dict(sample_weight=rng.uniform(0.1, 2.0, 10))
    assert_alike(case.layers(), case.loss, bp.SGD(0.05), X, y, fit=fit)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer(case: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(17), bp.Tanh(), bp.Dense(2))
    assert_alike(layers, bp.MeanSquaredError(), case.optimizer, rng.normal(size=(10, 4)), rng.normal(size=(10, 2)))


@pytest.mark.parametrize(
    "options",
    [
        dict(clip_norm=0.3),
        dict(clip_value=0.05),
        dict(l1=0.01, l2=0.1, clip_norm=0.5),
        dict(metrics=("accuracy",), fit=dict(validation_fraction=0.3, class_weight="balanced")),
        dict(l1=0.1, l2=0.1, penalty_per_weight=True),
        dict(l2=0.1, penalty_per_weight=True, fit=dict(class_weight="balanced")),
        dict(learning_rate_factors={"0.*": 0.1}),
    ],
    ids=repr,
)
def test_every_option(options: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(17, use_bias=False), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    X, y = rng.normal(size=(14, 4)), rng.integers(0, 3, 14)
    assert_alike(layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), X, y, **options)
    assert_alike(layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), X, y, counts=(1, 4), **options)


def test_frozen_layers(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(16, 4)), rng.normal(size=(16, 2))
    results = []
    for count in TWO:
        net = bp.Network(bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(2)), 4, device="cpu", dtype="float64")
        net.freeze("0.*")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=8, workers=count)
        trainer.fit(X, y, epochs=2)
        net.unfreeze("0.*")
        trainer.fit(X, y, epochs=2)
        results.append(net.flat)
    np.testing.assert_allclose(*results, rtol=1e-10)


def test_an_update_in_blocks_equals_the_whole_update(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long vectors are updated stretch by stretch, so that each stays in the cache through all operations."""
    X, y = rng.normal(size=(8, 70)), rng.normal(size=(8, 3))
    layers, options = bp.Sequential(bp.Dense(20), bp.Tanh(), bp.Dense(3)), dict(l1=0.01, clip_norm=0.5)
    optimizer = bp.AdamW(0.01, weight_decay=0.1)
    want = trained(1, layers, bp.MeanSquaredError(), optimizer, X, y, **options)
    monkeypatch.setattr(bp.backends.CPU, "block", 100)
    got = trained(1, layers, bp.MeanSquaredError(), optimizer, X, y, **options)
    np.testing.assert_allclose(got["parameters"], want["parameters"], rtol=1e-12)


def test_two_training_runs_by_two_workers_are_bitwise_identical(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(64, 12, 12, 1)), rng.integers(0, 3, 64)
    flats = []
    for _ in TWO:
        net = bp.Network(bp.cnn(3, (12, 12, 1), dropout=0.25), (12, 12, 1), device="cpu")
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=16, workers=2).fit(X, y, epochs=3)
        flats.append(net.flat)
    np.testing.assert_array_equal(*flats)


def test_the_record_of_a_worker_shows_where_it_waits(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.BatchNorm(), bp.Dense(1)), 4, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=8, workers=2)
    trainer.fit(rng.normal(size=(8, 4)), rng.normal(size=8))
    meetings = [line for line in str(trainer.record).splitlines() if line.startswith("meet(")]
    assert len(meetings) == 2 + 2 + 1, "mean and variance, their gradients, all"


class Failing(bp.Activation):
    """Raises in the worker that has the row 2."""

    def f(self, x: Any) -> Any:
        return x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        if ws.context.first == 2 and ws.training:
            raise ZeroDivisionError("in the second worker")
        return super().forward(ws, x)


def test_an_error_in_a_worker_is_raised_to_the_caller(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.BatchNorm(), Failing()), 4, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), workers=2)
    X, y = rng.normal(size=(4, 4)), rng.normal(size=(4, 3))
    for _ in TWO:
        with pytest.raises(ZeroDivisionError, match="in the second worker"):
            trainer.step(X, y)
    assert trainer.step_count == 0


def test_ctrl_c_ends_the_waiting_of_other_workers() -> None:
    team, came = Team(2), threading.Event()

    def work(k: int) -> None:
        if k == 0:
            came.wait(10)
            raise KeyboardInterrupt
        came.set()
        team.meet(k)

    with pytest.raises(KeyboardInterrupt):
        team.run(work)
    team.run(lambda k: team.meet(k))


def test_several_workers_are_advised_for_large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "blas_threads", lambda: 4)
    assert advised(128, 100_000, 1000) == 1
    assert advised(128, 5 << 20, 1000) == 4
    assert advised(128, 5 << 20, 2 << 20) == 4
    assert advised(128, 5 << 20, 3 << 20) == 1, "gradients are too many to be summed"
    assert advised(128, 3 << 20, 1000) == 2, "128 rows in 3 parts are not alike"
    assert advised(127, 5 << 20, 1000) == 1
    assert advised(16, 5 << 20, 1000) == 1
    monkeypatch.setattr(workers, "blas_threads", lambda: 1)
    assert advised(128, 5 << 20, 1000) == 1, "one thread was asked for"


def test_workers_are_a_whole_number() -> None:
    net = bp.Network(bp.Dense(1), 1, device="cpu")
    with pytest.raises(ValueError, match="workers to be a whole number, 1 or more, or None, and got 0"):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), workers=0)

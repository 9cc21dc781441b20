"""Chains with row weights: each step of a chain weighs its rows as it does alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain_stops import StopsBetweenChains

import gpubp as bp
from gpubp.step.batch import Batch, TargetShape
from gpubp.training import loop

ROWS = 123
OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_size": 1},
    {"accumulate": 2},
    {"l2": 1.0, "penalty_per_weight": True},
    {"on_nonfinite": "skip", "clip_norm": 0.5, "l2": 0.1, "penalty_per_weight": True},
    {"on_nonfinite": "raise"},
]


def data() -> tuple[Any, Any, Any]:
    """Rows, classes and weights, of which some are 0."""
    rng = np.random.default_rng(0)
    w = rng.uniform(0.1, 3.0, ROWS) * (rng.random(ROWS) > 0.2)
    return rng.normal(size=(ROWS, 6)).astype("float32"), rng.integers(0, 3, ROWS), w


def trainer(make_device: Any, norm: bool = False, **options: Any) -> bp.Trainer:
    between = [bp.BatchNorm()] if norm else []
    layers = bp.Sequential(bp.Dense(9), *between, bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, 6, device=make_device(), seed=3)
    settings: dict[str, Any] = {"batch_size": 4, "metrics": ["accuracy"], "seed": 4} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.01, 60)), **settings)


def state(t: bp.Trainer) -> tuple[Any, ...]:
    host, update = t.backend.to_host, t.update
    arrays = [t.network.flat, t.network.states.flat, *(vector.flat for vector in update.vectors), update.share]
    return [host(a).tobytes() for a in arrays], update.t, update.batch_weight, str(t.history)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weighted_steps_of_a_chain_are_bitwise_identical_to_single_steps(
    options: dict[str, Any], make_device: Any, chains: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short last batches among them, and the same rows without weights, before and after."""
    X, y, w = data()

    def trained() -> list[tuple[Any, ...]]:
        t = trainer(make_device, **options)
        t.fit(X, y, verbose=False)
        t.fit(X, y, epochs=2, sample_weight=w, verbose=False)
        found = [state(t)]
        t.step(X[:4], y[:4], w[:4])
        t.fit(X, y, class_weight="balanced", verbose=False)
        found.append(state(t))
        t.fit(X, y, verbose=False)
        return [*found, state(t)]

    came = trained()
    assert max(chains) > 6
    monkeypatch.setattr(loop, "chain_of", lambda *args: None)
    assert came == trained()


def test_a_chain_ends_before_a_batch_that_leaves_statistics_as_they_are(
    make_device: Any, chains: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, w = data()
    w = np.maximum(w, 0.1)
    w[41:44] = 0.0  # the batch has one row of a weight above 0
    w[80:84] = 0.0
    ends = []
    for with_chains in (True, False):
        if not with_chains:
            monkeypatch.setattr(loop, "chain_of", lambda *args: None)
        t = trainer(make_device, norm=True)
        with pytest.warns(RuntimeWarning, match="a batch has one row, or only one of a weight above 0"):
            t.fit(X, y, epochs=3, sample_weight=w, shuffle=False, verbose=False)
        ends.append(state(t))
        if with_chains:
            assert chains[-3:] == [0, 9, 0], "step 21 alone, 9 together, and the short batch alone"
    assert ends[0] == ends[1]


def test_weighted_training_that_is_resumed_between_chains_is_bitwise_identical(
    make_device: Any, chains: list[int], tmp_path: Path
) -> None:
    X, y, w = data()
    given = {"epochs": 3, "sample_weight": w, "verbose": False}
    options = {"on_nonfinite": "skip", "l2": 0.1, "penalty_per_weight": True}
    whole, first, again = (trainer(make_device, **options) for _ in range(3))
    whole.fit(X, y, **given)
    first.fit(X, y, callbacks=[StopsBetweenChains(), bp.Checkpoint(tmp_path / "at.ckpt")], **given)
    assert first.epoch == 1 and 3 < first.step_in_epoch < 31 and max(chains) > 6
    again.resume(tmp_path / "at.ckpt")
    again.fit(X, y, **given)
    assert state(again) == state(whole)


def test_weights_of_positions_are_put_in_place_batch_by_batch(make_device: Any, chains: list[int]) -> None:
    net = bp.Network(bp.Dense(2), (5, 3), device=make_device(), seed=1)
    X, y = np.random.default_rng(0).normal(size=(40, 5, 3)).astype("float32"), np.zeros((40, 5), int)
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=4)
    t.fit(X, y, epochs=2, sample_weight=np.ones((40, 5)), verbose=False)
    assert not any(chains) and t.step_count == 20


@pytest.mark.parametrize("numerics", ["ordinary", "exact"])
@pytest.mark.parametrize(
    ("rows", "pieces", "place"), [(1, 1, (0, 1)), (8, 2, (0, 1)), (1000, 1, (0, 1)), (96, 3, (1, 2))]
)
def test_weights_of_many_batches_are_those_of_each(
    rows: int, pieces: int, place: tuple[int, int], numerics: str, rng: np.random.Generator
) -> None:
    if numerics == "exact":
        pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
    net = bp.Network(bp.Dense(2), 3, device="cpu", numerics=numerics)
    batch = Batch(net, rows, TargetShape((), "int32"), pieces, place=place)
    w = rng.uniform(0.0, 2.0, (7, rows)) * (rng.random((7, rows)) > 0.3)
    w[2] = 0.0
    made, sums = batch.weighed(w)
    X, t = np.zeros((rows, 3), "float32"), np.zeros(rows, np.int32)
    for k in range(7):
        batch.load(X, t, np.arange(rows), w[k])
        assert batch.weighing.tobytes() == made[k].tobytes() and batch.weight == sums[k]
        whole = float(sums[k]) or 1.0
        assert batch.weights.tolist() == batch.mine(w[k]).astype("float32").tolist()
        assert batch.share.tolist() == batch.mine(w[k] / whole).astype("float32").tolist()
        if numerics == "ordinary":
            assert sums[k] == w[k].sum()
    batch.load(X, t, np.arange(rows))
    assert batch.weights.tolist() == [1.0] * (rows // place[1]) and batch.share[0] == np.float32(1 / rows)

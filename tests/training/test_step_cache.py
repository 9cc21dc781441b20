"""Recorded steps: few are kept, and those dropped free their memory at once, without changing any number."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.network import prediction
from gpubp.network.prediction import Predictors
from gpubp.training import step_cache
from strict import StrictProducts, strict_cupy

X = np.random.default_rng(0).normal(size=(256, 6, 6, 2)).astype("float32")
y = np.arange(256) % 3


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Memory must not wait until Python looks for circles of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def trainer(device: Any = "cpu", **options: Any) -> bp.Trainer:
    layers = bp.Sequential(
        bp.RandomRotation(0.1), bp.Conv2D(4, 3), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(), bp.Flatten(),
        bp.Dropout(0.2), bp.Dense(3),
    )  # fmt: skip
    net = bp.Network(layers, (6, 6, 2), device=device, seed=3)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=32, metrics=["accuracy"], **options)


def do_steps(t: bp.Trainer, sizes: Any) -> None:
    for n in sizes:
        t.step(X[:n], y[:n])


def array_bytes() -> int:
    """Bytes of all arrays made since `tracemalloc` was started."""
    of_arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([of_arrays]).traces)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"on_nonfinite": "raise"}], ids=str)
def test_memory_is_bounded(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, "STEPS", 3)
    t, steps = trainer(**options), []
    tracemalloc.start()
    try:
        do_steps(t, (256, 254, 252))
        largest = array_bytes()
        for n in range(8, 257, 40):
            do_steps(t, [n])
            assert t.last_step is not None
            steps.append(weakref.ref(t.last_step))
        do_steps(t, (256, 254, 252))
        end = array_bytes()
    finally:
        tracemalloc.stop()
    assert len(t.step_cache.steps) == 3 and sum(step() is not None for step in steps) <= 1
    assert end < 1.1 * largest


def test_the_limits_that_are_documented() -> None:
    assert (step_cache.STEPS, step_cache.STEP_BYTES) == (32, 2**29)
    assert "32 batch sizes" in (bp.Trainer.step.__doc__ or "") and "512 MB" in (bp.Trainer.step.__doc__ or "")
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD())
    for n in range(1, 257):
        t.step(X.reshape(-1, 4)[:n], np.zeros(n, int))
    assert sorted(step.rows for step in t.step_cache.steps.values()) == list(range(225, 257))


def test_bytes_limit_the_steps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    t = trainer()
    monkeypatch.setattr(step_cache, "STEP_BYTES", 3 * t.network.step_memory(100))
    do_steps(t, [100, 99, 98, 97])
    assert [step.rows for step in t.step_cache.steps.values()] == [99, 98, 97]
    do_steps(t, [10])
    assert [step.rows for step in t.step_cache.steps.values()] == [99, 98, 97, 10][-len(t.step_cache.steps) :]
    do_steps(t, [256])
    assert [step.rows for step in t.step_cache.steps.values()][-1] == 256


def test_those_used_least_recently_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, "STEPS", 3)
    t = trainer()
    do_steps(t, [1, 2, 3, 1, 4])
    assert [step.rows for step in t.step_cache.steps.values()] == [3, 1, 4]


@pytest.mark.parametrize("limit", [("STEPS", 1), ("STEP_BYTES", 0)], ids=str)
def test_two_batch_sizes_in_turn_are_recorded_once(limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, *limit)
    t = trainer()
    do_steps(t, [64, 32])
    steps = list(t.step_cache.steps.values())
    do_steps(t, [64, 32] * 4)
    assert list(t.step_cache.steps.values()) == steps
    t.fit(X[:48], y[:48], epochs=3, verbose=False)
    assert t.last_step in steps


@pytest.mark.parametrize("workers", [1, 2])
def test_limits_change_no_bits(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> bytes:
        t, rng = trainer(workers=workers), np.random.default_rng(1)
        for n in rng.integers(1, 9, 60) * 2:
            t.step(X[:n], y[:n], rng.uniform(0.5, 1.0, n))
        t.fit(X, y, validation_fraction=0.1, verbose=False)
        return t.network.flat.tobytes() + t.network.states.flat.tobytes()

    kept = trained()
    monkeypatch.setattr(step_cache, "STEPS", 2)
    assert trained() == kept


def test_the_step_in_use_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback takes so many other steps that the step of the fit is dropped: the epoch ends with it all the same."""
    kept = trainer()
    steps = bp.LambdaCallback(on_step_end=lambda t: [t.step(X[:n], y[:n]) for n in (1, 2, 3, 4)])
    history = kept.fit(X, y, epochs=2, callbacks=[steps], verbose=False)
    monkeypatch.setattr(step_cache, "STEPS", 2)
    t = trainer()
    assert dict(t.fit(X, y, epochs=2, callbacks=[steps], verbose=False)) == dict(history)
    assert t.network.flat.tobytes() == kept.network.flat.tobytes()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_dropped_step_is_freed_at_once(
    workers: int, compiled: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled:
        pytest.importorskip("numba")
        request.getfixturevalue("compiled_at_once")
    monkeypatch.setattr(step_cache, "STEPS", 1)
    t = trainer(workers=workers)
    do_steps(t, [64] * 4)
    step = t.last_step
    assert step is not None
    things = [step, *step.records, *step.passes, *step.ws.walk(), step.batch, step.team]
    references = [weakref.ref(thing) for thing in things]
    del step, things
    do_steps(t, [32, 16])
    assert [reference() for reference in references] == [None] * len(references)


@pytest.mark.parametrize("forget", ["attach", "workers", "renew"])
def test_steps_that_are_forgotten_are_freed_at_once(forget: str) -> None:
    t = trainer()
    do_steps(t, [64])
    step = weakref.ref(t.last_step)
    {"attach": lambda: t.attach(bp.Probe()), "workers": lambda: setattr(t, "workers", 2), "renew": t.renew}[forget]()
    do_steps(t, [32])
    assert step() is None


def test_on_a_gpu_graphs_are_freed_with_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, "STEPS", 3)
    cupy = strict_cupy()
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, 4, device=CUDA(cupy, products=StrictProducts))
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01))
    rows, pools, steps = X.reshape(-1, 4), [], []
    for n in range(1, 25):
        for _ in range(4):
            t.step(rows[:n], y[:n])
        assert t.record.graph is not None
        pools.append(len(cupy.pools))
        steps.append(weakref.ref(t.last_step))
    assert sum(step() is not None for step in steps) == len(t.step_cache.steps) == 3
    assert max(pools) <= 5, "a graph has a pool, and that of a dropped one is given back at the next occasion"
    same = bp.Trainer(
        bp.Network(layers, 4, device=CUDA(strict_cupy(), products=StrictProducts)),
        bp.SoftmaxCrossEntropy(),
        bp.Adam(0.01),
    )
    monkeypatch.setattr(step_cache, "STEPS", 99)
    for n in range(1, 25):
        for _ in range(4):
            same.step(rows[:n], y[:n])
    assert np.array_equal(net.backend.to_host(net.flat), same.backend.to_host(same.network.flat))


def test_data_on_a_gpu_are_freed_with_their_steps() -> None:
    net = bp.Network(bp.Dense(3), 4, device=CUDA(strict_cupy(), products=StrictProducts))
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8)
    rows = X.reshape(-1, 4)
    t.fit(rows[:64], y[:64], epochs=3, verbose=False)
    assert t.last_step is not None
    step, held = weakref.ref(t.last_step), weakref.ref(t.step_cache._data["X"])
    t.fit(rows[:72], y[:72], epochs=3, verbose=False)
    assert step() is None and held() is None


def test_evaluations_do_not_pile_up() -> None:
    t = trainer()
    for n in range(1, 257, 5):
        t.evaluate(X[:n], y[:n])
    assert len(t.step_cache.evaluations.passes) == 1


def test_evaluations_of_large_rows_take_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    t = trainer()
    expected = t.evaluate(X, y)
    t.step_cache.evaluations.passes.clear()
    for limit in ("EVALUATION_BYTES", "MOST_BYTES"):
        monkeypatch.setattr(f"gpubp.training.evaluations.{limit}", t.network.step_memory(30))
    assert t.evaluate(X, y) == pytest.approx(expected, rel=1e-6)
    assert [shape.rows for _, shape in t.step_cache.evaluations.passes] == [16]


def test_predictors_of_many_threads_are_kept_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    predictors = Predictors()
    monkeypatch.setattr(prediction, "ALL_TILES", 2 * net.step_memory(48))
    several = [predictors._take(net, 48) for _ in range(5)]
    for predictor in several:
        predictors._put_back(48, predictor)
    assert predictors._idle[48] == several[:2]

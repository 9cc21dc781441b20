"""Shards: the same bits with any number of workers and processes, which are threads here; see thread_processes.py."""

import gc
import logging
import traceback
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
import thread_processes
from gpubp.errors import CommunicationError
from gpubp.processes import Processes
from gpubp.step import exchange
from thread_processes import in_threads

MIXES = ((1, 1), (1, 3), (2, 1), (4, 2), (8, 1))  # processes, workers
ROWS = 150


def images(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(ROWS, 6, 6, 1)).astype("float32"), rng.integers(0, 3, ROWS)


def cnn() -> bp.Sequential:
    return bp.Sequential(
        bp.RandomTranslation(0.2, 0.2),
        bp.Conv2D(3, 3),
        bp.BatchNorm(),
        bp.ReLU(),
        bp.Dropout(0.2),
        bp.Flatten(),
        bp.Dense(3),
    )


def mlp() -> bp.Sequential:
    return bp.Sequential(bp.Flatten(), bp.Dense(24), bp.ReLU(), bp.Dropout(0.3), bp.Dense(3))


def trainer_of(layers: bp.Layer, processes: Processes | None, **settings: Any) -> bp.Trainer:
    net = bp.Network(layers, (6, 6, 1), device="cpu")
    if processes is not None:
        net.flat[...] += processes.rank  # all of them begin with the parameters of process 0
    settings = {"optimizer": bp.Adam(0.01), "batch_size": 44, "shards": 8, "metrics": ["accuracy"]} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), seed=3, communicator=processes, **settings)


def outcome(trainer: bp.Trainer, history: bp.History) -> tuple[Any, ...]:
    net = trainer.network
    moments = [np.asarray(moment.flat).tobytes() for moment in trainer.update.moments.values()]
    return net.flat.tobytes(), net.states.flat.tobytes(), moments, {k: list(v) for k, v in history.items()}


def in_processes(count: int, work: Callable[[Processes | None], Any]) -> Any:
    """What `work` returns in each of so many processes, which must be the same."""
    if count == 1:
        return work(None)
    found = in_threads(count, work)
    assert all(one == found[0] for one in found), "processes end with different results"
    return found[0]


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalties and clipping": {"l1": 1e-4, "l2": 1e-3, "clip_norm": 0.5, "penalty_per_weight": True},
    "guarded": {"on_nonfinite": "skip"},
    "accumulated": {"accumulate": 2, "batch_size": 24},
    "metrics of epochs": {"metrics": ["f1", "accuracy"], "optimizer": bp.SGD(0.1, momentum=0.9, weight_decay=0.01)},
    "factors": {"learning_rate_factors": {"*.b": 2.0}, "clip_value": 0.1},
}


@pytest.mark.parametrize("layers", [cnn, mlp])
@pytest.mark.parametrize("kind", KINDS)
def test_shards_give_the_same_bits_with_any_workers_and_processes(
    layers: Callable[[], bp.Layer], kind: str, rng: np.random.Generator
) -> None:
    X, y = images(rng)
    weights = rng.uniform(0, 2, ROWS)

    def train(processes: Processes | None, workers: int) -> tuple[Any, ...]:
        trainer = trainer_of(layers(), processes, workers=workers, **KINDS[kind])
        callbacks = [bp.EarlyStopping(patience=1), bp.ExponentialMovingAverage(0.9)]
        history = trainer.fit(
            X, y, epochs=3, sample_weight=weights, validation_fraction=0.2, callbacks=callbacks, verbose=False
        )
        return outcome(trainer, history)

    found = {mix: in_processes(mix[0], lambda p, workers=mix[1]: train(p, workers)) for mix in MIXES}
    wrong = [mix for mix in MIXES if found[mix] != found[MIXES[0]]]
    assert not wrong, f"{wrong} end with other bits than one worker"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_sent_while_the_backward_pass_goes_on(
    accumulate: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> tuple[Any, ...]:
        layers = bp.Sequential(
            bp.Flatten(), bp.Dense(24), bp.ReLU(), bp.BatchNorm(), bp.Dense(16), bp.Tanh(), bp.Dense(16), bp.Dense(3)
        )
        trainer = trainer_of(layers, processes, batch_size=32, accumulate=accumulate, shards=4, l2=1e-3)
        history = trainer.fit(X, y, epochs=2, verbose=False)
        records.append(str(trainer.record))
        return outcome(trainer, history)

    records: list[str] = []
    whole = train(None)
    starts = thread_processes.ThreadSlices.start
    seen: list[bool] = []

    def start(self: Any) -> None:
        seen.append(any(frame.name == "run_backward" for frame in traceback.extract_stack()))
        starts(self)

    monkeypatch.setattr(thread_processes.ThreadSlices, "start", start)
    monkeypatch.setattr(exchange.buckets, "__defaults__", (256,))
    assert in_processes(4, train) == whole
    assert any(seen) == (accumulate == 1)
    lines = records[-1].splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith("start(")]
    assert bool(places) == (accumulate == 1)
    assert all(any(line.startswith("dot(") for line in lines[place:]) for place in places), "products come after it"
    assert in_processes(2, train) == whole, "with two parts in each process nothing is sent before the end"


def test_other_numbers_of_shards_give_other_bits(rng: np.random.Generator) -> None:
    X, y = images(rng)
    flats, losses = set(), []
    for shards in (None, 1, 2, 8):
        trainer = trainer_of(mlp(), None, shards=shards, batch_size=48)
        losses += trainer.fit(X, y, epochs=1, verbose=False)["loss"]
        flats.add(trainer.network.flat.tobytes())
    assert len(flats) >= 3
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_shards_compute_the_gradients_of_the_whole_batch(rng: np.random.Generator) -> None:
    X, y = images(rng)
    nets = []
    for shards in (None, 8):
        net = bp.Network(cnn(), (6, 6, 1), device="cpu", dtype="float64")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=44, shards=shards)
        trainer.fit(X, y, epochs=2, verbose=False)
        nets.append(net)
    np.testing.assert_allclose(nets[1].flat, nets[0].flat, rtol=1e-9, atol=1e-12)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None, epochs: int, folder: Path, stop: int = 0) -> tuple[Any, ...]:
        trainer = trainer_of(cnn(), processes, metrics=["f1"])
        trainer.resume(folder, missing_ok=True)

        def step(trainer: bp.Trainer) -> None:
            trainer.stop = trainer.step_count == stop

        callbacks = [bp.Checkpoint(folder, every_steps=2, keep=50), bp.EarlyStopping(patience=9)]
        history = trainer.fit(X, y, epochs=epochs, validation_fraction=0.2, callbacks=callbacks, verbose=False)
        return outcome(trainer, history)

    whole = train(None, 4, tmp_path / "whole")
    for first, second in ((4, 2), (1, 8), (8, 1)):
        folder = tmp_path / f"{first}-{second}"
        in_processes(first, lambda p, folder=folder: train(p, 2, folder))
        for path in sorted(folder.glob("step-*"))[5:]:  # as if it had been killed in the middle of an epoch
            path.unlink()
        assert in_processes(second, lambda p, folder=folder: train(p, 4, folder)) == whole


@pytest.mark.parametrize("shards", [4, None])
def test_a_resume_with_shards_asks_for_no_number_of_threads_of_blas(
    shards: int | None, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard is computed on one thread, so the number changes no bit."""
    X, y = images(rng)

    def train(threads: int, epochs: int) -> None:
        monkeypatch.setattr("gpubp.training.arithmetic.blas_threads", lambda: threads)
        trainer = trainer_of(mlp(), None, shards=shards)
        trainer.resume(tmp_path, missing_ok=True)
        trainer.fit(X, y, epochs=epochs, callbacks=[bp.Checkpoint(tmp_path)], verbose=False)

    train(1, 1)
    with nullcontext() if shards else pytest.warns(RuntimeWarning, match="threads of BLAS: 1 there, 7 here"):
        train(7, 2)


def test_processes_without_shards_train_as_shards_do(rng: np.random.Generator, caplog: Any) -> None:
    X, y = images(rng)

    def train(processes: Processes | None, shards: int | None) -> bytes:
        trainer = trainer_of(cnn(), processes, shards=shards)
        trainer.fit(X, y, epochs=1, verbose=False)
        return bytes(trainer.network.flat.tobytes())

    with caplog.at_level(logging.INFO, "gpubp"):
        assert in_processes(3, lambda p: train(p, None)) == train(None, 3)
    assert "shards=3 gives these bits on any number" in caplog.text


def test_exact_numerics_give_the_bits_of_one_process(rng: np.random.Generator) -> None:
    pytest.importorskip("numba")
    X, y = rng.normal(size=(200, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 200)

    def train(processes: Processes | None, batch_size: int) -> tuple[Any, ...]:
        net = bp.Network(cnn(), (6, 6, 1), device="cpu", numerics="exact")
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=batch_size, clip_norm=0.5, communicator=processes
        )
        history = trainer.fit(X, y, epochs=1, validation_data=(X[:70], y[:70]), verbose=False)
        return outcome(trainer, history)

    for batch_size in (128, 100):  # 100 rows are no part of the tree: every process computes all of them
        assert in_processes(2, lambda p, rows=batch_size: train(p, rows)) == train(None, batch_size)


def test_evaluations_are_shared_by_processes_and_workers(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(3000, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 3000)
    weights, lengths = rng.uniform(0, 2, 3000), [rng.normal(size=(int(n), 3)) for n in rng.integers(1, 30, 700)]

    def evaluate(processes: Processes | None, workers: int, rows: int) -> list[dict[str, float]]:
        trainer = trainer_of(cnn(), processes, workers=workers, metrics=["accuracy", "roc_auc"])
        found = [trainer.evaluate(X[:rows], y[:rows]), trainer.evaluate(X[:rows], y[:rows], weights[:rows])]
        net = bp.Network(bp.Sequential(bp.GRU(4), bp.Dense(3)), (None, 3), device="cpu")
        other = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.SGD(), metrics=["f1"], shards=4, communicator=processes, workers=workers
        )
        return [*found, other.evaluate(lengths, np.arange(700) % 3)]

    for rows in (3000, 5):
        alone = evaluate(None, 1, rows)
        assert evaluate(None, 3, rows) == alone
        for count in (2, 4):
            assert in_processes(count, lambda p, rows=rows: evaluate(p, 2, rows)) == alone


def test_frozen_parameters_and_a_second_fit(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> tuple[Any, ...]:
        trainer = trainer_of(cnn(), processes)
        trainer.fit(X, y, epochs=1, verbose=False)
        trainer.network.freeze("1.*")
        trainer.fit(X, y, epochs=1, verbose=False)
        trainer.network.unfreeze()
        for _ in range(3):
            trainer.step(X[:9], y[:9])
        history = trainer.fit(X, y, epochs=1, verbose=False)
        return outcome(trainer, history)

    assert in_processes(4, train) == in_processes(2, train) == train(None)


def test_averages_of_earlier_fits_are_not_kept(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> bool:
        trainer, seen = trainer_of(mlp(), processes), []

        def see(trainer: bp.Trainer, logs: dict[str, float]) -> None:
            owner = trainer.update.average.values.flat
            while owner.base is not None:  # which views keep, too
                owner = owner.base
            seen.append(weakref.ref(owner))

        for _ in range(2):
            callbacks = [bp.ExponentialMovingAverage(0.9), bp.LambdaCallback(on_epoch_end=see)]
            trainer.fit(X, y, epochs=1, verbose=False, callbacks=callbacks)
        trainer.step(X[:40], y[:40])
        gc.collect()
        return all(vector() is None for vector in seen)

    assert in_processes(2, train)


def test_a_probe_looks_into_steps_of_the_whole_batch(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> tuple[Any, ...]:
        trainer = trainer_of(cnn(), processes)
        trainer.fit(X, y, epochs=1, verbose=False)
        history = trainer.fit(X, y, epochs=1, verbose=False, callbacks=[bp.GradientFlow()])
        return outcome(trainer, history)

    assert in_processes(2, train) == train(None)


def test_rows_of_different_lengths(rng: np.random.Generator) -> None:
    X = [rng.normal(size=(int(n), 3)) for n in rng.integers(1, 20, 60)]
    y = rng.integers(0, 2, 60)

    def train(processes: Processes | None) -> bytes:
        layers = bp.Sequential(bp.LSTM(5), bp.Dense(2))
        net = bp.Network(layers, (None, 3), device="cpu")
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, shards=4, communicator=processes
        )
        trainer.fit(X, y, epochs=2, verbose=False)
        return bytes(net.flat.tobytes())

    assert in_processes(4, train) == in_processes(2, train) == train(None)


def test_numbers_that_are_not_finite_are_named_by_every_process(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> str:
        trainer = trainer_of(mlp(), processes, optimizer=bp.SGD(1e9), on_nonfinite="raise")
        with pytest.raises(bp.NonFiniteError) as caught:
            trainer.fit(X, y, epochs=9, verbose=False)
        return str(caught.value)

    assert in_processes(4, train) == train(None)


def test_a_rollback_is_the_same_in_every_process(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes | None) -> tuple[Any, ...]:
        trainer = trainer_of(mlp(), processes, optimizer=bp.SGD(1e4, momentum=0.9), on_nonfinite="rollback")
        history = trainer.fit(X, y, epochs=2, verbose=False)
        return *outcome(trainer, history), trainer.update.factor

    with pytest.warns(RuntimeWarning, match="half the learning rate"):
        alone = train(None)
        assert in_processes(4, train) == alone
    assert alone[-1] < 1


def test_shards_that_processes_cannot_share(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="6 shards can't be shared by 4 processes: start 1 or 3 or 6, or take .* as 8"):
        in_threads(4, lambda p: trainer_of(mlp(), p, shards=6))


def test_processes_that_train_different_things(rng: np.random.Generator) -> None:
    X, y = images(rng)

    def train(processes: Processes) -> None:
        trainer = trainer_of(mlp(), processes)
        trainer.fit(X if processes.rank != 1 else X + 1, y, epochs=1, verbose=False)

    with pytest.raises(CommunicationError, match="process 1 of 2 was given other things than process 0: the data"):
        in_threads(2, train)

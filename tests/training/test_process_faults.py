"""What one of several processes does otherwise than the others, and what all of them do in callbacks; as threads."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import CommunicationError, ModelFileError
from gpubp.processes import Processes
from gpubp.training.checkpoint import Writer
from thread_processes import in_threads

ROWS = 50
X = np.random.default_rng(0).normal(size=(ROWS, 5)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, ROWS)
SECONDS = 20.0  # in which processes that wait for nobody fail


def trainer_of(processes: Processes | None, dtype: str = "float32", **settings: Any) -> bp.Trainer:
    net = bp.Network(bp.mlp(3, hidden=(9,), dropout=0.2), 5, device="cpu", dtype=dtype)
    settings = {"batch_size": 16, "shards": 4, "optimizer": bp.Adam(0.01), "metrics": ["accuracy"]} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), communicator=processes, **settings)


def outcome(trainer: bp.Trainer) -> tuple[Any, ...]:
    trainer.update.gather()
    moments = [moment.flat.tobytes() for moment in trainer.update.moments.values()]
    return trainer.network.flat.tobytes(), moments, {k: list(v) for k, v in trainer.history.items()}


def fit(trainer: bp.Trainer, *callbacks: bp.Callback, epochs: int = 2, **more: Any) -> tuple[Any, ...]:
    trainer.fit(X, Y, epochs=epochs, callbacks=callbacks, verbose=False, **more)
    return outcome(trainer)


def each(count: int, work: Callable[[Any], Any]) -> Any:
    """What `work` returns in each of so many processes, which must be the same."""
    found = in_threads(count, work, SECONDS)
    assert all(one == found[0] for one in found), "processes end with different results"
    return found[0]


def in_callback(do: Callable[[bp.Trainer], Any], at: int = 2, rank: int | None = None) -> bp.Callback:
    """A callback that does something after a step, in all processes or in one."""

    def step(trainer: bp.Trainer) -> None:
        mine = trainer.processes.rank if trainer.processes is not None else 0
        if trainer.step_count == at and rank in (None, mine):
            do(trainer)

    return bp.LambdaCallback(on_step_end=step)


# -- all processes do it ----------------------------------------------------------------------------------------------

DONE: dict[str, Callable[[bp.Trainer], Any]] = {
    "a step": lambda trainer: trainer.step(X[:7], Y[:7]),
    "a step of as many rows": lambda trainer: trainer.step(X[:16], Y[:16]),
    "an evaluation": lambda trainer: trainer.evaluate(X, Y),
    "a snapshot": lambda trainer: trainer.snapshot(),
    "a copy": copy.deepcopy,
    "a pickle": pickle.dumps,
}


@pytest.mark.parametrize("what", DONE)
def test_what_all_processes_do_in_a_callback(what: str) -> None:
    do = DONE[what]
    assert each(2, lambda p: fit(trainer_of(p), in_callback(do))) == fit(trainer_of(None), in_callback(do))


def test_a_copied_trainer_goes_on_with_the_same_processes() -> None:
    def work(processes: Processes | None) -> tuple[Any, ...]:
        trainer = trainer_of(processes)
        fit(trainer)
        return fit(copy.deepcopy(trainer))

    assert each(2, work)[0] == work(None)[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_of_all_processes_leaves_them_with_the_same_weights(error: type[BaseException]) -> None:
    def work(processes: Processes) -> Any:
        trainer = trainer_of(processes)

        def stop(trainer: bp.Trainer) -> None:
            raise error

        try:
            fit(trainer, bp.ExponentialMovingAverage(0.5), in_callback(stop, at=6), epochs=3)
        except ZeroDivisionError:
            pass
        assert trainer.history.interrupted == (error is KeyboardInterrupt)
        return trainer.network.flat.tobytes(), fit(trainer)

    each(4, work)


# -- one process does it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", DONE)
@pytest.mark.parametrize("optimizer", [bp.Adam(0.01), bp.SGD(0.1)])
def test_what_one_process_does_in_a_callback_is_named(what: str, optimizer: bp.Optimizer) -> None:
    """And no process takes the numbers of another call for its own."""
    with pytest.raises(AssertionError, match=r"different calls: .*step 3") as caught:
        in_threads(2, lambda p: fit(trainer_of(p, optimizer=optimizer), in_callback(DONE[what], rank=0)), SECONDS)
    said = ("in a callback", "a checkpoint at step 2", "a copy of the trainer at step 2", "an evaluation at step 2")
    assert any(words in str(caught.value) for words in said)


def test_another_learning_rate_in_one_process_is_found() -> None:
    def slower(trainer: bp.Trainer) -> None:
        trainer.update.factor = 0.5

    with pytest.raises(AssertionError, match="step 3 with the learning rate times 0.5"):
        in_threads(2, lambda p: fit(trainer_of(p), in_callback(slower, rank=1)), SECONDS)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_stops_all_after_the_same_epoch(rank: int, tmp_path: Path) -> None:
    """As where a callback looks at the clock."""

    def stop(trainer: bp.Trainer) -> None:
        trainer.stop = True

    def work(processes: Processes) -> Any:
        found = fit(trainer_of(processes), in_callback(stop, at=5, rank=rank), bp.Checkpoint(tmp_path), epochs=9)
        return len(found[-1]["loss"])

    assert each(2, work) == 2
    assert {path.name for path in tmp_path.iterdir()} >= {"step-000000008.safetensors"}


def test_numbers_of_an_epoch_are_those_of_the_first_process() -> None:
    """Early stopping must not go by last bits that differ between processors."""

    def work(processes: Processes) -> Any:
        trainer = trainer_of(processes)
        evaluate = trainer.step_cache.evaluate
        places = iter(np.random.default_rng(processes.rank).normal(size=99))
        trainer.step_cache.evaluate = lambda feed: {k: v + next(places) for k, v in evaluate(feed).items()}
        return fit(trainer, bp.EarlyStopping(patience=2), epochs=9, validation_fraction=0.2)

    each(2, work)


def test_an_order_of_rows_that_differs_is_found() -> None:
    def work(processes: Processes) -> Any:
        draw = np.random.default_rng(processes.rank)
        return fit(trainer_of(processes), shuffle=lambda epoch, n: draw.permutation(n) if epoch else np.arange(n))

    with pytest.raises(CommunicationError, match="process 1 of 2 has another order of the rows in epoch 2 than"):
        in_threads(2, work, SECONDS)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"clip_norm": 1.0}, "the settings of the trainer"),
        ({"metrics": ["accuracy", "f1"]}, "the settings of the trainer"),
        ({"dtype": "float64"}, "the type and shape of its numbers"),
        ({"optimizer": bp.Adam(0.02)}, "the optimizer"),
    ],
)
@pytest.mark.parametrize("by_step", [True, False])
def test_settings_that_differ_are_named(other: dict[str, Any], named: str, by_step: bool) -> None:
    def work(processes: Processes) -> None:
        trainer = trainer_of(processes, **(other if processes.rank else {}))
        trainer.step(X[:9], Y[:9]) if by_step else fit(trainer)

    with pytest.raises(CommunicationError, match=f"process 1 of 2 was given other things than process 0: .*{named}"):
        in_threads(2, work, SECONDS)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_that_process_0_cannot_write_is_an_error_of_all(tmp_path: Path) -> None:
    def work(processes: Processes) -> Any:
        trainer = trainer_of(processes)
        fit(trainer)
        with pytest.raises(OSError, match="no such folder"):
            trainer.save(tmp_path / "no folder" / "a.safetensors")
        return fit(trainer)

    each(2, work)


def test_a_checkpoint_that_process_0_cannot_read_is_an_error_of_all(tmp_path: Path) -> None:
    path = tmp_path / "step-000000003.safetensors"
    path.write_bytes(b"damaged")

    def work(processes: Processes) -> Any:
        trainer = trainer_of(processes)
        with pytest.raises(ModelFileError, match="step-000000003"):
            trainer.resume(tmp_path)
        with pytest.raises(ModelFileError, match="step-000000003"):
            bp.Trainer.load(path, communicator=processes)
        return fit(trainer)

    each(2, work)


def test_a_disk_that_is_full_at_process_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(path: Path, *taken: Any) -> None:
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpubp.training.checkpoint.model_file.write", full)
    with pytest.warns(RuntimeWarning, match="No space left on device; training goes on"):
        found = each(2, lambda p: fit(trainer_of(p), bp.Checkpoint(tmp_path, every_steps=1)))
    assert found == fit(trainer_of(None))


def test_only_process_0_uses_the_folder_of_checkpoints(tmp_path: Path) -> None:
    """Its path may differ, and others may not see it."""
    folder = tmp_path / "a"

    def train(processes: Processes | None, epochs: int) -> Any:
        mine = folder if processes is None or processes.leads else Path("/no/such/folder")
        trainer = trainer_of(processes)
        trainer.resume(mine, missing_ok=True)
        return fit(trainer, bp.Checkpoint(mine, every_steps=3), epochs=epochs)

    each(2, lambda p: train(p, 2))
    assert each(2, lambda p: train(p, 4)) == fit(trainer_of(None), epochs=4)


def test_the_best_is_written_before_a_later_last() -> None:
    """So that a run that is killed in between, and goes on from the last, has the best."""
    writer, done = Writer(), []
    begun, go_on = threading.Event(), threading.Event()
    writer.put("last", lambda: (begun.set(), go_on.wait()))
    begun.wait()
    for name, number in (("last", 1), ("best", 2), ("last", 3)):
        writer.put(name, lambda number=number: done.append(number))
    go_on.set()
    writer.close()
    assert done == [2, 3]

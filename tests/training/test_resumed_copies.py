"""A resumed trainer that is copied, pickled or saved before its next fit keeps its place in the interrupted one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

X = np.random.default_rng(0).normal(size=(23, 4))
Y = np.arange(23) % 3
VALIDATION = (X[:5], Y[:5])


def trainer(**settings: Any) -> bp.Trainer:
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.BatchNorm(), bp.Dense(3)), 4, device="cpu", seed=3)
    settings = {"metrics": ["f1", "accuracy"], "accumulate": 2} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), 3, **settings)


def callbacks() -> list[bp.Callback]:
    return [bp.EarlyStopping(patience=5), bp.ExponentialMovingAverage(0.7)]


class Keep(bp.Callback):
    """Saves after every step and every epoch."""

    looks_at_steps = comes_last = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, []

    def on_step_end(self, trainer: bp.Trainer) -> None:
        self.paths.append(self.folder / f"step-{len(self.paths):09}.safetensors")
        trainer.save(self.paths[-1])

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.on_step_end(trainer)


def fit(t: bp.Trainer, *more: bp.Callback) -> None:
    t.fit(X, Y, epochs=3, validation_data=VALIDATION, callbacks=[*callbacks(), *more], verbose=False)


def bits(t: bp.Trainer) -> list[Any]:
    arrays = [t.network.flat, t.network.states.flat, *(m.flat for m in t.update.moments.values())]
    history = {name: np.array(column).tobytes() for name, column in t.history.items()}
    return [*(a.tobytes() for a in arrays), t.step_count, t.epoch, t.stop, history]


def saved(t: bp.Trainer, folder: Path) -> bp.Trainer:
    t.save(folder / "again.safetensors")
    other = trainer()
    other.resume(folder / "again.safetensors")
    return other


def loaded(t: bp.Trainer, folder: Path) -> bp.Trainer:
    t.save(folder / "again.safetensors")
    return bp.Trainer.load(folder / "again.safetensors", device="cpu")


WAYS: dict[str, Callable[[bp.Trainer, Path], bp.Trainer]] = {
    "deepcopy": lambda t, folder: copy.deepcopy(t),
    "pickle": lambda t, folder: pickle.loads(pickle.dumps(t)),
    "save": saved,
    "load": loaded,
    "twice": lambda t, folder: copy.deepcopy(saved(copy.deepcopy(t), folder)),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_with_the_same_bits(way: str, tmp_path: Path) -> None:
    whole, keep = trainer(), Keep(tmp_path)
    fit(whole, keep)
    assert len(keep.paths) == 15
    for path in keep.paths[1::2]:
        resumed = trainer()
        resumed.resume(path)
        again = WAYS[way](resumed, tmp_path)
        assert again.resumes_fit and again.resumed_from is not None
        for t in (again, resumed):
            fit(t)
            assert bits(t) == bits(whole), path.name
            assert not t.resumes_fit and t.resumed_from is None


def test_a_copy_writes_checkpoints_into_the_folder_of_the_resumed_training(tmp_path: Path) -> None:
    first = trainer()
    first.fit(X, Y, epochs=1, callbacks=[bp.Checkpoint(tmp_path)], verbose=False)
    resumed = trainer()
    resumed.resume(tmp_path)
    copied = copy.deepcopy(resumed)
    assert copied.resumed_from == resumed.resumed_from
    copied.fit(X, Y, epochs=2, callbacks=[bp.Checkpoint(tmp_path)], verbose=False)
    assert copied.history.epochs == 2


def test_a_copy_within_a_resumed_fit_stands_between_two_fits(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    fit(trainer(), keep)
    resumed, copies = trainer(), []
    resumed.resume(keep.paths[1])

    def copied(trainer: bp.Trainer, logs: Any = None) -> None:
        copies.append(copy.deepcopy(trainer))

    fit(resumed, bp.LambdaCallback(copied))
    assert copies and not any(t.resumes_fit or t.resumed_from for t in copies)
    copies[0].fit(X, Y, verbose=False)


def test_it_has_other_data_refused_as_before(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    fit(trainer(), keep)
    resumed = trainer()
    resumed.resume(keep.paths[1])
    with pytest.raises(bp.DataError, match="was trained with other data: X differs"):
        copy.deepcopy(resumed).fit(X + 1, Y, epochs=3, validation_data=VALIDATION, callbacks=callbacks(), verbose=False)

"""Metrics of trainers that are resumed within an epoch, or made again by Trainer.load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

X = np.random.default_rng(0).normal(size=(22, 4))
Y = np.arange(22) % 3


class Margin(bp.EpochMetric):
    """A metric of the user's own, with an argument."""

    name, kinds, higher_is_better = "margin", ("classes",), True

    def __init__(self, power: int) -> None:
        self.power = power

    def result(self, outputs: Any, targets: Any, weights: Any) -> float:
        return float(np.mean((outputs.max(axis=1) - outputs.min(axis=1)) ** self.power))


def trainer(metrics: Any, **settings: Any) -> bp.Trainer:
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(3)), 4, device="cpu", seed=3)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), 4, metrics=metrics, **settings)


class Keep(bp.Callback):
    """Saves after every step."""

    every_step = looks_at_steps = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, []

    def on_step_end(self, trainer: bp.Trainer) -> None:
        self.paths.append(self.folder / f"{trainer.step_count}.safetensors")
        trainer.save(self.paths[-1])


def bits(t: bp.Trainer) -> list[Any]:
    history = {name: np.array(column).tobytes() for name, column in t.history.items()}
    return [t.network.flat.tobytes(), t.step_count, t.epoch, history]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("check", [None, "skip"])
def test_metrics_of_whole_epochs_are_resumed_at_any_step(
    workers: int, accumulate: int, check: str | None, tmp_path: Path
) -> None:
    def made() -> bp.Trainer:
        metrics = ["f1", "accuracy", Margin(2)]
        return trainer(metrics, workers=workers, accumulate=accumulate, on_nonfinite=check)

    whole, keep = made(), Keep(tmp_path)
    whole.fit(X, Y, epochs=2, callbacks=[keep], verbose=False)
    assert len(keep.paths) == 2 * -(-len(X) // (4 * accumulate))
    for path in keep.paths:
        again = made()
        again.resume(path)
        again.fit(X, Y, epochs=2, verbose=False)
        assert bits(again) == bits(whole), path.name


@pytest.mark.parametrize(
    "metrics",
    ["f1", ("accuracy", "f1"), bp.Accuracy(), [bp.F1("macro"), "accuracy"], [bp.TopKAccuracy(2)], (Margin(3),)],
    ids=str,
)
def test_load_makes_the_metrics_again(metrics: Any, tmp_path: Path) -> None:
    t = trainer(metrics, learning_rate_factors={"0.*": 0.5})
    t.fit(X, Y, verbose=False)
    t.save(tmp_path / "a.safetensors")
    again = bp.Trainer.load(tmp_path / "a.safetensors", device="cpu")
    assert repr(again.metrics) == repr(t.metrics)
    assert again.evaluate(X, Y) == t.evaluate(X, Y)
    assert again.settings["learning_rate_factors"] == {"0.*": 0.5}
    again.save(tmp_path / "b.safetensors")
    t.resume(tmp_path / "b.safetensors")

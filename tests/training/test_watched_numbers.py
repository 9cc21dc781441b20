"""The number that EarlyStopping, ReduceOnPlateau and Checkpoint watch: it is one that an epoch reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(24, 3)), rng.normal(size=24)
VALIDATED: dict[str, Any] = {"validation_data": (X, Y)}
KINDS = [bp.EarlyStopping, bp.ReduceOnPlateau, "checkpoint"]


def trainer(**options: Any) -> bp.Trainer:
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    return bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.01), batch_size=8, **options)


def made(kind: Any, folder: Path, **options: Any) -> Any:
    return bp.Checkpoint(folder, **options) if kind == "checkpoint" else kind(**options)


class Adds(bp.Callback):
    """Reports a number of its own in each epoch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        logs[self.name] = float(trainer.epoch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "mode", "fit", "reported"),
    [
        ("typo", "auto", {}, "loss, mean_absolute_error; a name with val_"),
        ("typo", "max", {}, "loss, mean_absolute_error; "),
        ("val_loss", "auto", {}, "loss, mean_absolute_error; "),
        ("val_mae", "auto", VALIDATED, "loss, mean_absolute_error, val_loss, val_mean_absolute_error; "),
        ("val_accuracy", "auto", VALIDATED, "loss, mean_absolute_error, val_loss, val_mean_absolute_error; "),
    ],
)
def test_a_number_that_no_epoch_reports_is_refused_before_the_first_step(
    kind: Any, name: str, mode: str, fit: dict[str, Any], reported: str, tmp_path: Path
) -> None:
    t = trainer(metrics="mae")
    for others in ([], [bp.CSVLogger(tmp_path / "log.csv"), bp.ExponentialMovingAverage()]):
        callbacks = [*others, made(kind, tmp_path / "new", monitor=name, mode=mode)]
        with pytest.raises(ValueError, match=f"watches '{name}', and an epoch reports {reported}"):
            t.fit(X, Y, callbacks=callbacks, **fit)
        assert t.step_count == 0 and not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["loss", "val_loss", "mean_absolute_error", "val_mean_absolute_error", "auto"])
def test_every_number_that_an_epoch_reports_can_be_watched(kind: Any, name: str, tmp_path: Path) -> None:
    t = trainer(metrics="mae")
    t.fit(X, Y, callbacks=made(kind, tmp_path, monitor=name), **VALIDATED)
    assert t.step_count == 3
    trainer().fit(X, Y, validation_fraction=0.25, callbacks=made(kind, tmp_path / "b", monitor="val_loss"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "mode"), [("seconds", "max"), ("val_accuracy", "auto")])
def test_a_number_of_the_users_own_callback_can_be_watched(kind: Any, name: str, mode: str, tmp_path: Path) -> None:
    """Of a class, of a function, and of a method that was replaced."""
    function = bp.LambdaCallback(on_epoch_end=lambda t, logs: logs.update({name: 1.0}))
    replaced = bp.Callback()
    replaced.on_epoch_end = Adds(name).on_epoch_end  # type: ignore[method-assign]
    for i, adds in enumerate((Adds(name), function, replaced)):
        t = trainer()
        t.fit(X, Y, callbacks=[adds, made(kind, tmp_path / str(i), monitor=name, mode=mode)])
        assert t.step_count == 3


def test_a_subclass_of_early_stopping_can_add_the_number() -> None:
    class Own(bp.EarlyStopping):
        def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
            super().on_epoch_end(trainer, logs | {"score": float(trainer.epoch)})

    own = Own("score", mode="max")
    trainer().fit(X, Y, epochs=3, callbacks=own)
    assert own.best_epoch == 3


def test_with_an_own_callback_that_does_not_add_it_the_first_epoch_tells() -> None:
    with pytest.raises(ValueError, match="watches 'minutes', and an epoch reports loss, seconds; "):
        trainer().fit(X, Y, callbacks=[Adds("seconds"), bp.EarlyStopping("minutes", mode="max")])


def test_outside_of_a_fit_nothing_is_reported() -> None:
    """One's own loop may begin a callback: what it reports is known only to that loop."""
    t, stopping = trainer(), bp.EarlyStopping("score", mode="max")
    stopping.on_train_begin(t)
    assert stopping.improved(t, {"score": 1.0})
    assert t.reported == [] and not t.may_report_more

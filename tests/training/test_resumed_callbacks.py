"""A resume is given callbacks with the settings of before: which of them may be others, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import XV, YV, X, Y, bits, trainer

import gpubp as bp
from gpubp import model_file
from gpubp.training.snapshot import checkpoints_in

FIT: dict[str, Any] = {"validation_data": (XV, YV)}
Early, Plateau, Average = bp.EarlyStopping, bp.ReduceOnPlateau, bp.ExponentialMovingAverage


def first_part(folder: Path, *callbacks: bp.Callback, epochs: int = 2, **checkpoint: Any) -> None:
    made = bp.Checkpoint(folder, keep=9, **checkpoint)
    trainer(metrics="accuracy").fit(X, Y, epochs=epochs, callbacks=[*callbacks, made], **FIT)


def resumed(where: Path) -> bp.Trainer:
    t = trainer(metrics="accuracy")
    t.resume(where)
    return t


def without_settings(path: Path) -> None:
    """The checkpoint as an older version wrote it."""
    config, arrays = model_file.read(path)
    for _, state in config["training"]["fit"]["callbacks"]:
        for name in ("monitor", "mode", "decay"):
            state.pop(name, None)
    model_file.write(path, config, arrays)


REFUSED = [
    (Average(0.5), Average(0.9), r"ExponentialMovingAverage\(decay=0.5\), and fit was given decay=0.9;"),
    (Early("val_loss"), Early("loss"), r"EarlyStopping\(monitor='val_loss'\), and fit was given monitor='loss';"),
    (Early(), Early("loss"), r"EarlyStopping\(monitor='val_loss'\), and fit was given monitor='loss';"),
    (Early("loss"), Early(), r"EarlyStopping\(monitor='loss'\), and fit was given monitor='val_loss';"),
    (Early("loss"), Early("loss", mode="max"), r"EarlyStopping\(mode='min'\), and fit was given mode='max';"),
    (Early(), Early("accuracy"), "monitor='val_loss', mode='min'.*, and fit was given monitor='accuracy', mode='max';"),
    (Plateau("accuracy"), Plateau("val_accuracy"), r"ReduceOnPlateau\(monitor='accuracy'\), and fit was given .*;"),
]


@pytest.mark.parametrize(("before", "after", "words"), REFUSED)
def test_another_number_or_decay_is_refused(before: Any, after: Any, words: str, tmp_path: Path) -> None:
    """Before anything is trained; with the callback of before the fit goes on."""
    whole = trainer(metrics="accuracy")
    whole.fit(X, Y, epochs=4, callbacks=[before], **FIT)
    first_part(tmp_path, before)
    t = resumed(tmp_path)
    start = bits(t)[:3]
    with pytest.raises(bp.ModelFileError, match=f"of a fit with .*{words} give it the same to go on"):
        t.fit(X, Y, epochs=4, callbacks=[after], **FIT)
    assert bits(t)[:3] == start and t.resumes_fit
    t.fit(X, Y, epochs=4, callbacks=[before], **FIT)
    assert bits(t) == bits(whole)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Early(), Early("val_loss", mode="min")),
        (Early("val_loss"), Early()),
        (Early("val_accuracy"), Early("val_accuracy", mode="max")),
        (Early(patience=3), Early(patience=9, min_delta=0.1, restore_best=False)),
        (Plateau(patience=3), Plateau(factor=0.5, patience=9, min_delta=0.1, minimum=0.01)),
        (Average(0.5), Average(0.5, start_step=9, validate=False, replace=False)),
    ],
)
def test_what_may_be_changed(before: Any, after: Any, tmp_path: Path) -> None:
    """The same number written in another way, and every other setting."""
    first_part(tmp_path, before)
    t = resumed(tmp_path)
    assert t.fit(X, Y, epochs=3, callbacks=[after], **FIT).epochs == 3


def test_before_the_first_epoch_another_number_may_be_watched(tmp_path: Path) -> None:
    """There is no best yet that could be compared with it."""
    first_part(tmp_path, Early("val_loss"), every_steps=1)
    for path in checkpoints_in(tmp_path)[::-1][:2]:
        t, whole = resumed(path), trainer(metrics="accuracy")
        for made in (t, whole):
            made.fit(X, Y, epochs=3, callbacks=[Early("accuracy")], **FIT)
        assert bits(t) == bits(whole)


@pytest.mark.parametrize(("before", "after", "words"), REFUSED)
def test_a_checkpoint_of_an_older_version_goes_on(before: Any, after: Any, words: str, tmp_path: Path) -> None:
    first_part(tmp_path, before)
    without_settings(checkpoints_in(tmp_path)[0])
    assert resumed(tmp_path).fit(X, Y, epochs=3, callbacks=[after], **FIT).epochs == 3


@pytest.mark.parametrize("monitor", ["auto", "val_loss"])
def test_a_number_that_a_callback_adds_is_the_same_after_a_resume(monitor: str, tmp_path: Path) -> None:
    """Without validation "auto" watches the loss, and "val_loss" where a callback reports it; resumed twice too."""
    adds = bp.LambdaCallback(on_epoch_end=lambda t, logs: logs.update(val_loss=-float(t.epoch)))
    for epochs in (2, 3, 4):
        t, early = trainer(), Early(monitor)
        t.resume(tmp_path, missing_ok=True)
        t.fit(X, Y, epochs=epochs, callbacks=[adds, early, bp.Checkpoint(tmp_path, every_steps=1)])
        assert (early.best, early.best_epoch) == (-float(epochs), epochs)
        monitor = "val_loss" if monitor == "auto" else "auto"


def test_a_checkpoint_of_another_number_begins_its_best_anew(tmp_path: Path) -> None:
    """A loss of 1.0 is no accuracy to beat."""
    first_part(tmp_path, monitor="val_loss")
    for checkpoint, epochs in (
        (bp.Checkpoint(tmp_path, monitor="val_accuracy"), 3),
        (bp.Checkpoint(tmp_path, monitor="val_accuracy"), 4),
    ):
        t = resumed(tmp_path)
        history = t.fit(X, Y, epochs=epochs, callbacks=[checkpoint], **FIT)
        assert checkpoint.best == max(history["val_accuracy"][2:])
    assert checkpoint.best_epoch == 3 + int(np.argmax(history["val_accuracy"][2:]))

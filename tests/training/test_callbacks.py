"""Callbacks: Ctrl-C, early stopping, plateaus, the progress bar. test_trainer.py tests their order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.training.monitors import higher_is_better
from gpubp.training.signals import SignalHandlers

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.random.default_rng(1).integers(0, 2, 40)


@pytest.fixture(autouse=True)
def pythons_own_handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C, also where the shell made this process ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "a handler was left behind"
    signal.signal(signal.SIGINT, before)


class PressAt(bp.Activation):
    """Passes x on and presses Ctrl-C in the middle of given steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.seen = [-3]  # a layer that is not gpubp's own is tried three times before it is trained

    def f(self, x: Any) -> Any:
        return x * 1.0

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy * 1.0

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        ws.be.run(self.press)
        return super().backward(ws, dy)

    def press(self) -> None:
        self.seen[0] += 1
        if self.seen[0] in self.steps:
            os.kill(os.getpid(), signal.SIGINT)


def trainer(layer: bp.Layer | None = None, **options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(4), layer or PressAt(), bp.Dense(2))
    net = bp.Network(layers, 3, device="cpu")
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, **options)


@pytest.mark.parametrize("step", [1, 2, 5, 7])
def test_ctrl_c_lets_the_step_end(step: int) -> None:
    """Parameters and moments are those after `step` whole steps, to the bit."""
    pressed, whole = trainer(PressAt(step)), trainer()
    history = pressed.fit(X, Y, epochs=3)
    assert history.interrupted and pressed.step_count == step and history.epochs == (step - 1) // 5
    count = bp.LambdaCallback(on_step_end=lambda t: stop(t, step))
    assert whole.fit(X, Y, epochs=3, callbacks=[count]).interrupted
    assert whole.step_count == step
    assert np.array_equal(pressed.network.flat, whole.network.flat)
    for name, moment in whole.update.moments.items():
        assert np.array_equal(pressed.update.moments[name].flat, moment.flat)


def stop(trainer: bp.Trainer, step: int) -> None:
    if trainer.step_count == step:
        raise KeyboardInterrupt


def test_training_goes_on_after_ctrl_c() -> None:
    t = trainer(PressAt(7))
    t.fit(X, Y, epochs=3)
    history = t.fit(X, Y, epochs=2)
    assert not history.interrupted and history.epochs == 2 and t.step_count == 17


def test_a_second_ctrl_c_raises_at_once() -> None:
    """For a step or a validation that takes too long."""
    with pytest.raises(KeyboardInterrupt), SignalHandlers():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one was not heard")


def test_ctrl_c_after_the_last_step() -> None:
    class Press(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    history = trainer().fit(X, Y, epochs=1, callbacks=[Press()])
    assert history.interrupted and history.epochs == 1


def test_an_own_signal_handler_stays() -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        history = trainer(PressAt(2)).fit(X, Y, epochs=1)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == [signal.SIGINT] and not history.interrupted


def test_training_in_another_thread_sets_no_handler() -> None:
    result: list[bp.History] = []
    thread = threading.Thread(target=lambda: result.append(trainer().fit(X, Y, epochs=1)))
    thread.start()
    thread.join()
    assert result[0].epochs == 1


def test_an_error_reaches_the_caller_after_on_train_end() -> None:
    calls = []

    class Fails(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            raise RuntimeError("the disk is full")

        def on_train_end(self, trainer: bp.Trainer) -> None:
            calls.append("end")

    with pytest.raises(RuntimeError, match="the disk is full"):
        trainer().fit(X, Y, epochs=2, callbacks=[Fails()])
    assert calls == ["end"]


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([bp.EarlyStopping], r"one is <class .*EarlyStopping'>; write EarlyStopping\(\.\.\.\)"),
        ([print], "callbacks are gpubp Callbacks, such as EarlyStopping"),
        (3, "and one is 3"),
    ],
)
def test_other_objects_are_refused_as_callbacks(callbacks: Any, words: str) -> None:
    t = trainer()
    with pytest.raises(TypeError, match=words):
        t.fit(X, Y, callbacks=callbacks)
    assert t.step_count == 0


def test_a_single_callback_needs_no_list() -> None:
    seen = []
    trainer().fit(X, Y, epochs=2, callbacks=bp.LambdaCallback(on_epoch_end=lambda t, logs: seen.append(t.epoch)))
    assert seen == [1, 2]


@pytest.mark.parametrize(
    "of",
    [bp.Callback, bp.EarlyStopping, bp.ReduceOnPlateau, bp.Checkpoint, bp.CSVLogger, bp.TensorBoard, bp.GradientFlow],
)
def test_hooks_may_be_annotated_with_the_trainer(of: type[bp.Callback]) -> None:
    """Type checkers refuse an override that asks for more than the base class, which therefore asks for nothing."""
    hooks = [name for name in dir(of) if name.startswith("on_")]
    assert len(hooks) >= 5 and all(typing.get_type_hints(getattr(of, name))["trainer"] is Any for name in hooks)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", None])
def test_epochs_are_a_whole_number(epochs: Any) -> None:
    with pytest.raises(ValueError, match="fit needs epochs to be a whole number, 0 or more, and got"):
        trainer().fit(X, Y, epochs=epochs)


def test_no_epochs_change_nothing() -> None:
    t = trainer()
    before = t.network.flat.copy()
    assert t.fit(X, Y, epochs=0).epochs == 0 and np.array_equal(t.network.flat, before)


class Says(bp.Callback):
    """Puts numbers where the trainer's own were."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        logs[self.name] = self.values[trainer.epoch - 1]


@pytest.mark.parametrize(
    ("name", "mode", "best_epoch"), [("val_accuracy", "auto", 3), ("val_accuracy", "min", 1), ("score", "max", 3)]
)
def test_mode_decides_which_value_is_better(name: str, mode: str, best_epoch: int) -> None:
    stopping = bp.EarlyStopping(name, patience=9, mode=mode)
    trainer().fit(X, Y, epochs=4, callbacks=[Says(name, [0.1, 0.5, 0.9, 0.6]), stopping])
    assert stopping.best_epoch == best_epoch


class Rises(bp.Metric):
    """An own metric, of which more is better."""

    name, kinds, higher_is_better = "hits", ("classes",), True

    def plan(self, z: Any, t: Any, predicts: str) -> bp.Plan:
        return bp.Accuracy().plan(z, t, predicts)

    def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
        return bp.Accuracy().rows(ws, z, t, predicts)


class Falls(Rises):
    name, higher_is_better = "misses", False


class Unknown(Rises):
    name, higher_is_better = "score", None


@pytest.mark.parametrize(
    ("name", "best_epoch"),
    [
        ("hits", 3), ("val_hits", 3), ("misses", 1), ("val_misses", 1), ("val_f1", 3), ("precision", 3), ("recall", 3),
        ("val_roc_auc", 3), ("top_k_accuracy", 3), ("loss", 1), ("val_loss", 1), ("accuracy", 3), ("val_error", 1),
    ],
)  # fmt: skip
def test_auto_takes_the_direction_from_the_metric(name: str, best_epoch: int) -> None:
    metrics = [Rises(), Falls(), "f1", "precision", "recall", "roc_auc", "top_k_accuracy", "accuracy"]
    stopping = bp.EarlyStopping(name, patience=9)
    t = trainer(metrics=metrics)
    t.fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[Says(name, [0.1, 0.5, 0.9, 0.6]), stopping])
    assert stopping.best_epoch == best_epoch


def test_errors_of_numbers_fall_and_r2_rises() -> None:
    metrics = bp.Trainer(
        bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.SGD(), metrics=["mae", "mse", "r2"]
    ).metrics
    found = [higher_is_better(name, metrics) for name in ("mean_absolute_error", "val_mean_squared_error", "val_r2")]
    assert found == [False, False, True]


@pytest.mark.parametrize("name", ["score", "val_score", "seconds"])
@pytest.mark.parametrize("kind", [bp.EarlyStopping, bp.ReduceOnPlateau, "checkpoint"])
def test_auto_refuses_a_number_that_it_does_not_know(name: str, kind: Any, tmp_path: Path) -> None:
    """An own metric without a direction, or a number of another callback; before any step, and before any file."""
    make = (lambda **to: bp.Checkpoint(tmp_path, **to)) if kind == "checkpoint" else kind
    t = trainer(metrics=[Unknown()])
    with pytest.raises(ValueError, match=f'watches {name!r} with mode="auto".*mode="max".*or mode="min"'):
        t.fit(X, Y, validation_data=(X, Y), callbacks=[Says("seconds", [1.0]), make(monitor=name)])
    assert t.step_count == 0 and not list(tmp_path.iterdir())
    t.fit(X, Y, validation_data=(X, Y), callbacks=[Says("seconds", [1.0]), make(monitor=name, mode="max")])
    assert t.step_count > 0


def test_a_checkpoint_that_keeps_no_best_asks_for_no_direction(tmp_path: Path) -> None:
    t = trainer()
    t.fit(X, Y, callbacks=[bp.Checkpoint(tmp_path, best=False, monitor="seconds")])
    assert t.step_count > 0


def test_nan_is_never_the_best() -> None:
    stopping = bp.EarlyStopping(patience=2)
    history = trainer().fit(X, Y, epochs=9, callbacks=[Says("loss", [np.nan, 2.0, np.nan, np.nan, 1.0]), stopping])
    assert (stopping.best, stopping.best_epoch, history.epochs) == (2.0, 2, 4)


def test_a_second_fit_begins_anew() -> None:
    t, stopping = trainer(), bp.EarlyStopping(patience=1)
    t.fit(X, Y, epochs=2, callbacks=[Says("loss", [1.0, 2.0]), stopping])
    history = t.fit(X, Y, epochs=2, callbacks=[Says("loss", [0.0, 0.0, 9.0, 8.0]), stopping])
    assert history.epochs == 2 and stopping.best == 8.0


def test_early_stopping_restores_the_best_after_ctrl_c() -> None:
    t = trainer(PressAt(12))
    kept = []
    keep = bp.LambdaCallback(on_epoch_end=lambda t, logs: kept.append(t.network.flat.copy()))
    t.fit(X, Y, epochs=9, callbacks=[Says("loss", [1.0, 2.0, 3.0]), keep, bp.EarlyStopping(patience=9)])
    assert len(kept) == 2 and np.array_equal(t.network.flat, kept[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.EarlyStopping(mode="up"), '"auto", "min" or "max" and got \'up\''),
        (
            lambda: bp.EarlyStopping(patience=-1),
            "EarlyStopping needs patience to be a whole number, 0 or more, and got -1",
        ),
        (lambda: bp.EarlyStopping(mode="max"), 'EarlyStopping with mode="max" needs monitor, such as "val_accuracy"'),
        (lambda: bp.ReduceOnPlateau(mode="max"), 'ReduceOnPlateau with mode="max" needs monitor, .* watches the loss'),
        (lambda: bp.Checkpoint("a", mode="max"), 'Checkpoint with mode="max" needs monitor, such as'),
        (lambda: bp.EarlyStopping(5), r"EarlyStopping needs monitor to be text, .*; for .* epochs write patience=5"),
        (lambda: bp.ReduceOnPlateau(np.int64(5)), "ReduceOnPlateau needs monitor to be text, .* write patience="),
        (lambda: bp.EarlyStopping(None), "EarlyStopping needs monitor to be text, .*, and got None$"),
        (
            lambda: bp.EarlyStopping(["val_loss"]),
            r"EarlyStopping needs monitor to be text, .*, and got \['val_loss'\]$",
        ),
        (lambda: bp.EarlyStopping(bp.F1()), r"needs monitor to be text, .*, and got F1\(\); .* its name, monitor='f1'"),
        (lambda: bp.Checkpoint("a", monitor=bp.Accuracy), "Checkpoint needs monitor .* its name, monitor='accuracy'"),
        (lambda: bp.Checkpoint("a", monitor=3), "Checkpoint needs monitor to be text, .*, and got 3$"),
        (lambda: bp.EarlyStopping(restore_best="no"), "EarlyStopping needs restore_best to be True or False, and got"),
        (lambda: bp.Checkpoint("a", best="no"), "Checkpoint needs best to be True or False, and got 'no'"),
        (lambda: bp.Checkpoint("a", overwrite=1), "Checkpoint needs overwrite to be True or False, and got 1"),
        (lambda: bp.CSVLogger("a.csv", append="a"), "CSVLogger needs append to be True or False, and got 'a'"),
        (lambda: bp.JSONLinesLogger("a.jsonl", append=None), "JSONLinesLogger needs append to be True or False"),
        (lambda: bp.ReduceOnPlateau(min_delta=-1), "ReduceOnPlateau needs min_delta to be a number, 0 or more"),
        (lambda: bp.ReduceOnPlateau(factor=1.5), "factor to be a number, between 0 and 1, and got 1.5"),
    ],
)
def test_invalid_callback_options(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_what_may_be_given_to_callbacks() -> None:
    assert bp.EarlyStopping(mode="min").monitor == bp.EarlyStopping(np.str_("auto")).monitor == "auto"
    assert bp.EarlyStopping("loss", mode="max").mode == "max"
    assert bp.EarlyStopping(restore_best=np.False_).restore_best is False
    assert bp.Checkpoint("a", best=False, mode="max").keep_best is False
    assert bp.Checkpoint("a", overwrite=np.True_).overwrite is True


@pytest.mark.parametrize("name", ["on_epoch_end", "on_step_end"])
def test_a_lambda_callback_takes_functions(name: str) -> None:
    with pytest.raises(TypeError, match=rf"LambdaCallback needs {name} to be a function of \(trainer.*\), and got 3"):
        bp.LambdaCallback(**{name: 3})


def test_no_progress_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    trainer().fit(X, Y, epochs=2)
    assert capfd.readouterr() == ("", "")


def test_progress_without_rich_is_a_line_an_epoch(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    history = trainer(metrics="accuracy").fit(X, Y, epochs=2, verbose=True)
    out, err = capfd.readouterr()
    assert out == "" and err.splitlines() == [
        f"epoch {i + 1}: loss {history['loss'][i]:.4f}  accuracy {history['accuracy'][i]:.4f}" for i in range(2)
    ]


def test_progress_with_rich_goes_to_the_error_stream() -> None:
    pytest.importorskip("rich", reason="rich, which draws the bar, is not installed")
    script = """
import numpy as np, gpubp as bp
net = bp.Network(bp.Dense(1), 2, device="cpu")
bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(np.ones((9, 2)), np.ones(9), epochs=3, verbose=True)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and run.stdout == "" and "training" in run.stderr and "100%" in run.stderr


def test_an_unknown_column_of_the_history() -> None:
    history = trainer(metrics="accuracy").fit(X, Y, epochs=2)
    assert list(history) == ["loss", "accuracy"] and len(history["loss"]) == 2
    with pytest.raises(KeyError, match="the history has no 'val_loss'; it has loss, accuracy"):
        history["val_loss"]

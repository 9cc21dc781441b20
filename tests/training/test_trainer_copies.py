"""Pickles and copies of trainers and callbacks: after a fit, in the middle of one, and after one that failed."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.cli.progress import Bar, Lines
from strict import StrictArray, StrictProducts, strict_cupy

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
y = np.arange(40) % 3


def carried(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


each_copy = pytest.mark.parametrize("copied", [carried, copy.deepcopy], ids=["pickle", "deepcopy"])


def trainer(device: Any = "cpu", **options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    net = bp.Network(layers, 4, device=device, seed=3)
    settings = {"batch_size": 8, "metrics": ["accuracy"]} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.05, 60)), **settings)


def note(trainer: bp.Trainer, logs: dict[str, float] | None = None) -> None:
    """A function that has a name."""


class Keeps(bp.Callback):
    """A callback of the user's own that keeps its trainer."""

    def on_train_begin(self, trainer: bp.Trainer) -> None:
        self.trainer = trainer


def callbacks(folder: Path) -> dict[str, Callable[[], bp.Callback]]:
    return {
        "CSVLogger": lambda: bp.CSVLogger(folder / "a.csv"),
        "JSONLinesLogger": lambda: bp.JSONLinesLogger(folder / "a.jsonl"),
        "TensorBoard": lambda: bp.TensorBoard(folder / "a", histograms=True),
        "Checkpoint": lambda: bp.Checkpoint(folder / "b", every_steps=2, overwrite=True),
        "EarlyStopping": bp.EarlyStopping,
        "ReduceOnPlateau": bp.ReduceOnPlateau,
        "ProgressBar": lambda: bp.ProgressBar(3, 5),
        "LambdaCallback": lambda: bp.LambdaCallback(note, note),
        "GradientFlow": bp.GradientFlow,
        "GradientFlow of samples": lambda: bp.GradientFlow(samples=2),
        "Lines": lambda: Lines(3),
        "Bar": lambda: Bar(3, 5),
    }


each_callback = pytest.mark.parametrize("name", callbacks(Path()))


def made(name: str, folder: Path) -> bp.Callback:
    if name == "TensorBoard":
        pytest.importorskip("tensorboardX")
    if name in ("Bar", "ProgressBar"):
        pytest.importorskip("rich")
    return callbacks(folder)[name]()


def reachable(thing: Any) -> Iterator[Any]:
    """All that an object refers to, classes, modules and functions not looked into."""
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        a = waiting.pop()
        if id(a) in seen or isinstance(a, type):
            continue
        seen.add(id(a))
        yield a
        if not isinstance(a, types.ModuleType | types.FunctionType | types.BuiltinFunctionType):
            waiting += gc.get_referents(a)


def assert_nothing_of_a_fit(callback: bp.Callback) -> None:
    kinds = (bp.Trainer, bp.Network, bp.Backend, StrictArray, types.ModuleType, io.IOBase)
    held = [a for a in reachable(vars(callback)) if isinstance(a, kinds)]
    assert not held, held


@each_callback
@pytest.mark.parametrize(("device", "fails"), [("cpu", False), ("cpu", True), ("cuda", True)])
def test_a_callback_keeps_nothing_of_a_fit(name: str, device: str, fails: bool, tmp_path: Path) -> None:
    t = trainer(CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu")
    callback = made(name, tmp_path)

    def fail(trainer: bp.Trainer, logs: dict[str, float]) -> None:
        if fails and trainer.epoch == 2:
            raise ZeroDivisionError

    both = [callback, bp.LambdaCallback(fail)]
    try:
        t.fit(X, y, epochs=3, callbacks=both, verbose=False)
        assert not fails
    except ZeroDivisionError:
        assert fails
    assert_nothing_of_a_fit(callback)
    gone = weakref.ref(t)
    del t
    gc.collect()
    assert gone() is None
    for copied in (carried, copy.deepcopy, copy.copy):
        assert type(copied(callback)) is type(callback)


@each_callback
def test_callbacks_are_pickled_in_the_middle_of_a_fit(name: str, tmp_path: Path) -> None:
    """And those copies begin a fit of their own, while the first goes on."""
    callback, found = made(name, tmp_path), []

    def look(trainer: bp.Trainer, logs: dict[str, float]) -> None:
        if trainer.epoch == 2:
            found.extend([carried(callback), copy.deepcopy(callback), copy.copy(callback)])

    alone, t = trainer(), trainer()
    alone.fit(X, y, epochs=3, callbacks=[made(name, tmp_path / "other")], verbose=False)
    t.fit(X, y, epochs=3, callbacks=[bp.LambdaCallback(look), callback], verbose=False)
    assert np.array_equal(t.network.flat, alone.network.flat)
    for other in found:
        assert_nothing_of_a_fit(other)
        trainer().fit(X, y, epochs=2, callbacks=other, verbose=False)


def test_what_people_look_at_after_a_fit_is_in_the_copy() -> None:
    flow, early, plateau = bp.GradientFlow(), bp.EarlyStopping(patience=50), bp.ReduceOnPlateau(patience=1)
    trainer().fit(X, y, epochs=3, validation_fraction=0.2, callbacks=[flow, early, plateau], verbose=False)
    assert len(flow.gradients) == 3 and early.best_epoch
    for copied in (carried, copy.deepcopy):
        other = copied(flow)
        assert other.report() == flow.report() and other.gradients == flow.gradients and other.layers == flow.layers
        other.gradients.clear()
        assert (copied(early).best, copied(early).best_epoch) == (early.best, early.best_epoch)
        assert copied(plateau).waited == plateau.waited
    assert len(flow.gradients) == 3, "a copy has lists of its own"


def test_gradient_flow_has_the_epochs_of_one_trainer() -> None:
    flow, t = bp.GradientFlow(), trainer()
    for epochs in (2, 4):
        t.fit(X, y, epochs=2, callbacks=flow, verbose=False)
        assert len(flow.gradients) == len(flow.outputs) == epochs
    trainer().fit(X, y, epochs=1, callbacks=flow, verbose=False)
    assert len(flow.gradients) == len(flow.outputs) == 1


def test_logs_and_checkpoints_of_one_trainer_go_on(tmp_path: Path) -> None:
    log, check, t = bp.CSVLogger(tmp_path / "a.csv"), bp.Checkpoint(tmp_path / "b"), trainer()
    for _ in range(2):
        t.fit(X, y, epochs=2, callbacks=[log, check], verbose=False)
    assert [row["epoch"] for row in log.read()] == [1, 2, 3, 4]
    trainer().fit(X, y, epochs=1, callbacks=[log], verbose=False)
    assert [row["epoch"] for row in log.read()] == [1]


def test_every_callback_ends_though_another_fails(tmp_path: Path) -> None:
    class Fails(bp.Callback):
        def on_train_end(self, trainer: bp.Trainer) -> None:
            raise ZeroDivisionError

    early, check = bp.EarlyStopping(), bp.Checkpoint(tmp_path)
    t = trainer()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            t.fit(X, y, epochs=2, callbacks=[Fails(), early, check, Fails()], verbose=False)
        assert_nothing_of_a_fit(early)
        assert_nothing_of_a_fit(check)
    assert t.epoch == 4 and t.state.fit is None


def test_a_lambda_is_named_in_the_error() -> None:
    made = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: None)
    with pytest.raises(TypeError, match=r"LambdaCallback\(.*<lambda>\) can't be pickled.*define it with def"):
        pickle.dumps(made)
    for copied in (copy.deepcopy, copy.copy):
        assert copied(made)._epoch is made._epoch
    cloudpickle = pytest.importorskip("cloudpickle")
    assert type(pickle.loads(cloudpickle.dumps(made))) is bp.LambdaCallback


# -- trainers ----------------------------------------------------------------------------------------------------------


@each_copy
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"on_nonfinite": "rollback", "clip_norm": 1.0},
        {"l2": 0.1, "learning_rate_factors": {"0.*": 0.5}},
        {"workers": 2},
        {"batch_size": None},
    ],
    ids=str,
)
def test_a_copied_trainer_goes_on_with_the_same_bits(copied: Any, options: dict[str, Any]) -> None:
    t = trainer(**options)
    t.network.freeze("4.b")
    t.fit(X, y, epochs=2, verbose=False)
    t.update.factor = 0.5
    other = copied(t)
    assert (other.epoch, other.step_count, dict(other.history)) == (t.epoch, t.step_count, dict(t.history))
    assert other.network is not t.network and other.learning_rate == t.learning_rate and other.resumed_from is None
    histories = [dict(one.fit(X, y, epochs=2, verbose=False)) for one in (t, other)]
    assert histories[0] == histories[1] and t.network.flat.tobytes() == other.network.flat.tobytes()
    assert t.evaluate(X, y) == other.evaluate(X, y)


def test_copy_copy_is_another_trainer_of_the_same_network() -> None:
    t = trainer()
    t.fit(X, y, verbose=False)
    other = copy.copy(t)
    assert other.network is t.network and other.update is not t.update and other.step_count == t.step_count


@each_copy
def test_a_trainer_is_copied_in_the_middle_of_a_fit(copied: Any) -> None:
    """The copy stands between two fits, and the fit goes on."""
    found: list[bp.Trainer] = []
    look = bp.LambdaCallback(on_step_end=lambda t: found.append(copied(t)) if t.step_count == 7 else None)
    alone, t = trainer(on_nonfinite="raise"), trainer(on_nonfinite="raise")
    alone.fit(X, y, epochs=3, verbose=False)
    t.fit(X, y, epochs=3, callbacks=look, verbose=False)
    assert t.network.flat.tobytes() == alone.network.flat.tobytes()
    assert (found[0].step_count, found[0].epoch, found[0].step_in_epoch) == (7, 1, 0)
    assert found[0].fit(X, y, epochs=1, verbose=False).epochs == 1


@each_copy
def test_a_callback_that_keeps_its_trainer(copied: Any) -> None:
    keeps, t = Keeps(), trainer()
    t.fit(X, y, callbacks=keeps, verbose=False)
    other = copied(keeps)
    assert np.array_equal(other.trainer.network.predict(X), t.network.predict(X))
    assert copied([keeps, t])[0].trainer is not t
    both = copied([keeps, t, t.network])
    assert both[0].trainer is both[1] and both[1].network is both[2]


class Named(bp.Trainer):
    """A trainer of the user's own, with another constructor."""

    def __init__(self, name: str) -> None:
        super().__init__(bp.Network(bp.Dense(3), 4, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD())


@each_copy
def test_a_class_of_the_users_own(copied: Any) -> None:
    t = Named("a")
    t.step(X, y)
    assert type(copied(t)) is Named and copied(t).step_count == 1


def test_on_a_gpu() -> None:
    t = trainer(CUDA(strict_cupy(), products=StrictProducts))
    t.fit(X, y, epochs=2, verbose=False)
    other = copy.deepcopy(t)
    assert type(other.backend) is CUDA and isinstance(other.network.flat, StrictArray)
    with pytest.warns(UserWarning, match="goes on here on the CPU"):
        loaded = carried(t)
    for one in (t, other, loaded):
        one.fit(X, y, epochs=1, verbose=False)
    host = t.backend.to_host
    assert host(t.network.flat).tobytes() == host(other.network.flat).tobytes()
    assert loaded.network.device == "cpu" and loaded.step_count == t.step_count == 15


def test_an_abandoned_pickle_changes_nothing() -> None:
    """What can't be pickled is told, and the trainer trains on."""
    t = trainer()
    t.network.metadata["module"] = sys
    with pytest.raises(ValueError, match="can't be written to a file"):
        pickle.dumps(t)
    t.fit(X, y, verbose=False)


class Titled(bp.Trainer):
    """A subclass with an attribute of its own."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.title = "a"


@each_copy
def test_a_copy_has_the_attributes_and_the_seed_that_were_set_later(copied: Callable[[Any], Any]) -> None:
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    t = Titled(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8)
    t.title, t.seed = "b", 5
    made = copied(t)
    assert (type(made), made.title, made.seed) == (Titled, "b", 5)
    for one in (t, made):
        one.fit(X, y, epochs=2, verbose=False)
    assert np.array_equal(t.network.flat, made.network.flat)


@each_copy
def test_a_copy_after_parameters_were_unfrozen(copied: Callable[[Any], Any]) -> None:
    t = trainer()
    t.network.freeze("0.*")
    t.fit(X, y, epochs=2, verbose=False)
    t.network.unfreeze()
    made = copied(t)
    for one in (t, made):
        one.fit(X, y, epochs=2, verbose=False)
    assert np.array_equal(t.network.flat, made.network.flat)

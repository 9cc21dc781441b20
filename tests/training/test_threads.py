"""One thread at a time trains a network: another is told so, and the first goes on as if nothing had been asked."""

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
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
y = np.arange(48) % 3


def trainer(**options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    device = options.pop("device", "cpu")
    net = bp.Network(layers, 4, device=device, seed=3)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, metrics=["accuracy"], **options)


class Paused(bp.Callback):
    """Has another thread do something at the end of the second epoch, or in the middle of it, and waits for it."""

    def __init__(self, work: Callable[[bp.Trainer], Any], step: int | None = None) -> None:
        self.work, self.step = work, step
        self.result: Any = None
        self.problem: BaseException | None = None

    def _other(self, trainer: bp.Trainer) -> None:
        def work() -> None:
            try:
                self.result = self.work(trainer)
            except BaseException as problem:
                self.problem = problem

        thread = threading.Thread(target=work, name="another")
        thread.start()
        thread.join(60)

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.step_count == self.step:
            self._other(trainer)

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        if self.step is None and trainer.epoch == 2:
            self._other(trainer)


def bits(t: bp.Trainer, history: bp.History) -> Any:
    host = t.backend.to_host
    return host(t.network.flat).tobytes(), host(t.network.states.flat).tobytes(), dict(history), t.step_count


def on_same_network(t: bp.Trainer) -> bp.Trainer:
    return bp.Trainer(t.network, bp.SoftmaxCrossEntropy(), bp.SGD())


class Nothing(bp.Probe):
    """A probe that looks at nothing."""


USES: dict[str, Callable[[bp.Trainer], Any]] = {
    "fit": lambda t: t.fit(X, y, verbose=False),
    "step": lambda t: t.step(X, y),
    "evaluate": lambda t: t.evaluate(X, y),
    "profile": lambda t: t.profile(X, y, steps=2),
    "save": lambda t: t.save("a.safetensors"),
    "resume": lambda t: t.resume("before.safetensors"),
    "renew": lambda t: t.renew(),
    "attach": lambda t: t.attach(Nothing()),
    "workers": lambda t: setattr(t, "workers", 2),
    "pickle or copy": lambda t: pickle.dumps(t),
    "loss_and_gradients": lambda t: t.network.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y),
    "load_weights": lambda t: t.network.load_weights("net.safetensors"),
    "find_learning_rate": lambda t: bp.find_learning_rate(t, X, y, steps=10),
    "step of another trainer": lambda t: on_same_network(t).step(X, y),
}


@pytest.mark.parametrize("step", [None, 5], ids=["epoch", "step"])
@pytest.mark.parametrize("use", USES)
def test_a_second_thread_is_refused_and_the_first_goes_on(
    use: str, step: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alone, t = trainer(), trainer()
    t.save("before.safetensors")
    bp.Network(t.network.layers, 4, device="cpu").save("net.safetensors")
    expected = bits(alone, alone.fit(X, y, epochs=4, callbacks=[Paused(lambda t: None, step)], verbose=False))
    paused = Paused(USES[use], step)
    assert bits(t, t.fit(X, y, epochs=4, callbacks=[paused], verbose=False)) == expected
    assert isinstance(paused.problem, bp.InUseError) and isinstance(paused.problem, RuntimeError)
    said = str(paused.problem)
    assert said.startswith(f"{use.partition(' of')[0]} was called in the thread 'another' while fit") and "copy" in said
    assert ("a callback gives copy.deepcopy(trainer.network) to a pool of processes" in said) == ("pickle" in use)
    assert np.isfinite(USES["evaluate"](t)["loss"]), "and afterwards any thread may"


@pytest.mark.parametrize("use", ["fit", "step", "evaluate", "resume", "save"])
def test_on_a_gpu(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def on_gpu() -> bp.Trainer:
        return trainer(device=CUDA(strict_cupy(), products=StrictProducts))

    alone, t = on_gpu(), on_gpu()
    t.save("before.safetensors")
    expected = bits(alone, alone.fit(X, y, epochs=3, verbose=False))
    paused = Paused(USES[use])
    assert bits(t, t.fit(X, y, epochs=3, callbacks=[paused], verbose=False)) == expected
    assert isinstance(paused.problem, bp.InUseError)


def test_many_threads_at_once_give_results_or_the_error() -> None:
    """Never anything else, and every step that is done counts."""
    t, seen, go = trainer(), [], threading.Barrier(4)

    def work() -> None:
        go.wait()
        for _ in range(30):
            try:
                t.step(X[:16], y[:16])
                seen.append(1)
            except bp.InUseError:
                seen.append(0)
            except BaseException as problem:
                seen.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) <= {0, 1} and sum(seen) == t.step_count


def test_another_thread_may_predict_while_one_trains() -> None:
    alone, t = trainer(), trainer()
    expected = bits(alone, alone.fit(X, y, epochs=4, verbose=False))
    paused = Paused(lambda t: t.network.predict(X))
    assert bits(t, t.fit(X, y, epochs=4, callbacks=[paused], verbose=False)) == expected
    assert paused.problem is None and paused.result.shape == (48, 3)


class Nested(bp.Callback):
    """Uses its trainer from within its fit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[float] = []

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.seen.append(trainer.evaluate(X, y)["loss"])
        trainer.save(self.folder / "a.safetensors")
        trainer.profile(X, y, steps=1)
        bp.find_learning_rate(trainer, X, y, steps=10)
        trainer.network.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
        self.seen.append(copy.deepcopy(trainer).evaluate(X, y)["loss"])
        on_same_network(trainer).evaluate(X, y)


def test_a_callback_may_use_its_trainer(tmp_path: Path) -> None:
    alone, t, nested = trainer(), trainer(), Nested(tmp_path)
    expected = bits(alone, alone.fit(X, y, epochs=3, verbose=False))
    assert bits(t, t.fit(X, y, epochs=3, callbacks=[nested], verbose=False)) == expected
    assert nested.seen[::2] == nested.seen[1::2] and len(nested.seen) == 6


def test_a_callback_may_take_steps() -> None:
    t = trainer()
    steps = bp.LambdaCallback(on_epoch_end=lambda t, logs: [t.step(X[:n], y[:n]) for n in range(2, 48)])
    t.fit(X, y, epochs=3, callbacks=[steps], verbose=False)
    assert t.step_count == 3 * (3 + 46) and t.history.epochs == 3


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_step_end"])
def test_fit_within_a_fit_is_refused_before_it_trains(hook: str) -> None:
    t = trainer()
    again: Any = bp.LambdaCallback(**{hook: lambda t, *logs: t.fit(X, y, verbose=False)})
    with pytest.raises(bp.InUseError, match="a callback called fit of the trainer that is training"):
        t.fit(X, y, epochs=3, callbacks=[again], verbose=False)
    assert t.step_count == (3 if hook == "on_epoch_end" else 1)
    t.fit(X, y, verbose=False)


def test_resume_within_a_fit_is_refused(tmp_path: Path) -> None:
    t = trainer()
    t.save(tmp_path / "a.safetensors")
    again = bp.LambdaCallback(on_epoch_end=lambda t, logs: t.resume(tmp_path / "a.safetensors"))
    with pytest.raises(bp.InUseError, match="a callback called resume of the trainer that is training"):
        t.fit(X, y, epochs=3, callbacks=[again], verbose=False)


@pytest.mark.parametrize("work", ["save", "pickle", "copy", "deepcopy", "freeze", "unfreeze"])
def test_a_network_in_training_is_not_copied_or_frozen_by_another_thread(work: str, tmp_path: Path) -> None:
    calls: dict[str, Any] = {
        "save": lambda net: net.save(tmp_path / "a.safetensors"),
        "pickle": pickle.dumps,
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "freeze": lambda net: net.freeze("*"),
        "unfreeze": lambda net: net.unfreeze(),
    }
    t = trainer()
    paused = Paused(lambda other: calls[work](t.network))
    t.fit(X, y, epochs=2, callbacks=[paused], verbose=False)
    assert isinstance(paused.problem, bp.InUseError) and not t.network.frozen
    assert not (tmp_path / "a.safetensors").exists()


def test_a_trainer_is_free_after_an_error() -> None:
    t = trainer()
    with pytest.raises(ZeroDivisionError):
        t.fit(X, y, callbacks=[bp.LambdaCallback(on_epoch_end=lambda t, logs: 1 / 0)], verbose=False)
    paused = Paused(lambda other: t.evaluate(X, y))
    trainer().fit(X, y, epochs=2, callbacks=[paused], verbose=False)
    assert paused.problem is None and np.isfinite(paused.result["loss"])


def test_two_trainers_share_layers_loss_and_optimizer() -> None:
    """In two threads at once, with the bits of one after the other."""
    layers = bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dropout(0.2), bp.Dense(3))
    loss, optimizer = bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.01, 99))

    def work(seed: int) -> bytes:
        net = bp.Network(layers, 4, device="cpu", seed=seed)
        bp.Trainer(net, loss, optimizer, batch_size=16, seed=seed).fit(X, y, epochs=20, verbose=False)
        return net.flat.tobytes()

    found: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: work(seed)})) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: work(1), 2: work(2)}

"""A forked process trains, evaluates and predicts with what it has of its parent, bit by bit as the parent would."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from forked import in_child, needs_fork
from gpubp.backends.cpu import compiled, loops
from gpubp.backends.cuda import driver
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.process import ForkSafeLock
from gpubp.layers.one_thread import OneThread
from gpubp.step.workers import Team
from gpubp.training import nonfinite_layer
from gpubp.training.checkpoint import Writer
from gpubp.training.signals import SignalHandlers
from strict import StrictProducts, strict_cupy

pytestmark = [needs_fork, pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")]
X = np.random.default_rng(0).normal(size=(96, 6, 6, 2)).astype("float32")
y = np.arange(96) % 3


def trainer(workers: int | None = 2, **options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Conv2D(4, 3), bp.BatchNorm(), bp.ReLU(), bp.Flatten(), bp.Dropout(0.2), bp.Dense(3))
    net = bp.Network(layers, (6, 6, 2), device="cpu", seed=3)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=32, workers=workers, **options)


def trained(t: bp.Trainer, X: Any = X) -> tuple[Any, ...]:
    history = t.fit(X, y, epochs=2, verbose=False)
    return t.network.flat.tobytes(), history["loss"], t.evaluate(X, y), t.network.predict(X).tobytes(), t.step_count


@pytest.mark.parametrize("workers", [1, 2, None])
def test_a_child_trains_on_with_the_bits_of_its_parent(workers: int | None) -> None:
    t = trainer(workers)
    trained(t)
    of_child = in_child(lambda: trained(t))
    assert of_child == trained(t)


def test_a_cnn_that_takes_workers_by_itself_trains_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.training.step_cache.advised", lambda *sizes: 2)
    t = trainer(None)
    trained(t)
    assert t.last_step is not None and t.last_step.workers == 2
    assert in_child(lambda: trained(t)) == trained(t)


@pytest.mark.parametrize("check", ["raise", "rollback"])
def test_a_child_of_a_checked_training(check: str) -> None:
    t = trainer(on_nonfinite=check)
    trained(t)
    assert in_child(lambda: trained(t)) == trained(t)


def test_a_child_of_multiprocessing_ends() -> None:
    t = trainer()
    trained(t)
    process = multiprocessing.get_context("fork").Process(target=trained, args=(t,))
    process.start()
    process.join(60)
    alive = process.is_alive()
    process.kill()
    assert not alive and process.exitcode == 0


def test_a_grandchild() -> None:
    t = trainer()
    trained(t)
    assert in_child(lambda: in_child(lambda: trained(t))) == trained(t)


def groups() -> bp.RowGroups:
    return bp.RowGroups([24] * 4, lambda k: X[24 * k : 24 * k + 24], row=(6, 6, 2), dtype="float32")


class Inside(bp.Callback):
    """Does something in a child, after the first epoch."""

    def __init__(self, work: Any) -> None:
        self.work, self.seen = work, None

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        if trainer.epoch == 1:
            self.seen = in_child(lambda: self.work(trainer))


def test_a_callback_forks(tmp_path: Path) -> None:
    def work(t: bp.Trainer) -> Any:
        return t.evaluate(groups(), y), t.network.predict(X).tobytes(), t.step(X[:32], y[:32]), t.loss

    inside, t = Inside(work), trainer()
    t.fit(groups(), y, epochs=2, callbacks=[inside, bp.Checkpoint(tmp_path)], verbose=False)
    assert inside.seen is not None


class Splits(bp.Callback):
    """Forks after the first epoch, and both processes go on."""

    child = 0

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        if trainer.epoch == 1:
            self.child = os.fork()


def test_both_processes_go_on_with_a_fit(tmp_path: Path) -> None:
    """With a thread that reads rows, one that writes checkpoints, one of TensorBoard's and one that draws."""
    pytest.importorskip("tensorboardX")
    splits, t, me = Splits(), trainer(), os.getpid()
    logs = [bp.Checkpoint(tmp_path / "a", every_steps=1), bp.TensorBoard(tmp_path / "b"), bp.ProgressBar(3, 3)]
    try:
        t.fit(groups(), y, epochs=3, callbacks=[splits, *logs], verbose=False)
        content = t.network.flat.tobytes()
        if os.getpid() != me:
            (tmp_path / "child.tmp").write_bytes(content)
            (tmp_path / "child.tmp").rename(tmp_path / "child")
    finally:
        if os.getpid() != me:
            os._exit(0)
    end = time.monotonic() + 300
    while not (tmp_path / "child").exists() and time.monotonic() < end:
        time.sleep(0.02)
    if not (tmp_path / "child").exists():
        os.kill(splits.child, 9)
    os.waitpid(splits.child, 0)
    assert (tmp_path / "child").read_bytes() == content


@pytest.mark.parametrize("check", [None, "skip", "raise", "rollback"])
def test_a_child_trains_while_another_thread_of_the_parent_does(check: str | None, tmp_path: Path) -> None:
    t, begun, end = trainer(on_nonfinite=check), threading.Event(), threading.Event()

    class Begun(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            begun.set()
            trainer.stop = end.is_set()

    thread = threading.Thread(target=lambda: t.fit(X, y, epochs=10**6, callbacks=[Begun()], verbose=False))
    thread.start()
    assert begun.wait(60)

    def uses() -> list[float]:
        t.step(X[:32], y[:32])
        t.save(tmp_path / "a.safetensors")
        losses = [t.evaluate(X, y)["loss"], *t.fit(X, y, epochs=2, verbose=False)["loss"]]
        t.resume(tmp_path / "a.safetensors")
        return losses + t.fit(X, y, epochs=2, verbose=False)["loss"]

    try:
        for _ in range(3):
            losses = in_child(uses)
            assert np.isfinite(losses).all() and losses[1:3] == losses[3:]
    finally:
        end.set()
        thread.join()


def test_signals_act_in_a_child_while_the_main_thread_of_the_parent_trains() -> None:
    """There they would be noted, and end a training that goes on in the parent alone."""
    found: list[Any] = []

    class Forks(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_count == 2:
                thread = threading.Thread(target=lambda: found.append(in_child(handlers)))
                thread.start()
                thread.join()
                found.append(handlers())

    def handlers() -> list[bool]:
        return [signal.getsignal(number) is default for number, default in SignalHandlers.DEFAULTS]

    trainer().fit(X, y, epochs=2, callbacks=[Forks()], verbose=False)
    assert found == [[True, True], [False, False]]


def waits(ready: Any) -> None:
    ready.set()
    time.sleep(600)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 1)])
def test_a_signal_ends_a_child_of_a_callback_at_once(number: int, code: int) -> None:
    codes: list[int | None] = []

    class Forks(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            context = multiprocessing.get_context("fork")
            ready = context.Event()
            child = context.Process(target=waits, args=(ready,))
            child.start()
            assert ready.wait(300) and child.pid is not None
            os.kill(child.pid, number)
            child.join(300)
            codes.append(child.exitcode)
            child.kill()

    history = trainer().fit(X, y, epochs=2, callbacks=[Forks()], verbose=False)
    assert codes == [code] * 2 and history.epochs == 2 and not history.interrupted


def test_a_signal_ends_a_child_that_has_just_begun() -> None:
    codes: list[int | None] = []

    class Forks(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            child.start()
            child.terminate()
            child.join(300)
            codes.append(child.exitcode)
            child.kill()
            assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    trainer().fit(X, y, epochs=6, callbacks=[Forks()], verbose=False)
    assert codes == [-signal.SIGTERM] * 6


def test_a_child_that_goes_on_with_a_fit_ends_it_in_order() -> None:
    me, code, t = os.getpid(), 1, trainer()

    class Presses(Splits):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if os.getpid() != me and trainer.step_count == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    presses = Presses()
    try:
        t.fit(X, y, epochs=3, callbacks=[presses], verbose=False)
    except SystemExit as end:
        code = end.code if t.step_count == 5 and t.history.interrupted else 2
    finally:
        if os.getpid() != me:
            os._exit(code)
    watch = threading.Timer(60, os.kill, (presses.child, signal.SIGKILL))
    watch.start()
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(presses.child, 0)[1]) == 128 + signal.SIGTERM
    finally:
        watch.cancel()
    assert t.step_count == 9


def test_a_handler_of_the_users_own_stays_in_a_child() -> None:
    def mine(*_: Any) -> None:
        pass

    class Sets(Inside):
        def on_train_begin(self, trainer: bp.Trainer) -> None:
            signal.signal(signal.SIGTERM, mine)

    def handlers(t: bp.Trainer) -> bool:
        return (
            signal.getsignal(signal.SIGTERM) is mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    sets = Sets(handlers)
    trainer().fit(X, y, epochs=1, callbacks=[sets], verbose=False)
    assert sets.seen is True


def held_elsewhere(lock: Any) -> threading.Event:
    """Hold a lock in another thread until the event is set."""
    inside, end = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            inside.set()
            end.wait(60)

    threading.Thread(target=hold).start()
    assert inside.wait(60)
    return end


def test_locks_that_another_thread_holds_are_free_in_a_child() -> None:
    lock, one, writer = ForkSafeLock(), OneThread(), Writer()
    ends = [held_elsewhere(a) for a in (lock.held(), one.during("fit"), writer._changed, nonfinite_layer._lock.held())]

    def work() -> Any:
        done: list[int] = []
        with lock.held(), one.during("step"), nonfinite_layer._lock.held():
            writer.put("a", lambda: done.append(1))
            writer.flush()
            writer.close()
        return done, lock.left_held

    try:
        assert in_child(work) == ([1], True)
    finally:
        for end in ends:
            end.set()
    writer.close()


def test_the_thread_that_forks_keeps_its_locks() -> None:
    lock, one = ForkSafeLock(), OneThread()

    def work() -> bool:
        with lock.held(), one.during("evaluate"):
            return lock.left_held

    with lock.held(), one.during("fit"):
        assert in_child(work) is False
    with lock.held(), one.during("fit"):
        assert in_child(lambda: "free again") == "free again"


def test_nothing_is_compiled_in_a_child_whose_parent_was_compiling(compiled_at_once: None) -> None:
    """Numba's own locks are held there for ever."""
    pytest.importorskip("numba")
    t = trainer(1)
    t.step(X[:32], y[:32])
    end = held_elsewhere(loops.compiling.held())

    def work() -> bytes:
        for _ in range(3):
            t.step(X[:32], y[:32])
        assert compiled.CompiledRecord.broken
        return t.network.flat.tobytes()

    try:
        of_child = in_child(work)
    finally:
        end.set()
    for _ in range(3):
        t.step(X[:32], y[:32])
    assert of_child == t.network.flat.tobytes() and not compiled.CompiledRecord.broken


def test_a_team_in_a_child_meets() -> None:
    team, seen = Team(3), [0, 0, 0]

    def work(k: int) -> None:
        team.meet(k)
        seen[k] += k + 1

    def both() -> list[int]:
        team.run(work)
        return seen

    team.run(work)
    assert in_child(both) == [2, 4, 6]


def test_a_gpu_of_the_parents_is_refused_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.context, "used", False)
    assert in_child(lambda: driver.context.lost) is False
    cupy = strict_cupy()
    net = bp.Network(bp.Dense(2), 3, device=CUDA(cupy, products=StrictProducts))
    t, rows = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()), np.ones((2, 3))

    def refused(work: Any) -> str:
        with pytest.raises(bp.DeviceError) as problem:
            work()
        return str(problem.value)

    uses = (
        lambda: net.predict(rows),
        lambda: t.step(rows, rows[:, :2]),
        lambda: CUDA(cupy),
        net.backend.synchronize,
    )
    for use in uses:
        assert 'get_context("spawn")' in in_child(lambda use=use: refused(use))
    assert in_child(lambda: driver.unusable(cupy)) == driver.FORKED, 'and so "auto" takes the CPU'
    assert in_child(lambda: bp.Network(bp.Dense(2), 3, device="cpu").predict(rows).shape) == (2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.predict(rows).shape == (2, 2), "the parent goes on"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pools do not fork by default")
def test_pools_of_forked_processes_predict() -> None:
    t = trainer()
    trained(t)
    parts = np.split(X, 4)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(t.network.predict, parts).get(60)
    assert np.array_equal(np.concatenate(found), t.network.predict(X))

"""Chains: several steps in one call equal the same steps one by one, and no callback is left out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cpu import compiled
from gpubp.step import multistep
from gpubp.step.multistep import Chain

pytestmark = pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")

SEEN: list[int] = []


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chains from the fourth step on; SEEN collects their lengths."""
    run = Chain.run

    def noted(self: Chain, order: Any, most: int | None = None) -> list[float]:
        weights = run(self, order, most)
        SEEN.append(len(weights))
        return weights

    SEEN.clear()
    monkeypatch.setattr(compiled, "PRICE", -1.0)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: True)
    monkeypatch.setattr(compiled.CompiledRecord, "broken", False)
    monkeypatch.setattr(Chain, "run", noted)
    yield


def data(rows: int = 203) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 6)).astype("float32"), rng.integers(0, 3, rows)


def trainer(**options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, 6, device="cpu")
    settings: dict[str, Any] = {"batch_size": 8, "metrics": ["accuracy"]} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.01, 60)), **settings)


def bits(t: bp.Trainer, history: Any) -> tuple[Any, ...]:
    moments = [m.flat.tobytes() for m in t.update.moments.values()]
    return t.network.flat.tobytes(), *moments, t.step_count, history["loss"], history["accuracy"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 1},
        {"clip_norm": 0.5, "l2": 0.1},
        {"l2": 1.0, "penalty_per_weight": True},
        {"batch_size": 300},
    ],
    ids=str,
)
def test_chained_steps_are_bitwise_identical_to_single_steps(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short last batches, and more steps than numbers are known ahead, among them."""
    X, y = data()
    chained = trainer(**options)
    came = bits(chained, chained.fit(X, y, epochs=12, verbose=False))
    assert max(SEEN) >= (20 if options.get("batch_size", 8) == 8 else 0)
    monkeypatch.setattr(Chain, "of", classmethod(lambda *args: None))
    single = trainer(**options)
    assert came == bits(single, single.fit(X, y, epochs=12, verbose=False))


def test_chains_between_other_data_row_weights_and_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data()

    def trained() -> tuple[Any, ...]:
        t = trainer()
        t.fit(X, y, epochs=2, verbose=False)
        t.fit(X[:80] + 1.0, y[:80], epochs=2, sample_weight=np.arange(80.0), verbose=False)
        t.step(X[:8], y[:8])
        return bits(t, t.fit(X[::2], y[::2], epochs=2, verbose=False))

    came = trained()
    assert max(SEEN) > 5
    monkeypatch.setattr(Chain, "of", classmethod(lambda *args: None))
    assert came == trained()


@pytest.mark.parametrize("why", ["a callback", "workers"])
def test_no_chain_where_something_is_done_after_each_step(why: str) -> None:
    class Looks(bp.Callback):
        steps = 0

        def on_step_end(self, trainer: bp.Trainer) -> None:
            self.steps += 1

    X, y = data()
    looks = Looks()
    t = trainer(workers=2 if why == "workers" else None)
    t.fit(X, y, epochs=3, verbose=False, callbacks=[looks] if why == "a callback" else [])
    assert not any(SEEN)
    assert looks.steps == (3 * 26 if why == "a callback" else 0)


def test_a_callback_without_every_step_is_called_after_the_last_step() -> None:
    class Looks(bp.Callback):
        every_step = False
        at: list[int] = []

        def on_step_end(self, trainer: bp.Trainer) -> None:
            self.at.append(trainer.step_in_epoch)

    X, y = data()
    looks = Looks()
    trainer().fit(X, y, epochs=3, verbose=False, callbacks=[looks])
    assert looks.at[-1] == 26 and len(looks.at) < 3 * 26 and max(SEEN) > 5


def test_training_resumed_between_chains_is_bitwise_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data()
    whole = trainer()
    wanted = bits(whole, whole.fit(X, y, epochs=6, verbose=False))
    first = trainer()

    class Stops(bp.Callback):
        every_step = False

        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.epoch == 3 and trainer.step_in_epoch > 3:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(multistep, "SECONDS", 1e-4)  # a few steps at a stretch
    first.fit(X, y, epochs=6, verbose=False, callbacks=[Stops(), bp.Checkpoint(tmp_path / "at.ckpt")])
    assert first.history.interrupted and 3 < first.step_in_epoch < 26
    again = trainer()
    again.resume(tmp_path / "at.ckpt")
    history = again.fit(X, y, epochs=6, verbose=False)
    assert bits(again, history) == wanted

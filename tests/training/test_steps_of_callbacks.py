"""Steps that a callback takes with the trainer that is training: the epoch under way goes on as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_nonfinite import Square

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
y = np.arange(48) % 3


def network(layers: bp.Sequential, inputs: int, on: str) -> bp.Network:
    device = CUDA(strict_cupy(), products=StrictProducts) if on == "cuda" else "cpu"
    return bp.Network(layers, inputs, device=device, seed=3)


class Takes(bp.Callback):
    """Takes steps of these sizes after some of an epoch's, and saves after each of them."""

    def __init__(self, sizes: tuple[int, ...], folder: Path | None = None) -> None:
        self.sizes, self.folder = sizes, folder
        self.losses: list[list[float]] = []

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.step_in_epoch in (1, 3):
            self.losses.append([])
            for n in self.sizes:
                trainer.step(X[:n] + 1, y[:n])
                self.losses[-1].append(trainer.loss)
                if self.folder is not None:
                    trainer.save(self.folder / f"{trainer.epoch}-{trainer.step_in_epoch}.safetensors")
        else:
            self.loss = trainer.loss


@pytest.mark.parametrize("choice", [None, "raise", "skip", "rollback"])
@pytest.mark.parametrize(("device", "workers"), [("cpu", 1), ("cpu", 2), ("cuda", 1)])
def test_steps_within_an_epoch_do_not_change_its_sums(
    device: str, choice: str | None, workers: int, tmp_path: Path
) -> None:
    """With a learning rate of 0 the epoch's loss tells which steps it is of."""

    def made() -> bp.Trainer:
        net = network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3)), 4, device)
        options: dict[str, Any] = {"metrics": ["accuracy"], "on_nonfinite": choice, "workers": workers}
        return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), batch_size=8, **options)

    none, some = Takes(()), Takes((8, 5, 8), tmp_path)
    alone, t, fit = made(), made(), {"epochs": 2, "verbose": False}
    expected = dict(alone.fit(X, y, callbacks=[none], **fit))
    assert dict(t.fit(X, y, callbacks=[some], **fit)) == expected
    assert t.step_count == 2 * (6 + 2 * 3) and t.step_in_epoch == 0 and some.loss == none.loss
    losses: list[float] = []
    for n in (8, 5, 8):
        alone.step(X[:n] + 1, y[:n])
        losses.append(alone.loss)
    assert some.losses == [losses] * 4
    for path in sorted(tmp_path.iterdir()):
        again = made()
        again.resume(path)
        assert dict(again.fit(X, y, callbacks=[Takes((8, 5))], **fit)) == expected, path.name


@pytest.mark.filterwarnings("ignore:.* not finite:RuntimeWarning")
@pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
@pytest.mark.parametrize("bad", ["epoch", "callback"])
def test_bad_steps_are_found_where_a_callback_takes_steps(choice: str, bad: str) -> None:
    given, own = X.copy(), X[:16].copy()
    (given if bad == "epoch" else own)[20 if bad == "epoch" else 3] = 1e38
    seen: list[int] = []

    def step(t: bp.Trainer) -> None:
        if len(seen) < 2:
            seen.append(t.step_count)
            t.step(own, y[:16])

    net = network(bp.Sequential(Square(), bp.Dense(8), bp.BatchNorm(), bp.Dense(3)), 4, "cpu")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, on_nonfinite=choice)
    fit: dict[str, Any] = {"shuffle": False, "verbose": False, "callbacks": [bp.LambdaCallback(on_step_end=step)]}
    if choice == "raise":
        with pytest.raises(bp.NonFiniteError, match="step 3: " if bad == "epoch" else "step 2: ") as raised:
            t.fit(given, y, **fit)
        assert t.step_count == raised.value.step - 1
    elif choice == "skip":
        t.fit(given, y, **fit)
        assert t.step_count == 5
    elif bad == "callback":
        t.fit(given, y, **fit)
        assert t.step_count == 3 and t.learning_rate == 0.0025
    else:
        with pytest.raises(bp.NonFiniteError, match="step 2: "):
            t.fit(given, y, **fit)
    assert np.isfinite(t.network.flat).all()


@pytest.mark.parametrize("on", ["cpu", "cuda"])
def test_a_wrong_word_names_its_row_where_a_callback_takes_steps(on: str) -> None:
    net = network(bp.Sequential(bp.ReLU(), bp.Embedding(10, 3), bp.Flatten(), bp.Dense(3)), 2, on)
    words, wrong, fit = np.ones((9, 2)), np.ones((9, 2)), {"shuffle": False, "verbose": False}
    wrong[7, 1] = 12
    for given, own, where in ((wrong, words, "row 7 of the training data"), (words, wrong, "row 7 of the batch")):
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=3)
        steps = bp.LambdaCallback(on_step_end=lambda t, own=own: [t.step(own, y[:9]), t.step(own[:3], y[:3])])
        with pytest.raises(bp.DataError, match=f"got 12 .* in {where}"):
            t.fit(given, y[:9], callbacks=[steps], **fit)  # type: ignore[arg-type]

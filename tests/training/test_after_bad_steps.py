"""After a step that is not finite, training goes on as if that step had not been made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_nonfinite import Square
from test_resume import X, Y, bits

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.step.average import Average
from strict import StrictProducts, strict_cupy

pytestmark = pytest.mark.filterwarnings("ignore:.* not finite:RuntimeWarning")
DEVICES = ["cpu", "cuda"]  # a branch on the one, a copy under a mask on the other
SETTINGS = [
    {},
    {"clip_norm": 0.5},
    {"clip_norm": 0.5, "workers": 2},
    {"clip_norm": 0.5, "accumulate": 2},
    {"clip_norm": 0.5, "clip_value": 0.1, "l1": 1e-3, "l2": 1e-2, "penalty_per_weight": True},
    {"clip_norm": 0.5, "learning_rate_factors": {"2.*": 0.5}, "weight_decay_factors": {"5.*": 2.0}},
]


def trainer(choice: str | None, device: str = "cpu", **settings: Any) -> bp.Trainer:
    layers = bp.Sequential(Square(), bp.Dense(6), bp.BatchNorm(), bp.Tanh(), bp.Dropout(0.2), bp.Dense(3))
    on = CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu"
    net = bp.Network(layers, 5, device=on, seed=3)
    options = {"batch_size": 4, "seed": 5, "on_nonfinite": choice} | settings
    made = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.AdamW(0.01, weight_decay=0.1), **options)
    made.set_average(Average(net, made.update.trainable, 0.9, 1))
    return made


def arrays(t: bp.Trainer) -> list[Any]:
    """All that a step changes."""
    return [t.network.flat, t.network.states.flat, *(vector.flat for vector in t.update.vectors)]


def numbers(t: bp.Trainer) -> list[bytes]:
    return [t.backend.to_host(a).tobytes() for a in arrays(t)]


def batch(k: int, size: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Batch number k of 8 rows, with one row as large as `size` if given."""
    rows = np.arange(8 * k, 8 * k + 8) % len(X)
    given = X[rows]
    if size is not None:
        given[5] = size
    return given, Y[rows]


@pytest.mark.parametrize("bad", [[0], [2], [0, 1, 3]], ids=str)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_skipping_has_the_bits_of_steps_that_are_taken_back_by_hand(
    settings: dict[str, Any], device: str, bad: list[int]
) -> None:
    """By hand a finite step is made in place of each bad one, and what it changed is put back."""
    skipping, by_hand = trainer("skip", device, **settings), trainer(None, device, **settings)
    for k in range(6):
        if k not in bad:
            for t in (skipping, by_hand):
                t.step(*batch(k))
            continue
        kept = [by_hand.backend.to_host(a).copy() for a in arrays(by_hand)]
        skipping.step(*batch(k, 1e38))
        by_hand.step(*batch(k))
        for a, before in zip(arrays(by_hand), kept, strict=True):
            by_hand.backend.put(a, before)
    assert numbers(skipping) == numbers(by_hand)
    assert np.isfinite(skipping.backend.to_host(skipping.update.gradients.flat)).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("choice", ["raise", "rollback"])
def test_a_first_step_that_is_taken_back_changes_nothing(choice: str, settings: dict[str, Any], device: str) -> None:
    """But the learning rate, which a rollback halves."""
    checked, plain = trainer(choice, device, **settings), trainer(None, device, **settings)
    if choice == "raise":
        with pytest.raises(bp.NonFiniteError, match="step 1: "):
            checked.step(*batch(0, 1e38))
    else:
        checked.step(*batch(0, 1e38))
        plain.update.factor = 0.5
    for k in range(4):
        for t in (checked, plain):
            t.step(*batch(k))
    assert numbers(checked) == numbers(plain)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("penalty", [{"l1": 0.1}, {"l2": 0.1}], ids=str)
def test_weights_so_small_that_the_penalty_is_infinite(device: str, penalty: dict[str, Any]) -> None:
    t = trainer("skip", device, penalty_per_weight=True, **penalty)
    t.step(*batch(0), np.full(8, 1e-320))
    before = numbers(t)
    t.step(*batch(1))
    assert numbers(t) != before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resume_after_a_bad_step_has_the_same_bits(workers: int, tmp_path: Path) -> None:
    class Keep(bp.Callback):
        every_step = looks_at_steps = True

        def on_step_end(self, trainer: bp.Trainer) -> None:
            trainer.save(tmp_path / f"{trainer.step_count}.safetensors")

    def make() -> bp.Trainer:
        return trainer("skip", workers=workers, clip_norm=0.5)

    given, spoilt = {"epochs": 2, "shuffle": False, "verbose": False}, X.copy()
    spoilt[[1, 9]] = 1e38  # the first and the third batch of each epoch
    whole, watched = make(), make()
    whole.fit(spoilt, Y, **given)
    watched.fit(spoilt, Y, callbacks=[Keep()], **given)
    assert bits(watched) == bits(whole)
    assert whole.network.flat.tobytes() != make().network.flat.tobytes()
    for path in tmp_path.iterdir():
        again = make()
        again.resume(path)
        again.fit(spoilt, Y, **given)
        assert bits(again) == bits(whole), path.name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_check_numbers_that_are_not_finite_are_seen(device: str, workers: int, tmp_path: Path) -> None:
    """And the same trainer, when it has resumed from a file, trains as one that has not seen them."""
    t, other = (trainer(None, device, workers=workers, clip_norm=0.5) for _ in range(2))
    t.save(tmp_path / "a.safetensors")
    t.step(*batch(0, 1e38))
    assert np.isnan(t.loss) and np.isnan(t.backend.to_host(t.network.parameters["5.b"])).all()
    t.step(*batch(1))
    assert np.isnan(t.loss)
    for one in (t, other):
        one.resume(tmp_path / "a.safetensors")
        one.fit(X, Y, epochs=2, verbose=False)
    assert numbers(t) == numbers(other)

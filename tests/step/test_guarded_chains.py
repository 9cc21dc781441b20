"""Chains with `on_nonfinite`: a bad step within a chain leaves what it leaves step by step."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain_stops import StopsBetweenChains

import gpubp as bp
from gpubp import model_file
from gpubp.training import loop, nonfinite

ROWS, BAD, LAST = 123, 101, 122
CHOICES = nonfinite.CHOICES
PENALTY = {"l2": 0.1, "penalty_per_weight": True, "clip_norm": 0.5}


class Square(bp.Activation):
    """y = x², which is beyond float32 for 1e38."""

    def f(self, x: Any) -> Any:
        return x * x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy * (2 * x)


def data(bad: tuple[int, ...] = ()) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 6)).astype("float32")
    X[list(bad)] = 1e38
    return X, rng.integers(0, 3, ROWS)


def trainer(make_device: Any, choice: str | None, **options: Any) -> bp.Trainer:
    layers = bp.Sequential(Square(), bp.Dense(9), bp.BatchNorm(), bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, 6, device=make_device(), seed=3)
    settings: dict[str, Any] = {"batch_size": 4, "metrics": ["accuracy"], "seed": 4} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), on_nonfinite=choice, **settings)


def state(t: bp.Trainer) -> tuple[Any, ...]:
    """All that training goes on from."""
    host, update = t.backend.to_host, t.update
    arrays = [t.network.flat, t.network.states.flat, *(vector.flat for vector in update.vectors)]
    return [host(a).tobytes() for a in arrays], update.t, t.step_in_epoch, t.epoch, update.factor, str(t.history)


def ended(t: bp.Trainer, bad: tuple[int, ...], **given: Any) -> tuple[Any, ...]:
    """The state after a fit, with the words of its warnings and of its error."""
    X, y = data(bad)
    said = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            t.fit(X, y, epochs=2, verbose=False, **given)
        except bp.NonFiniteError as problem:
            said = str(problem)
    return *state(t), said, [str(one.message) for one in told]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("bad", "options"), [((), PENALTY), ((BAD,), {}), ((30, BAD, LAST), PENALTY)], ids=str)
def test_a_bad_step_in_a_chain(
    choice: str,
    bad: tuple[int, ...],
    options: dict[str, Any],
    make_device: Any,
    chains: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nonfinite, "MOST_ROLLBACKS", 3)
    chained = trainer(make_device, choice, **options)
    came = ended(chained, bad, shuffle=not bad)
    assert max(chains) > (16 if not bad or choice == "skip" else 6)
    monkeypatch.setattr(loop, "chain_of", lambda *args: None)
    single = trainer(make_device, choice, **options)
    assert came == ended(single, bad, shuffle=not bad)
    assert bool(came[-2]) == (bool(bad) and choice != "skip"), "a rollback to lower rates does not help"


def test_a_rollback_goes_back_to_the_step_that_it_goes_back_to_without_chains(
    make_device: Any, chains: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is in the middle of an epoch, and not after a whole number of chains."""
    monkeypatch.setattr(nonfinite, "SAVE_EVERY", 20)
    ends = []
    for with_chains in (True, False):
        if not with_chains:
            monkeypatch.setattr(loop, "chain_of", lambda *args: None)
        t = trainer(make_device, "rollback")
        ends.append(ended(t, (BAD,), shuffle=False))
        assert "back to step 20" in ends[-1][-1][0]
    assert ends[0] == ends[1] and 15 < max(chains) <= 20


def test_a_training_that_an_error_ended_goes_on_from_the_step_before(
    make_device: Any, chains: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved after the error has the sums of the good steps."""
    files = []
    for with_chains in (True, False):
        if not with_chains:
            monkeypatch.setattr(loop, "chain_of", lambda *args: None)
        t = trainer(make_device, "raise")
        ended(t, (BAD,), shuffle=False)
        assert t.step_in_epoch == BAD // 4
        files.append(tmp_path / f"{with_chains}.safetensors")
        t.save(files[-1])
    assert max(chains) > 6
    settings, arrays = zip(*(model_file.read(file)[:2] for file in files), strict=True)
    assert settings[0] == settings[1] and arrays[0].keys() == arrays[1].keys()
    assert all(arrays[0][name].tobytes() == arrays[1][name].tobytes() for name in arrays[0])


@pytest.mark.parametrize("choice", CHOICES)
def test_training_with_a_check_that_is_resumed_between_chains_is_bitwise_identical(
    choice: str, make_device: Any, chains: list[int], tmp_path: Path
) -> None:
    X, y = data()
    whole, first, again = (trainer(make_device, choice) for _ in range(3))
    whole.fit(X, y, epochs=3, verbose=False)
    first.fit(X, y, epochs=3, verbose=False, callbacks=[StopsBetweenChains(), bp.Checkpoint(tmp_path / "at.ckpt")])
    assert first.epoch == 1 and 3 < first.step_in_epoch and max(chains) > 16
    again.resume(tmp_path / "at.ckpt")
    again.fit(X, y, epochs=3, verbose=False)
    assert state(again) == state(whole)

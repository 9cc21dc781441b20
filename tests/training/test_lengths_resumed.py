"""Training on rows of different lengths, interrupted, guarded and looked at; and what it keeps in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from time_layers import MaskedSum

import gpubp as bp
from gpubp.layers.time_steps import bucket
from gpubp.training import step_cache
from length_cases import ENDS, ROWS, STEPS, WEIGHTS, K, L, N, X, Y, network, targets, trainer


class StopAt(bp.Callback):
    """Writes a checkpoint after a step, and ends training there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step_count == self.step:
            trainer.save(self.path)
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("sum", {"metrics": ["accuracy", "f1"], "on_nonfinite": "raise"}),
        ("sum", {"accumulate": 2, "workers": 2, "l2": 1e-3, "penalty_per_weight": True, "on_nonfinite": "rollback"}),
        ("rnn", {"metrics": ["accuracy", "f1"], "accumulate": 2}),
        ("each", {"metrics": ["roc_auc"]}),
        ("causal", {"metrics": ["f1"], "workers": 2, "on_nonfinite": "skip"}),
    ],
    ids=str,
)
def test_a_resumed_training_has_the_same_bits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    def fit(t: bp.Trainer, *callbacks: bp.Callback) -> bp.History:
        return t.fit(
            X, targets(name), epochs=3, sample_weight=WEIGHTS, validation_data=(X[:9], targets(name)[:9]),
            callbacks=callbacks, verbose=False,
        )  # fmt: skip

    whole = trainer(network(name), **options)
    history = fit(whole)
    per_epoch = whole.step_count // 3
    for step in (1, per_epoch + 2):
        path = tmp_path / f"{step}.safetensors"
        fit(trainer(network(name), **options), StopAt(step, path))
        again = trainer(network(name), **options)
        again.resume(path)
        assert dict(fit(again)) == dict(history)
        assert again.network.flat.tobytes() == whole.network.flat.tobytes()


def test_other_lengths_are_refused_by_a_resumed_training(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trainer(network("lstm")).fit(X, Y, epochs=2, callbacks=[StopAt(3, path)], verbose=False)
    again = trainer(network("lstm"))
    again.resume(path)
    with pytest.raises(bp.DataError, match="trained with other data: X differs"):
        again.fit(bp.Sequences(ROWS, np.maximum(L - 1, 1)), Y, epochs=2, verbose=False)


@pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
def test_a_step_that_is_not_finite_is_found_in_its_bucket(choice: str) -> None:
    rows = [row.copy() for row in ROWS]
    rows[int(np.argmax(L))] *= 1e38
    net = bp.Network(bp.Sequential(bp.Dense(4), MaskedSum(), bp.Dense(K)), (None, 3), device="cpu")
    t = trainer(net, on_nonfinite=choice)
    if choice == "raise":
        with np.errstate(all="ignore"), pytest.raises(bp.NonFiniteError, match='the output of layer "'):
            t.fit(rows, Y, epochs=2, verbose=False)
    elif choice == "skip":
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="changed nothing"):
            t.fit(rows, Y, epochs=2, verbose=False)
    else:
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning), pytest.raises(bp.NonFiniteError):
            t.fit(rows, Y, epochs=2, verbose=False)
    assert np.isfinite(net.flat).all()


def test_a_step_that_a_callback_takes_changes_no_sums() -> None:
    class Takes(bp.Callback):
        def on_step_end(self, trainer: Any) -> None:
            before = trainer.network.flat.copy()
            trainer.step(X[:8], Y[:8])
            trainer.network.flat[...] = before

    nets = [network("lstm") for _ in range(2)]
    plain = bp.Trainer(nets[0], bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8).fit(X, Y, verbose=False)
    t = bp.Trainer(nets[1], bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8)
    assert t.fit(X, Y, callbacks=[Takes()], verbose=False)["loss"] == plain["loss"]


def test_steps_of_all_lengths_are_kept_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, "STEP_BYTES", 0)
    t = trainer(network("lstm"))
    t.fit(X, Y, epochs=2, verbose=False)
    steps = t.step_cache.steps
    memory = [step.memory for step in steps.values()]
    assert len({key.time_steps for key in steps}) == len(memory) > 2
    assert sum(memory) <= step_cache.OF_LARGEST * max(memory)
    monkeypatch.setattr(step_cache, "OF_LARGEST", 1)
    few = trainer(network("lstm"))
    assert few.fit(X, Y, epochs=2, verbose=False)["loss"] == t.history["loss"]
    assert len(few.step_cache.steps) < len(steps)


def test_a_step_and_a_profile_take_the_longest_row() -> None:
    t = trainer(network("lstm"))
    t.step(ROWS[:5], Y[:5])
    assert t.last_step is not None and t.last_step.x.shape == (5, bucket(int(L[:5].max())), 3)
    assert np.isfinite(t.loss)
    assert trainer(network("each")).profile(X, STEPS, steps=2).rows == 8


@pytest.mark.parametrize("shape", [{}, {"batch_size": 1}, {"batch_size": None}, {"batch_size": 64}])
def test_batches_of_every_size(shape: dict[str, Any]) -> None:
    t = bp.Trainer(network("rnn"), bp.SoftmaxCrossEntropy(), bp.SGD(0.1), **shape)
    history = t.fit(X[:20], STEPS[:20], epochs=2, shuffle=False, verbose=False)
    assert np.isfinite(history["loss"]).all()
    own = t.fit(X[:20], STEPS[:20], shuffle=lambda epoch, n: [3, 3, 1], verbose=False)
    assert np.isfinite(own["loss"][0])


def test_what_looks_at_a_training_knows_lengths(tmp_path: Path) -> None:
    for name in ("sum", "each"):
        found = bp.find_learning_rate(trainer(network(name)), ROWS, targets(name), steps=20)
        assert len(found.rates) > 5
        flow = bp.GradientFlow()
        callbacks = [flow, bp.ExponentialMovingAverage(0.9), bp.EarlyStopping(), bp.Checkpoint(tmp_path / name)]
        t = trainer(network(name))
        t.fit(X, targets(name), epochs=2, validation_fraction=0.2, callbacks=callbacks, verbose=False)
        assert flow.gradients
        title = bp.plot_confusion_matrix(t.network, X, targets(name)).axes[0].get_title()
        assert title.endswith(f"of {N if name in ENDS else L.sum()} rows right")
        with pytest.raises(ValueError, match="rows of different lengths are no pictures"):
            bp.plot_misclassified(t.network, X, targets(name))
        with pytest.raises(bp.DataError, match="a report needs rows of one length"):
            bp.write_report(tmp_path / "report.html", t, X, targets(name))


KILLED = """
import os, sys
import numpy as np, gpubp as bp

class Dies(bp.Callback):
    comes_last = True  # after the checkpoint
    def on_step_end(self, trainer):
        if trainer.step_count == int(sys.argv[2]):
            os._exit(9)

rng = np.random.default_rng(0)
rows = [rng.normal(size=(n, 3)) for n in rng.integers(1, 30, 40)]
net = bp.Network(bp.Sequential(bp.GRU(4), bp.Dense(2)), (None, 3), device="cpu")
trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=4)
trainer.resume(sys.argv[1], missing_ok=True)
kept = bp.Checkpoint(sys.argv[1], every_steps=3)
trainer.fit(rows, rng.integers(0, 2, 40), epochs=3, callbacks=[kept, Dies()], verbose=False)
print(net.flat.tobytes().hex(), dict(trainer.history))
"""


def test_a_training_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    def run(folder: str, dies: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), str(dies)]
        quick = {**os.environ, "GPUBP_FAST": "0"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=quick)

    whole, killed = run("whole", -1), run("killed", 17)
    assert whole.returncode == 0 and killed.returncode == 9 and not killed.stdout
    again = run("killed", -1)
    assert again.returncode == 0 and again.stdout == whole.stdout

"""A penalty that is divided by the weights of the batch, after a resume, in copies and in loaded trainers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resumed_metrics import Keep

import gpubp as bp
from gpubp import model_file


def divided_penalty(l1: float = 0.0) -> bp.Trainer:
    net = bp.Network(bp.Dense(1), 3, device="cpu", seed=2)
    loss, rule = bp.MeanSquaredError(), bp.SGD(0.1)
    return bp.Trainer(net, loss, rule, 4, l1=l1, l2=1.0, penalty_per_weight=True)


@pytest.mark.parametrize("l1", [0.0, 0.5])
@pytest.mark.parametrize("rows", [8, 10])
def test_a_penalty_divided_by_weights_is_the_same_after_a_resume(l1: float, rows: int, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(rows, 3))
    y, whole, keep = X[:, :1], divided_penalty(l1), Keep(tmp_path)
    given = {"epochs": 2, "validation_data": (X, y), "sample_weight": np.arange(1.0, rows + 1), "verbose": False}
    history = whole.fit(X, y, callbacks=[keep], **given)
    for path in keep.paths:
        again = divided_penalty(l1)
        again.resume(path)
        assert dict(again.fit(X, y, **given)) == dict(history), path.name
        assert again.network.flat.tobytes() == whole.network.flat.tobytes()
    for copied in (bp.Trainer.load(keep.paths[-1], device="cpu"), copy.deepcopy(whole)):
        assert copied.evaluate(X, y) == whole.evaluate(X, y)


def test_a_penalty_divided_by_weights_stays_when_parameters_are_frozen() -> None:
    """They are trained by a new update, which takes over from the last."""
    X = np.random.default_rng(0).normal(size=(8, 3))
    t = divided_penalty()
    t.fit(X, X[:, :1], verbose=False)
    share = float(t.update.share)
    t.network.freeze("b")
    t.step_cache.step(8, X[:, :1].astype("float32"))
    assert float(t.update.share) == share == 0.25


@pytest.mark.parametrize("wrong", [-1.0, None, "4", [4.0]])
def test_a_checkpoint_without_the_weights_of_its_batch_resumes(wrong: Any, tmp_path: Path) -> None:
    """Checkpoints of older versions have none; a damaged one is refused."""
    X, t = np.random.default_rng(0).normal(size=(8, 3)), divided_penalty()
    t.fit(X, X[:, :1], verbose=False)
    config, arrays = t.snapshot()
    assert config["training"]["batch_weight"] == 4.0
    config["training"]["batch_weight"] = wrong
    model_file.write(tmp_path / "damaged", config, arrays)
    with pytest.raises(bp.ModelFileError, match="batch_weight"):
        divided_penalty().resume(tmp_path / "damaged")
    del config["training"]["batch_weight"]
    model_file.write(tmp_path / "old", config, arrays)
    old = divided_penalty()
    old.resume(tmp_path / "old")
    old.fit(X, X[:, :1], epochs=1, verbose=False)
    t.fit(X, X[:, :1], epochs=1, verbose=False)
    assert old.network.flat.tobytes() == t.network.flat.tobytes()

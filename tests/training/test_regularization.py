"""Penalties and early stopping on real digits. Dropout and augmentation are tested beside their layers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import gpubp as bp

pytest.importorskip("sklearn", reason="scikit-learn is not installed, and the digits come with it")


@cache
def digits() -> Any:
    from gpubp.datasets import load_digits

    return load_digits()


def trained(epochs: int = 30, callbacks: Any = (), **options: Any) -> tuple[bp.Network, bp.History]:
    """A network that learns 300 digits by heart if it is let."""
    net = bp.Network(bp.mlp(10, (64,)), 64, device="cpu", seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(3e-3), metrics="accuracy", **options)
    X, y = digits().X, digits().y
    validation = (X[300:900], y[300:900])
    history = trainer.fit(
        X[:300], y[:300], epochs=epochs, validation_data=validation, callbacks=callbacks, verbose=False
    )
    return net, history


def weights(net: bp.Network) -> np.ndarray:
    return np.concatenate([net.parameters[name].ravel() for name in ("0.W", "2.W")])


def test_l2_keeps_weights_small() -> None:
    free, _ = trained()
    held, history = trained(l2=3e-3)
    more, _ = trained(l2=3e-2)
    assert np.linalg.norm(weights(more)) < np.linalg.norm(weights(held)) < 0.9 * np.linalg.norm(weights(free))
    assert history["val_accuracy"][-1] > 0.85, "and the network learns all the same"


def test_l1_makes_weights_sparse() -> None:
    """Most weights end at nearly nothing, where L2 leaves them small."""
    share = {}
    for name, options in (("free", {}), ("l1", dict(l1=1e-3)), ("l2", dict(l2=1e-2))):
        net, history = trained(epochs=60, **options)
        share[name] = float((np.abs(weights(net)) < 1e-2).mean())
        assert history["val_accuracy"][-1] > 0.85, name
    assert share["l1"] > 0.5 and share["l1"] > 2 * share["l2"] and share["l1"] > 3 * share["free"], share


def test_early_stopping_restores_the_best_epoch() -> None:
    _, whole = trained(epochs=60)
    stop = bp.EarlyStopping(patience=5, restore_best=True)
    net, history = trained(epochs=60, callbacks=[stop])
    losses = history["val_loss"]
    assert len(losses) < 60, "it stopped"
    best = int(np.argmin(losses))
    assert losses == whole["val_loss"][: len(losses)], "until then it is the same training"
    assert len(losses) == best + 1 + 5 and stop.best_epoch == best + 1
    X, y = digits().X[300:900], digits().y[300:900]
    evaluated = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam()).evaluate(X, y)
    assert evaluated["loss"] == pytest.approx(min(losses), rel=1e-6), "the weights are those of the best epoch"
    assert min(losses) <= whole["val_loss"][-1]

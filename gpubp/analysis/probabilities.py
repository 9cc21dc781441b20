"""Probabilities of classes for pictures, of any network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from ..losses import Loss
from ..network.probabilities import Meaning, Outputs, meaning_of


def probabilities(network: Outputs, z: np.ndarray[Any, Any], loss: Loss | None = None) -> np.ndarray[Any, Any]:
    """p (n, classes) of a network's outputs z (n, classes), in float64; (n, 2), of no and of yes, for a single output.

    loss: that it was trained for, by default what the network tells. Outputs of which nobody says what they are, and
    scores, count as logits. Raises DataError where a row's outputs are not one number a class.

    >>> import gpubp as bp
    >>> probabilities(bp.Network(bp.Dense(1), 2, device="cpu"), np.zeros((1, 1))).tolist()
    [[0.5, 0.5]]
    """
    if z.ndim != 2:
        raise DataError(f"a row's outputs are one number a class, and this network gives rows of shape {z.shape[1:]}")
    several = z.shape[1] > 1
    of_logits = Meaning("classes" if several else "labels", "logits", "")
    try:
        meaning = meaning_of(network, loss, "predict_proba")
    except ValueError:
        meaning = of_logits
    if meaning.are == "scores" or (meaning.kind == "labels" and several):
        meaning = of_logits
    p: np.ndarray[Any, Any] = meaning.probabilities(np, z.astype(np.float64))
    return p if several else np.concatenate([1 - p, p], axis=1)

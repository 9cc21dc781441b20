"""Probabilities of classes from outputs: softmax, or σ of a single output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError


def probabilities(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """p (n, classes) of outputs z (n, classes), in float64; (n, 2), of no and of yes, for a single output.

    Raises DataError where a row's outputs are not one number a class.

    >>> probabilities(np.zeros((1, 1))).tolist()
    [[0.5, 0.5]]
    """
    if z.ndim != 2:
        raise DataError(f"a row's outputs are one number a class, and this network gives rows of shape {z.shape[1:]}")
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)  # softmax (0, z) = (1 - σ(z), σ(z))
    e = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
    p: np.ndarray[Any, Any] = e / e.sum(axis=1, keepdims=True)
    return p

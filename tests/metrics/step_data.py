"""Rows of different lengths with outputs and targets of each time step, for tests of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp as bp

N = 45  # rows; the last batch of 8 is short


class Data:
    """Outputs z with many ties, targets, and weights of each step of rows of 1 to 20 steps.

    targets: (rng, steps) -> those of a row.
    """

    def __init__(self, targets: Any, outputs: int, weighted: str = "even", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.lengths = rng.integers(1, 21, N)
        self.z = [np.round(rng.normal(size=(n, outputs)) * 4) / 4 for n in self.lengths]
        self.y = [targets(rng, n) for n in self.lengths]
        self.given: Any = None
        each = [np.ones(n) for n in self.lengths]
        if weighted == "rows":
            self.given = np.round(rng.uniform(0, 3, N) * 4) / 4
            each = [np.full(n, w) for n, w in zip(self.lengths, self.given, strict=True)]
        elif weighted == "steps":
            self.given = each = [np.round(rng.uniform(0, 3, n)) / 4 for n in self.lengths]
        self.flat = tuple(np.concatenate(a) for a in (self.z, self.y, each))


def identity(outputs: int, device: Any = "cpu", **options: Any) -> bp.Network:
    """A network that gives back its input."""
    net = bp.Network(bp.Dense(outputs, use_bias=False), (None, outputs), device=device, **options)
    net.parameters["W"][...] = net.backend.to_device(np.eye(outputs), net.dtype)
    return net


def classes(*among: int) -> Any:
    return lambda rng, n: rng.choice(among, n)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

"""LayerCase: a layer on one input shape; see `cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp as bp

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerCase:
    """A layer on one input shape.

    shape: of an input, batch first. differentiable: whether gradcheck applies to x, which for indices it does not.
    inputs: (rng, shape) -> x; normal numbers by default. Layers whose input is not made of such numbers stand lowest in
    the tests' networks. torch: (torch, p, x) -> y, the same function of p["W"], ... and x in PyTorch.
    """

    id: str
    layer: bp.Layer
    shape: Shape
    differentiable: bool = True
    inputs: Callable[[np.random.Generator, Shape], np.ndarray] | None = None
    torch: Callable[[Any, dict[str, Any], Any], Any] | None = None

    def __str__(self) -> str:
        return self.id

    def x(self, rng: np.random.Generator, rows: int | None = None) -> np.ndarray:
        """An input, of `rows` rows instead of the case's own number if given."""
        shape = self.shape if rows is None else (rows, *self.shape[1:])
        return rng.normal(size=shape) if self.inputs is None else self.inputs(rng, shape)

    def network_layers(self, outputs: int = 3) -> bp.Sequential:
        """The layer amid others: a Dense below, so that its dx matters, and one row of `outputs` numbers above."""
        below = [bp.Dense(self.shape[-1])] if self.inputs is None else []
        return bp.Sequential(*below, self.layer, bp.Flatten(), bp.Dense(outputs))

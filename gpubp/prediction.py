"""Prediction: forward, in tiles of one fixed size.

Matrix products of different sizes go through BLAS by different kernels, which round differently. So rows always go
through in tiles of the same size, the last one padded, and a row's result has the same bits alone and among thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .backends import Array, Recorded
from .layers import Context

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Predictor"]

TILE = 128  # rows


class Predictor:
    """A workspace for one tile with its record, on a stream of its own; for one thread at a time.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
    >>> Predictor(net)(np.zeros((5, 3), "float32"), on_device=False).shape
    (5, 2)
    """

    def __init__(self, network: Network) -> None:
        self.be = network.backend.another()
        context = Context(self.be, TILE, network.dtype)
        with self.be.active():
            self.x = self.be.zeros((TILE, *network.input_shape), network.dtype)
            self.ws = network.workspace(TILE, context=context)
        self.layers = network.layers
        self.z: Array = None
        self._forward = Recorded(self.be, self._compute)

    def __call__(self, X: Array, on_device: bool) -> Any:
        """The outputs for the rows of X (n, ...), as an array of the device or of the host."""
        n = len(X)
        out: Any = None
        with self.be.active():
            for start in range(0, n, TILE):
                rows = np.arange(start, start + TILE)
                self.be.stage(self.x, X, np.minimum(rows, n - 1))
                self._forward()
                z = self.z[: n - start]
                if out is None:
                    like = self.be.empty if on_device else np.empty
                    out = like((n, *z.shape[1:]), z.dtype)
                out[start : start + TILE] = z if on_device else self.be.to_host(z)
            self.be.synchronize()
        return out

    def _compute(self) -> None:
        self.z = self.layers.forward(self.ws, self.x)

"""Accumulation: sums of gradients and losses over the pieces of one batch.

    (1)  g = Σⱼ gⱼ,  s = Σⱼ sⱼ        over the pieces j, in their order; s: the sums Σ w ℓ of loss and metrics.
                                     In exact numerics as a tree (`order.py`): where a piece has 64 · 2ᵏ rows, the
                                     sums are those of a batch that is computed at once.
    (2)  r ← the running statistics after piece j, where enough of its rows count, else those before it

All pieces are computed in the same arrays, one after the other, so that a step needs the memory of one piece. Rows keep
their shares w / Σw in the whole batch, and so g is the gradient of the batch's loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..layers.bound import BoundLayers
from .batch import Batch


class Accumulation:
    """Sums over pieces. Each piece writes its numbers into `arrays`, which hold the sums after the last.

    pieces: how many; for one there is nothing to do, and no memory is needed.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> g = be.zeros((2,), "float32")
    >>> total = Accumulation(be, [g], pieces=3)
    >>> for piece in range(3):
    ...     g[...] = [piece, 1.0]
    ...     total.add(piece)
    >>> g.tolist()
    [3.0, 3.0]
    """

    def __init__(self, backend: Backend, arrays: Sequence[Array], pieces: int) -> None:
        self.be, self.xp, self._last = backend, backend.xp, pieces - 1
        self._exact = backend.numerics == "exact"
        levels = (pieces - 1).bit_length() if self._exact else 1
        places = [[backend.zeros(a.shape, a.dtype) for _ in range(levels)] for a in arrays if pieces > 1]
        self._sums = list(zip(arrays, places, strict=False))

    def add(self, piece: int) -> None:
        """(1), after this piece; part of the step."""
        for a, totals in self._sums:
            if self._exact:
                self._add_as_tree(piece, a, totals)
                continue
            total = totals[0]
            if piece == 0:
                self.xp.copyto(total, a)
            else:
                self.xp.add(total, a, out=a if piece == self._last else total)

    def _add_as_tree(self, piece: int, a: Array, totals: list[Array]) -> None:
        """totals[k]: the sum of the last 2ᵏ pieces that wait for as many more."""
        height = (piece ^ (piece + 1)).bit_length() - 1  # of the largest part of the tree that ends with this piece
        for total in totals[:height]:
            self.xp.add(total, a, out=a)
        if piece < self._last:
            self.xp.copyto(totals[height], a)
            return
        for k in range(height + 1, len(totals)):
            if (piece + 1) >> k & 1:
                self.xp.add(totals[k], a, out=a)


class PieceStatistics:
    """The running statistics, as of BatchNorm, that the pieces of a batch change one after the other.

    A short last batch may end with pieces that are padding alone, or have a single row, which say nothing of some of
    them; see `HeldStates`, which does the same for batches of one piece.

    >>> import numpy as np, gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> net = bp.Network(bp.BatchNorm(), 2, device="cpu")
    >>> batch = Batch(net, 6, TargetShape((), "int32"), pieces=2)
    >>> batch.load(np.ones((6, 2)), np.zeros(6, "int32"), np.arange(2))
    >>> pieces = PieceStatistics(net, batch)
    >>> pieces.begin()
    >>> for piece in range(2):
    ...     net.states["mean"][...] += 1.0
    ...     pieces.end(piece)
    >>> net.states["mean"].tolist()
    [1.0, 1.0]
    """

    def __init__(self, network: BoundLayers, batch: Batch) -> None:
        self.be, self._states = batch.be, network.states.flat
        self._counts = [] if batch.counts is None or not self._states.size else [
            batch.counts[piece : piece + 1].reshape(()) for piece in range(batch.pieces)
        ]  # fmt: skip
        if self._counts:
            self._kept = self.be.zeros(self._states.shape, network.dtype)
            needs = np.ones(self._states.shape)
            declared = network.plan(batch.rows // batch.pieces).all_states()
            for name, a in network.states.views(needs).items():
                a[...] = declared[name].rows
            self._needs = self.be.to_device(needs, network.dtype)

    def begin(self) -> None:
        """Before the first piece; part of the step."""
        if self._counts:
            self.be.xp.copyto(self._kept, self._states)

    def end(self, piece: int) -> None:
        """(2), after this piece; part of the step. Other workers may read statistics that this step does not change."""
        if self._counts:
            inputs = (self._states, self._kept, self._counts[piece], self._needs)
            self.be.apply(_held, *inputs, out=self._kept)
            self.be.xp.copyto(self._states, self._kept)


def _held(after: Any, before: Any, rows: Any, needs: Any) -> Any:
    return after * (rows >= needs) + before * (rows < needs)  # (2)

"""Accumulation: the sums over the pieces of a batch that is computed piece by piece.

    (1)  g = Σⱼ gⱼ,  s = Σⱼ sⱼ        over the pieces j, in their order; s: the sums Σ w ℓ of loss and metrics

All pieces are computed in the same arrays, one after the other, so that a step needs the memory of one piece. Rows keep
their shares w / Σw in the whole batch, and so g is the gradient of the batch's loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import Array, Backend


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
        self._sums = [(a, backend.zeros(a.shape, a.dtype)) for a in arrays] if pieces > 1 else []

    def add(self, piece: int) -> None:
        """(1), after this piece; part of the step."""
        for a, total in self._sums:
            if piece == 0:
                self.xp.copyto(total, a)
            else:
                self.xp.add(total, a, out=a if piece == self._last else total)

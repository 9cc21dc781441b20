"""Context: what all workspaces of one step share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, Backend


class Context:
    """What all workspaces of one step share.

    rows: the fixed number of rows. weights: (rows,) the row weights w, 0 in padding. share: (rows,) w / Σw, Σw over the
    batch. piece_share: (rows,) w / Σw, Σw over the rows that are computed at a time, for means over rows; another array
    than share where a batch is computed in pieces.
    step: (1,) uint64, the number of the step, which counts random draws. seed: of those draws. part: weights, shares
    and first, where these rows are a part of the batch; first: which row of the batch is the first here. member: the
    worker that has the part, where several share the batch. reuses: whether arrays that are no longer needed may be
    overwritten; not where they are looked at after the step. mask: (rows, T) of the network's type, 1 where a row has a
    time step and 0 at its padding; None where all rows are as long as the input. It is always the same array.
    after_backward: what a step calls when the layer of a path is done with its backward pass.

    >>> from gpubp.backends import get_backend
    >>> Context(get_backend("cpu"), 4, "float32").share.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        backend: Backend,
        rows: int,
        dtype: Any,
        seed: int = 0,
        *,
        part: Any = None,
        member: Any = None,
        mask: Array | None = None,
    ) -> None:
        self.backend = backend
        self.rows = rows
        self.dtype = np.dtype(dtype)
        self.seed = seed % 2**64  # a word of Philox's key
        if part is None:
            self.weights = backend.to_device(np.ones(rows), self.dtype)
            self.share = self.piece_share = backend.to_device(np.full(rows, 1.0 / rows), self.dtype)
            self.first = 0
        else:
            self.take(part)
        self.member, self.reuses, self.mask = member, False, mask
        self.after_backward: dict[str, Callable[[], None]] = {}
        self.step = backend.zeros((1,), np.uint64)

    def take(self, part: Any) -> None:
        """Go on with another part of the batch, of as many rows."""
        self.weights, self.share, self.piece_share = part.weights, part.share, part.piece_share
        self.first = part.first

    @property
    def leads(self) -> bool:
        """Whether this is the first worker, or the only one, which updates what all share, as running statistics."""
        return self.member is None or bool(self.member.leads)

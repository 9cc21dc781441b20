"""Context: what all workspaces of one step share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend


class Context:
    """What all workspaces of one step share.

    rows: the fixed number of rows. weights: (rows,) the row weights w, 0 in padding. share: (rows,) w / Σw.
    step: (1,) uint64, the number of the step, which counts random draws. seed: of those draws. part: weights, share and
    first, where these rows are a part of the batch; first: which row of the batch is the first here. member: the worker
    that has the part, where several share the batch. reuses: whether arrays that are no longer needed may be
    overwritten; not where they are looked at after the step.

    >>> from gpubp.backends import get_backend
    >>> Context(get_backend("cpu"), 4, "float32").share.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self, backend: Backend, rows: int, dtype: Any, seed: int = 0, *, part: Any = None, member: Any = None
    ) -> None:
        self.backend = backend
        self.rows = rows
        self.dtype = np.dtype(dtype)
        self.seed = seed
        self.weights = backend.to_device(np.ones(rows), self.dtype) if part is None else part.weights
        self.share = backend.to_device(np.full(rows, 1.0 / rows), self.dtype) if part is None else part.share
        self.first = 0 if part is None else part.first
        self.member, self.reuses = member, False
        self.step = backend.zeros((1,), np.uint64)

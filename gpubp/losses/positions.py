"""Positions: which positions of outputs count in losses and metrics, how much, and the means of rows over them.

With a weight u for each position p of each row i, a batch is one set of positions:

    (1)  L = Σᵢₚ wᵢ uᵢₚ lᵢₚ / Σᵢₚ wᵢ uᵢₚ vᵢₚ
    (2)  ∂L/∂zᵢₚ = wᵢ uᵢₚ ∂lᵢₚ/∂z / Σᵢₚ wᵢ uᵢₚ vᵢₚ

with w the row weights, and v how much the loss itself counts a position, 1 unless it leaves out or weighs some. A row's
loss is ℓᵢ = Σₚ uᵢₚ lᵢₚ and its count nᵢ = Σₚ uᵢₚ vᵢₚ, both by `row_means`, up to one factor that cancels. So a loss
writes what it writes without such weights, and (2) is its dz, with c = w / Σ w n, times u.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Backend, Shape
from ..errors import DataError, ShapeError
from ..layers import Workspace

Numbers = np.ndarray[Any, Any]


class Positions(NamedTuple):
    """Which positions of outputs (B, T, ...) count, and how much, as `ws.judged` of a loss or a metric.

    padding: (B, T) bool, or of more axes, the positions that do not count. share: (B,) 1 / length; None where a batch
    is one set of positions, see `Loss.counts`. weights: u, of the shape of padding, how much each position counts; None
    where all count as much.
    """

    padding: Array
    share: Array
    weights: Array = None

    def clear(self, be: Backend, a: Array) -> None:
        """a (B, T, ...) ← 0 where nothing counts, whatever stands there."""
        be.xp.copyto(a, be.constant(0.0, a.dtype), where=_along(self.padding, a))

    def weigh(self, be: Backend, a: Array) -> None:
        """a (B, T, ...) ← u a, and 0 where nothing counts."""
        if self.weights is not None:
            be.apply(_product, a, _along(self.weights, a), out=a)
        self.clear(be, a)


class PositionWeights:
    """The weights u of the positions of a batch, and what follows from them; arrays at fixed addresses.

    shape: (rows, ...), that of the outputs without the last axis.

    positions: for losses and metrics, as their `ws.judged`. counts: (rows,) n where each position itself counts 1.

    >>> from gpubp.backends import get_backend
    >>> weights = PositionWeights(get_backend("cpu"), (2, 3), "float32")
    >>> weights.mark(np.array([[1.0, 2.0, 0.0], [0.5, 0.0, 0.0]]))
    >>> weights.positions.padding.tolist(), weights.counts.tolist()
    ([[False, False, True], [False, True, True]], [3.0, 0.5])
    """

    def __init__(self, backend: Backend, shape: Shape, dtype: Any) -> None:
        self.be, self.counts = backend, backend.zeros(shape[:1], dtype)
        self._inner = 1.0 / math.prod(shape[2:])  # `row_means` is a sum over the first axis and a mean over the others
        self.positions = Positions(backend.zeros(shape, np.bool_), None, backend.zeros(shape, dtype))

    def mark(self, u: Array) -> None:
        """Take the weights (rows, ...) of a batch; part of the step."""
        be, (padding, _, weights) = self.be, self.positions
        be.xp.copyto(weights, u)
        be.xp.equal(weights, be.constant(0.0, weights.dtype), out=padding)
        be.sum_last(weights.reshape(len(weights), -1), out=self.counts)
        if self._inner != 1.0:
            be.apply(_product, self.counts, be.constant(self._inner, weights.dtype), out=self.counts)

    def weigh(self, dz: Array) -> Array:
        """dz ← u dz, and 0 where u is 0: (2); part of the step."""
        self.positions.weigh(self.be, dz)
        return dz


def row_means(ws: Workspace, values: Array, out: Array | None = None) -> Array:
    """(B,) means of the values (B, ...) of each row; into `out`, or ws.rows, where there are several a row.

    Where outputs have time steps and padding, values are set to 0 at padding, and the mean is over the row's own steps,
    or its sum over them: see `Positions`. Where positions have weights, values are multiplied by them, and summed.
    """
    n, positions = math.prod(values.shape[1:]), ws.judged
    if positions is not None and positions.weights is not None:
        positions.weigh(ws.be, values)
    if n == 1:
        return values.reshape(-1)
    out = ws.rows if out is None else out
    if positions is not None:
        if positions.weights is None:
            positions.clear(ws.be, values)
        ws.be.sum_last(values.reshape(-1, n), out=out)
        inner = math.prod(outputs_of(ws, values))
        if inner > 1:
            ws.be.apply(_product, out, ws.be.constant(1.0 / inner, ws.dtype), out=out)
        return out if positions.share is None else ws.be.apply(_product, out, positions.share, out=out)
    ws.be.sum_last(values.reshape(-1, n), out=out)
    return ws.be.apply(_product, out, ws.be.constant(1.0 / n, ws.dtype), out=out)


def outputs_of(ws: Workspace, z: Array) -> Shape:
    """The axes of z (B, ...) over which a mean has as many numbers in each row: all but the time steps that differ."""
    shape: Shape = z.shape[1:] if ws.judged is None else z.shape[2:]
    return shape


def says(of: Any, flag: str, *methods: str) -> bool:
    """Whether a class says so, of a loss or metric, that has the methods: one that overrides them must say it again.

    >>> import gpubp as bp
    >>> says(bp.Huber(), "by_position", "forward", "backward")
    True
    """
    mro = type(of).__mro__
    said, *written = (next(i for i, cls in enumerate(mro) if name in vars(cls)) for name in (flag, *methods))
    return bool(getattr(of, flag)) and said <= min(written)


def check_by_position(*judges: Any) -> None:
    """Raise ShapeError for a loss or metric that does not say that it knows of weights of positions.

    >>> import gpubp as bp
    >>> check_by_position(bp.MeanSquaredError(), bp.Accuracy())
    """
    for judge in judges:
        of_metric = ["rows", "result"] if hasattr(judge, "result") else ["rows"]
        methods = ["forward", "backward"] if hasattr(judge, "forward") else of_metric
        if not says(judge, "by_position", *methods):
            raise ShapeError(
                "does not say that it knows of weights of positions, and sample_weight has one for each: let the value "
                "of a row be the mean over its positions, by row_means, and set by_position = True in its class, or "
                "give one weight a row",
                layer=repr(judge),
            )


def checked_weights(sample_weight: Numbers, z: Shape) -> Numbers:
    """sample_weight in float64, one weight a row of outputs z or one a position; raises DataError for others.

    >>> checked_weights(np.ones((2, 3)), (2, 3, 5)).shape
    (2, 3)
    """
    if sample_weight.dtype.kind not in "fiub":
        raise DataError(f"sample_weight holds {sample_weight.dtype}, and it needs numbers")
    weights: Numbers = sample_weight.astype(np.float64)
    if weights.shape not in (z[:1], z[:-1]):
        each = "" if len(z) == 2 else f", or one a position, {z[:-1]}"
        raise DataError(f"sample_weight has the shape {weights.shape}; it needs one weight a row, {z[:1]}{each}")
    if not (np.isfinite(weights).all() and weights.min(initial=0.0) >= 0 and weights.sum() > 0):
        raise DataError("sample_weight needs finite weights of 0 or more, and not all of them zero")
    return weights


def _along(of_positions: Array, a: Array) -> Array:
    """With axes of length 1 up to those of a"""
    return of_positions.reshape(*of_positions.shape, *[1] * (a.ndim - of_positions.ndim))


def _product(a: Any, b: Any) -> Any:
    return a * b

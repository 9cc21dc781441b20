"""TimeSteps: within a step, the mask of rows of different lengths, and how losses and metrics weigh their time steps.

    (1)  μ[i, t] = [t < Lᵢ]                Lᵢ: the length of row i, which the host stages beside the row weights

Where outputs have time steps, a row's loss is the mean over its own, and so is its metric:

    (2)  ℓᵢ = Σ_t μ[i, t] l[i, t] / Lᵢ

A loss with counts (`Loss.counts`) judges a batch as one set of steps, so that (2) is the sum without the division, and
so are the counts. Metrics of whole epochs are computed from all steps of all rows, with the weights

    (3)  v[i, t] = wᵢ μ[i, t]              wᵢ: the row weights, or in their place u[i, t] where steps have weights
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..errors import ShapeError
from ..losses import Loss
from ..losses.positions import Positions, says
from ..metrics import EpochMetric, Metric


class TimeSteps:
    """The time steps and the padding of a batch's rows.

    shape: (rows, T) of the batch. judged: whether outputs have time steps. has_counts: whether the loss counts.

    mask: μ (rows, T). positions: for losses and metrics; None where outputs have no time steps.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> steps = TimeSteps(be, (2, 3), "float32", judged=True, has_counts=False)
    >>> steps.mark(np.array([1.0, 2.0], "float32"))
    >>> steps.mask.tolist(), steps.positions.share.tolist()
    ([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], [1.0, 0.5])
    """

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: Any, judged: bool, has_counts: bool) -> None:
        rows, T = shape
        self.be, self.mask = backend, backend.zeros(shape, dtype)
        self._places = backend.to_device(np.arange(T).reshape(1, T), np.dtype(dtype))
        self._weights: Array = None
        self.positions: Positions | None = None
        if judged:
            share = None if has_counts else backend.zeros((rows,), dtype)
            self.positions = Positions(backend.zeros(shape, np.bool_), share)

    def mark(self, lengths: Array) -> None:
        """(1), for rows of these lengths; part of the step."""
        be, positions, column = self.be, self.positions, lengths.reshape(-1, 1)
        be.apply(_is_step, self._places, column, out=self.mask)  # (1)
        if positions is None:
            return
        be.xp.greater_equal(self._places, column, out=positions.padding)
        if positions.share is not None:
            be.apply(_inverse, lengths, out=positions.share)

    def weigh(self, weights: Array) -> Array:
        """(3), for row weights (rows,); part of the step."""
        if self._weights is None:
            self._weights = self.be.zeros(self.mask.shape, self.mask.dtype)
        return self.be.apply(_product, weights.reshape(-1, 1), self.mask, out=self._weights)  # (3)

    def leave_out(self, dz: Array) -> Array:
        """dz (rows, T, ...) with 0 at padding; part of the step."""
        if self.positions is not None:
            self.positions.clear(self.be, dz)
        return dz


def check_judges(loss: Loss, metrics: tuple[Metric, ...]) -> None:
    """Raise ShapeError for a loss or a metric that does not know of lengths, where outputs have time steps.

    >>> import gpubp as bp
    >>> class LargestError(bp.EpochMetric):
    ...     name, kinds = "largest_error", ("numbers",)
    ...     def result(self, outputs, targets, weights):
    ...         return np.abs(outputs - targets).max()
    >>> check_judges(bp.MeanSquaredError(), (bp.R2(), LargestError()))
    Traceback (most recent call last):
    ...
    gpubp.errors.ShapeError: LargestError() does not say that it takes each time step as a row, and ...
    """
    judges: list[Loss | Metric] = [loss, *metrics]
    for judge in judges:
        methods = ("rows",) if isinstance(judge, Metric) else ("forward", "backward")
        if isinstance(judge, EpochMetric):
            if not says(judge, "by_mask", "rows", "result"):
                raise ShapeError(
                    "does not say that it takes each time step as a row, and outputs have time steps of different "
                    "numbers: let `result` take the steps of all rows, (n, ...), and set by_mask = True in its class, "
                    "or end time by a layer",
                    layer=repr(judge),
                )
        elif not says(judge, "by_mask", *methods):
            raise ShapeError(
                "does not say that it knows of lengths, and outputs have time steps, some of which are padding: let it "
                "go by ws.mask, as row_means does, and set by_mask = True in its class, or end time by a layer",
                layer=repr(judge),
            )


def _is_step(t: Any, length: Any) -> Any:
    return (t < length) * 1.0


def _inverse(length: Any) -> Any:
    return 1.0 / length


def _product(a: Any, b: Any) -> Any:
    return a * b

"""Weights of rows, and of the positions of outputs, as the user gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from ..layers.bound import Row
from .numbers import Argument, to_numbers
from .sequences import Numbers, Sequences, steps_and_lengths

OF_WEIGHTS = Argument("sample_weight", "and it needs numbers")


def as_weights(sample_weight: Any, X: Any, output: Row) -> Any:
    """The weights of the rows of X, (n,), or of all positions of their outputs, in float64; None where all are 1.

    output: the shape of a row's outputs, of which all axes but the last are positions: (n, *output[:-1]). Where outputs
    have time steps of any number, (None, ...), these weights are Sequences as long as X. Raises DataError for weights
    of other shapes, that are not finite or below 0, or all 0.

    >>> as_weights([1, 2], np.ones((2, 3)), (5,)).tolist()
    [1.0, 2.0]
    >>> as_weights([[1, 0], [1, 1]], np.ones((2, 2, 3)), (2, 5)).shape
    (2, 2)
    """
    if sample_weight is None:
        return None
    if output[:1] == (None,) and len(output) > 1 and _is_by_steps(sample_weight):
        return _of_steps(sample_weight, X.lengths, output)
    return row_weights(len(X), sample_weight, tuple(output[:-1]))


def row_weights(rows: int, sample_weight: Any = None, positions: Row = ()) -> Numbers | None:
    """The weight of each row in float64, or None where all are 1. sample_weight: (rows,), 0 or more.

    positions: axes of positions, if outputs have some: then weights may also be (rows, *positions).

    >>> row_weights(3, [1, 0, 2]).tolist()
    [1.0, 0.0, 2.0]
    """
    if sample_weight is None:
        return None
    given, _ = to_numbers(sample_weight, OF_WEIGHTS)
    weights: Numbers = given.astype(np.float64)
    if weights.shape not in ((rows,), (rows, *positions)):
        each = f", or one a position, {(rows, *positions)}" if positions and None not in positions else ""
        each = ", or one a time step, as X is given" if None in positions else each
        raise DataError(
            f"sample_weight has the shape {weights.shape}, and X has {rows} rows; it needs one weight a row{each}"
        )
    _check(weights)
    return weights


def total(weights: Any) -> float:
    """The sum of weights, of rows or positions.

    >>> total(Sequences([[1.0, 2.0], [3.0]]))
    6.0
    """
    return float((weights.flat if isinstance(weights, Sequences) else weights).sum())


def times(weights: Any, factors: Numbers) -> Any:
    """The weights of rows, or of their positions, or None, times a factor for each row.

    >>> times(np.ones((2, 3)), np.array([1.0, 2.0])).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    if weights is None:
        return factors
    return weights * factors.reshape(-1, *[1] * (weights.ndim - 1))


def _is_by_steps(sample_weight: Any) -> bool:
    """Whether rows have several weights each, which to_numbers would refuse where rows have different lengths."""
    if isinstance(sample_weight, Sequences):
        return True
    first = next(iter(sample_weight), None) if hasattr(sample_weight, "__iter__") else None
    return first is not None and np.ndim(first) > 0


def _of_steps(sample_weight: Any, lengths: Numbers, output: Row) -> Sequences:
    padded = hasattr(sample_weight, "ndim") and str(sample_weight.dtype) != "object"
    padded = padded and len(sample_weight) == len(lengths) and not isinstance(sample_weight, Sequences)
    flat, given = steps_and_lengths(sample_weight, lengths if padded else None, OF_WEIGHTS)
    if len(given) != len(lengths):
        raise DataError(f"X has {len(lengths)} rows and sample_weight {len(given)}; each row of X needs its weights")
    if (wrong := np.flatnonzero(given != lengths)).size:
        i = int(wrong[0])
        raise DataError(
            f"row {i} of X has {lengths[i]} time steps, and row {i} of sample_weight {given[i]}; each step needs its "
            "weight, or each row one"
        )
    if flat.shape[1:] != tuple(output[1:-1]):
        raise DataError(
            f"sample_weight has weights of shape {flat.shape[1:]} in each time step, and needs {tuple(output[1:-1])}"
        )
    _check(flat)
    return Sequences.of(flat.astype(np.float64), lengths)


def _check(weights: Numbers) -> None:
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise DataError("sample_weight needs finite weights of 0 or more, and not all of them zero")

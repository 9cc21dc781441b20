"""Inputs and targets of rows of different lengths, as a network and a loss take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from ..layers.bound import InputCheck, Row
from ..layers.words import WordError
from ..losses.base import targets_of
from .finite import check_finite
from .numbers import Argument
from .sequences import OF_STEPS, Numbers, Sequences, steps_and_lengths

CHECKED_STEPS = 1 << 20  # time steps that are checked together


def as_sequences(X: Any, row: Row, dtype: Any, name: str, check: InputCheck | None) -> Sequences:
    """X as Sequences of rows of shape `row`, (None, ...), of the network's type.

    check: called with time steps as rows of one step, (m, 1, ...). Raises DataError
    as `Sequences` does, for rows of another shape, and for values that are not finite, with row and step.

    >>> as_sequences([[1, 2], [3]], (None,), "float32", "X", None)
    Sequences of 2 rows, 1 to 2 time steps, float32
    """
    if not isinstance(X, Sequences):
        X = Sequences.of(*steps_and_lengths(X, None, OF_STEPS._replace(name=name)))
    if X.flat.shape[1:] != tuple(row[1:]):
        wanted = f"rows of {row[1]} numbers in each time step" if len(row) == 2 else f"rows of shape {row}"
        if len(row) == 1:
            wanted = "one number, such as that of a word, in each time step"
        one = X.flat.ndim == 1 and len(row) == 2 and bool((X.lengths == row[1]).all())
        hint = f": for a single row write [{name}]" if one else ""
        raise DataError(f"{name} has time steps of shape {X.flat.shape[1:]}, and the network takes {wanted}{hint}")
    if not len(X):
        raise DataError(f"{name} has no rows")

    def place(k: int, column: int) -> tuple[str, str]:
        i, t = X.row_and_step(k)
        return name, f"row {i}, time step {t}"

    check_finite(X.flat, name, dtype, place=place)
    made: Sequences = X.astype(np.dtype(dtype))
    if check is not None:
        for start in range(0, len(made.flat), CHECKED_STEPS):
            part = made.flat[start : start + CHECKED_STEPS]
            try:
                check(part.reshape(len(part), 1, *part.shape[1:]), name, start)
            except WordError as problem:
                raise problem.but(row=made.row_and_step(problem.row)[0]) from None
    return made


def targets_of_steps(y: Any, lengths: Numbers, name: str = "y") -> Sequences:
    """Targets of every time step as they are given, for rows of these lengths.

    y: as X is given; padding of y may hold anything. Raises DataError where a row has another length than that of X.

    >>> [row.tolist() for row in targets_of_steps(np.array([[5, 6], [7, 0]]), np.array([2, 1]))]
    [[5, 6], [7]]
    """
    of = Argument(name, "and a loss needs numbers; number the classes 0, 1, 2, ...")
    if not isinstance(y, Sequences):
        rows = len(y) if hasattr(y, "__len__") else 0
        if rows == len(lengths) and np.ndim(next(iter(y))) == 0:
            raise DataError(
                f"the network gives outputs for every time step, and {name} has one target a row; give targets for "
                "every step, or end time by a layer such as MeanOverTime"
            )
        padded = hasattr(y, "ndim") and str(y.dtype) != "object" and rows == len(lengths)
        y = Sequences.of(*steps_and_lengths(y, lengths if padded else None, of))
    if len(y) != len(lengths):
        raise DataError(f"X has {len(lengths)} rows and {name} {len(y)}; each row of X needs its targets")
    if (wrong := np.flatnonzero(y.lengths != lengths)).size:
        i = int(wrong[0])
        raise DataError(
            f"row {i} of X has {lengths[i]} time steps, and row {i} of {name} {y.lengths[i]}; each step needs a target"
        )
    made: Sequences = y
    return made


def target_sequences(y: Any, loss: Any, output: Row, lengths: Numbers, dtype: Any, name: str) -> Sequences:
    """Targets of every time step, as `loss` needs them: see `as_targets`, and `targets_of_steps` for y.

    >>> import gpubp as bp
    >>> loss, lengths = bp.SoftmaxCrossEntropy(), np.array([2, 1])
    >>> target_sequences([[0, 2], [1]], loss, (None, 3), lengths, "float32", "y").flat
    array([0, 2, 1], dtype=int32)
    """
    y = targets_of_steps(y, lengths, name)

    def place(k: int, column: int) -> tuple[str, str]:
        i, t = y.row_and_step(k)
        return name, f"row {i}, time step {t}"

    check_finite(y.flat, name, dtype, place=place)
    t = targets_of(loss, y.flat, (len(y.flat), *output[1:]))
    return Sequences.of(np.ascontiguousarray(t, t.dtype if t.dtype == np.int32 else dtype), lengths)

"""Checks of inputs, targets and weights before training, and the order of the rows of an epoch."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..backends import Array, Backend, Shape
from ..errors import DataError
from ..layers.bound import InputCheck, Row
from ..losses.base import targets_of
from .finite import CHECKED_AT_ONCE, check_finite
from .lengths import as_sequences, target_sequences
from .numbers import Argument, of_type, to_numbers
from .row_groups import RowGroups, check_fraction
from .sequences import Sequences
from .sparse import SparseRows, from_sparse_columns

OF_ROWS = "and the network needs numbers: turn text and categories into numbers"
OF_X = Argument("X", OF_ROWS)
OF_TARGETS = "and a loss needs numbers; number the classes 0, 1, 2, ..."


def as_rows(X: Any, name: str = "X", backend: Backend | None = None, reads_text: bool = False) -> tuple[Any, Argument]:
    """(`X` as rows of numbers, what messages call it), of whatever type and shape.

    Arrays of the backend's own library stay where they are, memory maps and row groups on disk, SciPy's sparse matrices
    and pandas' sparse tables sparse; anything else becomes a NumPy array. reads_text: text that spells a number counts
    as one. Raises DataError where it holds no numbers.

    >>> as_rows([[True, 2.5]])[0]
    array([[1. , 2.5]])
    """
    of = OF_X if name == "X" and not reads_text else Argument(name, OF_ROWS, reads_text=reads_text)
    if type(X) is np.ndarray and X.dtype.kind in "fiub":
        return X, of
    own = backend is not None and not isinstance(X, np.ndarray) and backend.owns(X)
    matrix = X if hasattr(X, "tocsr") else from_sparse_columns(X)
    if matrix is not None:
        columns = () if matrix is X else tuple(X.columns)
        X, of = SparseRows(matrix, name), of._replace(columns=columns)
    elif not (own or isinstance(X, SparseRows | RowGroups)):
        X, columns = to_numbers(X, of)
        of = of._replace(columns=columns)
    if X.dtype.kind not in "fiub":
        raise of_type(name, X.dtype, of)
    return X, of


def as_inputs(
    X: Any, row: Row, backend: Backend, dtype: Any, name: str = "X", check: InputCheck | None = None
) -> Array:
    """`X` as an array that batches can be taken from: (n, *row), finite, of the network's type or cast batch by batch.

    What `as_rows` takes; Sequences, or what they are made of, for rows of different lengths, (None, ...). Raises
    DataError on another shape or type, on no rows, and on values that are not finite: in row groups when they are read.
    So is `check` called, for some rows of X after the other.

    >>> from gpubp.backends import get_backend
    >>> as_inputs([[1, 2], [3, 4]], (2,), get_backend("cpu"), "float32").dtype
    dtype('float32')
    """
    if len(row) and row[0] is None:
        return as_sequences(X, row, dtype, name, check)
    if isinstance(X, Sequences):
        raise DataError(
            f"{name} has rows of different lengths, and the network takes rows of shape {row}; make it with "
            f"input_shape={(None, *X.shape[2:])}"
        )
    a, of = as_rows(X, name, backend)
    if a.ndim == 0 or tuple(a.shape[1:]) != row:
        shown, hint = tuple(a.shape[1:]) if a.ndim else "no axes", ""
        array = (
            f"{name}.toarray()" if hasattr(X, "toarray") else name if hasattr(X, "reshape") else f"np.asarray({name})"
        )
        if len(row) > 1 and tuple(a.shape[1:]) == (row[-1], *row[:-1]) and not isinstance(a, RowGroups):
            hint = f": {array}.transpose{(0, *range(2, a.ndim), 1)} puts the channels last"  # of PyTorch's order
        elif a.ndim and math.prod(a.shape[1:]) == math.prod(row):
            hint = f": {array}.reshape(-1, {', '.join(map(str, row))}) would make them so"
            if isinstance(a, RowGroups):
                hint = f": begin the network with Reshape({row}), and give it input_shape={shown}"
        elif tuple(a.shape) == row:
            hint = f": for a single row write {array}[None]"
        raise DataError(f"{name} has rows of shape {shown}, and the network takes rows of shape {row}{hint}")
    if a.shape[0] == 0:
        raise DataError(f"{name} has no rows")
    if isinstance(a, RowGroups):

        def look(part: Array, first: int) -> None:
            check_finite(part, name, dtype, first)
            _check_parts(part, name, check, first)

        return a.checked(look)
    own = not isinstance(a, np.ndarray) and backend.owns(a)
    with backend.active() if own else nullcontext():  # computed where they lie, on one GPU of several
        check_rows(a, of, dtype)
        if isinstance(a, SparseRows):
            a = a.astype(dtype)
        elif isinstance(a, np.ndarray) and not isinstance(a, np.memmap):
            a = np.ascontiguousarray(a, dtype)
        _check_parts(a, name, check)
    return a


def _check_parts(a: Any, name: str, check: InputCheck | None, first: int = 0) -> None:
    """Call `check` with some rows after the other, which are arrays; those of a sparse matrix are filled in."""
    if check is not None:
        rows = max(1, CHECKED_AT_ONCE // max(1, math.prod(a.shape[1:])))
        for start in range(0, a.shape[0], rows):
            check(a[start : start + rows], name, first + start)


def as_targets(y: Any, loss: Any, output: Row, X: Any, dtype: Any, name: str = "y") -> Any:
    """`y` as `loss` needs it, one for each row of X, in int32 (classes) or the network's type.

    X: rows as `as_inputs` gives them, or how many there are. Where outputs have time steps of any number, (None, ...),
    targets are Sequences as long as X.

    >>> import gpubp as bp
    >>> as_targets([0, 2], bp.SoftmaxCrossEntropy(), (3,), 2, "float32")
    array([0, 2], dtype=int32)
    """
    if len(output) and output[0] is None:
        return target_sequences(y, loss, output, X.lengths, dtype, name)
    rows = X if isinstance(X, int) else len(X)
    of = Argument(name, OF_TARGETS)
    a, columns = to_numbers(y, of)
    if a.ndim == 0 or a.shape[0] != rows:
        length = f"has {a.shape[0]}" if a.ndim else f"is the single value {a!s:.40}"
        raise DataError(f"X has {rows} rows and {name} {length}; each row of X needs its one {name}")
    check_rows(a, of._replace(columns=columns), dtype)
    t = targets_of(loss, a, (rows, *output))
    return np.ascontiguousarray(t, t.dtype if t.dtype == np.int32 else dtype)


def check_rows(a: Any, of: Argument, dtype: Any = "float64") -> None:
    """Raise DataError, with row and column, if rows, dense or sparse, hold a value that is not finite, in `dtype` too.

    >>> check_rows(np.array([[1.0], [np.inf]]), Argument("X", OF_ROWS, ["age"]))
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: X: column 'age' holds inf in row 1; drop such rows, or fill them in, before training
    """
    if isinstance(a, SparseRows):
        check_finite(a.rows.data, of.name, dtype, place=lambda k, _: of.at(*a.place(k)))
    elif of.columns and a.ndim == 2:
        check_finite(a, of.name, dtype, place=of.at)
    else:
        check_finite(a, of.name, dtype)


def epoch_order(rows: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray[Any, Any]:
    """The order of the rows in an epoch, by seed and epoch alone: the same on every device, and after a resume.

    >>> sorted(epoch_order(4, seed=0, epoch=0).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng([seed, epoch]).permutation(rows) if shuffle else np.arange(rows)


def split(rows: int, fraction: float, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(training rows, validation rows): a random `fraction` for validation, at least one row on each side.

    >>> train, validation = split(10, 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    check_fraction(fraction, rows)
    order = np.random.default_rng([seed, 0x5911]).permutation(rows)
    taken = min(max(1, round(fraction * rows)), rows - 1)
    return np.sort(order[taken:]), np.sort(order[:taken])


def as_images(shape: Shape) -> Shape:
    """(height, width, channels) of rows of `shape`; raises ValueError if they are no pictures.

    >>> as_images((28, 28)), as_images((64,))
    ((28, 28, 1), (8, 8, 1))
    >>> as_images((13,))
    Traceback (most recent call last):
    ...
    ValueError: rows of 13 numbers are no square pictures; give rows of shape (height, width, channels)
    """
    if len(shape) == 3:
        return tuple(shape)
    if len(shape) == 2:
        return (*shape, 1)
    side = math.isqrt(math.prod(shape))
    if len(shape) != 1 or side * side != shape[0]:
        raise ValueError(
            f"rows of {' x '.join(map(str, shape))} numbers are no square pictures; "
            "give rows of shape (height, width, channels)"
        )
    return (side, side, 1)

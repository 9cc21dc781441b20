"""Sequences: rows of different lengths, as one array of time steps.

The steps of all rows lie behind each other in `flat`; row i has those from starts[i] to starts[i + 1]. A batch is
padded with 0 when it is taken, so that padding which the user gives is never computed with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import as_numpy
from ..errors import DataError
from ..layers.bound import Row
from ..layers.time_steps import bucket
from .numbers import Argument, to_numbers

OF_STEPS = Argument("X", "and the network needs numbers: turn text and categories into numbers")
Numbers = np.ndarray[Any, Any]


class Sequences:
    """Rows of different lengths: what a network with input_shape=(None, n), or (None,) for words, is trained on.

    X: a list of arrays, (Tᵢ, n) or (Tᵢ,) each; or one padded array, (rows, T, n) or (rows, T), whose padding may hold
    anything. lengths: how many time steps of each row count, from 1 to those that it has; None for all.

    A list may be given in place of it wherever data are. One object serves fit, validation, predict and evaluate.
    lengths: (rows,). starts, flat: see above. shape: (rows, None, ...).

    Raises DataError, with the row, for rows without a time step, of steps of different shapes, lengths that a row
    does not have, and for what is no number.

    >>> import numpy as np, gpubp as bp
    >>> X = bp.Sequences([np.ones((2, 3)), np.ones((5, 3))])
    >>> X
    Sequences of 2 rows, 2 to 5 time steps of shape (3,), float64
    >>> padded = bp.Sequences(np.array([[7, 8, 0], [9, 0, 0]]), lengths=[2, 1])
    >>> [row.tolist() for row in padded]
    [[7, 8], [9]]
    """

    lengths: Numbers
    flat: Numbers

    def __init__(self, X: Any, lengths: Any = None) -> None:
        self._fill(*steps_and_lengths(X, lengths, OF_STEPS))

    def _fill(self, flat: Numbers, lengths: Numbers) -> None:
        self.flat, self.lengths = flat, lengths
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.shape: Row = (len(lengths), None, *flat.shape[1:])
        self.ndim, self.dtype, self.nbytes = len(self.shape), flat.dtype, flat.nbytes

    @classmethod
    def of(cls, flat: Numbers, lengths: Numbers) -> Sequences:
        """The rows of these lengths, from time steps that lie behind each other.

        >>> [row.tolist() for row in Sequences.of(np.arange(3), np.array([1, 2]))]
        [[0], [1, 2]]
        """
        made = cls.__new__(cls)
        made._fill(flat, lengths)
        return made

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Numbers]:
        return (self.flat[a:b] for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True))

    def __getitem__(self, rows: Any) -> Any:
        """One row, (Tᵢ, ...), for a number; for a slice, a mask or several numbers the Sequences of these rows."""
        found = np.arange(len(self))[rows]
        if found.ndim == 0:
            return self.flat[self.starts[found] : self.starts[found + 1]]
        lengths = self.lengths[found]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[found] - ends + lengths, lengths)
        return Sequences.of(self.flat[places], lengths)

    def __repr__(self) -> str:
        few, most = (int(f(self.lengths)) if len(self) else 0 for f in (np.min, np.max))
        of = f" of shape {self.flat.shape[1:]}" if self.flat.ndim > 1 else ""
        return f"Sequences of {len(self)} rows, {few} to {most} time steps{of}, {self.dtype}"

    @cached_property
    def buckets(self) -> Numbers:
        """T (rows,) of the batches that each row is in, by its own length alone: see `bucket`.

        >>> Sequences([np.ones(3), np.ones(30)]).buckets.tolist()
        [8, 32]
        """
        known, where = np.unique(self.lengths, return_inverse=True)
        found: Numbers = np.array([bucket(int(n)) for n in known], np.int64)[where.reshape(-1)]
        return found

    @property
    def steps(self) -> int:
        """T of a batch that has room for every row."""
        return int(self.buckets.max())

    @property
    def usual_steps(self) -> int:
        """T of the batches in the middle, where T counts as often as it has steps: what a training run mostly does.

        >>> Sequences([np.ones(3)] * 9 + [np.ones(100)]).usual_steps
        128
        """
        T = np.sort(self.buckets)
        return int(T[np.searchsorted(np.cumsum(T), T.sum() / 2)])

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """Some rows, padded with 0 to the steps of `out`, or to the longest of them; `numpy.take` calls this.

        >>> Sequences([[1, 2], [3]]).take([1, 0])
        array([[3, 0],
               [1, 2]])
        """
        rows = np.asarray(rows)
        if out is None:
            out = np.empty((len(rows), int(self.lengths[rows].max(initial=0)), *self.shape[2:]), self.dtype)
        for place, start, length in zip(out, self.starts[rows].tolist(), self.lengths[rows].tolist(), strict=True):
            place[:length] = self.flat[start : start + length]
            place[length:] = 0
        return out

    def astype(self, dtype: Any) -> Sequences:
        """The same rows in another type; itself if they are of it.

        >>> Sequences([[1, 2], [3]]).astype("float32").dtype
        dtype('float32')
        """
        return self if self.dtype == dtype else Sequences.of(self.flat.astype(dtype), self.lengths)

    def row_and_step(self, k: int) -> tuple[int, int]:
        """(row, step) of number k of `flat`.

        >>> Sequences([[1, 2], [3]]).row_and_step(2)
        (1, 0)
        """
        row = int(np.searchsorted(self.starts, k, side="right")) - 1
        return row, k - int(self.starts[row])

    def fingerprint(self, most: int) -> dict[str, Any]:
        """Shape, type, and CRC-32 of the lengths and of `most` bytes of steps spread evenly over all.

        >>> sorted(Sequences([[1, 2], [3]]).fingerprint(100))
        ['crc32', 'dtype', 'shape']
        """
        count = max(1, most // max(1, self.flat[:1].nbytes))
        some = self.flat
        if count < len(some):
            some = some[np.linspace(0, len(some) - 1, count).astype(np.int64)]
        crc = zlib.crc32(self.lengths.astype(np.int64).tobytes())
        return {"shape": list(self.shape), "dtype": str(self.dtype), "crc32": zlib.crc32(some.tobytes(), crc)}


def steps_and_lengths(X: Any, lengths: Any, of: Argument) -> tuple[Numbers, Numbers]:
    """(time steps of all rows, lengths), from what `Sequences` takes. of: what messages call X.

    >>> steps_and_lengths([[1, 2], [3]], None, OF_STEPS)
    (array([1, 2, 3]), array([2, 1]))
    """
    name = of.name
    if isinstance(X, Sequences):
        if lengths is None:
            return X.flat, X.lengths
        X = list(X)
    if hasattr(X, "ndim") and str(getattr(X, "dtype", "")) != "object":
        return _of_padded(X, lengths, of)
    if isinstance(X, str | bytes | dict) or not hasattr(X, "__iter__"):
        raise DataError(
            f"{name} is {X!r:.60}; sequences are a list of arrays, one a row, or a padded array with lengths"
        )
    rows = [_row(row, i, of) for i, row in enumerate(X)]
    if not rows:
        raise DataError(f"{name} has no rows")
    given = np.array([len(row) for row in rows], np.int64)
    for i, row in enumerate(rows):
        if row.shape[1:] != rows[0].shape[1:]:
            shapes = f"steps of shape {row.shape[1:]}, and row 0 of shape {rows[0].shape[1:]}"
            raise DataError(f"row {i} of {name} has {shapes}; only the numbers of time steps may differ")
    if lengths is not None:
        counted = _checked_lengths(lengths, given, name)
        rows = [row[:n] for row, n in zip(rows, counted.tolist(), strict=True)]
        given = counted
    _check_some(given, name)
    return np.concatenate(rows), given


def _row(row: Any, i: int, of: Argument) -> Numbers:
    """A row of a list, as an array of numbers."""
    if type(row) is np.ndarray and row.dtype.kind in "fiub" and row.ndim:
        return row
    name = f"row {i} of {of.name}"
    a, _ = to_numbers(row, of._replace(name=name))
    if a.ndim == 0:
        raise DataError(
            f"{name} is the single number {a!s:.40}; a row is an array of time steps, (steps, numbers); for a single "
            f"row write [{of.name}]"
        )
    return a


def _of_padded(X: Any, lengths: Any, of: Argument) -> tuple[Numbers, Numbers]:
    a, _ = to_numbers(as_numpy(X), of)
    if a.ndim < 2:
        raise DataError(
            f"{of.name} has the shape {a.shape}; padded rows are an array (rows, time steps, ...); for a single row "
            f"write [{of.name}]"
        )
    if not len(a):
        raise DataError(f"{of.name} has no rows")
    if lengths is None:
        given = np.full(len(a), a.shape[1], np.int64)
        _check_some(given, of.name)
        return a.reshape(-1, *a.shape[2:]), given
    given = _checked_lengths(lengths, np.full(len(a), a.shape[1]), of.name)
    return a[np.arange(a.shape[1]) < given[:, None]], given


def _checked_lengths(lengths: Any, most: Numbers, name: str) -> Numbers:
    given: Numbers = to_numbers(lengths, Argument("lengths", "and it needs whole numbers"))[0]
    if given.shape != most.shape:
        raise DataError(f"lengths has the shape {given.shape}, and {name} has {len(most)} rows; each needs its length")
    if given.dtype.kind not in "iu" and not (given.dtype.kind == "f" and bool((np.floor(given) == given).all())):
        raise DataError(f"lengths holds {given.dtype}, and it needs whole numbers of time steps")
    _check_some(given, name)
    if (wrong := np.flatnonzero(given > most)).size:
        i = int(wrong[0])
        raise DataError(f"lengths has {given[i]:.0f} for row {i}, and {name} has {most[i]} time steps there")
    return given.astype(np.int64)


def _check_some(lengths: Numbers, name: str) -> None:
    if (wrong := np.flatnonzero(~(lengths >= 1))).size:
        i = int(wrong[0])
        steps = "no time steps" if lengths[i] == 0 else f"the length {lengths[i]}"
        raise DataError(f"row {i} of {name} has {steps}; leave such rows out, with their targets")


def batches_of(order: Sequence[int] | Numbers, buckets: Numbers, rows: int) -> tuple[Numbers, list[int]]:
    """The batches of an epoch: (row numbers, `rows` for each batch, with -1 where a batch has fewer; T of each batch).

    order: the rows of the epoch. buckets: T of every row. A row goes to the bucket of its T, and a bucket that is full
    is a batch. What is left at the end joins the next larger bucket, so that only the last batch has fewer rows.

    >>> batches_of([0, 1, 2, 3, 4], np.array([8, 12, 8, 12, 16]), 2)
    (array([ 0,  2,  1,  3,  4, -1]), [8, 12, 16])
    """
    waiting: dict[int, list[int]] = {}
    taken: list[int] = []
    times: list[int] = []
    for row, T in zip(np.asarray(order).tolist(), buckets[np.asarray(order)].tolist(), strict=True):
        together = waiting.setdefault(T, [])
        together.append(row)
        if len(together) == rows:
            taken += waiting.pop(T)
            times.append(T)
    left: list[int] = []
    for T in sorted(waiting):
        left += waiting[T]
        if len(left) >= rows:
            taken += left[:rows]
            times.append(T)
            left = left[rows:]
    if left:
        taken += left + [-1] * (rows - len(left))
        times.append(max(waiting))
    return np.array(taken, np.int64), times

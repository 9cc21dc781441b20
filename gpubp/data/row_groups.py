"""RowGroups: rows on disk for data larger than memory, read group by group.

A training step takes its batch from `X` by row numbers, wherever the rows lie. `RowGroups` has the number of rows of
each group, and reads a group; `reader.py` holds a few of them in memory. For a shuffled epoch

    (1) the groups are shuffled: p = permutation of 0 .. G-1, by (seed, epoch)
    (2) p is cut into windows of as many whole groups as fit into half of `memory`
    (3) the rows of each window are shuffled among themselves, by (seed, epoch, window)

so that each group is read once an epoch, and a batch has rows from several groups. The order follows from
seed and epoch alone, so training that is resumed in the middle of an epoch goes on with the same batches.
"""

from __future__ import annotations

import itertools
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..backends import Shape
from ..config import Count, CountOrZero, argument, real
from ..errors import DataError, GpubpError

MEMORY = 1 << 29  # bytes of rows in memory at a time
LOOKED_INTO = 8  # groups, for a fingerprint or a summary
ORDER_BYTES = 16  # a row of a window: its number, and a place in the permutation

Array = np.ndarray[Any, Any]


def one_line(problem: BaseException) -> str:
    """The text of an error in one line."""
    return " ".join(str(problem).split())


def check_fraction(fraction: Any, rows: int = 2) -> None:
    """Raise DataError unless `fraction` of `rows` rows can be held out.

    >>> check_fraction("0.1")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: validation_fraction must lie between 0 and 1, and is '0.1'
    """
    if isinstance(fraction, bool | np.bool_) or not 0 < real(fraction) < 1:
        raise DataError(f"validation_fraction must lie between 0 and 1, and is {fraction!r}")
    if rows < 2:
        raise DataError("validation_fraction needs at least two rows, one to train on and one to validate with")


class Rows(ABC):
    """Rows that batches are taken from, with what `numpy.take` and indexing need of an array."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes, that of the rows included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """The rows of these numbers; `numpy.take` calls this."""

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return self.take(np.arange(*rows.indices(len(self))))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return self.take(rows) if rows.ndim else self.take(rows[None])[0]

    def _room(self, rows: int, out: Any) -> Array:
        return np.empty((rows, *self.shape[1:]), self.dtype) if out is None else out


class SomeRows(Rows):
    """Some rows of an array on disk, read when they are asked for.

    source: (n, *row), a memory map. numbers: of the rows.

    >>> SomeRows(np.arange(10.0), np.array([7, 1, 4]))[[2, 0]].tolist()
    [4.0, 7.0]
    """

    def __init__(self, source: Array, numbers: Array) -> None:
        self.source, self.numbers = source, numbers
        self.shape, self.dtype = (len(numbers), *source.shape[1:]), source.dtype

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """The rows of these numbers."""
        return np.take(self.source, self.numbers[rows], axis=0, out=out, mode="clip")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self.take(np.arange(len(self))), dtype)


class RowGroups(Rows):
    """Rows in groups that are read whole. It holds no rows, so threads may share it.

    sizes: rows of each group. read: from a group's number to its rows, (size, *row), numbers; it is called by other
    threads, one at a time. row: the shape of one row. dtype: of what is held; what is read is cast to it.
    memory: bytes of rows that training or predicting holds at a time, two windows of groups; besides one group, for a
    moment. A window has one group at least, however large. name: what messages call it.

    Indexing reads the groups concerned, and forgets them; `numpy.asarray` reads everything.

    >>> import numpy as np
    >>> X = RowGroups([3, 3, 2], lambda k: np.full((3, 2)[k == 2], k, "float32"), row=())
    >>> X.shape, X[[0, 7, 4]].tolist()
    ((8,), [0.0, 2.0, 1.0])
    >>> sorted(X.order(seed=0, epoch=0)[0:8].tolist())
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        sizes: Sequence[int] | Array,
        read: Callable[[int], Any],
        row: Shape,
        dtype: Any = "float32",
        *,
        memory: int = MEMORY,
        name: str = "X",
    ) -> None:
        self.memory = argument("RowGroups", "memory", Count, memory)
        given = np.asarray(sizes)
        if given.ndim != 1 or (given.size and (given.dtype.kind not in "iu" or given.min() < 0)):
            raise ValueError(f"RowGroups needs sizes of groups, whole numbers, 0 or more, and got {sizes!r:.200}")
        self.starts: Array = np.concatenate([[0], np.cumsum(given.astype(np.int64))])
        self.shape = (int(self.starts[-1]), *argument("RowGroups", "row", tuple[CountOrZero, ...], row))
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.name = name
        self._read = read

    @property
    def sizes(self) -> Array:
        """Rows of each group."""
        return np.diff(self.starts)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.starts) - 1

    def read(self, k: int) -> Array:
        """The rows of group k; DataError where they can't be read or are not what was said."""
        first, last = int(self.starts[k]), int(self.starts[k + 1])
        if first == last:
            return np.empty((0, *self.shape[1:]), self.dtype)
        try:
            part = np.asarray(self._read(k))
        except (GpubpError, MemoryError):
            raise
        except Exception as problem:
            text = f"{self.name} can't be read from row {first:,} to {last - 1:,} ({one_line(problem)})"
            raise DataError(f"{text}: it is cut short, damaged or gone") from problem
        if part.shape != (last - first, *self.shape[1:]) or part.dtype.kind not in "fiub":
            raise DataError(
                f"{self.name} gave {part.dtype} of shape {part.shape} for the rows from {first:,} to {last - 1:,}, and "
                f"{self.dtype} of shape {(last - first, *self.shape[1:])} was promised"
            )
        return part.astype(self.dtype, copy=False)

    def checked(self, check: Callable[[Array, int], None]) -> RowGroups:
        """The same rows; check(part, number of its first row) is called on each part that is read."""

        def read(k: int) -> Array:
            part = self.read(k)
            check(part, int(self.starts[k]))
            return part

        return self._like(self.sizes, read)

    def _like(self, sizes: Array, read: Callable[[int], Array]) -> RowGroups:
        return RowGroups(sizes, read, self.shape[1:], self.dtype, memory=self.memory, name=self.name)

    def where(self, kept: Array) -> RowGroups:
        """The rows for which `kept` (n,) is true.

        >>> X = RowGroups([2, 2], lambda k: np.array([2 * k, 2 * k + 1]), row=())
        >>> np.asarray(X.where(np.array([True, False, False, True]))).tolist()
        [0.0, 3.0]
        """
        parts = [kept[first:last] for first, last in itertools.pairwise(self.starts.tolist())]
        sizes = np.array([np.count_nonzero(part) for part in parts], np.int64)
        return self._like(sizes, partial(self._read_where, parts))

    def _read_where(self, parts: list[Array], k: int) -> Array:
        return self.read(k)[parts[k]]

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """The rows of these numbers, from their groups, each read once and forgotten."""
        rows = np.asarray(rows)
        out = self._room(len(rows), out)
        group = self.group_of(rows)
        for k in np.unique(group):
            here = group == k
            out[here] = self.read(int(k))[rows[here] - self.starts[k]]
        return out

    def group_of(self, rows: Array) -> Array:
        """The group that each of the rows lies in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        everything = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for k in range(self.groups):
            everything[self.starts[k] : self.starts[k + 1]] = self.read(k)
        return everything

    def __repr__(self) -> str:
        return f"RowGroups({self.name!r}, {self.shape} {self.dtype} in {self.groups} groups)"

    # -- orders -------------------------------------------------------------------------------------------------------

    def order(self, seed: int, epoch: int, shuffle: bool = True) -> Order:
        """The order of an epoch's rows, by seed and epoch alone; `Trainer.fit` takes it by itself.

        In memory the same order is `fit(..., shuffle=lambda epoch, n: np.asarray(X.order(seed, epoch)))`.
        """
        groups = np.arange(self.groups)
        if shuffle:
            groups = np.random.default_rng([seed, epoch]).permutation(groups)
        return Order(self, self._windows(groups), (seed, epoch) if shuffle else None)

    def _windows(self, groups: Array) -> list[tuple[int, ...]]:
        """The groups, in their order, as windows of half the memory; within a window they stand as in the file."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize + ORDER_BYTES
        windows, window, room = [], list[int](), self.memory // 2
        for k, size in zip(groups.tolist(), (self.sizes[groups] * row).tolist(), strict=True):
            if window and size > room:
                windows.append(tuple(sorted(window)))
                window, room = [], self.memory // 2
            window.append(k)
            room -= size
        return [*windows, tuple(sorted(window))] if window else windows

    def split(self, fraction: float, seed: int) -> tuple[RowGroups, RowGroups, Array]:
        """(training rows, validation rows, whether each row is for validation): a random `fraction` of each group.

        Of each group and not whole groups, because files are often sorted, by date or by class: what is held out is so
        like what is trained on. Where the validation rows fit into `memory` they are read once in a training.

        >>> X = RowGroups([6, 4], lambda k: np.zeros(6 - 2 * k), row=())
        >>> [len(part) for part in X.split(0.3, seed=0)]
        [7, 3, 10]
        """
        check_fraction(fraction, len(self))
        counts = np.diff(np.rint(fraction * self.starts).astype(np.int64))
        if not 0 < counts.sum() < len(self):  # one row at least on either side
            counts[self.sizes.argmax()] += 1 if not counts.sum() else -1

        held = np.zeros(len(self), bool)
        for k, (first, count) in enumerate(zip(self.starts.tolist(), counts.tolist(), strict=False)):
            held[first + np.random.default_rng([seed, 0x5911, k]).permutation(self.sizes[k])[:count]] = True
        return self.where(~held), self.where(held), held

    def sample(self, count: int) -> Array:
        """At most `count` rows, spread evenly over a few groups, which are spread evenly over all.

        >>> RowGroups([3] * 100, lambda k: np.full(3, k), row=()).sample(8).tolist()
        [0.0, 14.0, 28.0, 42.0, 56.0, 70.0, 84.0, 99.0]
        """
        filled = np.flatnonzero(self.sizes)
        some = filled[np.unique(np.linspace(0, len(filled) - 1, min(LOOKED_INTO, count)).astype(np.int64))]
        parts = []
        for k in some.tolist():
            part = self.read(k)
            parts.append(part[np.linspace(0, len(part) - 1, min(len(part), count // len(some))).astype(np.int64)])
        return np.concatenate(parts)

    def fingerprint(self, looked_at: int) -> dict[str, Any]:
        """Shape, type, groups, what decides the order, and CRC-32 of some rows, about `looked_at` bytes of them."""
        row = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        some = np.ascontiguousarray(self.sample(max(1, looked_at // row)))
        crc = zlib.crc32(some.reshape(-1).view(np.uint8).data, zlib.crc32(self.starts.tobytes()))
        return {"shape": list(self.shape), "dtype": str(self.dtype), "crc32": crc, "memory": self.memory}


class Order:
    """The row numbers of an epoch, computed window by window when they are needed.

    rows; windows: the groups of each. key: (seed, epoch) that shuffles within windows, None for the order of the file.

    >>> X = RowGroups([2, 2], lambda k: np.zeros(2), row=())
    >>> Order(X, [(0, 1)], None)[1:3].tolist()
    [1, 2]
    """

    def __init__(self, rows: RowGroups, windows: list[tuple[int, ...]], key: tuple[int, int] | None) -> None:
        self.rows, self.windows, self.key = rows, windows, key
        sizes = rows.sizes
        self._starts = np.concatenate([[0], np.cumsum([sizes[list(w)].sum() for w in windows], dtype=np.int64)])
        self._known: dict[int, Array] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, places: slice) -> Array:
        start, stop, _ = places.indices(len(self))
        if start >= stop:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._starts, (start, stop - 1), side="right") - 1
        self._known = {w: rows for w, rows in self._known.items() if first <= w <= last}
        parts = []
        for w in range(int(first), int(last) + 1):
            at = int(self._starts[w])
            parts.append(self._window(w)[max(0, start - at) : stop - at])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self[0 : len(self)], dtype)

    def _window(self, w: int) -> Array:
        if w not in self._known:
            starts = self.rows.starts
            rows = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in self.windows[w]])
            if self.key is not None:
                np.random.default_rng([*self.key, w + 1]).shuffle(rows)
            self._known[w] = rows
        return self._known[w]

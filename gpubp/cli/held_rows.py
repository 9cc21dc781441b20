"""The rows that a model was trained with, kept in its file, so that `gpubp evaluate` can judge it on other rows.

The file holds a digest of the prepared rows and no rows. So a table is recognised whatever its name or format is:

    (1)  values = BLAKE2b(X as float32, row after row) and BLAKE2b(t)
    (2)  places = BLAKE2b(one byte for each row: 1 if it was held out)

Rows without a target are in neither; (2) differs where such rows were removed from the table, because rows are held out
by their number in the table. A table of which rows were removed or moved is not recognised; a sample of the rows that
the model was trained with says how many of them are in it (see `row_samples`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Configurable, Count, CountOrZero
from ..datasets import Dataset
from ..tables import held_out
from .row_samples import DIGITS, RowSample, SampleFinder, row_hashes

Array = np.ndarray[Any, Any]
Parts = Iterator[tuple[Array, Array | None, Array, Array]]  # as `Preparation.parts` gives them
LOOKED_AT = 1000  # rows of X of arrays
MOVED = (
    "rows without a target were removed from this table after the training, or put into it; so it is not known which "
    "rows training held out, and all are evaluated"
)
AMONG = (
    "about {:.0f}% of the rows that the model was trained with are in this table, which differs otherwise from that of "
    "the training; a model looks better on such rows than on new ones"
)
LEAST = 0.05  # of the rows that a model was trained with; fewer in another table need no note
BLOCK = 1 << 22  # numbers that are made float32 at once


class RowDigest:
    """Digests of the rows that pass, in one pass and bounded memory but for one byte a row.

    first: how many rows are in the digests; None for all. held: (share, seed) of the rows that are held out, or None.
    rows: how many rows passed. held_rows: which of them are held out, (rows,) bool. sample: of the rows of a table that
    are not held out, or what finds a sample among all rows.

    >>> digest = RowDigest(held=(0.5, 0))
    >>> digest.add(np.eye(8), np.arange(8))
    >>> digest.rows, int(digest.held_rows.sum()) in range(1, 8)
    (8, True)
    """

    def __init__(
        self,
        first: int | None = None,
        held: tuple[float, int] | None = None,
        sample: RowSample | SampleFinder | None = None,
    ) -> None:
        self.first, self.held, self.rows = first, held, 0
        self.sample = RowSample() if sample is None else sample
        self._digests = [hashlib.blake2b(digest_size=16) for _ in range(3)]  # of X, t and the places
        self._parts: list[Array] = []
        self._read = 0

    def through(self, parts: Parts) -> Parts:
        """Yield the parts of a table, and add each."""
        for part in parts:
            X, t, _, kept = part
            assert t is not None
            self.add(X, t, kept)
            hashes = row_hashes(X, t)
            self.sample.add(hashes[~self._parts[-1]] if isinstance(self.sample, RowSample) else hashes)
            yield part

    def add(self, X: Array, t: Array, kept: Array | None = None) -> None:
        """Add the next rows X (n, ...), or the first of them, and their targets t (n, ...).

        kept (rows,) bool: which rows of the table these n are; None for all.
        """
        kept = np.ones(len(t), bool) if kept is None else kept
        held = (held_out(self._read, len(kept), *self.held) if self.held else np.zeros(len(kept), bool))[kept]
        count = len(t) if self.first is None else min(max(self.first - self.rows, 0), len(t))
        step = max(1, BLOCK // max(1, X[:1].size))
        for start in range(0, min(count, len(X)), step):
            self._digests[0].update(_bytes(X[start : min(start + step, count)], np.float32))
        self._digests[1].update(_bytes(t[:count], np.float64))
        self._digests[2].update(_bytes(held[:count], np.uint8))
        self._parts.append(held)
        self._read += len(kept)
        self.rows += len(t)

    @property
    def held_rows(self) -> Array:
        """Which of the rows are held out, (rows,) bool."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, bool)

    @property
    def values(self) -> str:
        """(1), as hexadecimal digits."""
        return self._digests[0].hexdigest() + self._digests[1].hexdigest()

    @property
    def places(self) -> str:
        """(2), as hexadecimal digits."""
        return self._digests[2].hexdigest()


def digest_of(dataset: Dataset, first: int | None = None, held: tuple[float, int] | None = None) -> RowDigest | None:
    """A digest of the rows of a data set; None where it has a test part.

    It has all of y, and of X the first thousand rows, because X may be larger than memory. first, held: as for
    `RowDigest`.
    """
    if dataset.X_test is not None:
        return None
    X, some = dataset.X, min(LOOKED_AT, len(dataset.y))
    digest = RowDigest(first, held)
    digest.add(X[:some] if isinstance(X, np.ndarray) else X.take(np.arange(some)), dataset.y)
    return digest


@dataclass(frozen=True, repr=False)
class TrainedRows(Configurable):
    """The rows that a model was made from, as its file describes them.

    rows: how many, those held out among them. held: how many of them training held out. share, seed: what says which;
    0 where none were. values, places: the digests (1) and (2). sample: of the rows of a table that were trained with.

    >>> digest = RowDigest()
    >>> digest.add(np.eye(3), np.arange(3))
    >>> TrainedRows.of(digest).rows
    3
    """

    rows: Count
    held: CountOrZero
    share: float
    seed: int
    values: str
    places: str
    sample: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.share, int | float) and 0 <= self.share < 1 and isinstance(self.seed, int)):
            raise ValueError(f"the rows held out have the share {self.share!r} and the seed {self.seed!r}")
        if self.held >= self.rows or bool(self.held) != bool(self.share):
            raise ValueError(f"{self.held!r} rows of {self.rows!r} are said to be held out")
        if not (isinstance(self.values, str) and isinstance(self.places, str)):
            raise ValueError("the digests of the rows are no texts")
        if not isinstance(self.sample, str) or not re.fullmatch(f"([0-9a-f]{{{DIGITS}}})*", self.sample):
            raise ValueError("the sample of the rows is no text of hexadecimal digits")

    @classmethod
    def of(cls, digest: RowDigest) -> TrainedRows:
        """The description of all rows that passed a digest."""
        share, seed = digest.held or (0.0, 0)
        sample = digest.sample.text if isinstance(digest.sample, RowSample) else ""
        return cls(digest.rows, int(digest.held_rows.sum()), share, seed, digest.values, digest.places, sample)

    def digest(self) -> RowDigest:
        """A digest of the rows of a table, to be compared with these."""
        return RowDigest(self.rows, (self.share, self.seed) if self.share else None, SampleFinder(self.sample))

    def are_first_of(self, digest: RowDigest) -> bool:
        """Whether the rows that passed a digest, which `digest` made, begin with these."""
        return digest.rows >= self.rows and digest.values == self.values


@dataclass(frozen=True)
class JudgedRows:
    """Which rows of a file are evaluated.

    kept: (n,) bool, or None for all. part: the word for JSON. trained: how many of the rows that are evaluated the
    model was trained with, None where that is not known. told: the rows in words. note: what must be said besides.
    """

    kept: Array | None
    part: str
    trained: int | None
    told: str
    note: str = ""


def judged_rows(
    trained: TrainedRows | None, digest: RowDigest | None, rows: int, everything: bool, validation: int = 0
) -> JudgedRows:
    """Which of the `rows` rows of a file are evaluated, so that a model is judged by rows it was not trained with.

    trained: what the model file says, None for one that says nothing; digest: of the rows of the file, made by
    `trained.digest()`. everything: all rows, as --all says. validation: how many rows of the training were validated
    with.

    >>> judged_rows(None, None, 50, everything=False).told
    '50 rows'
    """
    told = f"{rows:,} rows"
    if trained is None or digest is None:
        return JudgedRows(None, "all", None, told)
    if not trained.are_first_of(digest):
        share = digest.sample.share if isinstance(digest.sample, SampleFinder) else 0.0
        return JudgedRows(None, "all", None, told, AMONG.format(100 * share) if share >= LEAST else "")
    learnt, new = trained.rows - trained.held, rows - trained.rows
    those = f"{learnt:,} rows that it was trained with{_of_which(validation)}"
    known = not trained.held or digest.places == trained.places
    if everything or not known:
        held = f", {trained.held:,} that it held out" if trained.held else ""
        others = f"{held}{f', {new:,} that are new' if new else ''}"
        return JudgedRows(None, "all", learnt, f"{told}: {those}{others}", "" if known else MOVED)
    if not trained.held and not new:
        why = "these are the rows that it was trained with; rows that it does not know would say how good it is"
        return JudgedRows(None, "all", learnt, f"the {those}", why)
    kept = digest.held_rows | (np.arange(rows) >= trained.rows)
    others = f"the {new:,} rows that follow the {trained.rows:,} of the training"
    if not trained.held:
        return JudgedRows(kept, "new", 0, f"{others} (--all for all)")
    told = f"the {trained.held:,} rows that training held out of {trained.rows:,}"
    if new:
        return JudgedRows(kept, "held_out_and_new", 0, f"{told}, and {others} (--all for all)")
    return JudgedRows(kept, "held_out", 0, f"{told} (--all for all)")


def _of_which(validation: int) -> str:
    return f" ({validation:,} of them to validate with)" if validation else ""


def _bytes(array: Array, dtype: Any) -> memoryview[Any]:
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data

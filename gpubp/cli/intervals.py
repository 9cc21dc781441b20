"""Intervals around predicted numbers, from the errors on rows that training did not use (split conformal prediction).

    e_i = |y_i - ŷ_i|                       i = 1 .. n, of the test, validation or cross-validation rows
    (1)  k = ceil((n + 1) level)
    (2)  q = the k-th smallest e_i          there is none where k > n: too few rows for this level
    (3)  [ŷ - q, ŷ + q] holds a new y with a probability of at least `level`

(3) holds on average over new rows that come from where the n rows came from, whatever the network is, and not for each
kind of rows by itself. Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference
for regression", Journal of the American Statistical Association 113 (2018), Algorithm 2 and Theorem 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..config import Configurable, Count, from_config
from ..errors import DataError, ModelFileError
from ..model_file import described
from ..network.network import Network
from .train_job import Judging, TrainJob

Array = np.ndarray[Any, Any]
METADATA = "errors"  # where a network's metadata has them
LEVELS = (*range(1, 100), Fraction("99.5"), Fraction("99.9"), Fraction("99.99"))  # percent, kept of many errors
ALL = len(LEVELS)  # up to so many errors are kept as they are


@dataclass(frozen=True, repr=False)
class KeptErrors(Configurable):
    """Some of the sorted errors |y - ŷ| of n rows, for (2).

    rows: n. source: what rows they are, as "test rows". ranks: k of the errors that are kept, rising. sizes: for each
    output, the k-th smallest errors in the units of y.

    >>> KeptErrors.of(np.arange(1.0, 20.0), "test rows").width(0.9).tolist()
    [18.0]
    """

    rows: Count
    source: str
    ranks: tuple[int, ...]
    sizes: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        ranks, sizes = self.ranks, self.sizes
        if not isinstance(self.source, str) or not isinstance(ranks, tuple) or not isinstance(sizes, tuple):
            raise ValueError("errors have a source, ranks and sizes")
        if not ranks or list(ranks) != sorted(set(ranks)) or not 1 <= ranks[0] <= ranks[-1] <= self.rows:
            raise ValueError(f"the ranks of errors rise from 1 to {self.rows}, and got {ranks!r:.100}")
        for each in sizes:
            if len(each) != len(ranks) or list(each) != sorted(each) or not all(0 <= e < math.inf for e in each):
                raise ValueError(f"errors are {len(ranks)} numbers that rise from 0, and got {each!r:.100}")

    @classmethod
    def of(cls, errors: Array, source: str) -> KeptErrors:
        """Keep some of the errors (n,) or (n, outputs), which may have signs: all where they are few.

        Raises ValueError where one is not finite.
        """
        sizes = np.sort(np.abs(np.asarray(errors, np.float64).reshape(len(errors), -1)), axis=0)
        if not np.isfinite(sizes).all():
            raise ValueError("an error is not finite")
        n = len(sizes)
        ranks = set(range(1, n + 1)) if n <= ALL else {n} | {_rank(n, Fraction(level) / 100) for level in LEVELS}
        kept = sorted(k for k in ranks if k <= n)
        return cls(n, source, tuple(kept), tuple(tuple(column[[k - 1 for k in kept]].tolist()) for column in sizes.T))

    @classmethod
    def read(cls, network: Network, path: str) -> KeptErrors:
        """The errors in the model file `path` of `network`. Raises ModelFileError if it holds none."""
        told = network.metadata.get(METADATA)
        if told is None:
            raise ModelFileError(
                f"--interval needs errors on rows that training did not use, and {path} holds none: train again with "
                "--test-fraction 0.2, --test TABLE or --validation-fraction 0.1"
            )
        with described(path, "the errors of its predictions"):
            made = from_config(told, [cls])
            if not isinstance(made, cls) or len(made.sizes) != math.prod(network.output_shape):
                raise ValueError(f"they are {told!r:.100}")
        return made

    def width(self, level: float) -> Array:
        """q of each output, (outputs,), by (2). Raises DataError where there are too few rows for the level.

        Of many rows some ranks are kept; then the next larger is taken.
        """
        share = Fraction(str(level))
        k = _rank(self.rows, share)
        if k > self.rows:
            needed = math.ceil(share / (1 - share))
            most = math.floor(100 * Fraction(self.rows, self.rows + 1)) / 100
            raise DataError(
                f"--interval {level} needs the errors of at least {needed:,} rows that training did not use, and "
                f"there are {self.rows:,} {self.source}: give --interval {most:g} or less, or train with a larger "
                "--test-fraction"
            )
        at = int(np.searchsorted(self.ranks, k))
        return np.array([each[at] for each in self.sizes])


def keep_errors(job: TrainJob, rows: Judging) -> bool:
    """Put errors on rows that training did not use into the network's metadata; whether there are any.

    rows: those that the network is judged by. The networks of a cross-validation had other rows to learn from than the
    one that is saved. There are none for classes and labels, without such rows, and where an error is not finite.
    """
    network, task = job.trainer.network, job.task
    network.metadata.pop(METADATA, None)
    if task.kind != "numbers" or len(network.output_shape) != 1:
        return False
    if rows.which == "training":
        return False
    truth = task.answers(np.asarray(rows.y, np.float64).reshape(len(rows.y), -1)).prediction
    errors = task.answers(rows.z).prediction - truth
    if not np.isfinite(errors).all():
        return False
    network.metadata[METADATA] = KeptErrors.of(errors, f"{rows.which} rows").config()
    return True


def _rank(rows: int, share: Fraction) -> int:
    return math.ceil((rows + 1) * share)  # (1)

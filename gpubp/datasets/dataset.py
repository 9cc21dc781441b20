"""Dataset: rows to learn from, and rows to be tested on."""

from __future__ import annotations

from dataclasses import dataclass

from .files import Array


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows to learn from and, where there are any, rows to be tested on.

    `X` is `(rows, ...)`; `y` is `(rows,)`, class numbers from 0 or numbers to predict, or `(rows, outputs)`.
    `X_test` and `y_test` are alike, or both None. `names[k]` is the name of class k, or `names` is None.

    >>> import numpy as np
    >>> Dataset("two points", X=np.zeros((2, 3)), y=np.array([0, 1]))
    Dataset('two points', X (2, 3) float64, y (2,) int64, no test rows)
    """

    name: str
    X: Array
    y: Array
    X_test: Array | None = None
    y_test: Array | None = None
    names: tuple[str, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row, as `Network(input_shape=...)` takes it."""
        return self.X.shape[1:]

    def __repr__(self) -> str:
        test = "no test rows" if self.X_test is None else f"{len(self.X_test)} test rows"
        parts = f"X {self.X.shape} {self.X.dtype}, y {self.y.shape} {self.y.dtype}, {test}"
        return f"Dataset({self.name!r}, {parts})"

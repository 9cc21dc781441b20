"""Feed: checked rows with their targets and weights, for training or evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import Array
from ..errors import DataError
from ..layers.bound import BoundLayers
from ..losses import Loss
from .checks import as_inputs, as_targets, epoch_order, row_weights, split
from .reader import Reader, opened
from .row_groups import RowGroups


@dataclass(frozen=True)
class Feed:
    """Rows with their targets and weights. Targets and weights are in memory, rows may lie on disk (`RowGroups`).

    X: (n, *input_shape). t: targets as the loss works with them, (n, ...). weights: (n,) or None where all are 1.

    >>> import numpy as np
    >>> feed = Feed(np.eye(3), np.arange(3))
    >>> training, held = feed.split(0.3, seed=0)
    >>> len(training), len(held)
    (2, 1)
    """

    X: Array
    t: Array
    weights: Any = None

    @classmethod
    def of(
        cls, network: BoundLayers, loss: Loss, X: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> Feed:
        """Check what was given; raises DataError if it does not fit the network, the loss, or each other."""
        X = as_inputs(X, network.input_shape, network.backend, network.dtype, check=network.input_check)
        t = as_targets(y, loss, network.output_shape, len(X), network.dtype)
        return cls(X, t, row_weights(len(X), sample_weight, class_weight, t))

    @classmethod
    def to_validate(cls, network: BoundLayers, loss: Loss, data: tuple[Any, ...] | None) -> Feed | None:
        """The feed of (X, y) or (X, y, sample_weight); None for None."""
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError("validation_data is (X, y) or (X, y, sample_weight)")
        try:
            return cls.of(network, loss, *data)
        except DataError as problem:
            raise DataError(f"in validation_data, {problem}") from None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def arrays(self) -> tuple[Array, Array, Any]:
        """(X, t, weights)"""
        return self.X, self.t, self.weights

    def split(self, fraction: float, seed: int) -> tuple[Feed, Feed]:
        """(to train on, to validate with): a random `fraction` of the rows for the second."""
        if isinstance(self.X, RowGroups):
            X, held_X, held = self.X.split(fraction, seed)
            return self._part(X, ~held), self._part(held_X, held)
        training, validation = split(len(self), fraction, seed)
        return self._part(self.X[training], training), self._part(self.X[validation], validation)

    def _part(self, X: Array, rows: Array) -> Feed:
        return Feed(X, self.t[rows], None if self.weights is None else self.weights[rows])

    @contextmanager
    def opened(self) -> Iterator[Feed]:
        """The feed to load batches from: inside, a thread reads rows on disk ahead of the steps."""
        with opened(self.X) as X:
            yield replace(self, X=X)

    def order(self, shuffle: bool | Callable[[int, int], Any], seed: int, epoch: int) -> Array:
        """The row numbers of an epoch, in order."""
        if callable(shuffle):
            return _rows_given(shuffle(epoch, len(self)), len(self))
        if isinstance(self.X, RowGroups):  # which a device keeps, and so is not read
            return self.X.order(seed, epoch, shuffle)
        if isinstance(self.X, Reader):
            order, then = (self.X.source.order(seed, e, shuffle) for e in (epoch, epoch + 1))
            self.X.follow(order, then)
            return order
        return epoch_order(len(self), seed, epoch, shuffle)

    def load(self, step: Any, rows: Array) -> None:
        """Load the batch of these rows into `step`."""
        step.load(self.X, self.t, rows, None if self.weights is None else self.weights[rows])


def _rows_given(given: Any, rows: int) -> np.ndarray[Any, Any]:
    order: np.ndarray[Any, Any] = np.asarray(given)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise DataError(f"shuffle gives the row numbers of an epoch, whole numbers in one axis, and gave {order!r}")
    if not (order.min() >= 0 and order.max() < rows):
        raise DataError(f"shuffle gave the row {order.max() if order.max() >= rows else order.min()} of {rows} rows")
    return order

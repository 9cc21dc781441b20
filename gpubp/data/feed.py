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
from ..layers.words import WordError
from ..losses import Loss
from .checks import as_inputs, as_targets, epoch_order, split
from .class_weights import check_class_weight, weights_by_class
from .reader import Reader, opened
from .row_groups import MEMORY, RowGroups, SomeRows
from .sequences import Sequences, batches_of
from .sparse import SparseRows
from .weights import as_weights, total


@dataclass(frozen=True)
class Feed:
    """Rows with their targets and weights. Targets and weights are in memory, rows may lie on disk (`RowGroups`).

    X: (n, *input_shape). t: targets as the loss works with them, (n, ...). weights: (n,), or (n, ...)
    for positions, all axes of the outputs but the last, as Sequences where X is; None where all are 1.
    numbers: which rows of those given they are, as numbers or a mask; None for all of them.

    >>> import numpy as np
    >>> feed = Feed(np.eye(3), np.arange(3))
    >>> training, held = feed.split(0.3, seed=0)
    >>> len(training), len(held)
    (2, 1)
    """

    X: Array
    t: Array
    weights: Any = None
    numbers: Any = None

    @classmethod
    def of(cls, network: BoundLayers, loss: Loss, X: Any, y: Any, sample_weight: Any = None) -> Feed:
        """Check what was given; raises DataError if it does not fit the network, the loss, or each other.

        Raises ShapeError for more time steps than a layer takes.
        """
        X = as_inputs(X, network.input_shape, network.backend, network.dtype, check=network.input_check)
        if isinstance(X, Sequences):
            network.of_steps(X.steps)  # layers may have a limit, which is an error before any step
        t = as_targets(y, loss, network.output_shape, X, network.dtype)
        return cls(X, t, as_weights(sample_weight, X, network.output_shape))

    @classmethod
    def to_validate(cls, network: BoundLayers, loss: Loss, data: tuple[Any, ...] | None) -> Feed | None:
        """The feed of (X, y) or (X, y, sample_weight); None for None."""
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError("validation_data is (X, y) or (X, y, sample_weight)")
        try:
            return cls.of(network, loss, *data)
        except WordError as problem:
            raise problem.but(where="in validation_data, ") from None
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
        return self._part(self._rows(training), training), self._part(self._rows(validation), validation)

    def _rows(self, rows: Array) -> Array:
        """Some rows; sparse ones stay sparse, and those of a large memory map on disk."""
        if isinstance(self.X, SparseRows):
            return self.X.part(rows)
        if isinstance(self.X, np.memmap) and self.X.nbytes > MEMORY:
            return SomeRows(self.X, rows)
        return self.X[rows]

    def to_fit(
        self, validation: Feed | None, fraction: float, class_weight: Any, seed: int
    ) -> tuple[Feed, Feed | None]:
        """(to train on, to validate with), what `Trainer.fit` needs: a random `fraction` is held out, if it is not 0.

        class_weight: class -> weight, or "balanced", which is counted over the rows to train on. It weighs those alone,
        so that rows give the same numbers as validation_data and as a fraction held out.

        >>> feed = Feed(np.eye(4), np.array([0, 0, 1, 1], np.int32))
        >>> training, held = feed.to_fit(None, 0.25, {1: 3.0}, seed=0)
        >>> sorted(training.weights.tolist()), held.weights
        ([1.0, 3.0, 3.0], None)
        """
        known = np.zeros(0)
        if class_weight is not None:
            classes = _class_of_each(self.t)
            known = np.unique(classes[classes >= 0])  # a loss may leave out rows, as the class -1
            check_class_weight(class_weight, known)
        feed = self
        if fraction:
            if validation is not None:
                raise DataError("give validation_data or validation_fraction, not both")
            feed, validation = self.split(fraction, seed)
        if class_weight is None:
            return feed, validation
        classes = _class_of_each(feed.t)
        index = np.where(classes < 0, -1, np.searchsorted(known, classes))
        return replace(feed, weights=weights_by_class(class_weight, known, index, feed.weights)), validation

    def number(self, row: int) -> int:
        """The number of a row among those given, of which some may have been held out.

        >>> _, held = Feed(np.eye(3), np.arange(3)).split(0.3, seed=0)
        >>> held.number(0), held.t.tolist()
        (1, [1])
        """
        if self.numbers is None:
            return row
        numbers = np.flatnonzero(self.numbers) if self.numbers.dtype == bool else self.numbers
        return int(numbers[row])

    def _part(self, X: Array, rows: Array) -> Feed:
        weights = None if self.weights is None else self.weights[rows]
        if weights is not None and not total(weights) > 0:
            raise DataError(
                "sample_weight is 0 in all rows that validation_fraction holds out, or in all others; leave out rows "
                "of weight 0"
            )
        return Feed(X, self.t[rows], weights, rows)

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

    def batches(
        self, shuffle: bool | Callable[[int, int], Any], seed: int, epoch: int, rows: int
    ) -> tuple[Array, list[int] | None]:
        """(the row numbers of an epoch, `rows` for each batch; T of each batch, or None where rows have no lengths).

        Where rows have lengths, -1 stands for what a batch lacks, see `batches_of`; else the last batch may be shorter.
        """
        order = self.order(shuffle, seed, epoch)
        if not isinstance(self.X, Sequences):
            return order, None
        return batches_of(order, self.X.buckets, rows)

    @property
    def steps(self) -> int | None:
        """T of a batch that has room for every row; None where rows have no lengths."""
        return self.X.steps if isinstance(self.X, Sequences) else None

    @property
    def usual_steps(self) -> int | None:
        """T of the batches that training mostly does; None where rows have no lengths."""
        return self.X.usual_steps if isinstance(self.X, Sequences) else None

    def load(self, step: Any, rows: Array) -> None:
        """Load the batch of these rows into `step`."""
        step.load(self.X, self.t, rows, None if self.weights is None else self.weights[rows])


def _class_of_each(t: Array) -> np.ndarray[Any, Any]:
    """The class of each row (n,): its index, or 0 and 1 as a single output has them; DataError for other targets."""
    if isinstance(t, Sequences):
        raise DataError(
            "class_weight needs one class index a row in y, and here every time step has a target; give the loss class "
            "weights, as in SoftmaxCrossEntropy(class_weight=[...])"
        )
    if t.size != len(t) or not (t.dtype == np.int32 or np.isin(t, (0, 1)).all()):
        raise DataError(
            "class_weight needs one class index a row in y, or 0 and 1 for a single output; weigh other targets by "
            "sample_weight"
        )
    classes: np.ndarray[Any, Any] = t.reshape(-1).astype(np.int32)
    return classes


def _rows_given(given: Any, rows: int) -> np.ndarray[Any, Any]:
    order: np.ndarray[Any, Any] = np.asarray(given)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise DataError(f"shuffle gives the row numbers of an epoch, whole numbers in one axis, and gave {order!r}")
    if not (order.min() >= 0 and order.max() < rows):
        raise DataError(f"shuffle gave the row {order.max() if order.max() >= rows else order.min()} of {rows} rows")
    return order

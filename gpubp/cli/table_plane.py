"""TablePlane: the model of a table of two columns of numbers, as a function of their values, for `--boundary`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..network.network import Network
from ..tables import Notes, NumberColumn, Preparation
from ..tables.formats import NumberFormat
from .task import Task

Array = np.ndarray[Any, Any]


class TablePlane:
    """What a network says of rows (n, 2) in the units of its table; to be drawn as a fitted estimator is.

    network, task: of a table for which `columns_of` finds two columns. names: of the columns. classes_: what the target
    can be; None for numbers.

    >>> import gpubp as bp
    >>> from gpubp.losses import MeanSquaredError
    >>> from gpubp.tables import TableTarget
    >>> table = Preparation((NumberColumn("a", 0.0, 1.0), NumberColumn("b", 5.0, 2.0)), TableTarget("price", "numbers"))
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Constant(1.0)), 2, device="cpu")
    >>> plane = TablePlane(net, Task(MeanSquaredError(), 1, table=table))
    >>> plane.predict(np.array([[3.0, 7.0]])).tolist()
    [4.0]
    """

    n_features_in_ = 2

    def __init__(self, network: Network, task: Task) -> None:
        assert task.table is not None
        self._network, self._task, self._table = network, task, task.table
        self._columns = columns_of(task.table)
        self.names = [column.name for column in self._columns]
        self.classes_ = None if task.known is None else np.asarray(task.known)

    def rows(self, X: Array, t: Array) -> tuple[Array, Array]:
        """(values (n, 2), what the target is there) of prepared rows X and targets t; without rows with a gap."""
        values, kept = np.zeros((len(X), 2)), np.ones(len(X), bool)
        for k, column in enumerate(self._columns):
            place = dict((c.name, p) for c, p in self._table.places)[column.name]
            values[:, k] = column.original(X[:, place.start])
            if column.missing:
                kept &= X[:, place.stop - 1] == 0
        y = self._table.target.answers(t[:, None]) if self.classes_ is None else self.classes_[t.astype(np.int64)]
        return values[kept], y[kept]

    def predict(self, values: Array) -> Array:
        """Numbers, or classes, (n,)."""
        return np.asarray(self._task.answers(self._outputs(values)).prediction)

    def predict_proba(self, values: Array) -> Array:
        """The probability of each class, (n, classes)."""
        return np.asarray(self._task.answers(self._outputs(values)).probability)

    def _outputs(self, values: Array) -> Array:
        import pyarrow

        X = np.zeros((len(values), self._table.width), np.float32)
        for column, place in self._table.places:
            k = self.names.index(column.name)
            number = replace(self._columns[k], written=NumberFormat())  # values are numbers, however a file writes them
            number.fill(X[:, place], pyarrow.array(values[:, k]), 0, Notes())
        return np.asarray(self._network.predict(X))


def columns_of(table: Preparation) -> list[NumberColumn]:
    """The two columns of numbers that a table consists of, in its order; none for another table.

    >>> from gpubp.tables import TableTarget, YesNoColumn
    >>> target = TableTarget("price", "numbers")
    >>> columns_of(Preparation((NumberColumn("a", 0.0, 1.0), YesNoColumn("b", 0.5, 0.5)), target))
    []
    """
    found = [column for column in table.columns if type(column) is NumberColumn]
    return found if len(found) == len(table.columns) == 2 else []

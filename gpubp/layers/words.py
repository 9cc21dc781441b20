"""Checks of embedding indices: WordError, and WordCount for numbers that layers compute below an Embedding.

Numbers that come from X are checked on the host before any step. Computed numbers are checked within the step, where
nothing is read to the host. With x the numbers, V the size of the vocabulary and w the row weights:

    (1) good = [0 ≤ x < V and x whole]      (2) word = x good      (3) count = Σ (1 - good) [w > 0]
    (4) total ← total + count; the first step with a count keeps its number, the place of its first wrong x, and that x

So a wrong number is read as word 0, and its dy is multiplied by good, which is 0. The host reads `total` when it reads
the loss. Rows of weight 0 don't count: padding repeats a real row. The check computes in float64, so that whole numbers
stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..errors import DataError
from ..formula import equal, row_max, row_sum
from .base import Workspace

Value = Any  # a number, an array, or a symbol of a formula


class WordError(DataError):
    """Numbers that are no words of an Embedding.

    layer: the Embedding, with `vocabulary`. value: the first wrong number. row: where it is. name: of the array that
    holds it; None if layers have computed it. path: of the layer. then: what else is to be said. where: what comes
    first, as "in the validation data, ". step: of training in which layers computed it; 0 outside training.

    >>> import gpubp as bp
    >>> print(WordError(bp.Embedding(10, 3), 15.0, 4))
    X holds 15, and Embedding(10, 3) knows the whole numbers from 0 to 9; it stands in row 4
    """

    def __init__(
        self,
        layer: Any,
        value: float,
        row: int,
        name: str | None = "X",
        path: str = "",
        then: str = "",
        where: str = "",
        step: int = 0,
    ) -> None:
        self.layer, self.value, self.row, self.name = layer, value, row, name
        self.path, self.then, self.where, self.step = path, then, where, step
        whole = math.isfinite(value) and value == math.floor(value)
        shown = str(int(value)) if whole else f"{value:.7g}"
        of, last = f'{layer!r} at "{path}"' if path else repr(layer), layer.vocabulary - 1
        if name is None:
            text = f"{of} got {shown} from the layers below it, in row {row}{then}. It knows the whole numbers"
            text = f"{text} from 0 to {last}"
        elif whole or not 0 <= value <= last:
            text = f"{name} holds {shown}, and {of} knows the whole numbers from 0 to {last}; it stands in row {row}"
        else:
            text = f"{name} holds fractions, and {of} needs whole numbers from 0 to {last}, one for each word; "
            text = f"{text}{shown} stands in row {row}"
        super().__init__(where + text)

    def but(self, **changes: Any) -> WordError:
        """The same error with something else in it, such as another row.

        >>> import gpubp as bp
        >>> print(WordError(bp.Embedding(10, 3), 15.0, 4).but(row=7, where="in the validation data, "))
        in the validation data, X holds 15, and Embedding(10, 3) knows the whole numbers from 0 to 9; it stands in row 7
        """
        given = {name: value for name, value in vars(self).items() if name != "__notes__"}
        return WordError(**given | changes)

    def numbered(self, training: Array, held: Array) -> WordError:
        """The same error where rows of X were split before fit: with their numbers in X, to train on and held out."""
        rows, then = held if self.where else training, self.then
        return self.but(row=int(rows[self.row]), then=then.replace("of the training data", "of X"))

    def of_epoch(self, order: Array, batch: int, before: int, number: Callable[[int], int] | None = None) -> WordError:
        """The same error with the row of the data, where `order` holds the rows of an epoch, `batch` in each step, that
        began after `before` steps; errors of no training step as they are. number: from a row's number in the training
        data to that in X, if some rows of X are held out."""
        place = (self.step - 1 - before) * batch + self.row
        if not self.step or not 0 <= place < len(order):
            return self
        row = int(order[place : place + 1][0])  # an order that is computed takes slices alone
        data = "the training data" if number is None else "X"
        then = f" of {data} (row {self.row}{self.then})"
        return self.but(row=row if number is None else number(row), then=then)


class Found(NamedTuple):
    """The first wrong number that was counted: in which step, in which row of the batch, and by which layer.

    >>> min(Found(3, 1, 15.0, "0", None), Found(2, 7, -1.0, "0", None)).row
    7
    """

    step: int
    row: int
    value: float
    path: str
    layer: Any

    def error(self, row: int, then: str, step: int = 0) -> WordError:
        """The error that says so. step: of training, in which it was."""
        return WordError(self.layer, self.value, row, None, self.path, then, step=step)


class WordCount:
    """The check of one Embedding's input in a workspace: (1) to (4).

    ws: the Embedding's workspace. shape: of x, batch first. If it has k rows for each row of the batch, as where
    another axis is folded into the batch, then k rows after each other have one weight. If it has no whole number of
    them, all rows count, and errors name the row of x.

    >>> import gpubp as bp
    >>> layers = bp.Sequential(bp.Dense(1, weight_initializer=bp.Constant(1.0)), bp.Embedding(4, 2))
    >>> net = bp.Network(layers, input_shape=1, device="cpu")
    >>> ws = net.workspace(rows=2)
    >>> y = net.layers.forward(ws, net.backend.to_device([[2.0], [9.0]], "float32"))
    >>> first_found([ws.children[1].word_count]).value
    9.0
    """

    def __init__(self, ws: Workspace, layer: Any, shape: Sequence[int]) -> None:
        be, dtype, n = ws.be, np.float64, math.prod(shape)
        self.be, self.layer, self.path, self.shape = be, layer, ws.path, tuple(shape)
        fits = ws.context.rows > 0 and shape[0] % ws.context.rows == 0
        self._rows = ws.context.rows if fits else shape[0]
        self._x, self._back, self._bad = (be.zeros((self._rows, n // max(self._rows, 1)), dtype) for _ in range(3))
        self._good, self._mask = (be.to_device(np.ones(self._x.shape), kind) for kind in (dtype, ws.dtype))
        self._weights = be.to_device(np.ones((self._rows, 1)), dtype)
        self._weighted = fits
        self._keys = be.to_device(np.arange(n, 0, -1), dtype).reshape(1, n)  # the first place has the largest
        self._count, self._key, self._total, self._place, self._value = (be.zeros((1, 1), dtype) for _ in range(5))
        self._fresh = be.zeros((1, 1), np.bool_)
        self._index, self._first_place = (be.zeros((1,), np.int64) for _ in range(2))
        self._first_value, self._first_step = be.zeros((1, 1), dtype), be.zeros((1,), np.uint64)
        self._dy: Array = None

    def words(self, ws: Workspace, x: Array) -> None:
        """(1) to (4): write the words of x into ws.rows; part of the step."""
        be, xp, n = self.be, ws.xp, self._keys.size
        size, places = (be.constant(float(k), np.float64) for k in (self.layer.vocabulary, n))
        rows = ws.rows.reshape(self._x.shape)
        if self._weighted:
            xp.copyto(self._weights, ws.context.weights.reshape(-1, 1))
        xp.copyto(self._x.reshape(self.shape), x)
        xp.copyto(rows, self._x, casting="unsafe")
        xp.copyto(self._back, rows, casting="unsafe")
        outs = (self._good, self._bad, self._back)
        be.apply(_checked, self._x, self._back, self._weights, size, out=outs)  # (1), (2), terms of (3)
        xp.copyto(self._mask, self._good, casting="same_kind")
        xp.copyto(rows, self._back, casting="unsafe")
        be.apply(_counted, self._bad.reshape(1, n), self._keys, out=(self._count, self._key))  # (3)
        outs = (self._place, self._fresh, self._total)
        be.apply(_summed, self._count, self._key, self._total, places, out=outs)  # (4)
        xp.copyto(self._index, self._place.reshape(1), casting="unsafe")
        be.gather(self._x.reshape(-1, 1), self._index, out=self._value)
        if first := ws.context.first * n // self._rows:  # where this part of the batch begins
            xp.add(self._index, be.constant(float(first), np.int64), out=self._index)
        xp.copyto(self._first_place, self._index, where=self._fresh.reshape(1))
        xp.copyto(self._first_value, self._value, where=self._fresh)
        xp.copyto(self._first_step, ws.context.step, where=self._fresh.reshape(1))

    def masked(self, ws: Workspace, dy: Array) -> Array:
        """dy (n, dim), 0 where x was no word; part of the step."""
        if self._dy is None:
            self._dy = self.be.zeros(dy.shape, ws.dtype)
        return ws.xp.multiply(dy, self._mask.reshape(-1, 1), out=self._dy)

    def take(self) -> Found | None:
        """What was found since the last call, or None; waits for the device."""
        be = self.be
        if not float(be.to_host(self._total)[0, 0]):
            return None
        place, step = int(be.to_host(self._first_place)[0]), int(be.to_host(self._first_step)[0])
        row = place * self._rows // math.prod(self.shape)
        be.put(self._total, 0.0)
        return Found(step, row, float(be.to_host(self._first_value)[0, 0]), self.path, self.layer)


@contextmanager
def rows_named(
    order: Array, batch: int, before: Callable[[], int], number: Callable[[int], int] | None = None
) -> Iterator[None]:
    """Inside, errors of words say the row of the data as well: see `WordError.of_epoch`. before: called when one comes.

    >>> import numpy as np
    >>> with rows_named(np.arange(4), 2, lambda: 0):
    ...     pass
    """
    try:
        yield
    except WordError as problem:
        raise problem.of_epoch(order, batch, before(), number) from None


def word_counts(ws: Workspace) -> list[WordCount]:
    """The counts of all Embeddings in a workspace whose numbers are computed; none in most networks.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Embedding(4, 2), 1, device="cpu")
    >>> word_counts(net.workspace(rows=2))
    []
    """
    return [inner.word_count for inner in ws.walk() if inner.word_count is not None]


def first_found(counts: Sequence[WordCount]) -> Found | None:
    """The first wrong number of all counts, or None; they count from 0 again.

    >>> first_found([]) is None
    True
    """
    found = [one for one in [count.take() for count in counts] if one is not None]
    return min(found, key=lambda one: one[:2]) if found else None


def _checked(x: Value, back: Value, weight: Value, vocabulary: Value) -> tuple[Value, Value, Value]:
    good = equal(back, x) * 1.0 * (x >= 0.0) * (x < vocabulary)  # (1)
    return good, (1.0 - good) * (weight > 0.0), back * good


def _counted(bad: Value, keys: Value) -> tuple[Value, Value]:
    return row_sum(bad), row_max(bad * keys)


def _summed(count: Value, key: Value, total: Value, places: Value) -> tuple[Value, Value, Value]:
    return (places - key) * (count > 0.0), count * (total < 1.0) > 0.0, total + count

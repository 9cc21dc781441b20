"""Batch: inputs, targets and row weights of one step, always in the same arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Backend
from ..backends.order import exact_sum
from ..layers.bound import BoundLayers, Row

AHEAD = 256  # steps, at most, whose rows and scalars are sent to the device together
ROWS_AHEAD = 2**20
ALIGNED = 16  # numbers, at which the vectors of `weighing` begin


class TargetShape(NamedTuple):
    """Shape and type of one row's target, and the shape of its weights, if each of its positions has one.

    >>> import numpy as np
    >>> TargetShape.of(np.zeros((5, 3), "float32"))
    TargetShape(row=(3,), dtype='float32', positions=None)
    """

    row: Row
    dtype: str
    positions: Row | None = None

    @classmethod
    def of(cls, t: Array, weights: Any = None) -> TargetShape:
        """Those of one row of `t`, the targets of all rows, and of their weights, if there are any."""
        each = None if weights is None or weights.ndim == 1 else tuple(weights.shape[1:])
        return cls(tuple(t.shape[1:]), str(t.dtype), each)

    def of_steps(self, steps: int | None) -> TargetShape:
        """With so many time steps, where each step of a row has a target.

        >>> TargetShape((None, 3), "float32").of_steps(8).row
        (8, 3)
        """
        row, each = ((steps, *of[1:]) if of and of[0] is None else of for of in (self.row, self.positions))
        return TargetShape(row or (), self.dtype, each)


class Part(NamedTuple):
    """A part of a batch: its rows x, t, their weights w, and the first row's number.

    share: w / Σw, Σw over the batch. piece_share: Σw over the piece of the batch that is computed at a time. lengths:
    of the rows, in time steps; None where rows have no lengths. of_positions: the weights of their positions; None
    where rows alone have weights.

    >>> Part(None, None, None, None, None, 4).first
    4
    """

    x: Array
    t: Array
    weights: Array
    share: Array
    piece_share: Array
    first: int
    lengths: Array = None
    of_positions: Array = None


class EpochWeight:
    """Σ w of all batches since `Pass.reset_totals`; batches of several numbers of time steps share it."""

    def __init__(self) -> None:
        self.total = 0.0


class Batch:
    """The arrays from which a step takes its rows.

    network: whose inputs they are. rows: how many. target: shape and type of one row's target. pieces: in how many
    pieces of equally many rows they are computed, one after the other; a divisor of `rows`. epoch: where `total_weight`
    is added up, None for a place of its own. place: (p, P) where P processes share the rows and this is number p: of
    each piece, it has the p-th of P parts of equally many rows.

    n: rows of this process. x: (n, *input_shape). t: (n, *target.row). weights: (n,) w. share: (n,) w / Σw, Σw over the
    rows of all processes. piece_share: (n,) w / Σw of each piece by itself. counted: how many rows of each piece have a
    weight above 0; counts: (pieces,) the same on the device, None for one piece. weighing: all of these as one vector,
    so that one copy brings them. weight: Σ w of the batch in place.
    total_weight: of all batches since `Pass.reset_totals`. lengths: (n,) in time steps, None where rows have no
    lengths. of_positions: (n, ...) the weights of positions, where `target` has some; then w is 1, and 0 for rows
    without any. upcoming: where the step itself takes its rows from, None if `load` brings them.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(3), input_shape=2, device="cpu")
    >>> batch = Batch(net, 4, TargetShape((), "int32"))
    >>> batch.load(np.ones((9, 2)), np.arange(9, dtype=np.int32), np.array([8, 5, 3]))
    >>> batch.t.tolist(), batch.weights.tolist()                    # short batches are padded by rows of weight 0
    ([8, 5, 3, 8], [1.0, 1.0, 1.0, 0.0])
    """

    def __init__(
        self,
        network: BoundLayers,
        rows: int,
        target: TargetShape,
        pieces: int = 1,
        epoch: EpochWeight | None = None,
        place: tuple[int, int] = (0, 1),
    ) -> None:
        be, dtype = network.backend, network.dtype
        self.be, self.rows, self.pieces, self.target, self._place = be, rows, pieces, target, place
        own = rows // place[1]
        self.x = be.zeros((own, *network.input_shape), dtype)
        self.t = be.zeros((own, *target.row), target.dtype)
        sizes = [own, own] if pieces == 1 else [own, own, own, pieces]
        starts = np.cumsum([0, *(-(-size // ALIGNED) * ALIGNED for size in sizes)])
        self._parts = [slice(start, start + size) for start, size in zip(starts[:-1], sizes, strict=True)]
        self._weighing = np.zeros(starts[-1], dtype)  # of a full batch whose rows weigh 1
        self._weighing[...] = self.weighed(np.ones((1, rows)))[0][0]
        self.weighing = be.to_device(self._weighing.copy(), dtype)
        self.weights, self.share, *others = (self.weighing[part] for part in self._parts)
        self.piece_share: Array = others[0] if others else self.share
        self.counts: Array = others[1] if others else None
        self.weight, self.counted = float(rows), [rows // pieces] * pieces
        self.epoch = epoch or EpochWeight()
        self.lengths: Array = None
        if network.has_lengths:
            self.lengths = be.to_device(np.full(own, network.input_shape[0]), dtype)
        self.of_positions: Array = None
        if target.positions is not None:
            self.of_positions = be.to_device(np.ones((own, *target.positions)), dtype)
        self._even = True
        self.upcoming: Upcoming | None = None

    @property
    def total_weight(self) -> float:
        """Σ w of all batches since `Pass.reset_totals`."""
        return self.epoch.total

    @total_weight.setter
    def total_weight(self, weight: float) -> None:
        self.epoch.total = weight

    def part(self, k: int, parts: int, piece: int = 0) -> Part:
        """The rows of part k in one piece, of all parts of all processes; `parts` divides the rows of a piece."""
        rows, (p, P) = self.rows // self.pieces // parts, self._place
        first = (piece * parts + k) * rows
        start = (piece * (parts // P) + k - p * (parts // P)) * rows  # within those of this process
        mine = slice(start, start + rows)
        x, t, weights, share, own = (a[mine] for a in (self.x, self.t, self.weights, self.share, self.piece_share))
        lengths, of_positions = (None if a is None else a[mine] for a in (self.lengths, self.of_positions))
        return Part(x, t, weights, share, own, first, lengths, of_positions)

    def mine(self, a: Any) -> Any:
        """What this process has of an array with an entry for each row of the batch."""
        p, P = self._place
        if P == 1:
            return a
        return a.reshape(self.pieces, P, -1, *a.shape[1:])[:, p].reshape(-1, *a.shape[1:])

    def read_from(self, X: Array, T: Array, numbers: Array) -> None:
        """Let each step take its rows from these arrays on the device, and its bytes of `numbers`: see `Upcoming`."""
        self.upcoming = Upcoming(self.be, (X, T), (self.x, self.t), numbers)

    def gather(self) -> None:
        """Take the rows that `load` named, where `read_from` was called; part of the step."""
        if self.upcoming is not None:
            self.upcoming.take()

    def restore_progress(self, weight: float, total_weight: float) -> None:
        """Go on in an epoch where these were the weights of the last batch and of all batches."""
        self.weight, self.total_weight = weight, total_weight
        self._even = False  # the next batch puts its weights in place

    def weigh_evenly(self) -> None:
        """Every row weighs 1."""
        if not self._even:
            self.be.put(self.weighing, self._weighing)
            self.weight, self._even = float(self.rows), True
            self.counted = [self.rows // self.pieces] * self.pieces

    def _sum(self, w: np.ndarray[Any, Any], axis: int | None = None) -> Any:
        return exact_sum(w, axis) if self.be.numerics == "exact" else w.sum(axis=axis)

    def count(self, w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How many rows of each piece have a weight above 0, (steps, pieces). w: (steps, rows) of coming batches."""
        counts: np.ndarray[Any, Any] = np.count_nonzero(
            w.reshape(len(w), self.pieces, self.rows // self.pieces), axis=2
        )
        return counts

    def weighed(self, w: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(what belongs in `weighing`, (steps, n); Σ w, (steps,)) of coming batches. w: of their rows, (steps, B)."""
        made = np.zeros((len(w), len(self._weighing)), self._weighing.dtype)
        pieces = w.reshape(len(w), self.pieces, -1)
        whole, each = self._sum(w, 1), self._sum(pieces, 2) if self.pieces > 1 else None
        given = [w, w / np.where(whole, whole, 1.0)[:, None]]
        if each is not None:
            given += [(pieces / np.where(each, each, 1.0)[:, :, None]).reshape(w.shape), self.count(w)]
        for k, (part, values) in enumerate(zip(self._parts, given, strict=True)):
            made[:, part] = values if k == 3 or self._place[1] == 1 else self.mine(values.T).T
        return made, whole

    def go_on(self, weights: np.ndarray[Any, Any], even: bool) -> None:
        """Note Σ w of batches that the step has taken by itself. even: whether every row weighs 1."""
        total = self.total_weight
        for weight in weights.tolist():  # one by one, as single steps add them
            total += weight
        self.total_weight, self.weight, self._even = total, weight, even

    def load(self, X: Array, T: Array, rows: Any = None, weights: Any = None) -> None:
        """Put the batch (X[rows], T[rows]), with the rows' weights, in place; short batches are padded.

        rows: indices, or None for all of X, which then has at most `self.rows` rows. weights: (len(rows),), or
        (len(rows), ...) of positions where the target has some, or None for ones. All are of the rows of all processes.
        """
        count = len(X) if rows is None else len(rows)
        if self.of_positions is not None:
            weights = self._load_positions(weights, count)
        takes_weights = self.upcoming is not None and self.upcoming.takes_weights
        if count == self.rows and weights is None and not takes_weights:
            self.weigh_evenly()
        else:
            w = np.zeros((1, self.rows))
            w[0, :count] = 1.0 if weights is None else weights
            made, whole = self.weighed(w)
            self.weight, self._even, self.counted = float(whole[0]), False, self.count(w)[0].tolist()
            if takes_weights and self.upcoming is not None:
                self.upcoming.put_weights(made)
            else:
                self.be.put(self.weighing, made[0])
        if count < self.rows:  # padding repeats a real row, so that its numbers are as harmless as the row's
            rows = np.arange(count) if rows is None else rows
            rows = np.concatenate([rows, np.full(self.rows - count, rows[0])])
        if rows is None and (self.lengths is not None or self._place[1] > 1):
            rows = np.arange(self.rows)
        rows = None if rows is None else self.mine(rows)
        if self.lengths is not None:
            self.be.put(self.lengths, X.lengths[rows])
        if self.upcoming is None:
            self.be.stage(self.x, X, rows)
            self.be.stage(self.t, T, rows)
        else:
            self.upcoming.put_rows(rows)
        self.total_weight += self.weight

    def _load_positions(self, weights: Any, count: int) -> np.ndarray[Any, Any]:
        """Put the weights of positions in place, 0 where the batch has no row; the weights of rows, 1 or 0."""
        u = np.zeros((self.rows, *self.of_positions.shape[1:]))
        if weights is None:
            u[:count] = 1.0
        else:  # Sequences are padded with 0
            weights.take(np.arange(count), axis=0, out=u[:count], mode="clip")
        self.be.put(self.of_positions, self.mine(u))
        return np.asarray(u[:count].reshape(count, -1).any(axis=1), np.float64)


class Upcoming:
    """The row numbers and scalars of the next steps, on the device; each step takes its own from there.

    sources: inputs and targets of all rows. places: x and t of the step, (rows, ...). numbers: the bytes where a step
    finds its scalars. steps: for how many steps there is room. takes_weights: whether each step takes its rows'
    weights, too.

    >>> import numpy as np
    >>> from gpubp.backends import get_backend
    >>> x, t, number = (np.zeros(2) for _ in range(3))
    >>> ahead = Upcoming(get_backend("cpu"), (np.arange(9.0), -np.arange(9.0)), (x, t), number.view("uint8"))
    >>> ahead.put_rows(np.array([8, 5, 3, 1]))
    >>> ahead.put_numbers(np.array([[0.1, 0.2], [0.3, 0.4]]).view("uint8"))
    >>> ahead.take(), ahead.take()
    (None, None)
    >>> x.tolist(), t.tolist(), number.tolist()
    ([3.0, 1.0], [-3.0, -1.0], [0.3, 0.4])
    """

    def __init__(
        self, backend: Backend, sources: tuple[Array, Array], places: tuple[Array, Array], numbers: Array
    ) -> None:
        self.be, self._sources, self._places, self._numbers = backend, sources, places, numbers
        rows = len(places[0])
        self.steps = min(AHEAD, max(ROWS_AHEAD // rows, 1))
        self._order = backend.zeros((self.steps * rows,), np.int64)
        self._bytes = backend.zeros((8 + self.steps * numbers.size,), np.uint8)  # one copy brings all
        self._count = self._bytes[:8].view(np.int64)
        self._table = self._bytes[8:].reshape(self.steps, numbers.size)
        self._weights: tuple[Array, ...] = ()  # of the next steps, and their place in the step

    @property
    def takes_weights(self) -> bool:
        """Whether each step takes its rows' weights, too."""
        return bool(self._weights)

    def take_weights(self, place: Array | None) -> bool:
        """Let each step take `Batch.weighing` from here, or not for None. Whether that is new, so that it is to be
        recorded anew."""
        if self.takes_weights == (place is not None):
            return False
        self._weights = () if place is None else (self.be.zeros((self.steps, place.size), place.dtype), place)
        return True

    def put_weights(self, made: np.ndarray[Any, Any]) -> None:
        """Put the weights of the next steps in place, as `Batch.weighed` makes them."""
        self.be.put(self._weights[0][: len(made)], made)

    def put_rows(self, rows: Array) -> None:
        """Put the row numbers of the next steps in place, one step's after the other's."""
        self.be.put(self._order[: len(rows)], rows)

    def put_numbers(self, numbers: np.ndarray[Any, Any]) -> None:
        """Put the scalars of the next steps in place, (steps, n) bytes; the next step takes the first."""
        head = np.zeros(8 + numbers.size, np.uint8)
        head[8:] = numbers.reshape(-1)
        self.be.put(self._bytes[: len(head)], head)

    def take(self) -> None:
        """Take the rows and scalars of this step; part of the step."""
        ahead = (self._order, self._table, self._numbers, *self._weights)
        self.be.next_batch(self._sources, self._places, ahead, self._count)

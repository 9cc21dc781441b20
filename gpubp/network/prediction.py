"""Prediction: the forward pass, in tiles of rows.

Predictions are bitwise independent of the batch they come in: products are made so that no row's bits depend on other
rows (`backends/cpu/row_products.py`), and all else in evaluation mode works row by row. A tile is a batch of one of a
few sizes, so that the forward pass is recorded once for each; the last tile is padded with copies of the last row.

On a CPU, BLAS has one thread, so that the bits do not depend on the number of threads either. Large tiles are shared
among threads, each with a workspace of its own; where there are too few tiles, the columns of large products are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple

import numpy as np

from ..backends import SHARED, Array, Recorded, submit
from ..backends.cpu.blas_threads import blas_threads, is_small, one_blas_thread, own_blas_thread
from ..data.sequences import Sequences
from ..errors import DeviceMemoryError
from ..layers import Context
from ..layers.bound import BoundLayers
from ..layers.words import WordError, first_found, word_counts
from ..step.time_steps import TimeSteps

TILE_SIZE, ALL_TILES = 32 << 20, 512 << 20  # bytes of a large tile's arrays, and of those of all threads, at most
READ_AT_ONCE = 2**26  # numbers that are read from a GPU together, at most


class Predictor:
    """The recorded forward pass for one size of tile, with its own workspace and stream; for one thread at a time.

    memory: bytes of its arrays, at most.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
    >>> predictor, out = Predictor(net, rows=48), np.empty((5, 2), "float32")
    >>> predictor.load(np.zeros((5, 3), "float32"), 0)
    >>> predictor.forward(out)
    >>> out.sum()
    np.float32(0.0)
    """

    def __init__(self, network: BoundLayers, rows: int) -> None:
        self.rows, self.memory = rows, network.step_memory(rows)
        self.be = network.backend.another()
        self.be.independent_rows = True
        self._steps: TimeSteps | None = None
        self._lengths: Array = None
        with self.be.active():
            self.x = self.be.zeros((rows, *network.input_shape), network.dtype)
            if network.has_lengths:
                shape = (rows, int(network.input_shape[0]))
                self._steps = TimeSteps(self.be, shape, network.dtype, judged=False, has_counts=False)
                self._lengths = self.be.zeros((rows,), network.dtype)
            mask = None if self._steps is None else self._steps.mask
            context = Context(self.be, rows, network.dtype, mask=mask)
            self.ws = network.workspace(rows, context=context)
        self._word_counts = word_counts(self.ws)
        self._start = 0
        self.z: Array = None
        self._forward = Recorded(self.be, self._compute)

    @property
    def recorded(self) -> bool:
        """Whether the forward pass has been recorded."""
        return self._forward.record is not None

    def load(self, X: Array, start: int) -> None:
        """Put the rows of X from `start` on into the tile."""
        self._start = start
        rows = np.minimum(np.arange(start, start + self.rows), len(X) - 1)
        with self.be.active():
            self.be.stage(self.x, X, rows)
            if self._steps is not None:
                self.be.put(self._lengths, X.lengths[rows])

    def forward(self, out: Array, pool: ThreadPoolExecutor | None = None) -> None:
        """Write the outputs of the tile's first rows into `out`, an array of the device or of the host.

        pool: threads that share large products. Raises DataError if layers computed numbers that are no words of an
        Embedding.
        """
        self.be.pool = pool
        with self.be.active():
            self._forward()
            if self._word_counts and (found := first_found(self._word_counts)) is not None:
                raise found.error(self._start + found.row, " of X")
            z = self.z[: len(out)]
            out[...] = z if self.be.owns(out) else self.be.to_host(z)

    def _compute(self) -> None:
        if self._steps is not None:
            self._steps.mark(self._lengths)
        self.z = self.ws.run_forward(self.x)


class Predictors:
    """A cache of the predictors of one network that are not in use; several threads may predict at once.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
    >>> Predictors().predict(net, np.zeros((5, 3), "float32"), on_device=False).shape
    (5, 2)
    """

    def __init__(self) -> None:
        self._idle: dict[int, list[Predictor]] = {}  # by the rows of their tiles
        self._limits: _Limits | None = None
        self._of_steps: dict[int, Any] = {}  # by T of their tiles, where rows have lengths, the latest last

    @property
    def memory(self) -> int:
        """Bytes of the arrays that are kept, at most."""
        return sum(predictor.memory for idle in self._idle.values() for predictor in idle)

    def predict_sequences(self, network: BoundLayers, X: Sequences) -> Any:
        """The outputs for rows of different lengths; Sequences where outputs have time steps.

        Each row is computed with as many time steps as its own length asks for, so that its bits do not depend on
        others. Of the predictors of several numbers of time steps, as many are kept as `ALL_TILES` has room for.
        """
        steps = network.output_shape[:1] == (None,)
        out = np.empty((len(X.flat) if steps else len(X), *network.output_shape[steps:]), network.dtype)
        for T in np.unique(X.buckets).tolist():
            rows = np.flatnonzero(X.buckets == T)
            own: Predictors = self._of_steps.pop(T, None) or Predictors()
            self._of_steps[T] = own
            most = max(1, READ_AT_ONCE // max(1, math.prod(network.of_steps(T).output_shape)))
            for start in range(0, len(rows), most):  # outputs with padding are in memory for some rows at a time
                some = rows[start : start + most]
                try:
                    found = own.predict(network.of_steps(T), X[some], on_device=False)
                except WordError as problem:
                    raise problem.but(row=int(some[problem.row])) from None
                if not steps:
                    out[some] = found
                    continue
                for row, y in zip(some.tolist(), found, strict=True):
                    out[X.starts[row] : X.starts[row + 1]] = y[: X.lengths[row]]
            for earlier in list(self._of_steps)[:-1]:
                if sum(kept.memory for kept in list(self._of_steps.values())) > ALL_TILES:
                    self._of_steps.pop(earlier, None)  # which another thread may have done
        return Sequences.of(out, X.lengths) if steps else out

    def predict(self, network: BoundLayers, X: Array, on_device: bool) -> Any:
        """The outputs for the rows of X (n, ...), as an array of the device or of the host."""
        be, n = network.backend, len(X)
        if be.name != "cpu" and not on_device and n * math.prod(network.output_shape) <= READ_AT_ONCE:
            with suppress(DeviceMemoryError), be.active():
                return be.to_host(self.predict(network, X, True))  # and not tile by tile, waiting for each
        with be.active():
            out = (be.empty if on_device else np.empty)((n, *network.output_shape), network.dtype)
        if self._limits is None:
            self._limits = _Limits.of(network)
        sizes, of_tiles, of_products = self._limits.shared_out(n)
        places: list[dict[int, Predictor]] = [{} for _ in range(of_tiles)]
        pending: list[Future[None] | None] = [None] * of_tiles
        of_blas = one_blas_thread() if be.name == "cpu" else nullcontext()
        with of_blas, _pool(max(of_tiles, of_products)) as pool:
            for i, (start, rows) in enumerate(sizes):
                k = i % of_tiles
                _wait(pending[k])
                if rows not in places[k]:
                    places[k][rows] = self._take(network, rows)
                predictor, part = places[k][rows], out[start : start + rows]
                predictor.load(X, start)
                if pool is not None and of_tiles > 1 and predictor.recorded:  # recording tests products, for all
                    pending[k] = submit(pool, predictor.forward, part)
                else:
                    predictor.forward(part, pool if of_products > 1 else None)
            for future in pending:
                _wait(future)
        for place in places:
            for rows, predictor in place.items():
                predictor.be.synchronize()
                self._put_back(rows, predictor)
        return out

    def _put_back(self, rows: int, predictor: Predictor) -> None:
        """Keep a predictor for the next call; of those of many threads, as many as `ALL_TILES` has room for."""
        idle = self._idle.setdefault(rows, [])
        if len(idle) < max(1, ALL_TILES // max(predictor.memory, 1)):
            idle.append(predictor)
        else:
            predictor.be.forget_scratch()

    def _take(self, network: BoundLayers, rows: int) -> Predictor:
        try:
            return self._idle[rows].pop()
        except (KeyError, IndexError):
            return Predictor(network, rows)


def tiles(n: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, rows) of the tiles for n rows: large ones, and at the end the smallest that has room for the rest.

    >>> list(tiles(300, (48, 144)))
    [(0, 144), (144, 144), (288, 48)]
    """
    for start in range(0, n, max(sizes)):
        yield start, min((size for size in sizes if size >= n - start), default=max(sizes))


class _Limits(NamedTuple):
    """The sizes of a network's tiles, and whether threads share them.

    rows: of tiles whose arrays are not too large. threads: that may share the tiles; one on a GPU, and where a tile
    takes little more time than to pass it to a thread. large: whether there are products that threads may share.
    """

    rows: Sequence[int]
    threads: int
    large: bool

    @classmethod
    def of(cls, network: BoundLayers) -> _Limits:
        be, sizes = network.backend, [p.size for p in network.parameters.values()]
        rows = [r for r in be.tiles if network.step_memory(r) <= TILE_SIZE] or be.tiles[:1]
        memory = network.step_memory(max(rows))
        if be.name != "cpu" or is_small(2.0 * max(rows) * sum(sizes), memory):
            return cls(rows, 1, False)
        return cls(rows, max(1, ALL_TILES // memory), max(sizes, default=0) >= SHARED)

    def shared_out(self, n: int) -> tuple[list[tuple[int, int]], int, int]:
        """(start, rows) of every tile, how many threads share the tiles, and how many share each product."""
        threads = blas_threads() if self.threads > 1 or self.large else 1
        if self.large and n < 2 * threads * min(self.rows):
            return list(tiles(n, self.rows)), 1, threads
        threads = min(threads, self.threads)
        few = threads > 1  # so many tiles that no thread waits long for the last one
        rows = [r for r in self.rows if not few or 2 * threads * r <= n] or self.rows[:1]
        sizes = list(tiles(n, rows))
        return sizes, min(threads, len(sizes)), 1


def _pool(threads: int) -> AbstractContextManager[ThreadPoolExecutor | None]:
    return ThreadPoolExecutor(threads, "gpubp-predict", own_blas_thread) if threads > 1 else nullcontext()


def _wait(future: Future[None] | None) -> None:
    if future is not None:
        future.result()

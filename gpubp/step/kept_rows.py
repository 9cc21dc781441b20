"""Kept rows: what the `EpochMetric`s of a step keep of each row, for a whole epoch, on the device.

The step writes each batch into a buffer, at a place that a number on the device counts. So nothing is read to the host
before the epoch ends, and the writing is part of the recorded step.

A batch takes one place, which has room for all its rows. Where rows have lengths and outputs time steps, a batch takes
T places: one for each time step of all its rows. So batches of any T lie behind each other without gaps, and the rows
of workers beside each other. Padding is kept, too, with the weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backends import Array, Backend, Shape
from ..errors import DeviceMemoryError, ModelFileError, ResultError, ShapeError, in_bytes
from ..layers.results import noted
from ..metrics import EpochMetric

BEGINS = "begins"  # (rows, T) bool, kept of batches with time steps: which places are the first of a batch


class KeptRows:
    """The kept rows of one pass.

    rows: of a batch. count: 0-d float64 array on the device, the places taken so far, which the step counts: by those
    steps that are finite, where it is guarded.

    >>> from gpubp.backends import get_backend
    >>> be, count = get_backend("cpu"), np.zeros(())
    >>> kept = KeptRows(be, 2, count)
    >>> kept.reserve(3)
    True
    >>> for batch in ([1.0, 2.0], [3.0, 4.0]):
    ...     kept.write("weights", np.array(batch))
    ...     kept.go_on()
    ...     count += 1
    >>> kept.read()["weights"].tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, backend: Backend, rows: int, count: Array) -> None:
        self.be, self.rows = backend, rows
        self.arrays: dict[str, Array] = {}  # (places, rows, ...), made when a batch is first written
        self._whole: dict[tuple[str, Shape], Array] = {}  # arrays with gaps, copied without
        self._count, self._places = count, 1
        self.made = 0  # how often there was other room; whoever has recorded writing into it must record anew
        self._place = backend.zeros((), np.float64)  # where the next batch is written

    def reserve(self, places: int) -> bool:
        """Make so many places. Whether the buffers are others now, so that the step must be recorded anew."""
        if places <= self._places:
            return False
        self._places, self.made = places, self.made + 1
        self.arrays.clear()
        return True

    def write(self, name: str, a: Array, steps: int | None = None) -> None:
        """Keep the array `a` of this batch, (rows, ...), or (rows, steps, ...) where it has time steps; part of the
        step."""
        of_row = a.shape[1:] if steps is None else a.shape[2:]
        buffer = self.arrays.get(name)
        if buffer is None:
            buffer = self.arrays[name] = self._buffer((self._places, self.rows, *of_row), a.dtype)
        if buffer.shape[2:] != of_row or buffer.dtype != a.dtype:
            raise ModelFileError(
                f"the checkpoint has kept rows of shape {buffer.shape[2:]} and type {buffer.dtype} for a metric, which "
                f"keeps rows of shape {of_row} and type {a.dtype}"
            )
        if not a.flags.c_contiguous:
            key = name, a.shape
            if key not in self._whole:
                self._whole[key] = self.be.zeros(a.shape, a.dtype)
            self.be.xp.copyto(self._whole[key], a)
            a = self._whole[key]
        self.be.write_at(buffer, self._place, a[:, None] if steps is None else a)

    def go_on(self, places: int = 1) -> None:
        """Go on to the place of the next batch, behind those that this one takes; part of the step."""
        self.be.xp.add(self._place, self.be.constant(float(places), np.float64), out=self._place)

    def go_back(self) -> None:
        """Go back to the place behind the batches that count; part of the step."""
        self.be.xp.copyto(self._place, self._count)

    def _buffer(self, shape: Shape, dtype: Any) -> Array:
        try:
            return self.be.zeros(shape, dtype)
        except DeviceMemoryError as problem:
            size = in_bytes(math.prod(shape) * np.dtype(dtype).itemsize)
            raise DeviceMemoryError(
                f"a metric keeps {size} for the rows of a whole epoch; leave it out, or let its `rows` keep less "
                f"({problem})"
            ) from None

    def keep(self, number: int, metric: EpochMetric, made: Any, steps: int | None = None) -> None:
        """Keep what `metric.rows` made, metric number `number` of the step; raises ShapeError if it can't be kept."""
        fits, each = isinstance(made, tuple) and len(made) == 2, (self.rows, *(() if steps is None else (steps,)))
        if not fits or any(tuple(getattr(a, "shape", ()))[: len(each)] != each for a in made):
            shapes = [tuple(getattr(a, "shape", ())) for a in (made if isinstance(made, tuple | list) else (made,))]
            of_steps = "" if steps is None else f" of {steps} time steps"
            raise ShapeError(
                f"the rows of {metric!r} are two arrays, (outputs, targets), with {self.rows} rows{of_steps} each; it "
                f"returned {made.__class__.__name__} of {', '.join(map(str, shapes))}"
            )
        for name, a in zip(("outputs", "targets"), made, strict=True):
            self.write(f"{number}/{name}", a, steps)

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        """The places taken so far, (places, rows, ...) by name, on the host; waits for the device."""
        count = min(int(self.be.to_host(self._count)), self._places)
        return {name: self.be.to_host(a[:count]) for name, a in self.arrays.items()}

    def restore(self, kept: Mapping[str, np.ndarray[Any, Any]], count: int) -> None:
        """Put back what `read` gave when so many places were taken, to continue there; the count itself is not
        changed."""
        self.be.put(self._place, float(count))
        for name, a in kept.items():
            if name not in self.arrays or self.arrays[name].dtype != a.dtype:
                self.arrays[name] = self._buffer((self._places, *a.shape[1:]), a.dtype)
            self.be.put(self.arrays[name][: len(a)], a)


def result(
    metric: EpochMetric, number: int, kept: Sequence[Mapping[str, np.ndarray[Any, Any]]], exact: bool = False
) -> float:
    """The number that a metric, number `number` of the step, gives for an epoch. kept: of each worker, from `read`.
    exact: in exact numerics.

    NaN where no row has a weight. Raises ResultError if `metric.result` gives no number; its own errors get a note that
    names it.

    >>> from gpubp.metrics import R2
    >>> rows = {"weights": np.ones((1, 2)), "0/outputs": np.zeros((1, 2, 1)), "0/targets": np.zeros((1, 2, 1))}
    >>> result(R2(), 0, [rows])
    1.0
    """
    if not all(kept):
        return float("nan")
    names = ("weights", f"{number}/outputs", f"{number}/targets")
    weights, outputs, targets = (_together(name, kept) for name in names)
    counts = weights.any(axis=tuple(range(1, weights.ndim)))  # of all positions of a row, where they have weights
    if not counts.any():
        return float("nan")
    with noted(metric, f"{type(metric).__name__}.result"), np.errstate(all="ignore"):  # of outputs not finite
        of = metric.exactly() if exact else metric.result
        made = of(outputs[counts], targets[counts], weights[counts])
    hint = "; is a return missing?" if made is None else ""
    wrong = ResultError(f"{metric!r} gives {made!r:.200} for an epoch; its result returns one number{hint}")
    if not np.isscalar(made) and np.ndim(made) != 0:
        raise wrong
    try:
        return float(made)
    except (TypeError, ValueError):
        raise wrong from None


def _together(name: str, kept: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> np.ndarray[Any, Any]:
    """The rows of all batches in their order, each batch's from all workers, and the time steps of each row one after
    the other; floating-point numbers in float64."""
    rows = np.concatenate([of_worker[name] for of_worker in kept], axis=1)
    if BEGINS in kept[0]:
        batches = np.split(rows, np.flatnonzero(kept[0][BEGINS][:, 0])[1:])
        rows = np.concatenate([batch.swapaxes(0, 1).reshape(1, -1, *rows.shape[2:]) for batch in batches], axis=1)
    rows = rows.reshape(-1, *rows.shape[2:])
    return rows.astype(np.float64) if rows.dtype.kind == "f" else rows

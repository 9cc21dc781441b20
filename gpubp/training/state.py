"""RunState: the current state of a training run, such as epoch, step and history."""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import model_file
from ..backends import Array, as_numpy
from ..backends.process import renew_in_children
from ..data.feed import Feed
from ..data.row_groups import RowGroups
from ..data.sequences import Sequences
from ..errors import DataError, ModelFileError
from ..step.step import Progress, TrainingStep
from .callbacks import Callback
from .history import History
from .signals import SignalHandlers

FINGERPRINT_BYTES = 1 << 24  # of an array, that go into its fingerprint


@dataclass
class Fit:
    """One call of `fit`: what must be given again after a resume.

    epochs; shuffle; callbacks. rows: of a step. feed, validation: what is trained on, and validated with. left_out:
    classes of callbacks that only another process calls. step: of the epoch under way. before: steps done when the
    epoch began, and by callbacks since.

    >>> Fit(3, True, [], 2, Feed(np.zeros((4, 2)), np.zeros(4))).data["X"]
    {'shape': [4, 2], 'dtype': 'float64', 'crc32': 1972200246}
    """

    epochs: int
    shuffle: Any
    callbacks: Sequence[Callback]
    rows: int
    feed: Feed
    validation: Feed | None = None
    step: TrainingStep | None = None
    before: int = 0
    left_out: frozenset[str] = frozenset()

    @cached_property
    def data(self) -> dict[str, Any]:
        """A fingerprint of every array, None for weights that were not given."""
        names = ("X", "y", "weights", "Xv", "yv", "validation weights")
        arrays = (*self.feed.arrays, *(self.validation.arrays if self.validation else ()))
        return {name: None if a is None else _fingerprint(a) for name, a in zip(names, arrays, strict=False)}

    @property
    def order(self) -> bool | str:
        """`shuffle`, as a checkpoint describes it."""
        return "a function" if callable(self.shuffle) else bool(self.shuffle)

    def callback_states(self) -> list[tuple[Callback, dict[str, Any]]]:
        """The callbacks that have a state, each with it."""
        return [(callback, state) for callback in self.callbacks if (state := callback.state_dict())]


def _fingerprint(a: Array) -> dict[str, Any]:
    """Shape, type, and CRC-32 of all of it, or of rows spread evenly over it where it is large."""
    if isinstance(a, RowGroups | Sequences):
        return a.fingerprint(FINGERPRINT_BYTES)
    row = max(1, math.prod(a.shape[1:]) * a.dtype.itemsize)
    rows = min(len(a), max(1, FINGERPRINT_BYTES // row))
    some = a if rows == len(a) else a[np.linspace(0, len(a) - 1, rows).astype(np.int64)]
    crc = zlib.crc32(np.ascontiguousarray(as_numpy(some)).reshape(-1).view(np.uint8).data)
    return {"shape": list(a.shape), "dtype": str(a.dtype), "crc32": crc}


@dataclass
class Position:
    """The place in a `fit` where a checkpoint was taken, and the state that is restored there.

    order, data: as in `Fit`. steps_of_epoch: done of the epoch under way. stop: whether it was the last. epochs_done,
    history: of the fit. workers: that shared the steps, 0 before any. progress: the sums of the epoch so far.
    callbacks: (name of the class, state) of those that had one.
    """

    order: Any
    data: Any
    steps_of_epoch: int
    stop: bool
    epochs_done: int
    history: dict[str, list[float]]
    workers: int
    progress: Progress | None
    callbacks: list[tuple[str, dict[str, Any]]]

    def check(self, fit: Fit, path: Path | None) -> None:
        """Raise DataError if `fit` was given other data, or another order, than the interrupted one."""
        if fit.order != self.order:
            raise DataError(f"{path} was trained with shuffle={self.order}; give fit the same to go on")
        theirs = self.data if isinstance(self.data, dict) else {}
        changed = [name for name in fit.data | theirs if fit.data.get(name) != theirs.get(name)]
        if changed:
            raise DataError(
                f"{path} was trained with other data: {', '.join(changed)} differ{'s' * (len(changed) == 1)}. Give fit "
                "the same arrays, weights and validation to go on, or begin anew with gpubp.load"
            )
        steps = -(-len(fit.feed) // fit.rows)
        if self.steps_of_epoch > steps:
            raise ModelFileError(f"{path} has done {self.steps_of_epoch} steps of an epoch that has {steps}")

    def restore_callbacks(self, fit: Fit, path: Path | None) -> None:
        """Give each callback its state; raise ModelFileError if they are not those of the interrupted fit."""
        callbacks = [callback for callback, _ in fit.callback_states()]
        names = [type(callback).__name__ for callback in callbacks]
        free = {type(callback).__name__ for callback in fit.callbacks if callback.comes_last}
        free |= {"Checkpoint", "MLflow"} | fit.left_out
        theirs = [name for name, _ in self.callbacks if name not in free]
        if theirs != [name for name in names if name not in free]:
            raise ModelFileError(
                f"{path} was trained with the callbacks {', '.join(theirs) or 'none'}, and fit was given "
                f"{', '.join(names) or 'none'}; give it the same, in the same order, to go on"
            )
        left = list(self.callbacks)
        for callback, name in zip(callbacks, names, strict=True):
            i = next((i for i, (other, _) in enumerate(left) if other == name), None)
            if i is not None:
                with model_file.described(path or "the checkpoint", "a training"):
                    callback.load_state_dict(left.pop(i)[1])

    def restore_step(self, step: TrainingStep, path: Path | None) -> None:
        """Put back the sums of the epoch so far."""
        mine, theirs = step.progress(), self.progress
        if theirs is None or [(a.shape, a.dtype) for a in mine[:2]] != [(a.shape, a.dtype) for a in theirs[:2]]:
            raise ModelFileError(f"{path} has summed up other numbers of the epoch than this training does")
        places = int(theirs.totals[0, -1]) if theirs.kept else 0
        rows = step.batch.rows // step.batch.pieces // mine.workers  # each piece is kept as a batch of its own
        if {a.shape[:3] for a in theirs.kept.values()} - {(mine.workers, places, rows)}:
            raise ModelFileError(f"{path} has kept other rows of the epoch for its metrics than this training does")
        step.restore_progress(theirs)


@dataclass
class RunState:
    """Where a training run stands, but for the parameters, moments and the number of steps.

    epoch: epochs done, in all fits. step_in_epoch: steps done of the epoch under way. stop: whether training ends after
    it. history: of the last fit. fit: the one under way, None between two. position: where the resumed fit, under way
    or next, goes on, resumed_from: the checkpoint it is from; None unless training was resumed. signals: those that end
    the fit. thread: the number of the thread that does it.

    >>> RunState().epoch
    0
    """

    epoch: int = 0
    step_in_epoch: int = 0
    stop: bool = False
    history: History = field(default_factory=History)
    fit: Fit | None = None
    position: Position | None = None
    resumed_from: Path | None = None
    signals: SignalHandlers = field(default_factory=SignalHandlers)
    thread: int = 0

    def __post_init__(self) -> None:
        renew_in_children(self)

    def after_fork(self) -> None:
        """Leave the fit under way, unless the thread that forked does it: no other goes on in the child."""
        if self.fit is None:
            return
        self.signals.leave_child()
        if self.thread != threading.get_ident():
            self.fit = self.position = self.resumed_from = None

    @property
    def finished(self) -> bool:
        """Whether the fit under way has done its epochs, or was stopped by a callback."""
        return self.stop or (self.fit is not None and self.history.epochs >= self.fit.epochs)

    def begin(self, fit: Fit) -> None:
        """Begin a fit; after a resume, with the history and the place in the epoch of the interrupted one."""
        self.fit, self.history, self.stop, self.step_in_epoch = fit, History(), False, 0
        self.thread = threading.get_ident()
        if self.position is not None:
            self.stop, self.step_in_epoch = self.position.stop, self.position.steps_of_epoch
            for k in range(self.position.epochs_done):
                self.history.append({name: column[k] for name, column in self.position.history.items()})

"""Checkpoint: a callback that writes checkpoints of a training run, in a thread of its own.

Training waits only for the copy of parameters and moments to the host: the thread computes the checksum and writes the
file. If it is slower than the training, of two checkpoints that wait the newer is written. If one can't be written,
there is a warning; training goes on, and the checkpoint before it stays as it is.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import model_file
from ..atomic import leftovers
from ..backends.process import renew_in_children
from ..config import Count, Positive, argument
from ..errors import ModelFileError, in_bytes
from ..processes import Processes
from .callbacks import RunningTrainer
from .monitors import Monitor
from .snapshot import Snapshot, checkpoints_in
from .together import from_first


class Writer:
    """A thread that runs jobs one after the other. A newer job replaces one of the same name that still waits.

    >>> writer, done = Writer(), []
    >>> writer.put("a", lambda: done.append(1))
    >>> writer.close()
    >>> done
    [1]
    """

    def __init__(self) -> None:
        self._closed = False
        self.after_fork()
        renew_in_children(self)
        self._start()

    def after_fork(self) -> None:
        """Begin without a thread and without jobs: those of before are the parent's."""
        self._jobs: dict[str, Callable[[], None]] = {}
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        # A daemon, so that a second Ctrl-C need not wait for a disk: a partial file has another name.
        self._thread = threading.Thread(target=self._work, name="gpubp checkpoints", daemon=True)
        self._thread.start()

    def put(self, name: str, job: Callable[[], None]) -> None:
        """Add a job."""
        with self._changed:
            self._jobs.pop(name, None)  # jobs are done in the order in which they came
            self._jobs[name] = job
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all jobs are done."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._jobs or self._busy))

    def close(self) -> None:
        """Run the jobs that wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
                self._busy = True
            job()


class Checkpoint(Monitor):
    """Writes checkpoints into a folder. `Trainer.resume` goes on from them, bitwise identical.

    folder: made if need be. every_steps, every_minutes: how often; without either, after every epoch. The end is
    written always, the beginning too unless training was resumed from this folder, and so is the moment when Ctrl-C or
    SIGTERM ends training. keep: how many of the last
    stay. best: whether the best epoch's is kept besides, as best.safetensors; monitor, mode: what is best, as in
    EarlyStopping. overwrite: take the place of another training's checkpoints.

    Every file is also a model that `gpubp.load` reads.

    saved: the path last written. failed: how many could not be; each time the reason changes there is a RuntimeWarning.
    Raises OSError before training if nothing can be written at all, ModelFileError if the folder holds a training that
    was not resumed.

    >>> import tempfile, numpy as np, gpubp as bp
    >>> folder = tempfile.mkdtemp()
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> _ = trainer.fit(np.eye(3), [1, 2, 3], epochs=9, callbacks=[bp.Checkpoint(folder, keep=1)])
    >>> sorted(path.name for path in Path(folder).iterdir())
    ['best.safetensors', 'step-000000009.safetensors']
    """

    comes_last = True
    of_fit = {"_writer": None}

    def __init__(
        self,
        folder: Any,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 3,
        best: bool = True,
        monitor: str = "auto",
        mode: str = "auto",
        overwrite: bool = False,
    ) -> None:
        self.keep_best = argument("Checkpoint", "best", bool, best)
        super().__init__(*((monitor, 0, 0.0, mode) if self.keep_best else ("auto", 0, 0.0, "auto")))
        self.every_steps = argument("Checkpoint", "every_steps", Count | None, every_steps)
        self.every_minutes = argument("Checkpoint", "every_minutes", Positive | None, every_minutes)
        self.keep = argument("Checkpoint", "keep", Count, keep)
        self.folder, self.overwrite = Path(folder), argument("Checkpoint", "overwrite", bool, overwrite)
        self.saved: Path | None = None
        self.failed = 0
        self._problem = ""  # of the last attempt
        self._told = ""
        self._writer: Writer | None = None
        self._taken: tuple[int, int, int] | None = None  # the moment of the last snapshot

    @property
    def looks_at_steps(self) -> bool:
        """Whether checkpoints may be due in the middle of an epoch."""
        return self.every_steps is not None or self.every_minutes is not None

    def on_train_begin(self, trainer: Any) -> None:
        """Write the first checkpoint, which shows that the folder can be written."""
        super().on_train_begin(trainer)
        resumed = bool(from_first(trainer.processes, lambda: self._goes_on(trainer)))
        self._taken, self._due = None, time.monotonic()
        if trainer.leads:
            self._begin(trainer, resumed)
        elif not resumed:
            trainer.snapshot()  # its part of the first checkpoint
        self._last = weakref.ref(trainer)

    def _goes_on(self, trainer: RunningTrainer) -> bool:
        """Whether training was resumed from this folder."""
        return trainer.resumed_from is not None and trainer.resumed_from.resolve().parent == self.folder.resolve()

    def _begin(self, trainer: RunningTrainer, resumed: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        there = checkpoints_in(self.folder)
        if there and not (resumed or self.overwrite or self._trained(trainer)):
            raise ModelFileError(
                f"{self.folder} holds a training, at step {int(there[0].stem[5:])}: trainer.resume(folder) goes on "
                "with it, Checkpoint(folder, overwrite=True) takes its place, or name another folder"
            )
        for left in leftovers(self.folder, "*.safetensors"):
            left.unlink(missing_ok=True)
        self.saved = there[0] if resumed else None
        self._problem = self._told = ""
        self.failed = 0
        if not resumed:
            taken = Snapshot(*trainer.snapshot())
            self._write(taken, f"step-{taken.step:09}")
            for old in there:
                if old != self.saved:
                    old.unlink(missing_ok=True)
            if there:
                (self.folder / "best.safetensors").unlink(missing_ok=True)
        self._writer = Writer()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the best; where it is that of another number, the best begins anew."""
        if not self.other_number(state):
            super().load_state_dict(state)

    def on_step_end(self, trainer: Any) -> None:
        """Write a checkpoint if it is due."""
        by_step = self.every_steps is not None and trainer.step_count % self.every_steps == 0
        if by_step or (self.every_minutes is not None and self._is_time(trainer.processes)):
            self._save(trainer)

    def _is_time(self, processes: Processes | None) -> bool:
        assert self.every_minutes is not None
        due = time.monotonic() - self._due >= 60 * self.every_minutes
        return due if processes is None else bool(processes.share(due))

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Write the best, and the last."""
        best = self.keep_best and self.improved(trainer, logs)
        usual = trainer.finished or not self.looks_at_steps
        if best or usual:
            self._save(trainer, best, usual)

    def on_interrupt(self, trainer: Any) -> None:
        """Write a checkpoint, and wait until it is written."""
        if self._taken != _moment(trainer):
            self._save(trainer)
        if self._writer is not None:
            self._writer.flush()

    def on_train_end(self, trainer: Any) -> None:
        """Wait until all checkpoints are written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._tell()

    def _save(self, trainer: RunningTrainer, best: bool = False, usual: bool = True) -> None:
        self._due = time.monotonic()
        self._tell()
        taken = Snapshot(*trainer.snapshot())
        self._taken = _moment(trainer) if usual else self._taken
        if self._writer is None:  # of a process that writes no files
            return
        if best:
            self._writer.put("best", lambda: self._try(taken, "best"))
        if usual:
            self._writer.put("last", lambda: self._try(taken, f"step-{taken.step:09}"))

    def _try(self, taken: Snapshot, name: str) -> None:
        """The writer's job. The training thread warns of an error at its next checkpoint."""
        try:
            self._write(taken, name)
            self._problem = ""
        except Exception as problem:
            self.failed += 1
            text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
            size = getattr(problem, "size", None)
            name = f"the checkpoint of step {taken.step}{f', {in_bytes(size)},' if size else ''}"
            self._problem = f"{name} was not saved in {self.folder}: {text}"

    def _write(self, taken: Snapshot, name: str) -> None:
        for parameter, a in model_file.of_network(taken.arrays).items():
            if not np.isfinite(a).all():
                raise ModelFileError(f"{parameter} holds numbers that are not finite, from which nothing could go on")
        path = self.folder / f"{name}.safetensors"
        model_file.write(path, *taken)
        if name != "best":
            self.saved = path
            for old in checkpoints_in(self.folder)[self.keep :]:
                if old != path:
                    old.unlink(missing_ok=True)

    def _tell(self) -> None:
        """Warn in the training thread, if the reason is new."""
        problem = self._problem
        reason = problem.partition(": ")[2]
        if reason and reason != self._told:
            intact = f"{self.saved} is intact" if self.saved is not None else "there is none yet"
            warnings.warn(f"{problem}; training goes on, and of checkpoints, {intact}", RuntimeWarning, stacklevel=4)
        self._told = reason


def _moment(trainer: RunningTrainer) -> tuple[int, int, int]:
    return trainer.step_count, trainer.epoch, trainer.step_in_epoch

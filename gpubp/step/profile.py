"""Profile: the time of a training step, layer by layer.

A step is recorded while every layer calls its backend through a proxy that tags each call with the layer's name. The
calls of the record are then timed one by one, as often as asked: on a CPU with a reading of the clock after each, on a
GPU by events. What the step takes without clocks in between is measured too: the sum of the parts should be near it.

Where workers share the step, all time their own calls at once, and the parts are means over the workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from ..backends import Backend, CompiledRecord
from ..backends.recording import Call, parts
from ..errors import RecordError
from ..layers import Layer, Workspace
from ..rounding import duration
from .accumulation import Accumulation
from .step import TrainingStep
from .workers import Team

BATCH, LOSS, UPDATE, WAITING = "batch", "loss", "update", "workers"
ALONE = "layer"  # a network's that is no composition
TURNS = 10


@dataclass
class Part:
    """What one layer, or one other part of a step, takes: seconds of forward and backward, and calls of the record.

    name: the layer's place, as "1.0"; or "batch" (the rows put in place), "loss", "update", "workers" (waiting for each
    other). what: the layer.

    >>> Part("0", "Dense(8)", 1e-6, 2e-6, 5).seconds
    3e-06
    """

    name: str
    what: str
    forward: float = 0.0
    backward: float = 0.0
    calls: int = 0

    @property
    def seconds(self) -> float:
        """Of forward and backward together."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Profile:
    """What `Trainer.profile` found; printed, a table.

    parts: the layers in their order, then the rest. step: seconds that a whole step takes, the batch put in place
    included, without clocks in between. rows: of the batch. device: where it ran. workers: that share the batch.

    >>> print(Profile((Part("0", "Dense(8)", 1e-6, 2e-6, 5), Part("update", "Adam()", 1e-6, 0.0, 9)), 5e-6, 32, "cpu"))
    part    what      forward  backward  share  calls
    0       Dense(8)     1 µs      2 µs    75%      5
    update  Adam()       1 µs               25%      9
    <BLANKLINE>
    together 4 µs; a step on 32 rows takes 5 µs without clocks in between, on cpu
    """

    parts: tuple[Part, ...]
    step: float
    rows: int
    device: str
    workers: int = 1

    @property
    def seconds(self) -> float:
        """Of all parts together."""
        return sum(part.seconds for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; times in seconds.

        >>> Profile((), 5e-6, 32, "cpu").to_dict()["rows"]
        32
        """
        return asdict(self)

    def __str__(self) -> str:
        whole = self.seconds or 1.0
        lines = [("part", "what", "forward", "backward", "share", "calls")]
        for part in self.parts:
            backward = duration(part.backward) if part.backward else ""
            share = f"{100 * part.seconds / whole:.0f}%"
            lines.append((part.name, part.what, duration(part.forward), backward, share, str(part.calls)))
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        pads = (str.ljust, str.ljust, *[str.rjust] * 4)
        table = ["  ".join(pad(text, w) for pad, text, w in zip(pads, line, widths, strict=True)) for line in lines]
        shared = f" by {self.workers} workers" if self.workers > 1 else ""
        took = f"a step on {self.rows} rows{shared} takes {duration(self.step)} without clocks in between"
        return "\n".join((*table, "", f"together {duration(self.seconds)}; {took}, on {self.device}"))


def profile_step(step: TrainingStep, load: Callable[[], None], steps: int) -> Profile:
    """Run a new step until it is recorded, and time it `steps` times; it trains, so give it what may be trained.

    load: puts the batch in place.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import Batch, TargetShape
    >>> from gpubp.step.step import StepJob
    >>> from gpubp.step.update import Update
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> job, batch = StepJob(net, bp.MeanSquaredError()), Batch(net, 4, TargetShape((1,), "float32"))
    >>> step, X = TrainingStep(job, batch, Update(net, bp.SGD())), np.ones((4, 2))
    >>> [part.name for part in profile_step(step, lambda: batch.load(X, X[:, :1]), steps=2).parts]
    ['layer', 'loss', 'update', 'batch']
    """
    tags = [_Tags(one.be) for one in step.passes]
    for one, tag in zip(step.passes, tags, strict=True):
        for ws in one.ws.walk():
            tag.wrap(ws.path or ALONE, ws)
        for ws in one.loss_workspaces:
            tag.wrap(LOSS, ws)
    for total, tag in zip(step.sums, tags, strict=True):
        tag.wrap(UPDATE, total)
    load()
    step.run()
    records = step.records
    if any(record is None for record in records):
        raise RecordError("this step can't be recorded on this device, and so there are no calls to be timed")
    _settle(step)
    calls = [list(getattr(record, "record", record).calls) for record in records]  # a graph's, or the record's own
    seconds = [_timed(step, load, steps) for _ in range(3)]
    found: dict[int, list[float]] = {}

    def work(k: int) -> None:
        be = step.passes[k].be
        with be.active():
            found[k] = be.time(calls[k], steps)

    step.run_workers(work)
    table = _Table(step)
    for k, tag in enumerate(tags):
        table.add(calls[k], found[k], tag, k == 0)
    step_seconds, load_seconds = (float(v) for v in np.median(np.concatenate(seconds), axis=0))
    table.parts[BATCH].forward += load_seconds
    made = tuple(part for part in table.parts.values() if part.calls or part.seconds)
    return Profile(made, step_seconds + load_seconds, step.rows, step.be.name, step.workers)


class Timed(NamedTuple):
    """A step to be timed. load: puts its batch in place. around: makes the context in which it runs.

    >>> Timed._fields
    ('step', 'load', 'around')
    """

    step: TrainingStep
    load: Callable[[], None]
    around: Callable[[], AbstractContextManager[None]] = nullcontext


def time_in_turn(steps: Mapping[Any, Timed], times: int) -> dict[Any, np.ndarray[Any, Any]]:
    """Seconds of each step, its batch put in place, by its key: (turns,), the median of a few runs in each turn. They
    train.

    times: runs of each in all turns together. The steps take turns, so that a machine that becomes slower or faster
    meanwhile changes all of them alike.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import Batch, TargetShape
    >>> from gpubp.step.step import StepJob
    >>> from gpubp.step.update import Update
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> batch, X = Batch(net, 4, TargetShape((1,), "float32")), np.ones((4, 2))
    >>> step = TrainingStep(StepJob(net, bp.MeanSquaredError()), batch, Update(net, bp.SGD()))
    >>> found = time_in_turn({4: Timed(step, lambda: batch.load(X, X[:, :1]))}, times=3)
    >>> found[4].shape
    (3,)
    """
    for step, load, around in steps.values():
        with around():
            load()
            step.run()
            _settle(step)
            step.run()
    spent: dict[Any, list[float]] = {key: [] for key in steps}
    turns = min(times, TURNS)
    for turn in range(turns):
        runs = times * (turn + 1) // turns - times * turn // turns
        for key, (step, load, around) in steps.items():
            with around():
                spent[key].append(float(np.median(_timed(step, load, runs).sum(axis=1))))
    return {key: np.array(seconds) for key, seconds in spent.items()}


def _settle(step: TrainingStep) -> None:
    """Wait until the records of a step are compiled: what is timed is what a long training runs."""
    for record in step.records:
        if isinstance(record, CompiledRecord):
            record.settle()


def _timed(step: TrainingStep, load: Callable[[], None], times: int) -> np.ndarray[Any, Any]:
    """(seconds of the step, seconds of putting its batch in place), `times` times."""
    be, spent = step.be, []
    for _ in range(times):
        be.synchronize()
        start = time.perf_counter()
        load()
        be.synchronize()
        middle = time.perf_counter()
        step.run()
        be.synchronize()
        spent.append((time.perf_counter() - middle, middle - start))
    return np.array(spent)


@dataclass
class _Tags:
    """The names of a step's calls, tagged while it is recorded. names: by the identity of each call."""

    backend: Backend
    names: dict[int, str] = field(default_factory=dict)

    def wrap(self, name: str, ws: Workspace | Accumulation) -> None:
        """Tag the calls that `ws` makes from now on with `name`."""
        ws.be, ws.xp = cast(Backend, _Proxy(ws.be, self, name)), _Proxy(ws.xp, self, name)

    def tag(self, since: int, name: str) -> None:
        """Calls from number `since` on are those of `name`."""
        for call in self.backend.noted[since:]:
            self.names[id(call)] = name


class _Proxy:
    """A backend or an array library whose calls are tagged with a name."""

    def __init__(self, of: Any, tags: _Tags, name: str) -> None:
        self._of, self._tags, self._name = of, tags, name

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._of, name)
        if not callable(value) or isinstance(value, type):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            before = len(self._tags.backend.noted)
            result = value(*args, **kwargs)
            self._tags.tag(before, self._name)
            return result

        return call


class _Table:
    """The parts of a step, filled from its calls and their times."""

    def __init__(self, step: TrainingStep) -> None:
        self._workers = step.workers
        self.parts = {name: Part(name, what) for name, what in _named(step.network.layers)}
        for name, what in ((LOSS, step.job.loss), (UPDATE, step.update.optimizer)):
            self.parts[name] = Part(name, repr(what))
        self.parts[BATCH] = Part(BATCH, "rows put in place")
        self.parts[WAITING] = Part(WAITING, "waiting for each other")

    def add(self, calls: list[Call], seconds: list[float], tags: _Tags, counted: bool) -> None:
        """Add one worker's record, its calls counted or not. A layer's calls before those of the loss are forward, and
        those after are backward, until the gradients of a piece of the batch are summed. A call without a tag belongs
        to the part of the call before it, and to the update before the first tag (penalties) and after the last."""
        names = [tags.names.get(id(parts(call)[0])) for call in calls]
        last = max((i for i, name in enumerate(names) if name is not None), default=-1)
        current, behind = UPDATE, False
        for i, (call, name, spent) in enumerate(zip(calls, names, seconds, strict=True)):
            gathers = getattr(call.function, "__name__", "") in ("gather", "next_batch", "stage")
            current = UPDATE if i > last else name or (BATCH if gathers else current)
            behind = current == LOSS or (behind and current != UPDATE)
            waits = isinstance(getattr(call.function, "__self__", None), Team)
            part = self.parts[WAITING if waits else current]
            if behind and part.name not in (LOSS, UPDATE, WAITING):
                part.backward += spent / self._workers
            else:
                part.forward += spent / self._workers
            part.calls += counted


def _named(layer: Layer, path: str = "") -> Iterator[tuple[str, str]]:
    if not layer.children:
        yield path or ALONE, repr(layer)
    elif path:
        yield path, type(layer).__name__
    for i, child in enumerate(layer.children):
        yield from _named(child, f"{path}.{i}" if path else str(i))

"""Comparison of backends: the same training steps on each, their differences by layer, and their time.

From one seed every backend gets the same first weights, the same batches and the same random draws. What then differs
is rounding. It is measured in two ways:

    step by step    every backend begins each step with the parameters and moments of the first, which shows the
                    differences of a single step, layer by layer
    run freely      every backend goes on from its own parameters, by recorded steps, as in training, which shows how
                    differences add up

A difference of two arrays is given as the largest absolute one, and relative to the largest number of the first
backend's array. Outputs are compared in every step, gradients in the median step: where a number is at a kink, such as
ReLU's at 0, rounding alone decides between two derivatives, on any pair of devices. Where two backends in float32
differ by more than the tolerance, float64 decides (`differences.py`), also where the second has coarser products.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..backends import Backend
from ..config import Count, CountOrZero, NotNegative, Positive, argument, instance
from ..data.checks import as_rows
from ..data.sequences import Sequences
from ..layers import Layer, Workspace
from ..losses import Loss
from ..optimizers import Adam, Optimizer
from ..step.penalties import Clip, Penalty
from ..step.update import Update, UpdateSettings
from .coarse import CoarseCPU
from .differences import COMPARED, EXACT, TOLERANCES, Difference, LayerDifferences, OtherBackend, Rounding
from .plots.curves import plot_comparison
from .sides import OF_PRODUCTS, Side, Task


@dataclass(frozen=True)
class BackendComparison:
    """The result of `compare_backends`. It prints as a table; `plot` draws it, `to_dict` is for JSON.

    reference: the first backend. others: each of the others against it. losses: of the first one's free run.
    seconds: backend -> the median step's. replayed: backend -> whether recorded steps gave the bits of steps made call
    by call. steps, batch_size, seed: as asked for. machine: what it ran on.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(8, 2))
    >>> both = dict(loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"), steps=3)
    >>> bp.compare_backends(bp.Dense(1), X, X[:, 0], **both).replayed
    {'cpu': True, 'cpu-float64': True}
    """

    reference: str
    others: tuple[OtherBackend, ...]
    losses: tuple[float, ...]
    seconds: dict[str, float]
    replayed: dict[str, bool]
    steps: int
    batch_size: int
    seed: int
    machine: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether rounding explains all differences."""
        return not any(other.faults for other in self.others)

    def to_dict(self) -> dict[str, Any]:
        """The result as lists, dictionaries, numbers and text."""
        found: dict[str, Any] = asdict(self)
        for shown, other in zip(found["others"], self.others, strict=True):
            shown["faults"] = other.faults
        return found | {"ok": self.ok}

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw relative differences by step, a line a layer; returns the figure. path: a .png, .svg or .pdf file."""
        return plot_comparison(self, path)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for other in self.others:
            asked = f"{self.steps} steps of {self.batch_size} rows, seed {self.seed}"
            yield f"{other.name} against {self.reference}: {asked}"
            yield ""
            heads = ("layer", "", "outputs", "input gradients", "gradients", "parameters")
            rows = [heads, *((layer.name, layer.layer, *_columns(layer)) for layer in other.layers)]
            widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
            for row in rows:
                cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
                yield "  ".join(cells).rstrip()
            yield ""
            yield "relative differences, every step begun with the same parameters: of gradients the median step's,"
            yield "of outputs and parameters the largest"
            losses = f"{self.losses[-1]:.6g} and {other.losses[-1]:.6g}"
            yield f"run freely, parameters end {other.drift[-1].relative:.1e} apart, and losses at {losses}"
            draws = "have the same bits" if other.same_masks else "DIFFER"
            yield f"batches {'have the same bits' if other.same_batches else 'DIFFER'}, random draws {draws}"
            if other.faults:
                yield f"FAULT: {'; '.join(other.faults)}"
            elif other.rounding:
                worst = max(other.rounding, key=lambda r: r.other)
                coarse = other.tolerance > max(TOLERANCES.values())
                both = "a CPU with such products and this are" if coarse else "both are"
                yield f"ok: rounding explains all differences; where they are over {other.tolerance:.0e}, {both}"
                yield f"about as far from float64, {worst.first:.0e} and {worst.other:.0e} at most"
            else:
                yield f"ok: rounding explains all differences, {other.tolerance:.0e} at most"
            yield ""
        for name, seconds in self.seconds.items():
            bits = "the bits of" if self.replayed[name] else "other last bits than"
            yield f"{name}: {_time(seconds)} a step; recorded steps have {bits} steps made call by call"


def compare_backends(
    layers: Layer,
    X: Any,
    y: Any,
    *,
    loss: Loss,
    optimizer: Optimizer | None = None,
    backends: Sequence[str | Backend] = ("cpu", "cuda"),
    steps: int = 20,
    batch_size: int = 32,
    seed: int = 0,
    clip_norm: float | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    after_step: Callable[[], None] | None = None,
) -> BackendComparison:
    """Train the same network for some steps on each backend, and compare outputs, gradients, draws and time.

    layers: the network's. X, y: data as a Trainer takes them; `Sequences` for rows of different lengths, all of which
    are then padded to one number of time steps. optimizer: Adam by default. backends: two or more, the
    first being what the others are compared with; a device, "cpu", "cuda" or "cuda:N", and behind a dash the type of
    its numbers, as in "cpu-float64", float32 without; "cuda-tf32" and "cuda-bfloat16" have float32 and such products.
    clip_norm, l1, l2: as a Trainer's. after_step: called after each of the `steps`, for progress.

    Raises DeviceError for a backend that can't be used, DataError for data that don't fit, TypeError for layers, a loss
    or an optimizer that are none.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(64, 4))
    >>> layers = bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(1))
    >>> found = bp.compare_backends(layers, X, X[:, 0], loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"))
    >>> found.ok, [layer.name for layer in found.others[0].layers]
    (True, ['0', '1', '2'])
    """
    if len(backends) < 2:
        raise ValueError(f"a comparison needs two backends or more, and got {len(backends)}")
    of = "compare_backends"
    instance(of, "layers", Layer, layers)
    instance(of, "loss", Loss, loss)
    optimizer = Adam() if optimizer is None else instance(of, "optimizer", Optimizer, optimizer)
    X = X if isinstance(X, Sequences) else as_rows(X)[0]
    steps, batch_size = argument(of, "steps", Count, steps), argument(of, "batch_size", Count, batch_size)
    seed = argument(of, "seed", CountOrZero, seed)
    clip_norm = argument(of, "clip_norm", Positive | None, clip_norm)
    l1, l2 = argument(of, "l1", NotNegative, l1), argument(of, "l2", NotNegative, l2)
    settings = UpdateSettings(Clip(clip_norm), Penalty(l1, l2))
    make_update = partial(Update, optimizer=optimizer, settings=settings)
    task = Task(layers, X, y, loss, make_update, batch_size, seed)
    sides = [Side(spelled, task) for spelled in backends]
    names = [side.name for side in sides]
    if len(set(names)) < len(names):
        raise ValueError(f"each backend of a comparison is named once, and got {', '.join(names)}")
    rows = sides[0].rows_of(steps)
    first, others = sides[0], sides[1:]
    differences = _step_by_step(first, others, rows, after_step)
    free = [side.run_freely(rows) for side in sides]
    results = [
        found.result(tuple(run.losses), tuple(map(Difference.of, free[0].parameters, run.parameters)))
        for found, run in zip(differences, free[1:], strict=True)
    ]
    for i, (other, spelled) in enumerate(zip(others, backends[1:], strict=True)):
        like: list[Any] = [backends[0]] if first.plain and other.plain else []
        if other.precision in OF_PRODUCTS:
            like = [CoarseCPU(other.precision, cut) for cut in (False, True)]
        if like and any(True for _ in results[i].excesses()):
            results[i] = replace(results[i], rounding=_by_float64(results[i], task, like, spelled, rows))
    return BackendComparison(
        reference=first.name,
        others=tuple(results),
        losses=tuple(free[0].losses),
        seconds={side.name: run.seconds for side, run in zip(sides, free, strict=True)},
        replayed={side.name: run.replayed for side, run in zip(sides, free, strict=True)},
        steps=steps,
        batch_size=first.step.rows,
        seed=seed,
        machine={"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()}
        | {side.name: side.machine for side in sides},
    )


def _step_by_step(
    first: Side, others: Sequence[Side], rows: Sequence[Any], after_step: Callable[[], None] | None = None
) -> list[_Differences]:
    """The differences of the other backends from the first; all begin each step with its parameters."""
    differences = [_Differences(first, other) for other in others]
    for batch in rows:
        for side in others:
            side.take_over(first)
        for side in (first, *others):
            side.step_call_by_call(batch)
        for found in differences:
            found.add()
        if after_step is not None:
            after_step()
    return differences


def _by_float64(
    found: OtherBackend, task: Task, like: Sequence[Any], other: Any, rows: Sequence[Any]
) -> tuple[Rounding, ...]:
    """(1), for all that differs by more than the tolerance: the same steps again, beside float64. Of several backends
    like the other the furthest from float64 counts."""
    exact, *sides = (Side(spelled, task) for spelled in (EXACT, *like, other))
    distances = [
        {(layer.name, what): pick([d.relative for d in getattr(layer, attribute)] or [0.0])
         for layer in differences.result((), ()).layers for what, (pick, attribute) in COMPARED.items()}
        for differences in _step_by_step(exact, sides, rows)
    ]  # fmt: skip
    *firsts, its = distances
    return tuple(
        Rounding(layer, what, max(d[layer, what] for d in firsts), its[layer, what])
        for layer, what, _ in found.excesses()
    )


class _Differences:
    """Collects the differences of one backend, step by step."""

    def __init__(self, first: Side, other: Side) -> None:
        self.first, self.other = first, other
        narrow, wide = sorted((first.dtype, other.dtype))
        of_products = [OF_PRODUCTS.get(side.precision, 0.0) for side in (first, other)]
        self.narrow, self.tolerance = narrow, max(TOLERANCES[narrow, wide], *of_products)
        self.same_batches = self.same_masks = True
        self.found: dict[str, dict[str, list[Difference]]] = {}
        self.shown: dict[str, str] = {}

    def add(self) -> None:
        """Add the differences of the last step."""
        one, two = self.first.step, self.other.step
        for a, b in ((one.x, two.x), (one.t, two.t), (one.context.weights, two.context.weights)):
            a, b = self._hosts(a, b)
            kind = self.narrow if a.dtype.kind == "f" else a.dtype
            self.same_batches &= np.array_equal(a.astype(kind), b.astype(kind))
        for ws, ws_two in zip(one.ws.walk(), two.ws.walk(), strict=True):
            if not ws.children:
                self._layer(ws, ws_two)

    def _layer(self, one: Workspace, two: Workspace) -> None:
        name = one.path or "the layer"
        self.shown[name] = repr(one._layer)
        columns = self.found.setdefault(name, {"outputs": [], "inputs": [], "gradients": [], "parameters": []})
        for draws in one._layer.draws:
            if draws in one.__dict__:
                self.same_masks &= np.array_equal(*self._hosts(getattr(one, draws), getattr(two, draws)))
        steps = ((self.first.step, one), (self.other.step, two))
        y, y_two = (step.z if ws is step.ws else ws.__dict__.get("output", ws.__dict__.get("y")) for step, ws in steps)
        if y is not None:
            columns["outputs"].append(Difference.of(*self._hosts(y, y_two)))
        if "dx" in one.__dict__:
            columns["inputs"].append(Difference.of(*self._hosts(one.dx, two.dx)))
        names = [n for n in one._plan.parameters if f"d{n}" in one.__dict__]
        for column, prefix in (("gradients", "d"), ("parameters", "")):
            if names:  # together, for one of them may be nothing but rounding, as a bias before BatchNorm is
                sides = zip(
                    *(self._hosts(getattr(one, prefix + n), getattr(two, prefix + n)) for n in names), strict=True
                )
                columns[column].append(Difference.of(*(np.concatenate([a.ravel() for a in side]) for side in sides)))

    def _hosts(self, a: Any, b: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return self.first.be.to_host(a), self.other.be.to_host(b)

    def result(self, losses: tuple[float, ...], drift: tuple[Difference, ...]) -> OtherBackend:
        """The differences collected, and those of the free runs."""
        layers = tuple(
            LayerDifferences(name, self.shown[name], **{k: tuple(v) for k, v in columns.items()})
            for name, columns in self.found.items()
        )
        return OtherBackend(self.other.name, self.tolerance, layers, self.same_batches, self.same_masks, losses, drift)


def _columns(layer: LayerDifferences) -> Iterator[str]:
    for differences, pick in (
        (layer.outputs, max),
        (layer.inputs, statistics.median),
        (layer.gradients, statistics.median),
        (layer.parameters, max),
    ):
        yield f"{pick([d.relative for d in differences]):.1e}" if differences else ""


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"

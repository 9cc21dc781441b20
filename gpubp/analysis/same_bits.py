"""Comparison of backends in exact numerics, bit by bit.

Each backend trains by itself, from one seed, call by call, so that all arrays can be looked at: the outputs of a layer,
the gradients of its input and of its parameters, and its parameters after the step. Then it trains once more by
recorded steps, which must end with the same parameters. Backends are spelled so:

    cpu   cuda   cuda:1        a device
    cpu-float64                with numbers of that type; all backends of a comparison have the same
    cpu:1-thread               with so many threads for products
    cpu:2-workers              with so many workers, each of which has a part of the rows; of it parameters and their
                               gradients are compared
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ..backends import Backend, order
from ..config import ConfigError
from ..layers import Layer
from ..losses import Loss
from ..network.fingerprint import same
from ..optimizers import Optimizer
from ..step.penalties import Clip, Penalty
from ..step.update import Update, UpdateSettings
from .sides import Side, Task, median

Array = np.ndarray[Any, Any]
WITH = re.compile(r"(cpu[\w-]*?):([1-9]\d*)-(thread|worker)s?")


@dataclass(frozen=True)
class LayerBits:
    """A layer on another backend. differs: what differs ("outputs", ...) -> the first step in which it does."""

    name: str
    layer: str
    differs: dict[str, int]


@dataclass(frozen=True)
class BitsComparison:
    """The result of `compare_bits`. It prints as a table, `to_dict` is for JSON.

    reference: the first backend. others: backend -> its layers, against the first. sha256: backend -> of the trained
    network. seconds: backend -> the median step's. replayed: backend -> whether recorded steps end with the same
    parameters. losses: of the first. steps, batch_size, seed: as asked for. machine: what it ran on.
    """

    reference: str
    others: dict[str, tuple[LayerBits, ...]]
    sha256: dict[str, str]
    seconds: dict[str, float]
    replayed: dict[str, bool]
    losses: tuple[float, ...]
    steps: int
    batch_size: int
    seed: int
    machine: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether all bits are the same."""
        differ = any(layer.differs for layers in self.others.values() for layer in layers)
        return not differ and len(set(self.sha256.values())) == 1 and all(self.replayed.values())

    def to_dict(self) -> dict[str, Any]:
        """The result as lists, dictionaries, numbers and text."""
        others = [{"name": name, "layers": list(map(asdict, layers))} for name, layers in self.others.items()]
        return asdict(self) | {"others": others, "numerics": "exact", "ok": self.ok}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, layers in self.others.items():
            asked = f"{self.steps} steps of {self.batch_size} rows, seed {self.seed}"
            yield f"{name} against {self.reference}: {asked}, exact numerics"
            yield ""
            widths = [max(len(getattr(layer, of)) for layer in layers) for of in ("name", "layer")]
            for layer in layers:
                told = [f"{what} from step {step} on" for what, step in layer.differs.items()]
                words = f"differs: {', '.join(told)}" if told else "same bits"
                yield f"{layer.name.ljust(widths[0])}  {layer.layer.ljust(widths[1])}  {words}"
            yield ""
        for name, digest in self.sha256.items():
            yield f"sha256  {digest}  {name}"
        for name, seconds in self.seconds.items():
            bits = "the bits of" if self.replayed[name] else "OTHER bits than"
            yield f"{name}: {seconds * 1e3:.3g} ms a step; recorded steps have {bits} steps made call by call"
        yield "same bits" if self.ok else "other bits"


def compare_bits(
    layers: Layer,
    X: Any,
    y: Any,
    *,
    loss: Loss,
    optimizer: Optimizer,
    backends: Sequence[str | Backend] = ("cpu", "cuda"),
    steps: int = 20,
    batch_size: int = 32,
    seed: int = 0,
    clip_norm: float | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    after_step: Callable[[], None] | None = None,
) -> BitsComparison:
    """Train a network in exact numerics for some steps on each backend, and compare all bits.

    The arguments are those of `compare_backends`; how backends are spelled stands above. Raises DeviceError for a
    backend that can't be used, and ConfigError for two that can't have the same bits.

    >>> import gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(64, 4))
    >>> options = dict(loss=bp.MeanSquaredError(), optimizer=bp.Adam(), backends=("cpu", "cpu:1-thread"))
    >>> compare_bits(bp.Dense(1), X, X[:, 0], **options).ok
    True
    """
    settings = UpdateSettings(Clip(clip_norm), Penalty(l1, l2))
    make_update = partial(Update, optimizer=optimizer, settings=settings)
    task = Task(layers, X, y, loss, make_update, batch_size, seed, "exact")
    sides = [_Side(spelled, task) for spelled in backends]
    if len({side.dtype for side in sides}) > 1:
        raise ConfigError(
            f"backends have the same bits only in one type of numbers, and got {', '.join(side.name for side in sides)}"
        )
    first, *others = sides
    rows = first.rows_of(steps)
    for side in sides:
        if order.share_of_worker(len(rows[0]), side.workers) is None:
            raise ConfigError(
                f"{side.name}: each of {side.workers} workers would have {len(rows[0]) / side.workers:g} of the "
                f"{len(rows[0])} rows of a step, and it needs 64, 128, 256 or another such number: batches of "
                f"{64 * side.workers} rows"
            )
    differences = {side.name: _Bits(first, side) for side in others}
    losses = []
    for number, batch in enumerate(rows, 1):
        for side in sides:
            with side.threads():
                side.step_call_by_call(batch)
        losses.append(first.step.last_loss())
        for found in differences.values():
            found.add(number)
        if after_step is not None:
            after_step()
    seconds, replayed = {}, {}
    for side in sides:
        seconds[side.name], replayed[side.name] = side.run_recorded(rows)
    return BitsComparison(
        reference=first.name,
        others={name: found.layers() for name, found in differences.items()},
        sha256={side.name: side.network.sha256() for side in sides},
        seconds=seconds,
        replayed=replayed,
        losses=tuple(losses),
        steps=steps,
        batch_size=len(rows[0]),
        seed=seed,
        machine={"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()}
        | {side.name: side.machine for side in sides},
    )


class _Side(Side):
    """A side with threads or workers of its own number."""

    def __init__(self, spelled: str | Backend, task: Task) -> None:
        found = WITH.fullmatch(spelled) if isinstance(spelled, str) else None
        device, count, what = (found[1], int(found[2]), found[3]) if found else (spelled, 0, "")
        self._threads = count if what == "thread" else None
        super().__init__(device, task, count if what == "worker" else 1)
        self.name = spelled if isinstance(spelled, str) else spelled.name

    def threads(self) -> AbstractContextManager[Any]:
        """A context in which products have the threads of this side."""
        if self._threads is None:
            return nullcontext()
        from threadpoolctl import threadpool_limits

        limits: AbstractContextManager[Any] = threadpool_limits(self._threads, "blas")
        return limits

    def run_recorded(self, rows: Sequence[Array]) -> tuple[float, bool]:
        """(seconds of the median step, whether all recorded steps end with the bits of those before)."""
        network = self._make()
        with self.threads(), network.backend.active():
            seconds = list(self._timed(self._new_step(network), rows))
        return median(seconds), network.sha256() == self.network.sha256()

    def step_call_by_call(self, batch: Array) -> None:
        """Run one step that is not recorded, or with several workers one that is."""
        if self.workers == 1:
            super().step_call_by_call(batch)
            return
        with self.be.active():
            self.step.load(self.X, self.t, batch)
            self.step.run()


class _Bits:
    """Collects, for one backend, which arrays of which layers differ from the first one's."""

    def __init__(self, first: Side, other: Side) -> None:
        self.first, self.other = first, other
        self.found: dict[str, LayerBits] = {}

    def add(self, number: int) -> None:
        """Look at the step of this number, the last one."""
        one, two = self.first, self.other
        divided = {one.workers, two.workers} != {1}
        for ws, ws_two in zip(one.step.ws.walk(), two.step.ws.walk(), strict=True):
            layer = self.found.setdefault(ws.path, LayerBits(ws.path or "the layer", repr(ws._layer), {}))
            pairs: dict[str, list[tuple[Any, Any]]] = {}
            if not divided and not ws.children:
                steps = ((one.step, ws), (two.step, ws_two))
                y, y_two = (
                    step.z if w is step.ws else w.__dict__.get("output", w.__dict__.get("y")) for step, w in steps
                )
                pairs["outputs"] = [] if y is None else [(y, y_two)]
                pairs["input gradients"] = [(ws.dx, ws_two.dx)] if "dx" in ws.__dict__ else []
            names = [f"{ws.path}.{n}".lstrip(".") for n in ws._plan.parameters]
            states = [f"{ws.path}.{n}".lstrip(".") for n in ws._plan.states]
            gradients = one.step.update.gradients, two.step.update.gradients
            pairs["gradients"] = [(gradients[0][n], gradients[1][n]) for n in names if n in gradients[0]]
            pairs["parameters"] = [(one.network.parameters[n], two.network.parameters[n]) for n in names]
            pairs["parameters"] += [(one.network.states[n], two.network.states[n]) for n in states]
            for what, arrays in pairs.items():
                hosts = ((one.be.to_host(a), two.be.to_host(b)) for a, b in arrays)
                if what not in layer.differs and not all(same(a, b).all() for a, b in hosts):
                    layer.differs[what] = number

    def layers(self) -> tuple[LayerBits, ...]:
        """The layers, but compositions that have nothing of their own."""
        inner = {path.rpartition(".")[0] if path else None for path in self.found}
        return tuple(one for path, one in self.found.items() if path not in inner or one.differs)

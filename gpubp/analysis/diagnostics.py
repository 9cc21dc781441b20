"""Diagnostics of training: sizes of gradients by layer (GradientFlow), and a learning-rate finder.

In a deep network the gradient of a layer is a product over all layers above it. If their factors are mostly below 1 it
vanishes on the way down, and the lowest layers starve; if above, it explodes (Hochreiter 1991; Glorot and Bengio 2010).
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from ..backends import Array, Backend, as_numpy
from ..config import Count, Positive, Range, argument, instance, whole
from ..data.checks import OF_TARGETS
from ..data.feed import Feed
from ..data.lengths import targets_of_steps
from ..data.numbers import Argument, to_numbers
from ..data.sequences import Sequences
from ..layers.words import rows_named
from ..schedules import ExponentialDecay
from ..step.step import Probe, TrainingStep
from ..training.callbacks import Callback
from ..training.trainer import Trainer
from .gradient_sizes import findings, weights_of
from .plots.curves import plot_gradient_flow, plot_learning_rates


class GradientFlow(Callback, Probe):
    """Records the sizes of weight gradients, updates and outputs by layer, reports what is wrong, and draws them.

    The sums are made on the device within the step and read once an epoch. Sizes are root mean squares over the numbers
    of an array and the steps of an epoch, so that layers of different widths compare.

    samples: None for sums within every step, which then is a step of its own, without workers; or a number, of steps to
    look at in each epoch, about, after they are done. That leaves the step as it is, costs little, and sees
    gradients as the optimizer gets them, with penalties and after clipping; outputs are not seen.

    layers: names of the layers with weights, lowest first. gradients, updates, weights: for each epoch one size a
    layer, gradients before clipping and penalties. outputs: for each epoch, {name: size} of the outermost Sequential's
    layers.

    >>> import numpy as np, gpubp as bp
    >>> layers = bp.Sequential(*[layer for _ in range(8) for layer in (bp.Dense(20), bp.Sigmoid())], bp.Dense(1))
    >>> net = bp.Network(layers, input_shape=4, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1))
    >>> flow = bp.GradientFlow()
    >>> X = np.random.default_rng(0).normal(size=(64, 4))
    >>> _ = trainer.fit(X, X[:, 0], epochs=2, callbacks=[flow])
    >>> print(flow.report().splitlines()[0])
    The gradient vanishes: that of layer "0", Dense(20), is 0.0000018 times that of layer "16".
    """

    of_fit = {"_sums": {}, "_put": None, "_one": None, "_kept": None}

    def __init__(self, samples: int | None = None) -> None:
        self.samples = argument("GradientFlow", "samples", Count | None, samples)
        self.forget_fit()
        self.layers: list[str] = []
        self.gradients: list[list[float]] = []
        self.updates: list[list[float]] = []
        self.weights: list[list[float]] = []
        self.outputs: list[dict[str, float]] = []
        self._shown: dict[str, str] = {}
        self._names: list[str] = []
        self._lookups: list[bool] = []
        self._steps = self._looks = 0
        self._every = 1
        self._sums: dict[str, Array] = {}
        self._output_sizes: list[int] = []

    def on_train_begin(self, trainer: Any) -> None:
        """Allocate the sums, and attach to the steps. The epochs of another trainer are forgotten."""
        if not self._trained(trainer):
            self.gradients, self.updates, self.weights, self.outputs = [], [], [], []
        self._last = weakref.ref(trainer)
        network, be = trainer.network, trainer.backend
        inner = {path: layer for path, layer in network.layers.walk() if not layer.children}
        weights = weights_of(network)
        self._names, self.layers = [weight.name for weight in weights], [weight.layer for weight in weights]
        self._lookups = [weight.lookup for weight in weights]
        self._shown = {path or "the layer": repr(layer) for path, layer in inner.items()}
        count = len(self._names)
        self._put = be.put
        self._one = be.zeros((), network.dtype)
        self._kept = be.zeros(network.flat.shape, network.dtype)
        children = len(network.layers.children)
        self._sums = {
            kind: be.zeros((n,), np.float64)
            for kind, n in (("gradient", count), ("update", count), ("weight", count), ("output", children))
        }
        self._offsets = {n: run[0][1].start for n in self._names if (run := network.runs([n]))}
        self._sizes = {n: math.prod(network.parameters[n].shape) for n in self._names}
        self._output_sizes = [0] * children
        self._steps = trainer.step_count
        self._looks, self._every = 0, 1
        if self.samples is None:
            trainer.attach(self)
        else:
            be.xp.copyto(self._kept, network.flat)

    @property
    def looks_at_steps(self) -> bool:
        """Whether it samples after steps, and not within them."""
        return self.samples is not None

    def on_step_end(self, trainer: Any) -> None:
        """Σ g², Σ θ² and Σ (Δθ)² of some steps: every one until there are enough, then every second, fourth, ..."""
        assert self.samples is not None
        be, network, update = trainer.backend, trainer.network, trainer.update
        if trainer.step_in_epoch % self._every == 0:
            self._looks += 1
            update.gather_gradients()
            be.xp.subtract(network.flat, self._kept, out=self._kept)
            for i, name in enumerate(self._names):
                self._add(be, "gradient", i, update.gradients[name])
                self._add(be, "weight", i, network.parameters[name])
                self._add(be, "update", i, self._of(self._kept, name))
            if self._looks % self.samples == 0:
                self._every *= 2
        if (trainer.step_in_epoch + 1) % self._every == 0:
            be.xp.copyto(self._kept, network.flat)

    def state_dict(self) -> dict[str, Any]:
        """The sizes of the epochs so far, and the sums of the one under way."""
        outputs = [[of.get(str(i), math.nan) for i in range(len(self._output_sizes))] for of in self.outputs]
        epochs = {"gradients": self.gradients, "updates": self.updates, "weights": self.weights, "outputs": outputs}
        width = {"outputs": len(self._output_sizes)}
        state: dict[str, Any] = {
            name: np.array(sizes).reshape(len(sizes), width.get(name, len(self._names)))
            for name, sizes in epochs.items()
        }
        state |= {f"sum_{kind}": np.array(as_numpy(a)) for kind, a in self._sums.items()}
        own = {"layers": self.layers, "sizes": self._output_sizes, "steps": self._steps}
        return state | own | {"looks": self._looks, "every": self._every}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        sums = {kind: state[f"sum_{kind}"] for kind in self._sums}
        sizes, steps = [whole(n, 0) for n in state["sizes"]], whole(state["steps"], 0)
        looks, every = whole(state["looks"], 0), whole(state["every"])
        epochs = {name: state[name] for name in ("gradients", "updates", "weights", "outputs")}
        widths = [len(sizes) if name == "outputs" else len(self._names) for name in epochs]
        if (
            state["layers"] != self.layers
            or any(sums[kind].shape != a.shape for kind, a in self._sums.items())
            or any(a.ndim != 2 or a.shape[1] != n for a, n in zip(epochs.values(), widths, strict=True))
            or steps is None
            or looks is None
            or every is None
            or None in sizes
        ):
            raise ValueError("GradientFlow looked into another network")
        for kind, a in self._sums.items():
            self._put(a, sums[kind])
        self.gradients, self.updates, self.weights = (epochs[name].tolist() for name in list(epochs)[:3])
        self.outputs = [{str(i): size for i, size in enumerate(of) if sizes[i]} for of in epochs["outputs"].tolist()]
        self._output_sizes, self._steps = [n for n in sizes if n is not None], steps
        self._looks, self._every = looks, every

    def on_train_end(self, trainer: Any) -> None:
        """Detach from the steps."""
        with suppress(ValueError):  # it was not attached
            trainer.detach(self)

    def before_step(self, step: TrainingStep) -> None:
        """Copy the parameters."""
        step.be.xp.copyto(self._kept, step.network.flat)

    def after_backward(self, step: TrainingStep) -> None:
        """Σ g², Σ θ² and Σ y²"""
        for i, name in enumerate(self._names):
            self._add(step.be, "gradient", i, step.update.gradients[name])
            self._add(step.be, "weight", i, step.network.parameters[name])
        for i, child in enumerate(step.ws.children):
            y = getattr(child, "output", None)
            if y is not None:
                self._output_sizes[i] = math.prod(y.shape)
                self._add(step.be, "output", i, y)

    def after_update(self, step: TrainingStep) -> None:
        """Σ (Δθ)²"""
        step.be.xp.subtract(step.network.flat, self._kept, out=self._kept)
        for i, name in enumerate(self._names):
            self._add(step.be, "update", i, self._of(self._kept, name))

    def _of(self, flat: Array, name: str) -> Array:
        start = self._offsets[name]
        return flat[start : start + self._sizes[name]]

    def _add(self, be: Backend, kind: str, i: int, a: Array) -> None:
        a = a.reshape(-1)
        be.dot(a, a, out=self._one)
        place = self._sums[kind][i : i + 1].reshape(())
        be.xp.add(place, self._one, out=place)

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Read the sums, and set them to 0."""
        be, steps = trainer.backend, max(1, trainer.step_count - self._steps if self.samples is None else self._looks)
        self._steps, self._looks = trainer.step_count, 0
        sums = {kind: be.to_host(a).copy() for kind, a in self._sums.items()}
        for a in self._sums.values():
            be.put(a, 0.0)
        with np.errstate(all="ignore"):
            sizes = np.array([self._sizes[n] for n in self._names], np.float64) * steps
            self.gradients.append(np.sqrt(sums["gradient"] / sizes).tolist())
            self.updates.append(np.sqrt(sums["update"] / sizes).tolist())
            self.weights.append(np.sqrt(sums["weight"] / sizes).tolist())
            sums_and_sizes = zip(sums["output"].tolist(), self._output_sizes, strict=True)
            self.outputs.append({str(i): (s / (n * steps)) ** 0.5 for i, (s, n) in enumerate(sums_and_sizes) if n})

    def report(self) -> str:
        """The finding of the last epoch in words, what usually helps, and one line a layer."""
        if not self.gradients:
            return "No epoch was recorded: give this callback to fit."
        last = np.array(self.gradients[-1])
        lines = [*self._findings(last), "", "layer, lowest first      gradient   update/weight"]
        for name, g, u, w in zip(self.layers, last, self.updates[-1], self.weights[-1], strict=True):
            lines.append(
                f"{name:>6}  {_short(self._shown.get(name, '')):<16} {g:.1e}     {u / w if w else math.nan:.1e}"
            )
        return "\n".join(lines)

    def _findings(self, last: np.ndarray[Any, Any]) -> Iterator[str]:
        layers = [(name, self.called(name)) for name in self.layers]
        return findings(layers, self._lookups, last, self.gradients[0])

    def called(self, name: str) -> str:
        """The layer of that name as text, "Dense(16)"."""
        return self._shown.get(name, "")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The gradients' sizes as a figure, into `path` if given; returns the figure (matplotlib)."""
        return plot_gradient_flow(self.layers, self.gradients, path)


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:13]}..."


@dataclass(frozen=True)
class LearningRates:
    """The result of `find_learning_rate`.

    rates: one a step. losses: of the steps' batches, smoothed. suggestion: the rate in the middle of the steepest
    fall, a good one to start with.

    >>> LearningRates((1e-3, 1e-2), (2.0, 1.0), 1e-3).suggestion
    0.001
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The sweep as a figure, into `path` if given; returns the figure (matplotlib)."""
        return plot_learning_rates(self.rates, self.losses, self.suggestion, path)


def find_learning_rate(
    trainer: Trainer, X: Any, y: Any, *, low: float = 1e-6, high: float = 10.0, steps: int = 100
) -> LearningRates:
    """Train with a learning rate that rises from `low` to `high`, step by step, and suggest one (Smith 2015).

    trainer: whose network, loss, settings and kind of optimizer are used. Network and trainer are left as they were.
    steps: of the whole sweep, which ends earlier once the loss is four times its best, or no number any more.
    The losses are smoothed by an exponential mean (0.9); suggested is the rate in the middle of their steepest fall.

    Raises DataError as `fit` does, ValueError unless 0 < low < high and steps is 10 or more, and where the optimizer
    makes the loss large, and TypeError where the learning rate of an optimizer of your own can't be set.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(256, 3))
    >>> net = bp.Network(bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(1)), input_shape=3, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam())
    >>> found = bp.find_learning_rate(trainer, X, X @ [1.0, -2.0, 3.0])
    >>> 1e-3 < found.suggestion < 1.0
    True
    """
    instance("find_learning_rate", "trainer", Trainer, trainer)
    low, high = (argument("find_learning_rate", name, Positive, v) for name, v in (("low", low), ("high", high)))
    steps = argument("find_learning_rate", "steps", Annotated[int, Range(10)], steps)
    if not low < high:
        raise ValueError(f"the sweep needs 0 < low < high and got low={low!r}, high={high!r}")
    if trainer.optimizer.maximize:
        raise ValueError(
            f"find_learning_rate looks for the steepest fall of a loss, and {trainer.optimizer!r} makes it large; give "
            "it a trainer with maximize=False"
        )
    with trainer.network.one_thread.during("find_learning_rate"):
        return _swept(trainer, X, y, low, high, steps)


def _swept(trainer: Trainer, X: Any, y: Any, low: float, high: float, steps: int) -> LearningRates:
    schedule = ExponentialDecay(low, decay=high / low, steps=steps - 1)
    network = trainer.network
    with network.backend.active():
        flat, states = network.flat.copy(), network.states.flat.copy()
    optimizer = copy(trainer.optimizer)  # which may be of a class of the user's own
    try:
        object.__setattr__(optimizer, "learning_rate", schedule)
    except AttributeError as problem:
        raise TypeError(
            f"find_learning_rate sets learning_rate of a copy of the optimizer, and that of {type(optimizer).__name__} "
            "can't be set; make it a field, as in learning_rate: float = 0.01, or give its property a setter"
        ) from problem
    sweep = trainer.fresh(optimizer)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    try:
        given = Feed.of(network, sweep.loss_function, X, y)
        as_given: Any = None  # each step makes targets of its part
        if isinstance(given.t, Sequences):
            as_given = targets_of_steps(y, given.X.lengths)
        else:
            as_given, _ = to_numbers(y, Argument("y", OF_TARGETS))
        with replace(given, t=as_given).opened() as feed:
            for k, rows in enumerate(_batches(feed, sweep, steps)):
                rates.append(sweep.learning_rate)
                with rows_named(rows, len(rows), lambda: len(rates) - 1):
                    sweep.step(feed.X[rows], feed.t[rows])
                    mean = 0.9 * mean + 0.1 * sweep.loss
                losses.append(mean / (1.0 - 0.9 ** (k + 1)))
                if not math.isfinite(losses[-1]) or (k >= 10 and losses[-1] > 4.0 * min(losses)):
                    break
    finally:
        with network.backend.active():
            network.flat[...] = flat
            network.states.flat[...] = states
    finite = [loss for loss in losses if math.isfinite(loss)]
    return LearningRates(tuple(rates[: len(finite)]), tuple(finite), _suggested(rates, finite, steps))


def _suggested(rates: list[float], losses: list[float], steps: int) -> float:
    """The middle of the steepest fall of the loss, falls being taken over a sixth of the sweep: noise is shorter."""
    reach = max(1, min(steps // 6, (len(losses) - 1) // 2))
    falls = [losses[k] - losses[k + reach] for k in range(len(losses) - reach)]
    skip = min(steps // 10, len(falls) - 1)  # at first the mean is of few batches
    return rates[skip + int(np.argmax(falls[skip:])) + reach // 2]


def _batches(feed: Feed, trainer: Trainer, steps: int) -> Iterator[np.ndarray[Any, Any]]:
    """`steps` batches of one size, epoch after epoch."""
    rows = len(feed)
    size = min(trainer.rows_of_step(rows), rows)
    done = epoch = 0
    while done < steps:
        order = feed.order(True, trainer.seed, epoch)
        for start in range(0, rows - size + 1, size):
            if done == steps:
                return
            yield order[start : start + size]
            done += 1
        epoch += 1

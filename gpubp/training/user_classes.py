"""Check that a recorded step works with the user's own layers, losses and metrics."""

from __future__ import annotations

import inspect
import warnings

import numpy as np

from ..backends import OPERATORS, Array, as_numpy, repeats
from ..config import is_own
from ..data.sequences import Sequences
from ..errors import RecordError, ResultError
from ..flat import FlatArray
from ..layers.plan import join
from ..losses import Loss
from ..metrics import EpochMetric, Metric
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.kept_rows import result
from ..step.step import Pass, StepJob

ROWS = 4  # are enough to tell


def check_own(network: Network, loss: Loss, metrics: tuple[Metric, ...], x: Array, t: Array) -> None:
    """Raise an error if a training step with classes that are not gpubp's own would not train as it should.

    x, t: data as the network and the loss take them, of which a few rows are used. Where all classes are gpubp's,
    nothing is done: its tests have asked already. Raises RecordError if the step can't be recorded, ResultError or
    ShapeError for what a method must not return (`layers/results.py`), an `EpochMetric`'s result of these few rows too,
    and for a gradient that backward doesn't assign.

    >>> import numpy as np, gpubp as bp
    >>> class Twice(bp.Layer):
    ...     __module__ = "yours"
    ...     def plan(self, x): return bp.Plan(output=x)
    ...     def forward(self, ws, x): return 2.0 * x
    ...     def backward(self, ws, dy): return 2.0 * dy
    >>> net = bp.Network(bp.Sequential(bp.Dense(1), Twice()), input_shape=3, device="cpu")
    >>> check_own(net, bp.MeanSquaredError(), (), np.ones((8, 3), "float32"), np.ones((8, 1), "float32"))
    Traceback (most recent call last):
    ...
    gpubp.errors.RecordError: Twice at "1" computes what a recorded step would not repeat. ...
    """
    own = [f'{type(layer).__name__} at "{path}"' for path, layer in network.layers.walk() if is_own(type(layer))]
    own += [type(judge).__name__ for judge in (loss, *metrics) if is_own(type(judge))]
    if not own:
        return
    numerics = network.numerics if network.device == "cpu" else "ordinary"
    twin = Network(network.layers, network.input_shape, "cpu", network.dtype, network.seed, numerics=numerics)
    twin.frozen = set(network.frozen)
    be, rows = twin.backend, min(ROWS, len(x))
    gradients = FlatArray(be, {n: twin.parameters[n].shape for n in twin.trainable}, twin.dtype)
    some = np.arange(min(2 * rows, len(x)))
    x, t = (a[some] if isinstance(a, Sequences) else as_numpy(a[some]) for a in (x, t))
    T = x.steps if isinstance(x, Sequences) else None
    layers = twin if T is None else twin.of_steps(T)
    batch = Batch(layers, rows, TargetShape.of(t).of_steps(T))
    step = Pass(StepJob(layers, loss, metrics), batch, gradients=gradients, training=True)
    first, states = twin.flat.copy(), twin.states.flat.copy()

    def run(value: float) -> list[Array]:
        be.put(twin.states.flat, states)
        be.put(gradients.flat, value)
        step.forward()
        step.backward()
        kept = step.kept.arrays.values() if step.kept is not None else ()
        return [step.z, step.sums, *kept, *gradients.values()]

    def change() -> None:
        be.put(twin.flat, 0.75 * first)
        batch.load(x, t, some[::-1][:rows])

    with be.active():
        batch.load(x, t, some[:rows])
        before = iter((0.0, 1.0))  # so that a gradient that is not assigned is not repeated either
        if not repeats(be, lambda: run(next(before)), change):
            _check_assigned(
                network,
                [[a.copy() for a in run(value)[-len(gradients) :]] for value in (0.0, 0.0, 1.0)],
                twin.trainable,
            )
            raise RecordError(f"{' or '.join(own)} computes what a recorded step would not repeat. {OPERATORS}")
        batch.load(x, t, some[:rows])
        step.reset_totals()
        step.forward()
        _check_results(metrics, step)


def _check_results(metrics: tuple[Metric, ...], step: Pass) -> None:
    """Raise ResultError for a metric whose result, here of a few rows, is no number, or takes other arguments.

    Few rows may be too few for a metric, so that its own errors and warnings are left to the end of the epoch.
    """
    for number, metric in enumerate(metrics):
        if isinstance(metric, EpochMetric) and is_own(type(metric)) and step.kept is not None:
            _check_arguments(metric)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    result(metric, number, [step.kept.read()])
                except ResultError:
                    raise
                except Exception:
                    continue


def _check_arguments(metric: EpochMetric) -> None:
    try:
        inspect.signature(metric.result).bind("outputs", "targets", "weights")
    except TypeError as problem:
        raise ResultError(
            f"{type(metric).__name__}.result is called with (outputs, targets, weights): {problem}"
        ) from None


def _check_assigned(network: Network, gradients: list[list[Array]], names: list[str]) -> None:
    """Raise ResultError if gradients depend on what stood in their places before: 0, 0 again, and 1."""
    first, once, again = (dict(zip(names, of, strict=True)) for of in gradients)
    for (path, layer), (_, plan) in zip(network.layers.walk(), network.plan(1).walk(), strict=True):
        for name in plan.parameters if is_own(type(layer)) else ():
            full = join(path, name)
            if full not in first:  # it is frozen
                continue
            if first[full].tobytes() == once[full].tobytes() != again[full].tobytes():
                raise ResultError(
                    f'{type(layer).__name__}.backward (layer "{path}") does not assign every number of ws.d{name}, '
                    f"the gradient of {full}; write all of it in each call, by out=ws.d{name}, and add nothing to it"
                )

"""Check that a recorded step works with the user's own layers, losses and metrics."""

from __future__ import annotations

import numpy as np

from ..backends import OPERATORS, Array, as_numpy, repeats
from ..errors import RecordError
from ..flat import FlatArray
from ..losses import Loss
from ..metrics import Metric
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.step import Pass, StepJob

ROWS = 4  # are enough to tell


def check_own(network: Network, loss: Loss, metrics: tuple[Metric, ...], x: Array, t: Array) -> None:
    """Raise RecordError if a training step with classes that are not gpubp's own can't be recorded.

    x, t: data as the network and the loss take them, of which a few rows are used. Where all classes are gpubp's,
    nothing is done: its tests have asked already.

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
    own = [f'{type(layer).__name__} at "{path}"' for path, layer in network.layers.walk() if _is_own(layer)]
    own += [type(judge).__name__ for judge in (loss, *metrics) if _is_own(judge)]
    if not own:
        return
    twin = Network(network.layers, network.input_shape, device="cpu", dtype=network.dtype, seed=network.seed)
    be, rows = twin.backend, min(ROWS, len(x))
    gradients = FlatArray(be, {n: twin.parameters[n].shape for n in twin.parameters}, twin.dtype)
    some = np.arange(min(2 * rows, len(x)))
    x, t = as_numpy(x[some]), as_numpy(t[some])
    batch = Batch(twin, rows, TargetShape.of(t))
    step = Pass(StepJob(twin, loss, metrics), batch, gradients=gradients, training=True)
    first, states = twin.flat.copy(), twin.states.flat.copy()

    def run() -> list[Array]:
        be.put(twin.states.flat, states)
        be.put(gradients.flat, 0.0)
        step.forward()
        step.backward()
        kept = step.kept.arrays.values() if step.kept is not None else ()
        return [step.z, step.sums, gradients.flat, *kept]

    def change() -> None:
        be.put(twin.flat, 0.75 * first)
        batch.load(x, t, some[::-1][:rows])

    with be.active():
        batch.load(x, t, some[:rows])
        if not repeats(be, run, change):
            raise RecordError(f"{' or '.join(own)} computes what a recorded step would not repeat. {OPERATORS}")


def _is_own(thing: object) -> bool:
    return type(thing).__module__.partition(".")[0] != "gpubp"

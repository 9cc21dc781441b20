"""The arrays of a forward pass, layer by layer: what each layer reads and what it gives, for figures and judgements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..data.checks import as_inputs
from ..data.sequences import Sequences
from ..flat import FlatArray
from ..layers import Context, Layer, Workspace
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.time_steps import TimeSteps


class Seen(NamedTuple):
    """A layer that has computed: its place, and its input x and output y.

    x, y: (rows, ...), or where rows have lengths those of time steps that are no padding alone, (steps, ...). follows:
    whether x is what the layer before gave.

    >>> from gpubp.layers import Dense
    >>> Seen("0", Dense(2), np.zeros((4, 3)), np.zeros((4, 2)), False).y.shape
    (4, 2)
    """

    path: str
    layer: Layer
    x: Array
    y: Array
    follows: bool


def look_forward(network: Network, X: Any, look: Callable[[Seen], None], training: bool = True) -> int:
    """Run X forward as one batch, and call `look` after each layer, with its arrays on the device.

    Compositions are left out; their layers come. A later layer may write over an array.
    training: whether layers such as Dropout and BatchNorm act as in training; the arrays then are those of
    `Network.loss_and_gradients`, the random draws included. Running statistics stay as they are.

    Returns the number of rows. Raises DataError as `Network.predict` does, InUseError while another thread trains.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(3), bp.ReLU()), input_shape=2, device="cpu")
    >>> look_forward(net, [[1.0, 2.0]], lambda seen: print(seen.path, seen.layer, seen.x.shape, seen.follows))
    0 Dense(3) (1, 2) False
    1 ReLU() (1, 3) True
    1
    """
    X = as_inputs(X, network.input_shape, network.backend, network.dtype, check=network.input_check)
    be, rows = network.backend, len(X)
    with network.one_thread.during("look_forward"), be.active():
        states = network.states.flat.copy()
        layers = network.of_steps(X.steps) if isinstance(X, Sequences) else network
        batch = Batch(layers, rows, TargetShape((), "float32"))
        batch.load(X, np.zeros(rows, np.float32), np.arange(rows))
        part, mask = batch.part(0, 1), None
        if part.lengths is not None:
            steps = TimeSteps(be, (rows, layers.input_shape[0]), network.dtype, judged=False, has_counts=False)
            steps.mark(part.lengths)
            mask = steps.mask
        context = Context(be, rows, network.dtype, network.seed, part=part, mask=mask)
        shapes = {name: a.shape for name, a in network.parameters.items()}
        gradients = FlatArray(be, shapes, network.dtype) if training else None  # BatchNorm is by batch where trained
        ws = layers.workspace(rows, training=training, gradients=gradients, context=context)
        last: list[Array] = [None]
        for (_, layer), inner in zip(network.layers.walk(), ws.walk(), strict=True):
            if not layer.children:
                _watch(inner, layer, look, last)
        try:
            ws.run_forward(part.x)
        finally:
            network.states.flat[...] = states
    return rows


def _watch(ws: Workspace, layer: Layer, look: Callable[[Seen], None], last: list[Array]) -> None:
    """Let the workspace call `look` behind each forward pass of its layer. last: [the output of the layer before]."""
    forward = ws.run_forward

    def run_forward(x: Array) -> Array:
        y = forward(x)
        ended = layer.over_time == "ends"
        look(Seen(ws.path, layer, _steps(ws, x), y if ended else _steps(ws, y), x is last[0]))
        last[0] = y
        return y

    ws.__dict__["run_forward"] = run_forward


def _steps(ws: Workspace, a: Array) -> Array:
    """The time steps of a (rows, T, ...) that are no padding, (steps, ...); `a` itself where no row has lengths."""
    return a if ws.mask is None else a[ws.mask.astype(bool)]

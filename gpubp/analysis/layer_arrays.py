"""The arrays of a forward pass, layer by layer: what each layer reads and what it gives, for figures and judgements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array
from ..data.checks import as_inputs
from ..data.sequences import Sequences
from ..flat import FlatArray
from ..layers import Activation, Context, Layer, Workspace
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.time_steps import TimeSteps


@dataclass(frozen=True)
class Seen:
    """A layer that has computed, with its arrays.

    path, layer: which it is. follows: whether its input is what the layer before gave. ws: its workspace. x, y: its
    input and output on the device, (rows, ...). The methods give arrays on the host: (rows, ...), or where rows have
    lengths (steps, ...), of the time steps that are no padding.

    >>> import gpubp as bp
    >>> net, found = bp.Network(bp.Tanh(), 2, device="cpu"), []
    >>> _ = look_forward(net, [[0.0, 0.5]], lambda seen: found.append((seen.inputs(), seen.slopes())))
    >>> [a.round(2).tolist() for a in found[0]]
    [[[0.0, 0.5]], [[1.0, 0.79]]]
    """

    path: str
    layer: Layer
    follows: bool
    ws: Workspace
    x: Array
    y: Array

    def inputs(self) -> np.ndarray[Any, Any]:
        """x"""
        return self._numbers(self.x)

    def outputs(self) -> np.ndarray[Any, Any]:
        """y"""
        return self._numbers(self.y, self.layer.over_time == "ends")

    def slopes(self) -> np.ndarray[Any, Any]:
        """f'(x) of an activation."""
        assert isinstance(self.layer, Activation)
        be, dtype = self.ws.be, self.ws.dtype
        slopes = be.zeros(self.y.shape, dtype)
        be.apply(self.layer.df, self.x, self.y, be.constant(1.0, dtype), out=slopes)
        return self._numbers(slopes)

    def _numbers(self, a: Array, ended: bool = False) -> np.ndarray[Any, Any]:
        numbers: np.ndarray[Any, Any] = self.ws.be.to_host(a)
        if self.ws.mask is None or ended:
            return numbers
        steps: np.ndarray[Any, Any] = numbers[self.ws.be.to_host(self.ws.mask) > 0]
        return steps


def look_forward(network: Network, X: Any, look: Callable[[Seen], None], training: bool = True) -> int:
    """Run X forward as one batch, and call `look` after each layer, while its arrays are there.

    Compositions are left out; their layers come.
    training: whether layers such as Dropout and BatchNorm act as in training; the arrays then are those of
    `Network.loss_and_gradients`, the random draws included. Running statistics stay as they are.

    Returns the number of rows. Raises DataError as `Network.predict` does, InUseError while another thread trains.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(3), bp.ReLU()), input_shape=2, device="cpu")
    >>> look_forward(net, [[1.0, 2.0]], lambda seen: print(seen.path, seen.layer, seen.inputs().shape))
    0 Dense(3) (1, 2)
    1 ReLU() (1, 3)
    1
    """
    X = as_inputs(X, network.input_shape, network.backend, network.dtype, check=network.input_check)
    be, rows = network.backend, len(X)
    with network.one_thread.during("plot_histograms"), be.active():
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
        look(Seen(ws.path, layer, x is last[0], ws, x, y))
        last[0] = y
        return y

    ws.__dict__["run_forward"] = run_forward

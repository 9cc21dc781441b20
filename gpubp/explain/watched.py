"""Watched: one step of a network on a few rows, on the backend that keeps every call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array
from ..data.checks import as_inputs, as_targets, row_weights
from ..layers import Workspace
from ..layers.binding import Values, bind
from ..layers.bound import BoundLayers
from ..layers.context import Context
from ..losses import Loss
from ..optimizers import SGD, Optimizer
from ..step.batch import Batch, TargetShape
from ..step.passes import StepJob
from ..step.step import TrainingStep
from ..step.update import Update
from .names import Names
from .origins import Origins
from .watch import Watch


class WatchedLayers(BoundLayers):
    """Layers on the watching backend, which also compute ∂L/∂x of the network's inputs."""

    def workspace(
        self, rows: int, *, training: bool = False, gradients: Any = None, context: Context | None = None
    ) -> Workspace:
        """A workspace in which the lowest layer computes its dx too."""
        context = context or Context(self.backend, rows, self.dtype)
        values = Values(self.parameters, self.states, gradients)
        return bind(self.layers, self.plan(rows), context, values, training=training, wants_dx=True)


class Watched:
    """A step on a few rows, and all that it has computed.

    net: whose parameters it starts from; they stay as they are. optimizer: whose update is done too, if there is one.
    training: whether layers such as Dropout act as in training.

    loss: L. rows: how many. be: with the calls. origins, names: of the numbers.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), 2, device="cpu")
    >>> Watched(net, [[1.0, 2.0]], [3.0], bp.HalfMeanSquaredError()).loss
    4.5
    """

    def __init__(
        self,
        net: BoundLayers,
        X: Any,
        y: Any,
        loss: Loss,
        optimizer: Optimizer | None = None,
        training: bool = True,
        sample_weight: Any = None,
    ) -> None:
        self.be = be = Watch()
        be.watching = False
        self.net = WatchedLayers(net.layers, net.input_shape, be, net.dtype, net.seed)
        self.net.frozen |= net.frozen
        be.put(self.net.parameters.flat, net.backend.to_host(net.parameters.flat))
        be.put(self.net.states.flat, net.backend.to_host(net.states.flat))
        X = as_inputs(X, net.input_shape, be, net.dtype, check=net.input_check)
        t = as_targets(y, loss, net.output_shape, X, net.dtype)
        batch = Batch(self.net, len(X), TargetShape.of(t))
        update = Update(self.net, optimizer or SGD())
        step = TrainingStep(StepJob(self.net, loss, seed=net.seed), batch, update)
        one = step.passes[0]
        one.context.reuses = False
        for ws in one.ws.walk():
            ws.training = training
        step.load(X, t, np.arange(len(X)), row_weights(len(X), sample_weight))
        update.advance()
        be.attach(one.ws)
        for ws in one.loss_workspaces:
            be.attach(ws, "loss")
        self.rows, self.step = len(X), step
        given: dict[str, Array] = {"x": batch.x, "t": batch.t, "w": batch.weights, "c": one.loss_context.share}
        arrays = dict(self.net.parameters.items()) | dict(self.net.states.items())
        self.names = Names(given, arrays)
        self.origins = Origins(be, self.names)
        be.watching = True
        with be.active():
            one.forward()
            one.backward()
            if optimizer is not None:
                with be.inside(None, "update", "update", ()):
                    step.shares[0].update(one.sums, one.totals)
        be.watching = False
        self.loss = one.last_loss()

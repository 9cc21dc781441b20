"""Watched: one step of a network on a few rows, on the backend that keeps every call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array
from ..data.checks import as_inputs, as_targets
from ..data.sequences import Sequences
from ..data.weights import as_weights
from ..layers.bound import BoundLayers
from ..losses import Loss
from ..optimizers import SGD, Optimizer
from ..step.batch import Batch, TargetShape
from ..step.epoch_sums import StepJob
from ..step.step import TrainingStep
from ..step.update import Update
from .names import UPDATE, Names
from .origins import Origins
from .watch import Watch


class Watched:
    """A step on a few rows, and all that it has computed.

    net: whose parameters it starts from; they stay as they are. optimizer: whose update is done too, if there is one;
    without one, frozen parameters have gradients too. training: whether layers such as Dropout act as in training.
    before: the step before it, if it is not the first of a training, whose moments and learning rates it goes on with.

    net: a copy on the watching backend. loss: L. rows: how many. be: with the calls. origins, names: of the numbers.
    given: name -> array of what the step starts from. share: what part of L the loss of each row is, which may be a
    mean over its time steps; None where the loss of one row is that of the batch.

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
        before: Watched | None = None,
    ) -> None:
        self.be = be = Watch()
        be.watching = False
        self.net = BoundLayers(net.layers, net.input_shape, be, net.dtype, net.seed)
        self.net.computes_dx = True
        if optimizer is not None:
            self.net.frozen |= net.frozen
        be.put(self.net.parameters.flat, net.backend.to_host(net.parameters.flat))
        be.put(self.net.states.flat, net.backend.to_host(net.states.flat))
        X = as_inputs(X, net.input_shape, be, net.dtype, check=net.input_check)
        t = as_targets(y, loss, net.output_shape, X, net.dtype)
        T = X.steps if isinstance(X, Sequences) else None
        layers = self.net if T is None else self.net.of_steps(T)
        weights = as_weights(sample_weight, X, net.output_shape)
        batch = Batch(layers, len(X), TargetShape.of(t, weights).of_steps(T))
        self.optimizer = optimizer
        self.update = update = Update(self.net, optimizer or SGD())
        step = TrainingStep(StepJob(layers, loss, seed=net.seed), batch, update)
        self.step, one = step, step.passes[0]
        one.context.reuses = False
        for ws in one.ws.walk():
            ws.training = training
        step.load(X, t, np.arange(len(X)), weights)
        if before is not None:
            update.t = before.update.t
            for name, moment in update.moments.items():
                be.put(moment.flat, before.update.moments[name].flat)
        if optimizer is not None:  # without one, draws are those of `loss_and_gradients`
            update.advance()
        be.attach(one.ws)
        for ws in one.loss_workspaces:
            be.attach(ws, "loss")
        self.rows, self.batch = len(X), batch
        self.given: dict[str, Array] = {"x": batch.x, "t": batch.t}
        if len(X) > 1 or one.has_counts:  # else the loss of the one row is that of the batch
            self.given |= {"w": batch.weights, "c": one.loss_context.share}
        if batch.of_positions is not None:
            self.given["u"] = batch.of_positions
        judged = one.loss_workspaces[0].judged
        self.share = self.given.get("c") if judged is None or judged.share is None else one.context.share
        self.names = Names(self.given | self._of_update(), self._parameters())
        self.origins = Origins(be, self.names)
        be.watching = True
        with be.active():
            one.forward()
            one.backward()
            if optimizer is not None:
                with be.inside(None, UPDATE, UPDATE, ()):
                    step.shares[0].update(one.sums, one.totals)
        be.watching = False
        self.loss = one.last_loss()

    def _parameters(self) -> dict[str, Array]:
        return dict(self.net.parameters.items()) | dict(self.net.states.items())

    def _of_update(self) -> dict[str, Array]:
        """The arrays of the update: moments of each parameter, as 0.W.m, and the scalars of the step."""
        found = {
            f"{parameter}.{name}": a for name, moment in self.update.moments.items() for parameter, a in moment.items()
        }
        for group in range(len(self.update.groups)):
            keeps, scalars = self.update.scalars(group)
            found |= {f"{UPDATE}.keep": a for a in keeps}
            found |= {f"{UPDATE}.{name}": a for name, a in zip(self.update.scalar_names, scalars, strict=True)}
        return found

"""The first steps of training on the same rows, each watched."""

from __future__ import annotations

from typing import Any

from ..config import Count, argument
from ..layers.bound import BoundLayers
from ..losses import Loss
from ..optimizers import Optimizer
from .build import Builder
from .diagram import diagram_of_step
from .figures import Step
from .watched import Watched


def first_steps(
    net: BoundLayers,
    X: Any,
    y: Any,
    loss: Loss,
    optimizer: Optimizer,
    steps: int,
    training: bool = True,
    sample_weight: Any = None,
) -> list[Step]:
    """The first `steps` steps of training a network on the rows X, y, all of them in each step.

    The network stays as it is. Each step has the parameters, moments and learning rate that the steps before it leave.
    Raises ValueError if `steps` is no whole number, 1 or more.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros(), use_bias=False), 1, device="cpu")
    >>> steps = first_steps(net, [[1.0]], [1.0], bp.HalfMeanSquaredError(), bp.SGD(0.5), 3)
    >>> [step.content.loss for step in steps]
    [0.5, 0.125, 0.03125]
    """
    found: list[Step] = []
    before: Watched | None = None
    for _ in range(argument("explain", "steps", Count, steps)):
        of = net if before is None else before.net
        before = Watched(of, X, y, loss, optimizer, training, sample_weight, before)
        found.append(Step(diagram_of_step(before), Builder(before).content(f"Step {len(found) + 1}")))
    return found

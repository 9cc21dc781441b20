"""The steps of training after the first one, on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..losses import Loss
from .build import Builder
from .drawings.diagram import diagram_of_step
from .drawings.figures import Step
from .watched import Watched


def later_steps(
    first: Watched, X: Any, y: Any, loss: Loss, steps: int, training: bool = True, sample_weight: Any = None
) -> Iterator[Step]:
    """What the next `steps` steps compute on the rows X, y, all of which are in each step.

    first: a step with an optimizer. Each step has the parameters, moments and learning rate that the steps before it
    leave.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros(), use_bias=False), 1, device="cpu")
    >>> data = [[1.0]], [1.0], bp.HalfMeanSquaredError()
    >>> first = Watched(net, *data, bp.SGD(0.5))
    >>> first.loss, [step.content.loss for step in later_steps(first, *data, 2)]
    (0.5, [0.125, 0.03125])
    """
    before = first
    for k in range(steps):
        before = Watched(before.net, X, y, loss, first.optimizer, training, sample_weight, before)
        yield Step(diagram_of_step(before), Builder(before).content(f"Step {k + 2}"))

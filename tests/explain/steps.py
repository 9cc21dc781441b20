"""Steps of small networks, which the tests of pages explain."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import gpubp as bp
from gpubp.explain.build import Builder
from gpubp.explain.content import Content
from gpubp.explain.drawings.diagram import diagram_of_step
from gpubp.explain.drawings.figures import Step, figure_of_step, figure_of_steps
from gpubp.explain.explanation import explain
from gpubp.explain.watched import Watched

TINY = {
    "dense": (lambda: bp.Sequential(bp.Dense(2), bp.Sigmoid(), bp.Dense(1)), 2, bp.HalfMeanSquaredError()),
    "residual": (
        lambda: bp.Sequential(bp.Dense(2), bp.Residual(bp.Dense(2), bp.Tanh()), bp.BatchNorm(), bp.Dense(3), bp.SiLU()),
        2, bp.SoftmaxCrossEntropy(),
    ),
    "conv": (
        lambda: bp.Sequential(
            bp.Conv2D(2, 3), bp.ReLU(), bp.MaxPool2D(), bp.Flatten(), bp.Dropout(0.5), bp.LayerNorm(), bp.Dense(2)
        ),
        (5, 5, 1), bp.SoftmaxCrossEntropy(),
    ),
    "wide": (lambda: bp.Sequential(bp.Dense(40), bp.GELU(), bp.Dense(10)), 784, bp.SoftmaxCrossEntropy()),
}  # fmt: skip


@cache
def explained(
    name: str, rows: int = 2, dtype: str = "float32", optimizer: bp.Optimizer | None = None, of: str | None = None
) -> Content:
    """One step of one of `TINY`."""
    layers, shape, loss = TINY[name]
    draw = np.random.default_rng(1)
    net = bp.Network(layers(), shape, device="cpu", dtype=dtype)
    X = draw.normal(size=(rows, *np.atleast_1d(shape)))
    y: Any = np.arange(rows) % 2 if isinstance(loss, bp.SoftmaxCrossEntropy) else draw.normal(size=(rows, 1))
    return replace(explain(net, X, y, loss, optimizer, of).content, title=f"A step of <{name}> & more")


@cache
def drawn(name: str, rows: int = 2) -> Content:
    """The same with drawings: of the rows, and in the first section of the first steps of training."""
    layers, shape, loss = TINY[name]
    draw = np.random.default_rng(1)
    net = bp.Network(layers(), shape, device="cpu")
    X = draw.normal(size=(rows, *np.atleast_1d(shape)))
    y: Any = np.arange(rows) % 2 if isinstance(loss, bp.SoftmaxCrossEntropy) else draw.normal(size=(rows, 1))
    watched = Watched(net, X, y, loss, bp.SGD())
    diagram, content = diagram_of_step(watched), Builder(watched).content("A step, drawn")
    steps = figure_of_steps([Step(diagram, content)] * 3)
    first, *others = content.sections
    return replace(content, figure=figure_of_step(diagram, content), sections=(replace(first, figure=steps), *others))

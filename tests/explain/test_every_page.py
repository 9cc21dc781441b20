"""Pages of every layer, loss and optimizer: well formed, and each line can be checked with a calculator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reading import PageReader, calculated

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from gpubp.explain.content import Content
from gpubp.explain.explanation import explain
from gpubp.explain.forms import html, markdown, tex, text
from gpubp.explain.forms.numbers import number, parsed
from gpubp.explain.forms.printing import agree


def check(content: Content) -> None:
    """Read the page, and calculate each of its lines."""
    read = PageReader(html.page(content))
    assert read.faults == []
    assert set(read.links) <= set(read.ids) and len(set(read.ids)) == len(read.ids)
    lines, calculations = list(content.lines()), 0
    assert len(read.lines) == len(lines)
    for equations, line in zip(read.lines.values(), lines, strict=True):
        for place, (_, sides, result) in enumerate(equations):
            assert result == number(line.value)
            expression = line.expression
            if expression is None or (place == 0 and not expression.operands) or "‹" in sides[0]:
                continue  # given, copied, or drawn at random
            value = calculated(sides[-2][2:])
            assert (sides[-1][0] == "=") == agree(value, parsed(result)), sides
            calculations += 1
    assert calculations > 0
    for render in (text.render, markdown.render):
        stated = " ".join(render(content).split())
        assert all(f" {number(line.value)}" in stated for line in lines)
    document = tex.render(content)
    assert _depth(document) == 0 and "(U+" not in document  # it has every letter of the library


def _depth(document: str) -> int:
    document = document.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    return document.count("{") - document.count("}")


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_of_every_layer(case: LayerCase, rng: np.random.Generator) -> None:
    x = case.x(rng, min(2, case.shape[0]))
    net = bp.Network(case.network_layers(2), case.shape[1:], device="cpu", dtype="float64")
    check(explain(net, x, rng.normal(size=(len(x), 2)), bp.MeanSquaredError(), written=8).content)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_of_every_loss(case: LossCase, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=case.shape), case.targets(rng, case.shape)
    net = bp.Network(case.layers(), case.shape[1:], device="cpu", dtype="float32")
    check(explain(net, x, y, case.loss, written=8).content)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_of_every_optimizer(case: OptimizerCase, rng: np.random.Generator) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh(), bp.Dense(2)), 2, device="cpu", dtype="float32", seed=4)
    y: Any = rng.normal(size=(3, 2))
    check(explain(net, rng.normal(size=(3, 2)), y, bp.MeanSquaredError(), case.optimizer).content)

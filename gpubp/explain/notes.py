"""Notes: what is worth seeing in a step, in words: dead units, saturated units, vanishing gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers import Activation
from .expressions import Expression
from .watch import Frame

SATURATED = 0.01  # |f'(x)|, below which hardly anything passes
FALLS = 1e-3  # ratio of mean gradients of layers, from where on it is worth a note
NAMED = 8  # units that a note names


def notes_of_layer(builder: Any, frame: Frame) -> Iterator[str]:
    """Units of an activation that let no gradient, or hardly any, through."""
    ws = frame.ws
    if ws is None or frame.method != "backward":
        return
    if not isinstance(ws._layer, Activation) or not ws._layer.is_by_formulas:
        return
    forward = builder.forward.get(frame.path)
    if forward is None or not isinstance(forward.result, np.ndarray):
        return
    end = forward.last
    x, y = (builder.origins.array(a, end).astype(np.float64) for a in (forward.arguments[0], forward.result))
    with np.errstate(all="ignore"):
        slope = np.abs(np.broadcast_to(ws._layer.df(x, y, np.ones_like(x)), x.shape))
    largest = slope.reshape(-1, slope.shape[-1]).max(axis=0)
    dead, saturated = np.flatnonzero(largest == 0), np.flatnonzero((largest > 0) & (largest < SATURATED))
    rows = "in this row" if len(x) == 1 else f"in all {len(x)} rows"
    if len(dead):
        yield f"{_units(dead)} dead {rows}: f'(x) is 0 there, so no gradient passes to the layers below."
    if len(saturated):
        yield f"{_units(saturated)} saturated {rows}: |f'(x)| is below {SATURATED}, so hardly any gradient passes."


def _units(numbers: Any) -> str:
    named = ", ".join(str(int(n)) for n in numbers[:NAMED])
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"Unit {named} is" if len(numbers) == 1 else f"Units {named}{more} are"


def patch_of(expression: Expression) -> str:
    """Which part of an image or a sequence a number is computed from, as x[0,1…3,1…3,0]; "" where it is none.

    >>> from gpubp.explain.expressions import Element, Key, Sum
    >>> read = [Element("x", (0, h, 2, 0), 1.0, Key("", "x", (0, h, 2, 0))) for h in range(3)]
    >>> patch_of(Sum(read))
    'x[0,0…2,2,0]'
    """
    read = [e.index for e in expression.elements() if e.name == "x" and len(e.index) > 2]
    if len(read) < 2:
        return ""
    ranges = [(min(axis), max(axis)) for axis in zip(*read, strict=True)]
    return f"x[{','.join(f'{low}…{high}' if high > low else str(low) for low, high in ranges)}]"


def notes_of_step(builder: Any) -> Iterator[str]:
    """Whether gradients vanish or explode on their way down."""
    found: list[tuple[str, float]] = []
    for path, frame in builder.backward.items():
        if path == "loss" or not frame.arguments or frame.ws is None or frame.ws.children:
            continue
        dy = builder.origins.array(frame.arguments[-1], frame.first)
        found.append((path, float(np.mean(np.abs(dy.astype(np.float64))))))
    found = [(path, size) for path, size in found if size > 0 and np.isfinite(size)]
    if len(found) < 2:
        return
    (top, first), (bottom, last) = found[0], found[-1]
    way = f"from {first:.2g} at layer {top} to {last:.2g} at layer {bottom}"
    if last < FALLS * first:
        yield f"The gradients vanish: the mean of |∂L/∂y| falls {way}."
    if last > first / FALLS:
        yield f"The gradients explode: the mean of |∂L/∂y| grows {way}."

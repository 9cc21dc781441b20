"""Notes: what is worth seeing in a step, in words: dead units, saturated units, vanishing gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers import Activation
from .watch import Frame

SATURATED = 0.01  # |f'(x)|, below which hardly anything passes
FALLS = 1e-3  # ratio of mean gradients of layers, from where on it is worth a note
NAMED = 8  # units that a note names


def notes_of_layer(builder: Any, frame: Frame) -> Iterator[str]:
    """Units of an activation that let no gradient, or hardly any, through."""
    ws = frame.ws
    if ws is None or frame.method != "backward" or not isinstance(ws._layer, Activation):
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

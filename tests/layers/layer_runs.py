"""One layer with given parameters, forward and backward, for tests that compare its numbers with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.flat import FlatArray
from gpubp.layers import Context, Values, bind

Numbers = dict[str, np.ndarray]


def bound(
    layer: bp.Layer, p: Mapping[str, Any], x: np.ndarray, lengths: Any = None, be: Any = None
) -> tuple[Any, FlatArray]:
    """The workspace of a layer with these parameters, and the gradients that it writes."""
    be, plan = be or get_backend("cpu"), layer.plan(x.shape)
    shapes = {name: of.shape for name, of in plan.all_parameters().items()}
    parameters, gradients = FlatArray(be, shapes, x.dtype), FlatArray(be, shapes, x.dtype)
    for name, array in parameters.items():
        array[...] = p[name]
    mask = None if lengths is None else (np.arange(x.shape[1]) < np.array(lengths)[:, None]).astype(x.dtype)
    context = Context(be, len(x), x.dtype, mask=mask)
    return bind(layer, plan, context, Values(parameters, {}, gradients), training=True, wants_dx=True), gradients


def run(
    layer: bp.Layer, p: Mapping[str, Any], x: np.ndarray, dy: np.ndarray | None = None, lengths: Any = None
) -> tuple[np.ndarray, np.ndarray, Numbers]:
    """y, dx and the parameters' gradients; twice, since a step's arrays are used again and again."""
    ws, gradients = bound(layer, p, x, lengths)
    for _ in range(2):
        y = ws.run_forward(x)
        dx = ws.run_backward(np.ones_like(y) if dy is None else dy)
    assert dx is not None
    return y, dx, {name: np.array(a) for name, a in gradients.items()}


def drawn(layer: bp.Layer, shape: tuple[int, ...], rng: np.random.Generator) -> Numbers:
    """Parameters, none of them 0."""
    return {name: rng.normal(scale=0.7, size=of.shape) for name, of in layer.plan(shape).all_parameters().items()}

"""bind: makes the workspaces of a layer and of all layers inside it, over given parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..initializers import Initializer
from .base import Context, Layer, Parameter, Plan, Workspace, join


class Values(NamedTuple):
    """What the layers of a network compute with, each array by its full name, such as "0.W".

    gradients: of the parameters that are trained; None for a workspace that only goes forward.

    >>> Values({}, {}).gradients is None
    True
    """

    parameters: Mapping[str, Array]
    states: Mapping[str, Array]
    gradients: Mapping[str, Array] | None = None


def bind(
    layer: Layer, plan: Plan, context: Context, values: Values,
    *, training: bool = False, wants_dx: bool = False, path: str = "",
) -> Workspace:  # fmt: skip
    """The workspace of a layer and of all layers inside it, over given values."""
    if type(layer).backward is Layer.backward and type(layer).input_gradient is Layer.input_gradient:
        raise TypeError(f"{type(layer).__name__} has no backward(ws, dy) or input_gradient(ws, dy)")
    collected = values.gradients or {}
    places = [join(path, str(i)) for i in range(len(plan.children))]
    inner = zip(places, plan.children, strict=True)
    trained = [any(join(place, n) in collected for n in p.all_parameters()) for place, p in inner]
    own = [name for name in plan.parameters if join(path, name) in collected]
    ws = Workspace(plan, layer, context, path, training, wants_dx, bool(own) or any(trained))
    for name in plan.parameters:
        setattr(ws, name, values.parameters[join(path, name)])
    for name in plan.states:
        setattr(ws, name, values.states[join(path, name)])
    for name in own:
        setattr(ws, "d" + name, collected[join(path, name)])
    wanted = layer.wanted_by_children(wants_dx, trained)
    ws.children = [
        bind(child, p, context, values, training=training, wants_dx=used, path=place)
        for child, p, used, place in zip(layer.children, plan.children, wanted, places, strict=True)
    ]
    return ws


def initial_values(name: str, parameter: Parameter, seed: int) -> np.ndarray[Any, Any]:
    """The first values of a parameter in float64, which depend on the seed and the parameter's full name alone.

    >>> from gpubp.initializers import Normal
    >>> p = Parameter((2, 2), Normal())
    >>> bool((initial_values("0.W", p, seed=1) == initial_values("0.W", p, seed=1)).all())
    True
    """
    if not isinstance(parameter.initializer, Initializer):
        raise TypeError(
            f"{name} needs an initializer for its first values, such as HeNormal(), and got {parameter.initializer!r}"
        )
    rng = np.random.default_rng([seed, *name.encode()])
    return parameter.initializer.draw(rng, parameter.shape)

"""plan_of and bind: the checked plan of a layer, and its workspaces over given parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Shape
from ..backends.exact_generator import ExactGenerator
from ..backends.exactness import require_exact
from ..config import as_call
from ..errors import ResultError, ShapeError
from ..formula.host import host_numerics
from ..initializers import Initializer
from .base import Layer, Workspace
from .context import Context
from .plan import Parameter, Plan, join
from .results import noted


class Values(NamedTuple):
    """What the layers of a network compute with, each array by its full name, such as "0.W".

    gradients: of the parameters that are trained; None for a workspace that only goes forward. frozen: names of running
    statistics that training leaves as they are, of layers without parameters.

    >>> Values({}, {}).gradients is None
    True
    """

    parameters: Mapping[str, Array]
    states: Mapping[str, Array]
    gradients: Mapping[str, Array] | None = None
    frozen: Collection[str] = ()


def plan_by(of: Any, *shapes: Any) -> Plan:
    """The plan of a layer, loss or metric; ResultError if its `plan` returns anything else.

    >>> import gpubp as bp
    >>> plan_by(bp.MeanSquaredError(), (32, 3), (32, 3)).output
    (32,)
    """
    where = f"{type(of).__name__}.plan"
    with noted(of, where):
        plan = of.plan(*shapes)
    if not isinstance(plan, Plan):
        hint = "; is a return missing?" if plan is None else ""
        raise ResultError(f"{where} must return a Plan(output=...) and returned {plan!r:.80}{hint}")
    return plan


def plan_of(layer: Layer, x: Shape) -> Plan:
    """The layer's plan for inputs of shape x, checked.

    Raises ResultError if `plan` returns anything else, ShapeError if it doesn't fit x or the layer's children.

    >>> import gpubp as bp
    >>> plan_of(bp.Dense(3), (32, 4)).output
    (32, 3)
    """
    plan = plan_by(layer, x)
    if plan.output[:1] != x[:1]:
        raise ShapeError(
            f"plans the output {plan.output} for inputs {x}; the first axis is the batch's, as in output=(x[0], 10)"
        )
    _check_children(layer, plan)
    return plan


def _check_children(layer: Layer, plan: Plan) -> None:
    needs = "Plan(children=...) needs the plan of each of its `children`"
    if not isinstance(plan.children, list | tuple):
        raise ShapeError(f"plans its inner layers as {plan.children!r:.80}; {needs}, in a list")
    if len(plan.children) != len(layer.children):
        raise ShapeError(f"plans {len(plan.children)} inner layers and has {len(layer.children)}; {needs}")
    for i, (child, inner) in enumerate(zip(layer.children, plan.children, strict=True)):
        if not isinstance(child, Layer):
            raise ShapeError(f"has {child!r:.80} as number {i} of its `children`, which must be layers")
        if not isinstance(inner, Plan):
            raise ShapeError(f"plans its inner layer {i} as {inner!r:.80}; {needs}, such as child.plan(x)")
        try:
            _check_children(child, inner)
        except ShapeError as problem:
            raise problem.at(str(i), repr(child)) from None


def bind(
    layer: Layer, plan: Plan, context: Context, values: Values,
    *, training: bool = False, wants_dx: bool = False, path: str = "",
) -> Workspace:  # fmt: skip
    """The workspace of a layer and of all layers inside it, over given values."""
    ws = _bound(layer, plan, context, values, training, wants_dx, path)
    _hand_down(layer, ws, context.mask)
    return ws


def _bound(
    layer: Layer, plan: Plan, context: Context, values: Values, training: bool, wants_dx: bool, path: str
) -> Workspace:
    if type(layer).backward is Layer.backward and type(layer).input_gradient is Layer.input_gradient:
        raise TypeError(f"{type(layer).__name__} has no backward(ws, dy) or input_gradient(ws, dy)")
    collected = values.gradients or {}
    places = [join(path, str(i)) for i in range(len(plan.children))]
    inner = zip(places, plan.children, strict=True)
    trained = [any(join(place, n) in collected for n in p.all_parameters()) for place, p in inner]
    own = [name for name in plan.parameters if join(path, name) in collected]
    ws = Workspace(plan, layer, context, path, training, wants_dx, bool(own) or any(trained))
    ws.frozen = not own if plan.parameters else any(join(path, name) in values.frozen for name in plan.states)
    for name in plan.parameters:
        ws.bind_array(name, values.parameters[join(path, name)])
    for name in plan.states:
        ws.bind_array(name, values.states[join(path, name)])
    for name in own:
        ws.bind_array("d" + name, collected[join(path, name)])
    wanted = layer.wanted_by_children(wants_dx, trained)
    if not isinstance(wanted, list | tuple) or len(wanted) != len(trained):
        raise ShapeError(
            f"has {len(trained)} inner layers, and its wanted_by_children returned {wanted!r:.80}; it must return a "
            "list that says for each of them whether its dx is used",
            path,
            repr(layer),
        )
    ws.children = [
        _bound(child, p, context, values, training, used, place)
        for child, p, used, place in zip(layer.children, plan.children, wanted, places, strict=True)
    ]
    return ws


def _hand_down(layer: Layer, ws: Workspace, mask: Array | None) -> None:
    """Give the mask to a layer's workspace, and to those inside what the layer says."""
    ws.mask = mask
    if not ws.children:
        return
    masks = layer.masks_of_children(ws)
    if not isinstance(masks, list | tuple) or len(masks) != len(ws.children):
        raise ShapeError(
            f"has {len(ws.children)} inner layers, and its masks_of_children returned {masks!r:.80}; it must return a "
            "list with the mask of each, (B, T), or None",
            ws.path,
            repr(layer),
        )
    for child, inner, of_child in zip(layer.children, ws.children, masks, strict=True):
        _hand_down(child, inner, of_child)


def initial_values(
    name: str, parameter: Parameter, seed: int, dtype: Any = np.float64, numerics: str = "ordinary"
) -> np.ndarray[Any, Any]:
    """The first values of a parameter, as drawn, which depend on the seed and the parameter's full name alone.

    dtype: of the network; ValueError if the values are not finite in it. numerics: "exact" ones have the same bits on
    every machine; ExactError if the initializer has none.

    >>> from gpubp.initializers import Normal
    >>> p = Parameter((2, 2), Normal())
    >>> bool((initial_values("0.W", p, seed=1) == initial_values("0.W", p, seed=1)).all())
    True
    """
    if not isinstance(parameter.initializer, Initializer):
        raise TypeError(
            f"{name} needs an initializer for its first values, such as HeNormal(), and got {parameter.initializer!r}"
            f"{as_call(parameter.initializer)}"
        )
    rng: Any = np.random.default_rng([seed, *name.encode()])
    if numerics == "exact":
        by = "draws by rng.random, rng.uniform and rng.normal, and computes by + - * / and square roots alone"
        require_exact(parameter.initializer, f" for {name}", if_it=by)
        rng = ExactGenerator(rng.bit_generator)
    where = f"{type(parameter.initializer).__name__}.draw"
    with noted(parameter.initializer, where), host_numerics(numerics):
        drawn: Any = parameter.initializer.draw(rng, parameter.shape)
    values = np.asarray(drawn)
    with np.errstate(over="ignore"):
        kept = values.astype(dtype) if values.dtype.kind in "iufb" else None
    if kept is None or values.shape not in (parameter.shape, ()) or not np.isfinite(kept).all():
        hint = "; is a return missing?" if drawn is None else ""
        if kept is not None and np.isfinite(values).all() and not np.isfinite(kept).all():
            hint = f"; numbers above {np.finfo(dtype).max:.1e} overflow in {np.dtype(dtype)}"
        raise ValueError(
            f"{where} must return finite numbers of shape {parameter.shape}, for {name}, and returned "
            f"{drawn!r:.200}{hint}"
        )
    return values if values.shape == parameter.shape else np.full(parameter.shape, values)

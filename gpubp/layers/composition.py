"""Compositions: layers made of layers, with the chain rule and its sums.

    Sequential   y = fₙ(… f₂(f₁(x)))             dx = f₁'ᵀ (f₂'ᵀ (… fₙ'ᵀ dy)): last first
    Residual     y = f(x) + s(x)                 dx = f'ᵀ dy + s'ᵀ dy: x reaches y on two ways
    Parallel     y = f₁(x) + f₂(x) + …           dx = Σ fᵢ'ᵀ dy
                 y = [f₁(x), f₂(x), …]           dx = Σ fᵢ'ᵀ dyᵢ, dyᵢ being fᵢ's part of dy

with f'ᵀ dy for what f's `backward` gives: dy carried back through f.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count, as_call
from ..errors import ShapeError
from .base import Layer, Look, Workspace
from .binding import plan_of
from .plan import Plan, join
from .time_steps import one_after_another, side_by_side


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Layer):
    """Layers one after the other.

    layers: any number of them, or one list.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), input_shape=(4,), device="cpu")
    >>> list(net.parameters)
    ['0.W', '0.b', '2.W', '2.b']
    """

    layers: tuple[Layer, ...]
    exact = True

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", checked_layers("Sequential", layers))

    @property
    def children(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    def plan(self, x: Shape) -> Plan:
        """Each layer's input is the output of the one before it."""
        plans: list[Plan] = []
        for i, layer in enumerate(self.layers):
            before = (repr(self.layers[i - 1]), str(i - 1), str(x[1:])) if i else None
            plans.append(plan_child(layer, i, x, before))
            x = plans[-1].output
        return Plan(output=x, children=plans)

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """Follow X through the layers, up to the first that computes."""
        for i, layer in enumerate(self.layers):
            if X is None:
                break
            X = layer.follow_inputs(X, look, join(path, str(i)), training)
        return X

    def forward(self, ws: Workspace, x: Array) -> Array:
        """First to last."""
        for i, child in enumerate(ws.children):
            ws.reuse_memory(i, "y", x)
            x = child.output = child.run_forward(x)  # for callbacks such as GradientFlow
        return x

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """Last to first, down to the lowest layer whose dx or whose parameters' gradients are used."""
        dx: Array | None = dy
        for i, child in reversed(list(enumerate(ws.children))):
            if dx is None or not (child.wants_dx or child.trainable):
                return None
            ws.reuse_memory(i, "dx", dx)
            dx = child.run_backward(dx)
        return dx

    def wanted_by_children(self, wants_dx: bool, trainable: Sequence[bool]) -> list[bool]:
        """A layer's dx is used where this one's is, or where a layer below is trained."""
        return [wants_dx or any(trainable[:i]) for i in range(len(trainable))]

    @property
    def over_time(self) -> str:
        """As its layers, up to the first that ends time."""
        return one_after_another(layer.over_time for layer in self.layers)

    def masks_of_children(self, ws: Workspace) -> Sequence[Array | None]:
        """The mask, up to the first layer after which there are no time steps."""
        kinds = [layer.over_time for layer in self.layers]
        return [ws.mask if one_after_another(kinds[:i]) in ("each", "keeps") else None for i in range(len(kinds))]


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """y = body(x) + shortcut(x) (He, Zhang, Ren and Sun 2015).

    body: a layer. shortcut: a layer that gives x the body's shape; None for x itself.

    >>> import gpubp as bp
    >>> block = bp.Residual(bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(4)))
    >>> block.plan((32, 4)).output
    (32, 4)
    """

    body: Layer
    shortcut: Layer | None = None
    exact = True

    def __post_init__(self) -> None:
        checked_layers("Residual", self.children)

    @property
    def children(self) -> tuple[Layer, ...]:
        """The body, and the shortcut if there is one."""
        return (self.body,) if self.shortcut is None else (self.body, self.shortcut)

    def plan(self, x: Shape) -> Plan:
        """Both ways must end in one shape."""
        plans = [plan_child(layer, i, x) for i, layer in enumerate(self.children)]
        y, s = plans[0].output, plans[1].output if self.shortcut else x
        if y != s:
            raise ShapeError(
                f"expects its two ways to give one shape, and the body gives rows of shape {y[1:]} while the shortcut "
                f"gives {s[1:]}; give it a shortcut, such as Dense({y[-1]}), or another body",
                layer=repr(self),
            )
        return Plan(output=y, arrays={"y": y, "dx": x}, children=plans, overwrites=("y", "dx"))

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """Follow X into body and shortcut; their sum is computed."""
        for i, layer in enumerate(self.children):
            layer.follow_inputs(X, look, join(path, str(i)), training)
        return None

    @property
    def over_time(self) -> str:
        """As both ways; x itself is a way that keeps each step."""
        return side_by_side((self.body.over_time, "each" if self.shortcut is None else self.shortcut.over_time))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """y = body(x) + shortcut(x)"""
        y = ws.children[0].run_forward(x)
        s = ws.children[1].run_forward(x) if self.shortcut else x
        return ws.xp.add(y, s, out=ws.y)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """The sum over the two ways."""
        dx = ws.children[0].run_backward(dy)
        ds = ws.children[1].run_backward(dy) if self.shortcut else dy
        return sum_of_dx(ws, [dx, ds])


@dataclass(frozen=True, repr=False, init=False)
class Parallel(Layer):
    """Several layers on the same input, their outputs side by side or summed.

    branches: layers. merge: "concatenate" along the last axis, or "add".

    >>> import gpubp as bp
    >>> bp.Parallel(bp.Dense(3), bp.Dense(4)).plan((32, 8)).output
    (32, 7)
    """

    branches: tuple[Layer, ...]
    merge: str
    exact = True

    def __init__(self, *branches: Layer, merge: str = "concatenate") -> None:
        if merge not in ("concatenate", "add"):
            raise ValueError(f'Parallel merges by "concatenate" or "add" and got {merge!r}')
        object.__setattr__(self, "branches", checked_layers("Parallel", branches))
        object.__setattr__(self, "merge", merge)

    @property
    def children(self) -> tuple[Layer, ...]:
        """The branches."""
        return self.branches

    def plan(self, x: Shape) -> Plan:
        """Outputs must agree but for the last axis, or wholly where they are added."""
        plans = [plan_child(layer, i, x) for i, layer in enumerate(self.branches)]
        shapes = [p.output for p in plans]
        alike = {s if self.merge == "add" else s[:-1] for s in shapes}
        if len(alike) > 1:
            raise ShapeError(f"can't {self.merge} outputs of shapes {', '.join(map(str, shapes))}", layer=repr(self))
        if self.merge == "add":
            return Plan(output=shapes[0], arrays={"y": shapes[0], "dx": x}, children=plans)
        y = (*shapes[0][:-1], sum(s[-1] for s in shapes))
        parts = {f"dy{i}": s for i, s in enumerate(shapes)}
        return Plan(output=y, arrays={"y": y, "dx": x, **parts}, children=plans)

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """Follow X into every branch; the output is made of X's numbers where all branches' are, and are not summed."""
        of = [f.follow_inputs(X, look, join(path, str(i)), training) for i, f in enumerate(self.branches)]
        if any(a is None for a in of) or (self.merge == "add" and len(of) > 1):
            return None
        return np.concatenate(of, axis=-1) if len(of) > 1 else of[0]

    @property
    def over_time(self) -> str:
        """As all branches."""
        return side_by_side(branch.over_time for branch in self.branches)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """The sum, or each branch's output in its place."""
        outputs = [child.run_forward(x) for child in ws.children]
        if self.merge == "add":
            return sum_into(ws, outputs, ws.y)
        for part, y in zip(_parts(ws.y, outputs), outputs, strict=True):
            ws.xp.copyto(part, y)
        return ws.y

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """Σ over the branches."""
        if self.merge == "add":
            dys = [dy] * len(self.branches)
        else:
            dys = [getattr(ws, f"dy{i}") for i in range(len(self.branches))]
            for part, own in zip(_parts(dy, dys), dys, strict=True):
                ws.xp.copyto(own, part)
        return sum_of_dx(ws, [child.run_backward(d) for child, d in zip(ws.children, dys, strict=True)])


class _View(Layer):
    """The same numbers in another shape: a view of x, and backward a view of dy."""

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        look(self, X, path, None)
        return X.reshape(self.plan(X.shape).output)

    def forward(self, ws: Workspace, x: Array) -> Array:
        ws.shape = x.shape
        return x.reshape(self.plan(x.shape).output)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        return dy.reshape(ws.shape)


@dataclass(frozen=True, repr=False)
class Flatten(_View):
    """(B, a, b, ...) -> (B, a·b·...), the numbers staying where they are.

    >>> Flatten().plan((32, 28, 28)).output
    (32, 784)
    """

    exact = True

    def plan(self, x: Shape) -> Plan:
        """All axes but the batch become one."""
        return Plan(output=(x[0], math.prod(x[1:])))


@dataclass(frozen=True, repr=False)
class Reshape(_View):
    """(B, ...) -> (B, *shape), the numbers staying where they are: rows of pixels become images.

    shape: of one row's result, without the batch axis.

    >>> Reshape((28, 28, 1)).plan((32, 784)).output
    (32, 28, 28, 1)
    """

    shape: tuple[Count, ...]
    exact = True

    def __post_init__(self) -> None:
        if not self.shape:
            raise ValueError("Reshape needs whole numbers, 1 or more, such as (28, 28, 1), and got ()")

    def plan(self, x: Shape) -> Plan:
        """As many numbers as before."""
        if math.prod(x[1:]) != math.prod(self.shape):
            raise ShapeError(
                f"expects rows of {math.prod(self.shape)} numbers, for {self.shape}, and got {math.prod(x[1:])}, in {x}"
            )
        return Plan(output=(x[0], *self.shape))


def sum_of_dx(ws: Workspace, terms: Sequence[Array | None]) -> Array | None:
    """ws.dx ← Σ of what layers on the same input give; None where nobody wants it."""
    return sum_into(ws, terms, ws.dx) if ws.wants_dx else None


def sum_into(ws: Workspace, terms: Sequence[Array], out: Array) -> Array:
    """out ← Σ of the terms."""
    if len(terms) == 1:
        ws.xp.copyto(out, terms[0])
        return out
    ws.xp.add(terms[0], terms[1], out=out)
    for term in terms[2:]:
        ws.xp.add(out, term, out=out)
    return out


def _parts(whole: Array, parts: Sequence[Array]) -> list[Array]:
    views, start = [], 0
    for part in parts:
        views.append(whole[..., start : start + part.shape[-1]])
        start += part.shape[-1]
    return views


def plan_child(layer: Layer, i: int, x: Shape, before: tuple[str, str, str] | None = None) -> Plan:
    """The plan of layer i of a composition for the input shape x; a ShapeError then says which layer it is."""
    try:
        return plan_of(layer, x)
    except ShapeError as problem:
        raise problem.at(str(i), repr(layer), before) from None


def checked_layers(name: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers that a composition called `name` was given. Raises ValueError, TypeError."""
    if len(layers) == 1 and isinstance(layers[0], list | tuple):
        layers = tuple(layers[0])
    if not layers:
        raise ValueError(f"{name} needs at least one layer")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{name} is made of layers, and number {i} is {layer!r}{as_call(layer)}")
    return layers

"""Orders of features: where another library has the numbers of a flattened map in another order.

gpubp flattens a map (H, W, C) pixel by pixel, and a library with channels first, (C, H, W), channel by channel. So the
features behind `Flatten`, and those in front of a `Reshape` to a map, stand in another order there: the rows of a Dense
behind it, the columns of a Dense in front of it, and what lies between, such as gamma of a BatchNorm.

An `Order` is the order of one axis of features. Layers that keep features in their places, such as ReLU, have the same
Order at both ends; both ways of a Residual end in one. `order[j]` is the place here of feature j there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backends import Shape
from ...layers import (
    Activation,
    AlphaDropout,
    BatchNorm,
    Conv1D,
    Conv1DTranspose,
    Dropout,
    EmbedColumns,
    Ensemble,
    Flatten,
    GaussianNoise,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    Parallel,
    Plan,
    PReLU,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
    Reshape,
    Residual,
    RMSNorm,
    Sequential,
    SpatialDropout,
    WordColumns,
)
from ...layers.channelwise import Channelwise
from ...layers.plan import join

Indices = Any
KEEPING = (
    Activation, AlphaDropout, Dropout, GaussianNoise, SpatialDropout, BatchNorm, PReLU, RandomFlip, RandomRotation,
    RandomTranslation, RandomZoom,
)  # fmt: skip

OF_MAPS = ("Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "MaxPool2D", "AvgPool2D")


class Order:
    """The order of one axis of features, in the other library.

    >>> one, other = Order(), Order()
    >>> one.same_as(other)
    >>> one.fix(channels_first((2, 1, 2)))
    >>> other.indices(4).tolist()
    [0, 2, 1, 3]
    """

    def __init__(self, parts: Sequence[tuple[Order, int]] = ()) -> None:
        self._same: Order | None = None
        self._known: Indices = None
        self._parts = tuple(parts)
        self._checks: list[Order | Indices] = []

    def _root(self) -> Order:
        order = self
        while order._same is not None:
            order = order._same
        return order

    def _is_told(self) -> bool:
        return self._known is not None or bool(self._parts)

    def fix(self, indices: Indices) -> None:
        """Say what the order is."""
        root = self._root()
        if root._is_told():
            root._checks.append(indices)
        else:
            root._known = indices

    def same_as(self, other: Order) -> None:
        """Say that this order is that one."""
        a, b = self._root(), other._root()
        if a is b:
            return
        if a._is_told() and b._is_told():
            a._checks.append(b)
            b._checks.append(a)
        elif a._is_told():
            b._same = a
            a._checks += b._checks
        else:
            a._same = b
            b._checks += a._checks

    def indices(self, size: int) -> Indices:
        """The order, (size,): 0, 1, 2, ... where nothing says otherwise."""
        root = self._root()
        if root._known is not None:
            return root._known
        if not root._parts:
            return np.arange(size)
        found, start = [], 0
        for order, count in root._parts:
            found.append(order.indices(count) + start)
            start += count
        return np.concatenate(found)

    def is_clear(self, size: int) -> bool:
        """Whether all that was said of the order agrees."""
        root = self._root()
        mine = root.indices(size)
        for check in root._checks:
            other = check.indices(size) if isinstance(check, Order) else check
            if len(other) != len(mine) or (other != mine).any():
                return False
        return all(order.is_clear(count) for order, count in root._parts)


def channels_first(shape: Shape) -> Indices:
    """The order of a flattened map (H, W, C), or (T, C), in a library that has (C, H, W), or (C, T).

    >>> channels_first((1, 2, 3)).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    places = np.arange(int(np.prod(shape))).reshape(shape)
    return np.moveaxis(places, -1, 0).reshape(-1)


class Flow(NamedTuple):
    """What goes from one layer to the next: its shape, batch first, the order of the last axis, whether the other
    library has channels first, and what a Reshape to sequences leaves to be said by the layer that reads them.

    >>> Flow((1, 4), Order(), False).later is None
    True
    """

    shape: Shape
    order: Order
    first: bool
    later: tuple[Order, Shape] | None = None


class Ends(NamedTuple):
    """The orders at the two ends of a layer, what is doubtful about them, and whether channels come first there.

    >>> Ends(Order(), Order()).inputs.indices(2).tolist()
    [0, 1]
    """

    inputs: Order
    outputs: Order
    doubt: str = ""
    first: bool = False


def orders_of(layers: Layer, plan: Plan, x: Shape) -> dict[str, Ends]:
    """The orders at both ends of each layer inside, by path, and of the whole as "".

    x: the shape of an input, batch first.

    >>> import gpubp as bp
    >>> layers = bp.Sequential(bp.Flatten(), bp.Dense(3))
    >>> orders_of(layers, layers.plan((1, 2, 1, 2)), (1, 2, 1, 2))["1"].inputs.indices(4).tolist()
    [0, 2, 1, 3]
    """
    found: dict[str, Ends] = {}
    _follow(layers, plan, "", Flow(x, Order(), len(x) >= 4), found)
    return found


def _follow(layer: Layer, plan: Plan, path: str, x: Flow, found: dict[str, Ends]) -> Flow:
    """What comes out of a layer for what goes in."""
    if isinstance(layer, Sequential):
        y = x
        for i, (child, inner) in enumerate(zip(layer.children, plan.children, strict=True)):
            y = _follow(child, inner, join(path, str(i)), y, found)
    elif isinstance(layer, Residual | Parallel | Ensemble):
        y = _side_by_side(layer, plan, path, x, found)
    elif layer.children:
        y = _columns(layer, plan, path, found)
    else:
        y = _leaf(layer, plan, x)
    found[path] = Ends(x.order, y.order, _doubt(layer, x, y), x.first)
    return y


def _doubt(layer: Layer, x: Flow, y: Flow) -> str:
    """What a Reshape does to maps with channels first depends on how it is written there."""
    apart = len(x.shape) > 2 and len(y.shape) > 2 and x.first and x.shape[-1] != y.shape[-1]
    if not isinstance(layer, Reshape) or not apart:
        return ""
    return f"{layer!r} reads maps of {x.shape[1:]} number by number, with the channels last, and has to do so there too"


def _side_by_side(layer: Layer, plan: Plan, path: str, x: Flow, found: dict[str, Ends]) -> Flow:
    ways = [
        _follow(child, inner, join(path, str(i)), x, found)
        for i, (child, inner) in enumerate(zip(layer.children, plan.children, strict=True))
    ]
    if isinstance(layer, Residual) and layer.shortcut is None:
        ways.append(x)
    y = Flow(plan.output, ways[0].order, any(way.first for way in ways))
    if isinstance(layer, Parallel) and layer.merge == "concatenate" and len(ways) > 1:
        return y._replace(order=Order([(way.order, way.shape[-1]) for way in ways]))
    for way in ways[1:]:
        ways[0].order.same_as(way.order)
    return y


def _columns(layer: Layer, plan: Plan, path: str, found: dict[str, Ends]) -> Flow:
    """Layers whose inner layers read columns, and compositions that are not known here."""
    parts: list[tuple[Order, int]] = []
    for i, (child, inner) in enumerate(zip(layer.children, plan.children, strict=True)):
        y = _follow(child, inner, join(path, str(i)), Flow(_input_of(child, inner), Order(), False), found)
        parts.append((y.order, inner.output[-1]))
    rest = plan.output[-1] - sum(size for _, size in parts)
    if isinstance(layer, EmbedColumns | WordColumns) and rest >= 0:
        return Flow(plan.output, Order([(Order(), rest), *parts]), False)
    return Flow(plan.output, Order(), len(plan.output) >= 4)


def _input_of(child: Layer, inner: Plan) -> Shape:
    """A shape for what an inner layer reads, where only its output is known: its rank is what counts."""
    return inner.output


def _leaf(layer: Layer, plan: Plan, x: Flow) -> Flow:
    y = plan.output
    if isinstance(layer, Flatten):
        return _flattened(x, y)
    if isinstance(layer, Reshape):
        return _reshaped(x, y)
    norm = isinstance(layer, LayerNorm | RMSNorm | GroupNorm | InstanceNorm)
    if isinstance(layer, KEEPING) or (y == x.shape and not norm and not plan.parameters and not plan.states):
        return x._replace(shape=y)
    time_first = isinstance(layer, Conv1D | Conv1DTranspose | Channelwise | GroupNorm | InstanceNorm)
    if x.later is not None:
        order, shape = x.later
        order.fix(channels_first(shape) if time_first else np.arange(int(np.prod(shape))))
    if isinstance(layer, LayerNorm | RMSNorm):
        return Flow(y, x.order, x.first and layer.axes > 1)  # over all axes, channels may stay first
    if isinstance(layer, Channelwise | GroupNorm | InstanceNorm):
        return Flow(y, x.order, len(y) > 2)
    return Flow(y, Order(), time_first or (len(y) >= 4 and bool(_maps(layer))))


def _maps(layer: Layer) -> bool:
    """Whether a layer works on maps with channels, which other libraries have first."""
    return type(layer).__name__ in OF_MAPS or not type(layer).__module__.startswith("gpubp")


def _flattened(x: Flow, y: Shape) -> Flow:
    if len(x.shape) == 2:
        return x._replace(shape=y)
    order = Order()
    if x.first:
        order.fix(channels_first(x.shape[1:]))
    else:
        order = Order([(x.order, x.shape[-1])] * int(np.prod(x.shape[1:-1])))
    return Flow(y, order, False)


def _reshaped(x: Flow, y: Shape) -> Flow:
    if len(y) == 2:
        return _flattened(x, y)
    if len(x.shape) > 2:
        kept = x.order if y[-1] == x.shape[-1] else Order()
        return Flow(y, kept, len(y) >= 4)
    if len(y) >= 4:
        x.order.fix(channels_first(y[1:]))
        return Flow(y, Order(), True)
    return Flow(y, Order(), False, later=(x.order, y[1:]))

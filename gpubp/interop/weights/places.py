"""Places: the layers of a network that have parameters, in their order, each with what another library has to bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backends import Shape
from ...layers import (
    GRU,
    LSTM,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    Dense,
    Embedding,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    Plan,
    PReLU,
    RMSNorm,
    SimpleRNN,
)
from ...layers.bound import BoundLayers, planned_row
from ...layers.plan import join
from ...layers.positions import PositionalEmbedding
from .orders import Ends, Order, orders_of

Indices = Any
NAMES: tuple[tuple[str, type[Layer], frozenset[str], frozenset[str]], ...] = tuple(
    (kind, cls, frozenset(needed.split()), frozenset(maybe.split()))
    for kind, cls, needed, maybe in (
        ("dense", Dense, "W", "b"),
        ("convolution of images", Conv2D, "W", "b"),
        ("convolution over time", Conv1D, "W", "b"),
        ("convolution of volumes", Conv3D, "W", "b"),
        ("transposed convolution of images", Conv2DTranspose, "W", "b"),
        ("transposed convolution over time", Conv1DTranspose, "W", "b"),
        ("transposed convolution of volumes", Conv3DTranspose, "W", "b"),
        ("batch normalization", BatchNorm, "mean var", "gamma beta count"),
        ("layer normalization", LayerNorm, "gamma", "beta"),
        ("RMS normalization", RMSNorm, "gamma", ""),
        ("group normalization", GroupNorm, "gamma", "beta"),
        ("group normalization", InstanceNorm, "gamma", "beta"),
        ("embedding", Embedding, "W", ""),
        ("PReLU", PReLU, "a", ""),
        ("SimpleRNN", SimpleRNN, "W U b", "h0"),
        ("LSTM", LSTM, "W U b", "h0 c0"),
        ("GRU", GRU, "W U b b_U", "h0"),
        ("attention", MultiHeadAttention, "WQKV WO bQ bO", ""),
        ("positions", PositionalEmbedding, "P", ""),
    )
)
CONVOLUTIONS = frozenset(kind for kind, *_ in NAMES if "convolution" in kind)
RECURRENT = ("SimpleRNN", "LSTM", "GRU")
OTHER = "other"  # a class of the user's own


@dataclass(frozen=True)
class Place:
    """A layer with parameters.

    path: "0.1", "" for the network's only layer. kind: as in NAMES, or OTHER. directions: of a Bidirectional, the paths
    of the layer that reads forward and of that which reads backward, within it. shapes: of its parameters and running
    statistics, by their names within the layer. inputs, outputs: the orders of its features in a library with channels
    first. first: whether rows come with channels first there. unclear: why the orders can't be said.

    >>> import gpubp as bp
    >>> places_of(bp.Network(bp.Sequential(bp.Dense(2), bp.ReLU()), 3, device="cpu"))[0].title
    '0 (Dense(2))'
    """

    path: str
    layer: Layer
    kind: str
    shapes: Mapping[str, Shape]
    inputs: Order
    outputs: Order
    directions: tuple[str, str] | None = None
    unclear: str = ""
    first: bool = False

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"{self.path} ({self.layer!r})" if self.path else repr(self.layer)

    def full(self, name: str) -> str:
        """The name of a parameter in the network."""
        return join(self.path, name)


def places_of(net: BoundLayers) -> list[Place]:
    """The layers of a network that have parameters, in the order in which they compute.

    >>> import gpubp as bp
    >>> [p.kind for p in places_of(bp.Network(bp.Sequential(bp.Bidirectional(bp.GRU(2))), (4, 3), device="cpu"))]
    ['GRU']
    """
    plan, x = net.plan(1), (1, *planned_row(net.input_shape))
    return list(_places(net.layers, plan, "", orders_of(net.layers, plan, x)))


def _places(layer: Layer, plan: Plan, path: str, orders: Mapping[str, Ends]) -> Iterator[Place]:
    shapes = {name: p.shape for name, p in (*plan.parameters.items(), *plan.states.items())}
    if isinstance(layer, Bidirectional) and not shapes:
        kinds = {kind_of(child, inner) for child, inner in zip(layer.children, plan.children, strict=True)}
        if len(kinds) == 1 and (kind := kinds.pop()) in RECURRENT:
            forward = "1" if layer.layer.reverse else "0"
            inside = {
                join(str(i), n): p.shape for i, inner in enumerate(plan.children) for n, p in inner.parameters.items()
            }
            ways = (forward, str(1 - int(forward)))
            ends = orders[path]
            yield Place(path, layer, kind, inside, ends.inputs, ends.outputs, directions=ways)
            return
    if shapes:
        ends = orders[path]
        unclear = _unclear(ends, layer, plan)
        yield Place(
            path, layer, kind_of(layer, plan), shapes, ends.inputs, ends.outputs, unclear=unclear, first=ends.first
        )
    for i, (child, inner) in enumerate(zip(layer.children, plan.children, strict=True)):
        yield from _places(child, inner, join(path, str(i)), orders)


def _unclear(ends: Ends, layer: Layer, plan: Plan) -> str:
    """Why the orders of features at a layer's ends can't be said; "" where they can."""
    if isinstance(layer, GroupNorm) and (ends.inputs.indices(plan.output[-1]) != np.arange(plan.output[-1])).any():
        return "its features come flattened from a map, so that its groups have other members in another library"
    if (
        not isinstance(layer, Dense | BatchNorm | LayerNorm | PReLU | RMSNorm)
        or getattr(layer, "slopes", "") == "single"
    ):
        return ""
    inputs = plan.parameters["W"].shape[0] if "W" in plan.parameters else plan.output[-1]
    if ends.inputs.is_clear(inputs) and ends.outputs.is_clear(plan.output[-1]):
        return ""
    return (
        "its features come flattened from a map by one way and otherwise by another, so that their order in a library "
        "with channels first can't be said"
    )


def kind_of(layer: Layer, plan: Plan) -> str:
    """The kind of a layer by its class, if it has the parameters of that class; else OTHER.

    >>> import gpubp as bp
    >>> kind_of(bp.Dense(2), bp.Dense(2).plan((1, 3)))
    'dense'
    """
    names = {*plan.parameters, *plan.states}
    for kind, cls, needed, maybe in NAMES:
        if isinstance(layer, cls) and needed <= names <= needed | maybe:
            return kind
    return OTHER

"""LayerNormalization, RMSNormalization, InstanceNormalization and GroupNormalization, and what they are written of.

The last three are young, or have gamma and beta for each group, in older files. So a GroupNorm is mostly written as

    Reshape to (batch, groups, all else)   InstanceNormalization with 1 and 0   Reshape back   Mul gamma   Add beta

Reshapes only change how axes are made of parts, see `layout.py`. So what an InstanceNormalization normalizes over tells
what it is: where it has all channels as its own axis it is an InstanceNorm, and where its axis is the first part of the
channels, and the others are among the places, a GroupNorm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import GroupNorm, InstanceNorm, Layer, LayerNorm, RMSNorm
from .dense import in_order
from .elementwise import shortest
from .layout import Axis, flat, sizes
from .model import Node
from .reader import Reader, makes, reads
from .refused import Refused
from .values import Array, Data, Normalized, Value


@reads("LayerNormalization", "RMSNormalization")
def row_norm(r: Reader, node: Node) -> Value:
    """LayerNorm or RMSNorm over the last axes."""
    value = r.needed(node, 0)
    if any(name in r.readers for name in node.outputs[1:] if name):
        raise Refused("its mean or deviation is used")
    x = r.data(value)
    axis = x.layout.axis(node.whole("axis", -1))
    parts = tuple(part for of in x.layout.ox[axis:] for part in of)
    if r.batch in parts:
        raise Refused("it computes over the rows, and gpubp's layers have each row by itself", layout=x.layout)
    kind = "rms" if node.op == "RMSNormalization" else "layer"
    found = Normalized(x, parts, node.number("epsilon", 1e-5), x.layout, (node,), kind=kind)
    n = int(np.prod(sizes(parts)))
    for number, name in ((1, "scale"), (2, "bias")):
        array = r.numbers(node, number, name)
        if array is None:
            continue
        if array.size != n and array.size != 1:
            raise Refused(f"its {name} has the shape {array.shape}, for {n} numbers", layout=x.layout)
        vector = np.broadcast_to(array.reshape(-1), n)
        found = replace(found, gamma=vector) if number == 1 else replace(found, beta=vector)
    return found


@reads("InstanceNormalization", "GroupNormalization")
def places_norm(r: Reader, node: Node) -> Value:
    """InstanceNorm or GroupNorm."""
    x = r.data(r.needed(node, 0))
    l = x.layout
    if len(l.ox) < 2 or l.ox[0] != (r.batch,):
        raise Refused("it needs rows and channels as its first axes", layout=l)
    own, others = flat(l.ox[1:2]), flat(l.ox[2:])
    channels, whole = flat(l.gp[-1:]), node.op == "GroupNormalization"  # which has all channels as its axis
    rest = channels[len(own) :]  # of each group, among the places
    if channels[: len(own)] != own or not set(rest) <= set(others) or whole and rest or len(l.gp) < 2:
        x = r.regrouped(x, (l.ox[0], *l.ox[2:], l.ox[1]))
        channels = own
    n, groups = int(np.prod(sizes(tuple(channels)))), int(np.prod(sizes(l.ox[1])))
    if whole:
        groups = node.whole("num_groups", 0)
        if groups < 1 or n % groups:
            raise Refused(f"num_groups {groups} for {n} channels", layout=l)
    if all(n == 1 for n in x.layout.row[:-1]) and groups == n:
        raise Refused("it normalizes groups of one number, which say nothing of a variance", layout=l)
    arrays = []
    for number, name in ((1, "scale"), (2, "bias")):
        array = r.numbers(node, number, name)
        if array is None or array.size not in (groups, n):
            needed = " or ".join(str(size) for size in dict.fromkeys((groups, n)))
            raise Refused(f"it needs {needed} numbers as its {name}", layout=l)
        vector = array.reshape(-1) if array.size == n else np.repeat(array.reshape(-1), n // groups)
        arrays.append(None if (vector == (1.0 if number == 1 else 0.0)).all() else vector)
    eps = node.number("epsilon", 1e-5)
    return Normalized(x, tuple(channels), eps, l, (node,), arrays[0], arrays[1], kind="group", groups=groups)


@makes(Normalized)
def step_of_norm(r: Reader, value: Normalized) -> Data:
    """The layer, with gamma and beta in gpubp's order."""
    if not value.made:
        x, axes = (value.x, 1) if value.kind == "group" else _last_axes(r, value.x, value.axis)
        last = tuple(part for axis in x.layout.gp[len(x.layout.gp) - axes :] for part in axis)
        shape = tuple(int(np.prod(sizes(axis))) for axis in x.layout.gp[len(x.layout.gp) - axes :])
        kind = next((a.dtype for a in (value.gamma, value.beta) if a is not None), np.dtype(np.float32))
        if value.kind == "rms" and value.beta is not None:
            raise Refused("it adds a constant behind an RMSNorm, which has none", value.nodes[-1], value.layout)
        affine, biased = value.gamma is not None or value.beta is not None, value.beta is not None
        arrays: dict[str, Any] = {}
        if affine:
            arrays["gamma"] = _numbers(value.gamma, 1.0, value.axis, last, shape, kind)
        if biased:
            arrays["beta"] = _numbers(value.beta, 0.0, value.axis, last, shape, kind)
        made = r.step(_layer(value, axes, affine, biased, shape[-1]), [x], x.layout, value.nodes, arrays)
        value.made.append(made.step)
        r.norms[made.step] = x.layout.gp
    gp = r.norms[value.made[0]]
    return Data(value.made[0], replace(value.layout, gp=gp))


def _layer(value: Normalized, axes: int, affine: bool, biased: bool, channels: int) -> Layer:
    eps = shortest(value.eps)
    use_bias = biased or not affine
    if value.kind == "layer":
        return LayerNorm(eps, axes, affine, use_bias)
    if value.kind == "rms":
        return RMSNorm(eps, axes, affine)
    if value.groups == channels:
        return InstanceNorm(eps, affine, use_bias)
    return GroupNorm(value.groups, eps, affine, use_bias)


def _numbers(given: Array | None, plain: float, axis: Axis, last: Axis, shape: tuple[int, ...], kind: Any) -> Array:
    """gamma or beta in gpubp's order and shape."""
    vector = np.full(int(np.prod(shape)), plain, kind) if given is None else in_order(given, axis, last)
    return vector.reshape(shape)


def _last_axes(r: Reader, x: Data, axis: Axis) -> tuple[Data, int]:
    """The data, and over how many of their last axes in gpubp the parts `axis` are, in any order."""
    parts = {part for part in axis if part.size != 1}
    for k in range(1, len(x.layout.gp)):
        if set(flat(x.layout.gp[-k:])) == parts:
            return x, k
    return r.with_last(x, axis), 1

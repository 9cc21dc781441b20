"""The table of a network's layers: what each is, the shape of its output, and how many parameters it has."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

from ..errors import ShapeError, in_bytes
from ..layers import Parameter
from ..layers.bound import BoundLayers, Row

SHOWN_STEPS = (64, 48, 32, 24, 16, 12)  # time steps of the rows whose memory a summary gives: the first that fits


class LayerLine(NamedTuple):
    """A layer in the summary: its name, what it is, the shape of its outputs, the number of its parameters.

    None stands for the number of time steps, where rows have lengths.
    """

    name: str
    layer: str
    output: Row
    parameters: int


def outline_of(net: BoundLayers, rows: int) -> list[LayerLine]:
    """The layers that compute, in their order.

    >>> import gpubp as bp
    >>> [line.output for line in outline_of(bp.Network(bp.Dense(8), input_shape=4, device="cpu"), 32)]
    [(32, 8)]
    """
    plan, other = net.plan(rows), shown_layers(net).plan(rows)
    return [
        LayerLine(path, repr(layer), _in_common(inner.output, two.output), sum(map(_size, inner.parameters.values())))
        for (path, layer), (_, inner), (_, two) in zip(net.layers.walk(), plan.walk(), other.walk(), strict=True)
        if not layer.children
    ]


def summary_of(net: BoundLayers, rows: int) -> str:
    """The table that `Network.summary` prints.

    >>> import gpubp as bp
    >>> print(summary_of(bp.Network(bp.Dense(8), input_shape=4, device="cpu"), 32).splitlines()[0])
    name  layer     output   parameters
    """
    lines = [("name", "layer", "output", "parameters")]
    lines += [(name, layer, str(output), f"{count:,}") for name, layer, output, count in outline_of(net, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    table = [
        "  ".join((*[c.ljust(w) for c, w in zip(line[:3], widths[:3], strict=True)], line[3].rjust(widths[3])))
        for line in lines
    ]
    count, size = sum(map(_size, net.declared.values())), net.dtype.itemsize
    of_steps = f" of {shown_layers(net).input_shape[0]} time steps" if net.has_lengths else ""
    exact = ", exact numerics" if net.backend.numerics == "exact" else ""
    table += [
        "",
        f"{count:,} parameters ({in_bytes(count * size)}), {net.dtype} on {net.device}{exact}",
        f"a training step on {rows} rows{of_steps}: {in_bytes(shown_layers(net).step_memory(rows))} of arrays, "
        f"{in_bytes(count * size)} of gradients, and as much for each moment of the optimizer",
    ]
    return "\n".join(table)


def shown_layers(net: BoundLayers) -> BoundLayers:
    """The layers for 64 time steps, or fewer where a layer takes no more; the network itself where rows have no
    lengths.

    >>> import gpubp as bp
    >>> shown_layers(bp.Network(bp.Dense(2), (None, 3), device="cpu")).input_shape
    (64, 3)
    """
    if not net.has_lengths:
        return net
    for steps in SHOWN_STEPS[:-1]:
        with contextlib.suppress(ShapeError):
            return net.of_steps(steps)
    return net.of_steps(SHOWN_STEPS[-1])  # which every network with lengths takes


def _size(parameter: Parameter) -> int:
    return math.prod(parameter.shape)


def _in_common(one: Row, two: Row) -> Row:
    """A shape whose numbers are those that two shapes have in common, and None elsewhere."""
    return tuple(a if a == b else None for a, b in zip(one, two, strict=True))

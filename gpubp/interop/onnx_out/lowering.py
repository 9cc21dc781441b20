"""Lowering: each kind of layer has a function that adds its nodes to a graph.

    @lowers(Dense)
    def dense(g, layer, x, path): ...         x: the layer's input, a Value; returns its output

The function of a class also writes classes derived from it that bring no method of their own which prediction calls,
such as a Sequential that only has an __init__; any other derived class may compute anything. Activations that are
formulas, those of the user's own too, are written from their formula.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ExportError
from ...layers import Activation, Layer
from ..own_classes import predicts_as, predicts_by_formula
from .graph import Graph, Value

Lowering = Callable[[Graph, Any, Value, str], Value]
OF_FORMULAS: Any = Activation  # the class by which activations are written that are formulas
LOWERINGS: dict[type[Any], Lowering] = {}


def lowers(*classes: type[Any]) -> Callable[[Lowering], Lowering]:
    """A decorator: the function adds the nodes of these classes of layers.

    >>> from gpubp.interop.onnx_out import basic
    >>> from gpubp import Dense
    >>> lowering_of(Dense(3)).__name__
    'dense'
    """

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(classes, function))
        return function

    return register


def lowering_of(layer: Layer) -> Lowering | None:
    """The function that adds the nodes of a layer; None where there is none.

    >>> from gpubp.interop.onnx_out import basic
    >>> from gpubp import Dense, Sequential
    >>> class Block(Sequential):
    ...     def __init__(self, units):
    ...         super().__init__(Dense(units), Dense(units))
    >>> class Doubled(Dense):
    ...     def forward(self, ws, x):
    ...         return super().forward(ws, 2 * x)
    >>> lowering_of(Block(3)).__name__, lowering_of(Doubled(3))
    ('sequential', None)
    """
    cls = predicts_as(layer, LOWERINGS.keys() - {OF_FORMULAS})
    if cls is not None:
        return LOWERINGS[cls]
    return LOWERINGS.get(OF_FORMULAS) if predicts_by_formula(layer) else None


def lower(g: Graph, layer: Layer, x: Value, path: str = "") -> Value:
    """Add the nodes of a layer and of all inside; returns its output. Raises ExportError for a layer that has none."""
    function = lowering_of(layer)
    if function is None:
        raise ExportError(nothing_for([(path, layer)]))
    before, g.path = g.path, path
    try:
        return function(g, layer, x, path)
    finally:
        g.path = before


def check_layers(layers: Layer) -> None:
    """Raise ExportError that names every layer inside which can't be written.

    >>> from gpubp.interop.onnx_out import activations, basic
    >>> from gpubp import ReLU, RandomFlip, Sequential
    >>> class Mine(RandomFlip):
    ...     def forward(self, ws, x):
    ...         return x
    >>> check_layers(Sequential(ReLU(), Mine()))
    Traceback (most recent call last):
    ...
    gpubp.errors.ExportError: ONNX operations are not known for Mine() at "1"; net.to_onnx writes ...
    """
    missing = [(path, layer) for path, layer in layers.walk() if lowering_of(layer) is None]
    if missing:
        raise ExportError(nothing_for(missing))


def nothing_for(missing: list[tuple[str, Layer]]) -> str:
    """A message on layers that can't be written.

    >>> from gpubp import Dense
    >>> nothing_for([("0", Dense(3))])
    'ONNX operations are not known for Dense(3) at "0"; net.to_onnx writes the layers of gpubp, and formulas'
    """
    named = ", ".join(f'{layer!r:.100} at "{path}"' if path else f"{layer!r:.100}" for path, layer in missing)
    return f"ONNX operations are not known for {named}; net.to_onnx writes the layers of gpubp, and formulas"

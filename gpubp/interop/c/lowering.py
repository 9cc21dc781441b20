"""Lowering: each kind of layer has a function that adds its calls to the code.

    @lowers(Dense)
    def dense(code, layer, x, path, keep): ...      x: the layer's input, a Value; returns its output

keep: whether x is needed later, so that it must not be written. The function of a class also writes classes derived
from it that bring no method of their own which prediction calls (see `own_classes`). Activations that are formulas,
those of the user's own too, are written from their formula.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ExportError
from ...layers import Activation, Layer
from ..own_classes import predicts_as, predicts_by_formula
from .code import Code, Value
from .words import plain

Lowering = Callable[[Code, Any, Value, str, bool], Value]
OF_FORMULAS: Any = Activation  # the class under which activations are that are formulas
LOWERINGS: dict[type[Any], Lowering] = {}
SHOWN = 90  # characters of a layer in a comment


def lowers(*classes: type[Any]) -> Callable[[Lowering], Lowering]:
    """A decorator: the function adds the calls of these classes of layers.

    >>> from gpubp.interop.c import basic
    >>> from gpubp import Dense
    >>> lowering_of(Dense(3)).__name__
    'dense'
    """

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(classes, function))
        return function

    return register


def lowering_of(layer: Layer) -> Lowering | None:
    """The function that adds the calls of a layer; None where there is none.

    >>> from gpubp import Dense
    >>> class Doubled(Dense):
    ...     def forward(self, ws, x):
    ...         return super().forward(ws, 2 * x)
    >>> lowering_of(Doubled(3)) is None
    True
    """
    cls = predicts_as(layer, LOWERINGS.keys() - {OF_FORMULAS})
    if cls is not None:
        return LOWERINGS[cls]
    return LOWERINGS[OF_FORMULAS] if predicts_by_formula(layer) else None


def lower(code: Code, layer: Layer, x: Value, path: str = "", keep: bool = False) -> Value:
    """Add the calls of a layer, and of all inside; returns its output, which may be x itself."""
    function = lowering_of(layer)
    if function is None:
        raise ExportError(nothing_for([(path, layer)]))
    if not layer.children:
        code.comment(f"{path}: {shown(layer)}" if path else shown(layer))
    return function(code, layer, x, path, keep)


def check_layers(layers: Layer) -> None:
    """Raise ExportError that names every layer inside which can't be written.

    >>> from gpubp.interop.c import basic, compositions
    >>> from gpubp import Dense, Sequential, WordColumns, Embedding, MeanOverTime
    >>> texts = WordColumns(Sequential(Embedding(9, 4), MeanOverTime()), lengths=3)
    >>> check_layers(Sequential(texts, Dense(2)))
    Traceback (most recent call last):
    ...
    gpubp.errors.ExportError: C code has nothing for WordColumns(...) at "0"; it knows the layers of gpubp but ...
    """
    missing: list[tuple[str, Layer]] = []
    _collect(layers, "", missing)
    if missing:
        raise ExportError(nothing_for(missing))


def _collect(layer: Layer, path: str, missing: list[tuple[str, Layer]]) -> None:
    """Layers inside one that can't be written are not named: what it does with them is not known."""
    if lowering_of(layer) is None:
        missing.append((path, layer))
        return
    for i, child in enumerate(layer.children):
        _collect(child, f"{path}.{i}" if path else str(i), missing)


def nothing_for(missing: list[tuple[str, Layer]]) -> str:
    """A message on layers that can't be written.

    >>> from gpubp import Dense
    >>> nothing_for([("0", Dense(3))])
    'C code has nothing for Dense(3) at "0"; it knows the layers of gpubp but WordColumns, and ...'
    """
    named = ", ".join(f'{layer!r:.100} at "{path}"' if path else f"{layer!r:.100}" for path, layer in missing)
    return (
        f"C code has nothing for {named}; it knows the layers of gpubp but WordColumns, and of a user's own classes "
        "activations that are formulas, and classes that compute nothing themselves"
    )


def shown(layer: Layer) -> str:
    """A layer as a comment shows it.

    >>> from gpubp import Dense
    >>> shown(Dense(3))
    'Dense(3)'
    """
    text = plain(repr(layer))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3].rstrip()}..."

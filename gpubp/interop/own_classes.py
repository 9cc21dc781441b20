"""Classes of the user's own: which of gpubp's classes a layer predicts as."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from ..layers import Activation

NOT_IN_PREDICTION = {
    "backward", "parameter_gradients", "input_gradient", "df", "wanted_by_children", "check_data", "config",
}  # fmt: skip


def predicts_as(layer: Any, known: Container[type[Any]]) -> type[Any] | None:
    """The class of `known` that a layer is of, or None.

    A class that is derived from one of them counts as it if it brings no method of its own which prediction calls, such
    as a Sequential that only has an __init__. Any other derived class may compute anything.

    >>> import gpubp as bp
    >>> class Block(bp.Sequential):
    ...     def __init__(self, units):
    ...         super().__init__(bp.Dense(units), bp.Dense(units))
    >>> class Doubled(bp.Dense):
    ...     def forward(self, ws, x):
    ...         return super().forward(ws, 2 * x)
    >>> predicts_as(Block(3), {bp.Dense, bp.Sequential}).__name__, predicts_as(Doubled(3), {bp.Dense, bp.Sequential})
    ('Sequential', None)
    """
    classes = type(layer).__mro__
    for k, cls in enumerate(classes):
        if cls in known:
            return cls
        if _brings_methods(cls, classes[k + 1 :]):
            return None
    return None


def predicts_by_formula(layer: Any) -> bool:
    """Whether a layer is an activation of which prediction computes f and nothing else, so that f can be written.

    >>> import gpubp as bp
    >>> class Square(bp.Activation):
    ...     def f(self, x):
    ...         return x * x
    ...     def df(self, x, y, dy):
    ...         return dy * 2 * x
    >>> class Wide(Square):
    ...     def plan(self, x):
    ...         return bp.Plan(output=(x[0], 3), arrays={"y": (x[0], 3), "dx": x})
    >>> predicts_by_formula(Square()), predicts_by_formula(Wide())
    (True, False)
    """
    if not isinstance(layer, Activation) or not layer.is_by_formulas:
        return False
    classes = type(layer).__mro__
    own = classes[: classes.index(Activation)]
    return not any(_brings_methods(cls, classes[k + 1 :], besides=("f",)) for k, cls in enumerate(own))


def _brings_methods(cls: type[Any], behind: Sequence[type[Any]], besides: Container[str] = ()) -> bool:
    """Whether a class has methods that decide what it predicts, in the place of those of the classes behind it.

    behind: of the layer's `__mro__`; a class that is mixed in need not extend them. besides: names that don't count.
    """
    for name, a in vars(cls).items():
        counts = name[:2] != "__" and name not in NOT_IN_PREDICTION and name not in besides
        if counts and (callable(a) or hasattr(a, "__get__")) and any(name in vars(base) for base in behind):
            return True
    return "__getattribute__" in vars(cls)

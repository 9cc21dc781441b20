"""Classes of the user's own: which of gpubp's classes a layer predicts as."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

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
    for cls in type(layer).__mro__:
        if cls in known:
            return cls
        if _brings_methods(cls):
            return None
    return None


def _brings_methods(cls: type[Any]) -> bool:
    """Whether a class has methods, in the place of its bases', that decide what it predicts."""
    for name, a in vars(cls).items():
        replaces = name[:2] != "__" and any(hasattr(base, name) for base in cls.__bases__)
        if replaces and name not in NOT_IN_PREDICTION and (callable(a) or hasattr(a, "__get__")):
            return True
    return "__getattribute__" in vars(cls)

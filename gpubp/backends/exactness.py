"""Whether a layer, loss, metric or optimizer is exact: has the same bits on every machine in exact numerics."""

from __future__ import annotations

from functools import cached_property, partialmethod
from inspect import isroutine
from typing import Any

from ..errors import ExactError

FORMULAS = {"f", "df", "l", "dl", "rule", "moments", "initial_moments"}  # what a class that is one of formulas brings
DESCRIPTORS = (property, cached_property, partialmethod, staticmethod, classmethod)


def is_exact(of: Any) -> bool:
    """Whether an object says so by `exact`, or has nothing but formulas, as `is_by_formulas` says.

    A class has `exact` from its base only if it brings no methods of its own: they may compute anything.

    >>> import gpubp as bp
    >>> class Doubled(bp.Dense):
    ...     def forward(self, ws, x):
    ...         return super().forward(ws, 2 * x)
    >>> is_exact(bp.Dense(3)), is_exact(bp.Tanh()), is_exact(Doubled(3))
    (True, True, False)
    """
    by_formulas = getattr(of, "is_by_formulas", False)
    for cls in type(of).__mro__:
        if "exact" in vars(cls) and not (by_formulas and "is_by_formulas" in vars(cls)):
            return bool(of.exact)
        if by_formulas and "is_by_formulas" in vars(cls):
            return True
        methods = {name for name, a in vars(cls).items() if _computes(name, a)}
        if by_formulas:  # beside its formulas it may have methods that these call, and no other of what a step calls
            methods = {name for name in methods - FORMULAS if any(hasattr(base, name) for base in cls.__bases__)}
        if methods:
            return False
    return False


def _computes(name: str, a: Any) -> bool:
    """Whether what a class has under a name can decide numbers: methods, and what is called as one."""
    return (isroutine(a) or isinstance(a, DESCRIPTORS)) and (name == "__call__" or name[:2] != "__")


BY_DEVICE = (
    "computes by ws.xp and ws.be alone, which refuse what is not exact, and no constant is made by a function such as "
    "exp"
)


def require_exact(of: Any, where: str = "", if_it: str = BY_DEVICE) -> None:
    """Raise ExactError if it is not exact.

    where: follows its name, as ' at "0.1"'. if_it: what a class must keep to that says it is exact.

    >>> class Mine:
    ...     exact = False
    ...     def __repr__(self):
    ...         return "Mine()"
    >>> require_exact(Mine(), ' at "0.1"')
    Traceback (most recent call last):
    ...
    gpubp.errors.ExactError: Mine() at "0.1" has no exact form yet, and numerics="exact" needs one of everything; ...
    """
    if is_exact(of):
        return
    cls = type(of)
    if "exact" in vars(cls):
        says = (
            'has no exact form yet, and numerics="exact" needs one of everything; take something else in its place, or '
            'numerics="ordinary"'
        )
    else:
        says = (
            'does not say whether it has the same bits everywhere, and numerics="exact" needs that of everything; '
            f"if it {if_it}, give the class {cls.__name__} the line exact = True"
        )
    raise ExactError(f"{of!r:.200}{where} {says}")

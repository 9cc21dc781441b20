"""Whether a layer, loss, metric or optimizer is exact: has the same bits on every machine in exact numerics."""

from __future__ import annotations

from inspect import isfunction
from typing import Any

from ..errors import ExactError


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
    if getattr(of, "is_by_formulas", False):
        return True
    for cls in type(of).__mro__:
        if "exact" in vars(cls):
            return bool(of.exact)
        if any(isfunction(a) for name, a in vars(cls).items() if name[:2] != "__"):
            return False
    return False


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

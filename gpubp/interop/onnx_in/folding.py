"""Folding: constants that are computed from constants, and shapes from shapes, while the file is read.

Only operators of this list are computed, and no result may be much larger than what the file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .elementwise import FUNCTIONS
from .reader import Reader, expanded
from .refused import Refused
from .sizes import NoSize, Size
from .values import Array, Const, Filled, Value

MOST = 2**20  # numbers of one result beyond the largest operand
MOST_IN_ALL = 2**25


def fold(r: Reader, op: str, values: Sequence[Value], more: Sequence[float] = ()) -> Const | Filled:
    """An elementwise operator on constants. A repeated row stays one."""
    if any(isinstance(v, Filled) for v in values):
        if len(values) == 1 and isinstance(values[0], Filled):
            return Filled(fold(r, op, [Const(values[0].array)], more).array, values[0].shape)
        values = [expanded(v) if isinstance(v, Filled) else v for v in values]
    arrays = [v.array for v in values if isinstance(v, Const)]
    function: Callable[..., Any] | None = FUNCTIONS.get(op)
    if op == "Sum":
        function = lambda *of: sum(of[1:], of[0])  # noqa: E731
    if op == "Div" and all(a.dtype.kind in "iu" for a in arrays):
        if not arrays[1].all():
            raise Refused("it divides by 0")
        function = _whole_quotient
    if op == "Div" and any(a.dtype.kind == "O" for a in arrays):
        function = np.floor_divide
    if op == "Mod" and all(a.dtype.kind in "iu" for a in arrays) and arrays[1].all():
        function = np.mod
    if function is None or any(a.dtype.kind not in "fiubO" for a in arrays):
        raise Refused(f"{op} of constants is not computed")
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        raise Refused(f"constants of shapes {', '.join(str(a.shape) for a in arrays)}") from None
    check_room(r, shape, arrays)
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(function(*arrays, *more))
    except (NoSize, TypeError, ValueError, ZeroDivisionError, OverflowError) as problem:
        raise Refused(f"it computes with lengths that are not known ({problem})") from None
    kinds = {a.dtype for a in arrays}
    if len(kinds) == 1 and found.dtype.kind == "f" and (given := kinds.pop()).kind == "f":
        found = found.astype(given)
    return Const(found)


def _whole_quotient(a: Array, b: Array) -> Array:
    """Rounded to 0, as C does"""
    q = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -q, q).astype(np.result_type(a, b))


def check_room(r: Reader, shape: Sequence[int], of: Sequence[Array]) -> None:
    """Refused where a constant of this shape is too large to be made of these."""
    count = float(np.prod([float(n) for n in shape]))
    r.folded += int(min(count, 2.0**62))
    if count > MOST + 2 * max((a.size for a in of), default=0) or r.folded > MOST_IN_ALL + 8 * r.held:
        raise Refused(f"it makes a constant of shape {tuple(shape)}, which is too large for what the file holds")


def whole_numbers(values: Sequence[Any]) -> Array:
    """A list of lengths as an array: of int64, or of objects where some are Sizes.

    >>> whole_numbers([2, 3]).dtype, whole_numbers([Size(1, ("B",)), 3]).dtype
    (dtype('int64'), dtype('O'))
    """
    if any(isinstance(v, Size) for v in values):
        found = np.empty(len(values), object)
        found[:] = [v if isinstance(v, Size) else int(v) for v in values]
        return found
    return np.array(values, np.int64)

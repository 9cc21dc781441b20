"""The formulas of a layer, loss or optimizer as its docstrings state them."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any


def formulas_of(thing: Any) -> tuple[str, ...]:
    """The formulas in the docstring of its class, and in that of the module, a line each.

    >>> import gpubp as bp
    >>> formulas_of(bp.Sigmoid())
    ('y = σ(x),  dx = dy y (1 - y)',)
    """
    kind = type(thing)
    own = inspect.getdoc(kind) if "__doc__" in vars(kind) else ""
    found = [line.strip() for line in (own or "").split(">>>")[0].splitlines() if re.match(r"\s*\S{1,8} [=←] ", line)]
    if not found and kind.__module__.startswith("gpubp."):
        text = sys.modules[kind.__module__].__doc__ or ""
        found = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return tuple(found)

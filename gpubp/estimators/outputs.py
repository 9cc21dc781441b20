"""What estimators make of a network's outputs, as probabilities: by the library that has the outputs, or exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, Backend, as_numpy
from ..backends.order import exact_sum
from ..formula.elementary import into


def computed(function: Callable[[Any, Array], Array], z: Array, backend: Backend) -> Array:
    """function(xp, z), where xp is the library that z belongs to. In exact numerics it is computed on the host, with
    the same bits everywhere, and z may be on a GPU: the result is where z is.

    >>> from gpubp.backends import get_backend
    >>> computed(lambda xp, z: xp.exp(z), np.zeros(2), get_backend("cpu")).tolist()
    [1.0, 1.0]
    """
    here, exact = isinstance(z, np.ndarray), backend.numerics == "exact"
    with backend.active():
        if not exact:
            return function(np if here else backend.xp, z)
        found = function(EXACT, as_numpy(z))
        return found if here else backend.to_device(found)


class _Exact:
    """NumPy, with exp, log and sums over axis 1 that have the same bits everywhere."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def exp(self, x: Array) -> Array:
        return into("exp", x, np.empty_like(x))

    def log(self, x: Array) -> Array:
        return into("log", x, np.empty_like(x))

    def sum(self, x: Array, axis: int, keepdims: bool) -> Array:
        found: Array = np.asarray(exact_sum(x, axis)).astype(x.dtype)
        return np.expand_dims(found, axis) if keepdims else found


EXACT = _Exact()

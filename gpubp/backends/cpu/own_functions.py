"""erf and erfc of arrays, which NumPy lacks: formulas of `formula/elementary`, in memory that a record keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ...formula.elementary import OWN, like_ufunc, program_of
from ...formula.elementary.passes import passes_of
from ..arrays import Array, share
from ..base import Backend
from ..exact_library import With


def _named(name: str) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        return like_ufunc(name, x)

    function.__name__ = function.__qualname__ = name
    return function


FUNCTIONS = {name: _named(name) for name in OWN}
LIBRARY = With(np, FUNCTIONS)


@lru_cache(maxsize=16)
def in_memory(name: str, dtype: str) -> Callable[..., None]:
    """The function of vectors (x, out, and the memory that its passes need), with that name.

    >>> in_memory("erf", "float32").__name__
    'erf'
    """
    passes = passes_of(program_of(name, dtype, "ordinary"))

    def function(x: Array, out: Array, *held: Array) -> None:
        passes(x, out, *held)

    function.__name__ = function.__qualname__ = name
    return function


def operate(be: Backend, name: str, x: Array, out: Array) -> None:
    """out = the function of x, by calls that a record can make again.

    >>> from gpubp.backends import get_backend
    >>> operate(get_backend("cpu"), "erf", np.ones(2), out := np.empty(2)), out.round(4).tolist()
    (None, [0.8427, 0.8427])
    """
    is_one = x.ctypes.data == out.ctypes.data and x.strides == out.strides and x.dtype == out.dtype
    if not x.flags.c_contiguous or (share(x, out) and not is_one):
        aside = be.scratch("own x", x.shape, x.dtype)
        be.run(np.copyto, aside, x)
        x = aside
    result = out if out.flags.c_contiguous else be.scratch("own out", out.shape, out.dtype)
    needs = passes_of(program_of(name, out.dtype.name, "ordinary")).needs(out.size)
    held = [be.scratch(f"own {k}", shape, dtype) for k, (shape, dtype) in enumerate(needs)]
    be.run(in_memory(name, out.dtype.name), x.reshape(-1), result.reshape(-1), *held)
    if result is not out:
        be.run(np.copyto, out, result)

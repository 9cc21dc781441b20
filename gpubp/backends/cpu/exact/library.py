"""Exact forms of NumPy's sums, maxima and minima."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import Array
from .functions import FUNCTIONS, chosen, given
from .product import sum_last, sum_rows

Axis = int | tuple[int, ...] | None


def maximum(a: Any, b: Any, out: Array | None = None) -> Any:
    """a where a > b or a is not a number, else b: so of +0 and -0 it is b.

    >>> maximum(np.array([-0.0, np.nan]), 0.0).tolist()
    [0.0, nan]
    """
    return chosen(np.greater(a, b) | np.isnan(a), a, b, out)


def minimum(a: Any, b: Any, out: Array | None = None) -> Any:
    """a where a < b or a is not a number, else b.

    >>> minimum(np.array([3.0, 0.0]), -0.0).tolist()
    [-0.0, -0.0]
    """
    return chosen(np.less(a, b) | np.isnan(a), a, b, out)


def clip(a: Any, low: Any, high: Any, out: Array | None = None) -> Any:
    """minimum(maximum(a, low), high)

    >>> clip(np.array([-1.0, 0.5, 3.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    return minimum(maximum(a, low), high, out)


def negative(a: Any, out: Array | None = None) -> Any:
    """-a, by a product, as `CPU` does it where NumPy has a fault.

    >>> negative(np.array([1.0, 0.0])).tolist()
    [-1.0, -0.0]
    """
    return np.multiply(a, np.asarray(-1, np.asarray(a).dtype), out=out)


def sum(a: Any, axis: Axis = None, dtype: Any = None, out: Array | None = None, keepdims: bool = False) -> Any:
    """Σ of a over axes, as one sum in the order of `order.py`: over the rows of a batch, if the first axis is among
    them and a has others, and else of terms that no row has.

    >>> sum(np.ones((3, 4, 2)), axis=(0, 1)).tolist()
    [12.0, 12.0]
    """
    a = np.asarray(a)
    kind = out.dtype if out is not None else np.dtype(dtype or a.dtype)
    if a.dtype.kind != "f" and kind.kind != "f":
        return np.sum(a, axis=axis, dtype=dtype, out=out, keepdims=keepdims)
    a = a.astype(kind, copy=False)
    over, kept, shape = _axes(a, axis, keepdims)
    found = np.empty(math.prod(a.shape[k] for k in kept), kind)
    if over[:1] == [0]:
        lines = a.transpose([*over, *kept]).reshape(*(a.shape[k] for k in over), found.size)
        sum_rows(np.ascontiguousarray(lines), found)
    else:
        sum_last(np.ascontiguousarray(a.transpose([*kept, *over]).reshape(found.size, -1)), found)
    return given(found.reshape(shape), out)


def max(a: Any, axis: Axis = None, out: Array | None = None, keepdims: bool = False) -> Any:
    """`maximum` of all numbers over axes, from the first to the last.

    >>> max(np.array([[1.0, 3.0], [2.0, 0.0]]), axis=0).tolist()
    [2.0, 3.0]
    """
    return _folded(np.asarray(a), axis, out, keepdims, True)


def min(a: Any, axis: Axis = None, out: Array | None = None, keepdims: bool = False) -> Any:
    """`minimum` of all numbers over axes, from the first to the last.

    >>> min(np.array([[1.0, 3.0], [2.0, 0.0]]), axis=0).tolist()
    [1.0, 0.0]
    """
    return _folded(np.asarray(a), axis, out, keepdims, False)


REPLACED: dict[str, Callable[..., Any]] = {
    "maximum": maximum, "minimum": minimum, "clip": clip, "negative": negative, "sum": sum,
    "max": max, "amax": max, "min": min, "amin": min, **FUNCTIONS,
}  # fmt: skip


def _axes(a: Array, axis: Axis, keepdims: bool) -> tuple[list[int], list[int], tuple[int, ...]]:
    """The axes that are summed, those that stay, and the shape of the result."""
    given = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    over = sorted({k % a.ndim for k in given})
    kept = [k for k in range(a.ndim) if k not in over]
    return over, kept, tuple(1 if k in over else n for k, n in enumerate(a.shape) if keepdims or k in kept)


def _folded(a: Array, axis: Axis, out: Array | None, keepdims: bool, largest: bool) -> Any:
    if a.dtype.kind != "f":
        return (np.max if largest else np.min)(a, axis=axis, out=out, keepdims=keepdims)
    over, kept, shape = _axes(a, axis, keepdims)
    if over and a.size and over == list(range(over[0], over[-1] + 1)):
        lines = a.reshape(math.prod(a.shape[: over[0]]), -1, math.prod(a.shape[over[-1] + 1 :]))
    else:
        kept_first = a.transpose([*kept, *over])
        lines = kept_first.reshape(math.prod(kept_first.shape[: len(kept)]), -1, 1)
    if not lines.shape[1]:
        raise ValueError("the largest or smallest of no numbers has no value")
    found = (np.max if largest else np.min)(lines, axis=1)
    zero = found == 0
    if zero.any():  # only their signs depend on the order: the fold ends with the last zero
        last = lines.shape[1] - 1 - np.argmax((lines == 0)[:, ::-1], axis=1)
        np.copyto(found, np.take_along_axis(lines, last[:, None], axis=1)[:, 0], where=zero)
    return given(found.reshape(shape), out)

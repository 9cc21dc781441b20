"""Products and sums in the order of `order.py`, compiled by Numba; needs Numba.

out_ij = Σ_k a_ik b_kj
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ...arrays import Array
from ...order import BLOCK, rows_of_group


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""
    kind = ir.DoubleType() if a == types.float64 else ir.FloatType()

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.FunctionType(kind, [kind] * 3)
        function = builder.module.declare_intrinsic("llvm.fma", [kind], whole)
        return builder.call(function, args)

    return a(a, a, a), code


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _row(a: Any, b: Any, out: Any, length: int, stack: Any, acc: Any) -> None:
    """out = a b for one row a (K,), b (K, n). stack (levels, n): sums of the tree. acc (n,)."""
    K, n = b.shape
    out[:] = 0
    group, first = 0, 0
    while first < K:
        end = min(first + length, K)
        block, k = 0, first
        while k < end:
            stop = min(k + BLOCK, end)
            acc[:] = 0
            for p in range(k, stop):
                for j in range(n):
                    acc[j] = fma(a[p], b[p, j], acc[j])
            _push(stack, block, acc, 0)
            block, k = block + 1, stop
        _collapse(stack, block, acc, 0)
        _push(stack, group, acc, 32)
        group, first = group + 1, end
    if group:
        _collapse(stack, group, acc, 32)
        out[:] = acc


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _push(stack: Any, number: int, acc: Any, base: int) -> None:
    """Part `number` of a tree: it is added to the sums of its neighbours before it that are as large."""
    level = 0
    while number >> level & 1:
        for j in range(len(acc)):
            acc[j] = stack[base + level, j] + acc[j]
        level += 1
    stack[base + level] = acc


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _collapse(stack: Any, count: int, acc: Any, base: int) -> None:
    """acc = the sum of a tree of `count` parts."""
    first = True
    for level in range(32):
        if count >> level & 1:
            if first:
                acc[:] = stack[base + level]
                first = False
            else:
                for j in range(len(acc)):
                    acc[j] = stack[base + level, j] + acc[j]


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _product(a: Any, b: Any, out: Any, length: int, stack: Any, acc: Any) -> None:
    for i in range(a.shape[0]):
        _row(a[i], b, out[i], length, stack, acc)


def product(a: Array, b: Array, out: Array, terms: int = 1) -> Array:
    """out = a b, of matrices of one type; terms: of the sum, for each row of the batch (`order.py`).

    >>> product(np.ones((2, 3)), np.ones((3, 2)), np.empty((2, 2))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    n = b.shape[1]
    stack, acc = np.empty((64, n), out.dtype), np.empty(n, out.dtype)
    _product(a, b, out, rows_of_group(terms) * terms, stack, acc)
    return out


def products(a: Array, b: Array, out: Array) -> Array:
    """out[..., :, :] = a[..., :, :] b[..., :, :]

    >>> products(np.ones((2, 1, 3)), np.ones((2, 3, 1)), np.empty((2, 1, 1))).ravel().tolist()
    [3.0, 3.0]
    """
    for place in np.ndindex(out.shape[:-2]):
        product(a[place], b[place], out[place])
    return out


def dot(a: Array, b: Array, out: Array) -> None:
    """out = Σᵢ aᵢ bᵢ, of vectors, into a 0-d array.

    >>> out = np.empty(())
    >>> dot(np.ones(3), np.ones(3), out), out.item()
    (None, 3.0)
    """
    product(a.reshape(1, -1), b.reshape(-1, 1), out.reshape(1, 1))


def sum_rows(a: Array, out: Array, weights: Array | None = None) -> None:
    """out = Σ over all axes of a but the last, of w a where there are weights. The first axis of a has the rows.

    >>> out = np.empty(2)
    >>> sum_rows(np.ones((3, 4, 2)), out), out.tolist()
    (None, [12.0, 12.0])
    """
    count, terms = math.prod(a.shape[:-1]), math.prod(a.shape[1:-1])
    w = np.ones(count, a.dtype) if weights is None else weights.reshape(-1)
    product(w.reshape(1, -1), a.reshape(count, -1), out.reshape(1, -1), terms)


def sum_last(a: Array, out: Array) -> None:
    """out = Σ of a over its last axis.

    >>> out = np.empty(2)
    >>> sum_last(np.ones((2, 3)), out), out.tolist()
    (None, [3.0, 3.0])
    """
    product(a.reshape(-1, a.shape[-1]), np.ones((a.shape[-1], 1), a.dtype), out.reshape(-1, 1))

"""Cut the arrays of a formula into blocks that stay in the cache, because a pass of NumPy over long ones is slow.

    y = e^(x - max x) / Σ e^(x - max x)      block after block of rows: max, subtract, exp, sum, divide

Passes over arrays of megabytes wait for the memory. So a formula of several passes makes all of them on one block and
then goes to the next. A row, over which sums and maxima go, is never cut. Whether a step is made call by call, recorded
or compiled, the blocks are the same, and so are the bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...formula import OPERATIONS, Program
from ..arrays import Array, Shape, share
from .loops import are_one

BLOCK = 2**16  # numbers: some arrays of so many float32 are in the second-level cache together

Arrays = Sequence[Array]
Views = list[tuple[Array, bool]]  # arrays, and whether their first axis is cut


def blocks(program: Program, inputs: Arrays, outs: Arrays) -> list[tuple[Arrays, Arrays]]:
    """(inputs, outs) of each block, in turn; all as it is where it is short, has one pass, or can't be cut.

    >>> from gpubp.formula import exp, trace
    >>> x, y = np.ones((2**17, 3)), np.ones((2**17, 3))
    >>> [some[0].shape for some, _ in blocks(trace(lambda x: exp(x) + 1.0, 1), (x,), (y,))] == 6 * [(2**16,)]
    True
    """
    whole, arrays = [(inputs, outs)], (*inputs, *outs)
    if len(program.steps) < 2 or max(a.size for a in arrays) < 2 * BLOCK:
        return whole
    if any(share(a, o) and not are_one(a, o) for o in outs for a in inputs):
        return whole
    if any(share(one, other) for i, one in enumerate(outs) for other in outs[:i]):
        return whole
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    reduces = any(OPERATIONS[step.operation].reduces for step in program.steps)
    views = (None if reduces else _as_vectors(arrays, shape)) or _as_rows(arrays, shape)
    if not all(is_cut for _, is_cut in views[len(inputs) :]):
        return whole
    length = len(views[-1][0])
    found: list[tuple[Arrays, Arrays]] = []
    for low, high in _bounds(length, math.prod(shape) // length):
        some = [a[low:high] if is_cut else a for a, is_cut in views]
        found.append((some[: len(inputs)], some[len(inputs) :]))
    return found if len(found) > 1 else whole


def _as_vectors(arrays: Arrays, shape: Shape) -> Views | None:
    """All axes as one; None where an array has gaps or is broadcast, but for single numbers."""
    if not all(a.size == 1 or (a.shape == shape and a.flags.c_contiguous) for a in arrays):
        return None
    return [(a.reshape(-1), a.size > 1) for a in arrays]


def _as_rows(arrays: Arrays, shape: Shape) -> Views:
    """All axes but the last as one; the first axis alone where some array does not lie so."""
    found: Views = []
    for a in arrays:
        if a.size == 1 or a.size == a.shape[-1]:
            found.append((a.reshape(-1), False))
        elif a.shape[:-1] == shape[:-1] and _lies_in_rows(a):
            found.append((a.reshape(-1, a.shape[-1]), True))
        else:
            return [(a, a.ndim == len(shape) and len(a) == shape[0] > 1) for a in arrays]
    return found


def _lies_in_rows(a: Array) -> bool:
    return all(a.strides[k] == a.strides[k + 1] * a.shape[k + 1] for k in range(a.ndim - 2))


def _bounds(length: int, width: int) -> list[tuple[int, int]]:
    """The first line of each block and the one behind its last: as many lines as a power of two, so that short operands
    can be repeated (`widening.py`), and up to half as many more or less in the last block."""
    lines = 2 ** int(math.log2(max(1, BLOCK // width)))
    count = max(1, round(length / lines))
    return list(pairwise([*range(0, count * lines, lines), length]))

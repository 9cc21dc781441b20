"""The order in which exact numerics sums: the same on every machine, with any number of threads or workers.

A sum of products over k = 0 … K-1 is computed in three levels; ⊕ is a sum rounded once:

    (1)  block    s ← +0,  s ← fma(a_k, b_k, s) for its k in their order         at most 64 terms
    (2)  group    the sums of its blocks, added as a tree                         the terms of `rows_of_group(t)` rows
    (3)  all      the sums of the groups, added as a tree

    tree          s₀, s₁, s₂, … → s₀ ⊕ s₁, s₂ ⊕ s₃, …; a last one without a partner stays; again until one is left

t is how many terms each row of the batch has in the sum: 1 for a Dense layer, one for each output pixel of a
convolution. A sum that is not over rows has t = 1. A plain sum is one of products with 1. So rows 64 k 2ⁿ to
64 (k + 1) 2ⁿ, or what there is of them, have one number in the tree, and a worker or a process that has these rows
computes it alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Any, TypeVar

import numpy as np

VERSION = 1  # of exact numerics: raised whenever a training would end with other bits
BLOCK = 64  # terms; another number would change the bits of every sum
TOGETHER = 32  # parts that one formula adds; a kernel takes 4 KB of arguments

Part = TypeVar("Part")


def rows_of_group(terms: int) -> int:
    """How many rows a group has whose rows have so many terms each: the largest power of two with at most BLOCK terms
    in all, and 1 at least.

    >>> [rows_of_group(terms) for terms in (1, 2, 10, 49, 784)]
    [64, 32, 4, 1, 1]
    """
    return 1 << (max(BLOCK // terms, 1).bit_length() - 1)


def groups(count: int, terms: int = 1) -> list[list[slice]]:
    """The blocks of each group of a sum of `count` terms: (1) and (2).

    >>> groups(130)
    [[slice(0, 64, None)], [slice(64, 128, None)], [slice(128, 130, None)]]
    >>> groups(200, terms=100)
    [[slice(0, 64, None), slice(64, 100, None)], [slice(100, 164, None), slice(164, 200, None)]]
    """
    length = rows_of_group(terms) * terms
    ends = [(first, min(first + length, count)) for first in range(0, count, length)]
    return [[slice(k, min(k + BLOCK, end)) for k in range(first, end, BLOCK)] for first, end in ends]


def tree(parts: Sequence[Part], add: Callable[[Part, Part], Part]) -> Part:
    """The parts added as a tree.

    >>> tree(["a", "b", "c", "d", "e"], lambda a, b: f"({a}+{b})")
    '(((a+b)+(c+d))+e)'
    """
    level = list(parts)
    while len(level) > 1:
        pairs = [add(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def add_in_place(add: Callable[..., Any], parts: Sequence[Part], as_tree: bool) -> Part:
    """The parts added into the first, which is returned: as a tree, which writes over others too, or one by one.

    add: xp.add, called once less than there are parts. parts: arrays of one shape, one at least.

    >>> [add_in_place(np.add, [np.full(1, 0.1) for _ in range(10)], as_tree).item() for as_tree in (True, False)]
    [1.0, 0.9999999999999999]
    """

    def to_first(a: Part, b: Part) -> Part:
        add(a, b, out=a)
        return a

    return tree(parts, to_first) if as_tree else reduce(to_first, parts)


def share_of_worker(rows: int, workers: int) -> int | None:
    """How many rows each worker has where every one of them has one number in the tree; None where they can't.

    >>> share_of_worker(256, 2), share_of_worker(256, 4), share_of_worker(96, 2), share_of_worker(100, 1)
    (128, 64, None, 100)
    """
    if workers == 1:
        return rows
    each, blocks = rows // workers, rows // workers // BLOCK
    whole = each * workers == rows and blocks * BLOCK == each and blocks > 0 and blocks & (blocks - 1) == 0
    return each if whole else None


def tree_pairs(count: int) -> list[tuple[int, int]]:
    """Which of so many parts are added to which, (to, what), so that the first is their tree in the end.

    >>> tree_pairs(5)
    [(0, 1), (2, 3), (0, 2), (0, 4)]
    """
    steps = [1 << level for level in range(max(count - 1, 0).bit_length())]
    return [(i, i + step) for step in steps for i in range(0, count - step, 2 * step)]


@lru_cache
def tree_formula(count: int) -> Callable[..., Any]:
    """The tree over so many arrays, number by number, as a formula for `Backend.apply`.

    >>> from gpubp.backends import get_backend
    >>> parts = [np.full(2, x) for x in (0.1, 0.2, 0.3)]
    >>> get_backend("cpu").apply(tree_formula(3), *parts, out=np.empty(2)).tolist()
    [0.6000000000000001, 0.6000000000000001]
    """

    def sum_of_parts(*parts: Any) -> Any:
        return tree(parts, operator.add)

    sum_of_parts.__qualname__ = f"sum_of_{count}_parts"
    return sum_of_parts


def add_as_tree(backend: Any, parts: Sequence[Any], out: Any) -> None:
    """out = the parts added as a tree, by one call of `Backend.apply`, or a few for very many of them.

    backend: a Backend. parts: arrays of one shape, (…), which may be written over. out: one of them, or another array.

    >>> from gpubp.backends import get_backend
    >>> out = np.empty(1)
    >>> add_as_tree(get_backend("cpu"), [np.array([float(k)]) for k in range(100)], out)
    >>> out.item()
    4950.0
    """
    parts = list(parts)
    while len(parts) > TOGETHER:
        level = []
        for first in range(0, len(parts), TOGETHER):  # a part of the tree, as TOGETHER is a power of two
            some = parts[first : first + TOGETHER]
            if len(some) > 1:
                backend.apply(tree_formula(len(some)), *some, out=some[0])
            level.append(some[0])
        parts = level
    backend.apply(tree_formula(len(parts)), *parts, out=out)


def exact_sum(a: Any, axis: int | None = None) -> Any:
    """Σ of numbers on the host in float64, over all of them or over one axis: (1) to (3) by NumPy, with t = 1.

    >>> exact_sum([0.1] * 10), exact_sum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    (0.9999999999999999, [4.0, 6.0])
    """
    numbers = np.asarray(a, np.float64)
    numbers = numbers.reshape(-1) if axis is None else np.moveaxis(numbers, axis, 0)
    count = -(-len(numbers) // BLOCK)
    padded = np.zeros((count * BLOCK, *numbers.shape[1:]))  # s + 0 is s, which is never -0
    padded[: len(numbers)] = numbers
    blocks = padded.reshape(count, BLOCK, *numbers.shape[1:])
    level = np.zeros((count, *numbers.shape[1:]))
    for k in range(BLOCK if count else 0):  # (1)
        level += blocks[:, k]
    while len(level) > 1:  # (3); a group is a block
        half = len(level) // 2
        level = np.concatenate([level[: 2 * half : 2] + level[1 : 2 * half : 2], level[2 * half :]])
    total = level[0] if count else np.zeros(numbers.shape[1:])
    return float(total) if axis is None else total

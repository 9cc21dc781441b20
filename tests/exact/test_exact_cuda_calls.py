"""The calls of exact numerics on CUDA: what may run side by side, and into which runs products are divided."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.backends.arrays import span
from gpubp.backends.cuda.effects import effects
from gpubp.backends.cuda.exact import product as division
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.exact.product import plan
from gpubp.backends.order import groups, tree
from gpubp.errors import ExactError
from strict_exact import exact_cupy


@pytest.fixture
def be():
    return ExactCUDA(exact_cupy())


def test_what_calls_read_and_write(be):
    """So that graphs with branches wait for what they need, and no more."""
    do = be._launches
    a, b, row = be.zeros((6, 4), "float32"), be.zeros((4, 5), "float32"), be.zeros((4,), "float32")
    y, m, t = be.zeros((6, 5), "float32"), be.zeros((6, 4), "bool"), be.zeros((), "float64")
    one, c, dW = be.zeros((), "float32"), be.zeros((6, 4), "float32"), be.zeros((4, 5), "float32")
    flat, places = a.reshape(-1), be.zeros((6,), "int64")
    wanted = [
        (lambda: be.gemm(a, b, out=y), [a, b], [y], [y]),
        (lambda: be.gemm_over_rows(a, y, out=dW, rows=6), [a, y], [dW], [dW]),
        (lambda: be.sum_rows(a, out=row), [a], [row], [row]),
        (lambda: be.dot(flat, flat, out=one, total=t), [flat, flat, t], [one, t], [one]),
        (lambda: be.scatter_rows(a, places, out=b.T), [a, places], [b], [b]),
        (lambda: be.apply(lambda x, unused: x > 1.0, a, c, out=m), [a], [m], [m]),
        (lambda: be.xp.add(a, row, out=c), [a, row], [c], [c]),
        (lambda: be.xp.sum(a, axis=0, out=row), [a], [row], [row]),
        (lambda: be.xp.copyto(c, a), [a], [c], [c]),
        (lambda: be.xp.copyto(c, a, where=m), [a, m], [c], []),
    ]
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(be, "_calls", calls)
        for call, *_ in wanted:
            call()
    for call, (_, *expected) in zip(calls, wanted, strict=True):
        found = [{span(x) for x in arrays} for arrays in effects(call, do)]
        assert found == [{span(x) for x in arrays} for arrays in expected], call


def test_a_step_with_operators_of_cupys_is_an_error(be):
    """Elsewhere it runs call by call, with a warning; here its numbers would be other ones."""
    x = be.to_device(np.ones(3, "float32"))
    with pytest.warns(RuntimeWarning, match="call by call"), pytest.raises(ExactError, match="can't be captured"):
        be.capture(lambda: x + x)


def merges(block, group, ends_group, ends_run):
    """As in `sources.py`."""
    if not ends_group:
        return (~block & -~block).bit_length() - 1
    return block.bit_count() + (group.bit_count() if ends_run else (~group & -~group).bit_length() - 1)


def by_runs(how, K):
    """The tree that kernels of a plan make, as nested hashes, and how many sums waited at most."""
    parts, deepest = [], 0
    each = how.piece if how.pieces > 1 else how.length
    for run in range(how.runs):
        first = run // how.pieces * how.together * how.length + run % how.pieces * how.piece
        border = (run // how.pieces + 1) * how.length if how.pieces > 1 else K
        last = min(first + (how.piece if how.pieces > 1 else how.together * how.length), border, K)
        assert first < last
        k, end, block, group, stack, s = first, min(first + each, last), 0, 0, [], 0
        while k < last:
            stop = min(k + 64, end)
            s = hash((k, stop))
            for _ in range(merges(block, group, stop == end, stop == last)):
                s = hash((stack.pop(), s, "+"))
            if stop < last:
                stack.append(s)
                deepest = max(deepest, len(stack))
            block, group = (0, group + 1) if stop == end else (block + 1, group)
            k, end = stop, min(stop + each, last) if stop == end else end
        assert not stack
        parts.append(s)
    if how.pieces > 1:
        parts = [tree(parts[i : i + how.pieces], added) for i in range(0, len(parts), how.pieces)]
    while len(parts) > 1:
        parts = [tree(parts[i : i + division.WIDTH], added) for i in range(0, len(parts), division.WIDTH)]
    return parts[0], deepest


def added(a, b):
    return hash((a, b, "+"))


def test_every_plan_makes_the_tree_of_the_order(rng, monkeypatch):
    """For products of any size; also where parts would take too much memory, so that stacks are deeper."""
    for largest in (2**28, 2**14):
        monkeypatch.setattr(division, "LARGEST", largest)
        plan.cache_clear()
        for _ in range(150):
            M, N, K, terms = (int(2.0 ** rng.uniform(0, most)) for most in (12, 12, 15, 11))
            how = plan(M, N, K, int(rng.integers(1, 3)), terms, 4)
            found, deepest = by_runs(how, K)
            sums = [tree([hash((b.start, b.stop)) for b in group], added) for group in groups(K, terms)]
            assert found == tree(sums, added), (M, N, K, terms, how)
            assert deepest <= how.levels, (M, N, K, terms, how)
    plan.cache_clear()

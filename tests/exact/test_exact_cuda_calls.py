"""The calls of exact numerics on CUDA: what a record may join, and what may run side by side."""

from __future__ import annotations

import pytest

from gpubp.backends.arrays import span
from gpubp.backends.cuda.effects import effects
from gpubp.backends.cuda.exact.backend import ExactCUDA
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

"""Products of stacks of matrices: against loops, on views as attention takes them, call by call and recorded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpubp.backends import CPU, Backend
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

B, T, H, D = 3, 5, 2, 4


def heads(a: Any) -> Any:
    """(B, T, H, d) as (B, H, T, d)"""
    return a.transpose(0, 2, 1, 3)


# name -> shapes of what lies in memory for a, b and out, and the views of them that are multiplied
STACKS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[Callable[[Any], Any], ...]]] = {
    "one axis": (((6, 2, 3), (6, 3, 4), (6, 2, 4)), (lambda a: a,) * 3),
    "two axes": (((2, 3, 2, 3), (2, 3, 3, 4), (2, 3, 2, 4)), (lambda a: a,) * 3),
    "no axis": (((2, 3), (3, 4), (2, 4)), (lambda a: a,) * 3),
    "q kT": (((B, T, H, D), (B, T, H, D), (B, H, T, T)), (heads, lambda k: heads(k).swapaxes(-1, -2), lambda s: s)),
    "p v": (((B, H, T, T), (B, T, H, D), (B, T, H, D)), (lambda p: p, heads, heads)),
    "pT do": (((B, H, T, T), (B, T, H, D), (B, T, H, D)), (lambda p: p.swapaxes(-1, -2), heads, heads)),
    "thirds": (((B, T, 3, D), (B, T, 3, D), (B, T, T)), (
        lambda a: a[:, :, 0], lambda a: a[:, :, 1].swapaxes(-1, -2), lambda s: s
    )),
    "one step": (((B, 1, H, D), (B, 1, H, D), (B, H, 1, 1)), (heads, lambda k: heads(k).swapaxes(-1, -2), lambda s: s)),
    "one number each": (((4, 1, 1), (4, 1, 1), (4, 1, 1)), (lambda a: a,) * 3),
    "weights of rows": (((B, 1, T), (B, T, D), (B, 1, D)), (lambda a: a,) * 3),
}  # fmt: skip


def on_cuda() -> Backend:
    return CUDA(strict_cupy(), products=StrictProducts)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [CPU, on_cuda], ids=["cpu", "cuda"])
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_multiplied_matrix_by_matrix(name: str, make: Callable[[], Backend], dtype: str) -> None:
    shapes, views = STACKS[name]
    be, rng = make(), np.random.default_rng(0)
    host = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    with be.active():
        memory = [be.to_device(a) for a in host]
        a, b, out = (view(m) for view, m in zip(views, memory, strict=True))
        assert be.batched_gemm(a, b, out=out) is out
        _check(host, memory, views, be)
        again = be.capture(lambda: be.batched_gemm(a, b, out=out))
        host[0] *= np.asarray(0.5, dtype)
        for step in range(3):
            host[1] += np.asarray(step, dtype)
            for m, changed in zip(memory[:2], host, strict=False):
                be.stage(m, changed)
            again()
            _check(host, memory, views, be)


def _check(host: list[Any], memory: list[Any], views: Any, be: Backend) -> None:
    """Every number is Σₖ aᵢₖ bₖⱼ, added up here in float64."""
    a, b, out = (view(m) for view, m in zip(views, (*host[:2], be.to_host(memory[2])), strict=True))
    wanted = np.zeros(out.shape)
    for k in np.ndindex(*out.shape[:-2]):
        for i, j in np.ndindex(*out.shape[-2:]):
            wanted[(*k, i, j)] = sum(float(x) * float(y) for x, y in zip(a[k][i], b[k][:, j], strict=True))
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-12 if out.dtype == "float64" else 1e-4)


def test_a_product_of_stacks_allocates_nothing() -> None:
    be, rng = CPU(), np.random.default_rng(0)
    q, k = (heads(rng.normal(size=(4, 64, 4, 16)).astype("float32")) for _ in range(2))
    s = np.zeros((4, 4, 64, 64), "float32")
    be.batched_gemm(q, k.swapaxes(-1, -2), out=s)
    tracemalloc.start()
    try:
        be.batched_gemm(q, k.swapaxes(-1, -2), out=s)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8192, f"{peak} bytes; one matrix of the result has {s[0, 0].nbytes}"


def test_the_cpu_makes_one_call_of_a_stack() -> None:
    be = CPU()
    a, b, out = (np.zeros((8, 3, 3)) for _ in range(3))
    assert str(be.capture(lambda: be.batched_gemm(a, b, out=out))) == "matmul(a0, a1, a2)"

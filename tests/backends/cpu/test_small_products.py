"""Products made as stacks of small ones: their numbers, how many are made, and where a product stays whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.backends import CPU
from gpubp.backends.cpu import compiled, small_products
from gpubp.backends.cpu.blas import Library
from gpubp.backends.cpu.native import Program
from gpubp.backends.recording import Call
from gpubp.explain.watch import Watch

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def on_avx512_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_products, "unpacked", lambda: True)
    monkeypatch.setattr(small_products, "threads_now", lambda: 1)


def operands(m: int, k: int, n: int, order: str = "C", dtype: str = "float32") -> tuple[Array, Array, Array]:
    """x, W, and memory for y"""
    rng = np.random.default_rng(m + k + n)
    x, w = (rng.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n)))
    return np.asarray(x, order=order), w, np.full((m, n), np.nan, dtype)  # type: ignore[call-overload]


def calls_of(be: CPU, x: Array, w: Array, y: Array) -> list[str]:
    """The names of the calls that a record of y = x W makes."""
    return [line.split("(")[0] for line in str(be.capture(lambda: be.gemm(x, w, out=y))).splitlines()]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(784, 288, 64), (29000, 9, 32), (300, 784, 64), (5000, 2, 200), (768, 48, 48)])
def test_the_blocks_give_every_row_of_the_product(shape: tuple[int, int, int], dtype: str, order: str) -> None:
    x, w, y = operands(*shape, order, dtype)
    assert calls_of(CPU(), x, w, y)[0] == "matmul"
    x, w = x.astype(np.float64), w.astype(np.float64)
    assert np.all(np.abs(y - x @ w) < (2e-6 if dtype == "float32" else 4e-15) * (np.abs(x) @ np.abs(w)))


@pytest.mark.parametrize("shape", [(784, 288, 64), (29000, 9, 32), (300, 784, 64), (100, 1600, 48)])
def test_no_block_is_larger_than_what_blas_does_not_pack(shape: tuple[int, int, int]) -> None:
    found = small_products.blocks(*operands(*shape))
    stack, *rest = found
    assert stack[0].shape[-2] * shape[1] * shape[2] <= small_products.SMALL
    assert sum(len(y) if y.ndim == 2 else y.shape[0] * y.shape[1] for _, _, y in found) == shape[0]
    assert all(x.shape[0] < stack[0].shape[-2] for x, _, _ in rest) and len(rest) <= 1


@pytest.mark.parametrize(
    "shape",
    [
        (49, 288, 64),
        (128, 784, 512),
        (1024, 1152, 128),
        (2_000_000, 1, 2),
        (2_000_000, 2, 1),
        (30, 288, 128),
        (64, 2500, 16),
    ],
    ids=["small already", "many columns", "many columns again", "outer", "vector", "too few rows", "long sums"],
)
def test_other_products_stay_whole(shape: tuple[int, int, int]) -> None:
    assert small_products.blocks(*operands(*shape)) == []


def test_other_layouts_stay_whole() -> None:
    x, w, y = operands(784, 288, 64)
    assert small_products.blocks(x, np.asfortranarray(w), y) == []
    assert small_products.blocks(x, w.astype(np.float64), y) == []


def test_blas_with_threads_of_its_own_gets_the_whole_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_products, "threads_now", lambda: 2)
    assert calls_of(CPU(), *operands(784, 288, 64)) == ["dot"]


def test_kernels_that_pack_get_the_whole_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_products, "unpacked", lambda: False)
    assert calls_of(CPU(), *operands(784, 288, 64)) == ["dot"]


def test_an_explanation_has_one_expression_for_a_product() -> None:
    be = Watch()
    be.gemm(*operands(784, 288, 64)[:2], out=np.empty((784, 64), np.float32))
    assert [event.function for event in be.events] == [np.dot]


@pytest.mark.parametrize(
    ("library", "does"),
    [
        (Library("NumPy", "OpenBLAS", "0.3.31.188.0", "SkylakeX", 2), True),
        (Library("NumPy", "OpenBLAS", "0.3.27", "Cooperlake"), True),
        (Library("NumPy", "OpenBLAS", "0.3.26", "SkylakeX"), False),
        (Library("NumPy", "OpenBLAS", "0.3.31", "Zen"), False),
        (Library("NumPy", "OpenBLAS", "0.3.31.dev", "Haswell"), False),
        (Library("NumPy", "MKL", "2024.0", "Intel AVX-512"), False),
        (Library("NumPy", "accelerate", "", ""), False),
    ],
)
def test_the_kernel_that_blas_names_decides(library: Library, does: bool) -> None:
    assert small_products.makes_small_products_unpacked(library) is does


@pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
@pytest.mark.parametrize("order", ["C", "F"])
def test_compiled_records_make_the_same_bits(order: str) -> None:
    x, w, y = operands(797, 288, 64, order)
    found = small_products.blocks(x, w, y)
    assert len(found) == 2
    for a, b, out in found:
        np.matmul(a, b, out=out)
    bits = y.tobytes()
    y[...] = np.nan
    program = Program([Call(np.matmul, (a, b), {"out": out}) for a, b, out in found])
    program.replay()
    assert y.tobytes() == bits

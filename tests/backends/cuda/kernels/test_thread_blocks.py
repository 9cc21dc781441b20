"""Kernels run as blocks of threads whose order is drawn by chance: no race, no access out of bounds, the same bits.

What they compute is tested elsewhere; here they compute it as if threads ran one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpubp import formula
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.formula_source import ROW_FUNCTIONS, prelude
from gpubp.backends.cuda.reductions import SOURCES
from strict import StrictProducts, strict_cupy
from strict_exact import exact_cupy
from thread_blocks import WatchedKernel, watched

DOT = prelude("float32") + ROW_FUNCTIONS + SOURCES["dot"]
FAULTS = {
    "no fence before the count": ("__threadfence();", "", "written meanwhile"),
    "sums of other blocks from a cache": ("volatile real*", "real*", "is not volatile"),
    "no barrier before the count is read": ("blocks - 1);\n    __syncthreads();", "blocks - 1);", "nobody has written"),
    "no barrier in the tree": ("        }\n        __syncthreads();\n", "        }\n", "meanwhile"),
    "a number too many": ("i < n", "i <= n", "out of bounds"),
    "shared memory that nobody writes": ("real v = 0;", "real v = memory[7];", "nobody has written"),
    "two barriers": (
        "v = row_sum(v, memory);", "v = threadIdx.x < 9 ? row_sum(v, memory) : row_sum(v, memory);", "at two barriers"
    ),
    "a thread that leaves": ("real v = 0;", "real v = 0; if (threadIdx.x == 9) return;", "thread 9 has ended"),
    "an overflow": ("real v = 0;", "real v = 0; int i = (int)gridDim.x + 2147483647;", "add_overflow"),
}  # fmt: skip


def dot(source: str) -> tuple[float, np.ndarray]:
    """The sum, and the counter after two launches."""
    a, out, total = np.linspace(-1, 1, 700, dtype="float32"), np.zeros(1, "float32"), np.zeros(1)
    partial, counter = np.full(256, 7, "float32"), np.zeros(1, "uint32")
    for _ in range(2):
        WatchedKernel(source, "dot")((3,), (256,), [np.uint64(a.size), a, a, out, total, partial, counter])
    return out.item(), counter


def test_a_kernel_without_faults() -> None:
    total, counter = dot(DOT)
    assert abs(total - np.sum(np.linspace(-1, 1, 700) ** 2)) < 1e-3 and not counter.any()


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault: str) -> None:
    right, wrong, message = FAULTS[fault]
    assert right in DOT
    with pytest.raises(AssertionError, match=message):
        dot(DOT.replace(right, wrong, 1))


def test_what_cuda_refuses() -> None:
    a, counter = np.zeros(1, "float32"), np.zeros(1, "uint32")
    given = [np.uint64(1), a, a, a, np.zeros(1), a, counter]
    kernel = WatchedKernel(DOT, "dot")
    for grid, block in (((0,), (256,)), ((1, 65536), (256,)), ((1,), (64, 32))):
        with pytest.raises(AssertionError, match="is launched with"):
            kernel(grid, block, given)
    with pytest.raises(AssertionError, match="an array of float64 for one of float32"):
        kernel((1,), (256,), [given[0], np.zeros(1), *given[2:]])
    with pytest.raises(AssertionError, match="for a parameter of type unsigned long long"):
        kernel((1,), (256,), [np.float64(1), *given[1:]])


# -- what the backend launches ----------------------------------------------------------------------------------------

Calls = Callable[[Any, np.random.Generator], list[Any]]


def drawn(be: Any, rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Any:
    return be.to_device(rng.normal(size=shape).astype(dtype))


def sums(be: Any, rng: np.random.Generator) -> list[Any]:
    found = []
    for rows, n in ((1, 1), (7, 33), (600, 5), (int(rng.integers(513, 900)), 34)):
        a, w = drawn(be, rng, rows, n), drawn(be, rng, rows)
        out, weighted, square = (be.zeros(shape, "float32") for shape in ((n,), (n,), ()))
        total = be.zeros((), "float64")
        for _ in range(2):
            be.sum_rows(a, out)
            be.weighted_sum_rows(a, w, weighted)
            be.dot(a, a, square, total)
        found += [out, weighted, square, total]
    return found


def rows(be: Any, rng: np.random.Generator) -> list[Any]:
    count, n = int(rng.integers(2, 40)), int(rng.integers(1, 9))
    source, picked = drawn(be, rng, 30, n), be.to_device(rng.integers(0, 30, count))
    out, words, places = (be.zeros(shape, "float32") for shape in ((count, n), (30, n), (7, 3, n)))
    be.gather(source, picked, out)
    be.scatter_rows(out, picked, words)
    be.write_at(places, be.to_device(np.array(1.0)), drawn(be, rng, 3, 5, n))
    return [out, words, places]


def batches(be: Any, rng: np.random.Generator) -> list[Any]:
    X, T, order = drawn(be, rng, 90, 7), be.to_device(rng.integers(0, 9, 90)), be.to_device(rng.permutation(90))
    x, t, numbers = be.zeros((45, 7), "float32"), be.zeros((45,), "int64"), be.zeros((8,), "uint8")
    table, count = be.to_device(rng.integers(0, 99, (2, 8)).astype("uint8")), be.zeros((1,), "int64")
    weights, weighing = drawn(be, rng, 2, 96), be.zeros((96,), "float32")
    for given in ((), (weights, weighing), (weights, weighing)):
        be.next_batch((X, T), (x, t), (order, table, numbers, *given), count)
    return [x, t, numbers, weighing, count]


def windows(be: Any, rng: np.random.Generator) -> list[Any]:
    x, theta = drawn(be, rng, 2, 5, 6, 3), drawn(be, rng, 2, 6)
    P, Q = be.zeros((2, 4, 3, 3, 2, 3), "float32"), be.zeros((3, 2, 3, 2, 4, 3), "float32")
    for of_x, place in ((x, P), (x[:, ::-1], Q.transpose(3, 4, 5, 0, 1, 2))):
        be.patches(of_x, place, (1, 2), (1, 0), (2, 1))
    volume, R = drawn(be, rng, 1, 3, 4, 3, 4)[..., 1:3], be.zeros((1, 2, 2, 3, 2, 2, 2, 2), "float32")
    be.patches(volume, R, (2, 2, 1), (1, -1, 1))
    out, back = be.zeros(x.shape, "float32"), be.zeros(x.shape, "float32")
    be.sample(x, theta, out)
    be.sample_adjoint(out, theta, back)
    return [P, Q, R, out, back]


def draws(be: Any, rng: np.random.Generator) -> list[Any]:
    mask, uniform, step = be.zeros((5000,), "bool"), be.zeros((77,), "float32"), be.zeros((1,), "uint64")
    be.random_mask(mask, 30000, (5, 7), step, 3)
    be.random_uniform(uniform, (5, 7), step, 8)
    return [mask, uniform]


def softmax(z: Any, c: Any) -> Any:
    e = formula.exp(z - formula.row_max(z))
    return e / formula.row_sum(e) * c, c * formula.row_sum(z * c)


def formulas(be: Any, rng: np.random.Generator) -> list[Any]:
    """In place, of rows and columns, of a single number, and with gaps."""
    found = []
    for m, n in ((3, 1), (1, 700), (int(rng.integers(2, 90)), 33)):
        z, c, matrix = drawn(be, rng, m, n), drawn(be, rng, m, 1), drawn(be, rng, m, 2 * n)
        be.apply(softmax, z, c, out=(z, c) if n > 1 else (z, be.zeros((m, 1), "float32")))
        be.apply(lambda x, y: (x * y, x - y), z, matrix[:, ::2], out=(matrix[:, ::2], z))
        be.apply(lambda x, y, w: formula.row_sum(x * w) - y, z, matrix[:, -1:], z[0], out=c)
        places = be.zeros((m, 3), "float32")
        be.apply(lambda x, y: (formula.row_sum(x) + y, formula.row_max(x)), z, c, out=(places[:, 1:2], c))
        be.apply(lambda x, y: formula.row_sum(x) * y, z, places[:, 1:2], out=places[:, 1:2])
        found += [z, c, matrix, places]
    one = drawn(be, rng, 1)
    be.apply(lambda x: x * 2.0, one, out=one)
    return [*found, one]


def exact_products(be: Any, rng: np.random.Generator) -> list[Any]:
    found = []
    for M, K, N in ((1, 1, 1), (3, 130, 5), (20, 300, 18), (int(rng.integers(65, 90)), 70, 17)):
        for of_a, of_b in ((False, False), (True, True)):
            a = drawn(be, rng, K, M).T if of_a else drawn(be, rng, M, K)
            b = drawn(be, rng, N, K).T if of_b else drawn(be, rng, K, N)
            out, rows = be.zeros((M, N), "float32"), be.zeros((M, N), "float32")
            be.gemm(a, b, out)
            be.run(be._launches.product, a, b, out=rows, terms=100)
            found += [out, rows]
    return found


def exact_sums(be: Any, rng: np.random.Generator) -> list[Any]:
    count, n = int(rng.integers(100, 400)), int(rng.integers(1, 6))
    a, rows = drawn(be, rng, count, n), be.to_device(rng.integers(0, 20, count))
    out, words, total, places = (be.zeros(s, "float32") for s in ((n,), (21, n), (), (n,)))
    be.sum_rows(a, out)
    be.scatter_rows(a, rows, words, 10)
    be.dot(a.reshape(-1), a.reshape(-1), total, be.zeros((), "float64"))
    be.xp.max(a, axis=0, out=places)
    return [out, words, total, places, be.xp.argmin(a, axis=0)]


def halves(be: Any, rng: np.random.Generator) -> list[Any]:
    bits = be.zeros((700,), "uint16")
    be._launches.halve(drawn(be, rng, 700), bits)
    return [bits]


def masks(be: Any, rng: np.random.Generator) -> list[Any]:
    """In place too, of rows that are read 16 bytes at a time and of others."""
    found = []
    for m, n in ((1, 1), (5, 8), (3, 130), (int(rng.integers(40, 60)), 136), (9, 256)):
        z, mask = drawn(be, rng, m, n), be.to_device(rng.integers(0, 256, (m, -(-n // 128) * 16)).astype("uint8"))
        y, again = be.zeros((m, n), "float32"), be.zeros(mask.shape, "uint8")
        be._launches.rectify(z, y, mask)
        be._launches.rectify(z, z, again)
        found += [z, y, mask, again]
    return found


def on(backend: Any, calls: Calls, seed: int) -> list[np.ndarray]:
    with backend.active():
        return [backend.to_host(a) for a in calls(backend, np.random.default_rng(seed))]


@pytest.mark.parametrize(
    "calls", [sums, rows, batches, windows, draws, halves, masks, formulas], ids=lambda f: f.__name__
)
def test_kernels_in_any_order_of_threads(calls: Calls) -> None:
    compare(calls, lambda cupy: CUDA(cupy, products=StrictProducts), strict_cupy)


@pytest.mark.parametrize("calls", [exact_products, exact_sums, sums, formulas, rows, batches], ids=lambda f: f.__name__)
def test_exact_kernels_in_any_order_of_threads(calls: Calls, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    compare(calls, ExactCUDA, exact_cupy)


@pytest.mark.parametrize("exact", [False, True])
def test_formulas_of_large_arrays(exact: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices of 64 bits give the bits of those of 32."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    cupy, library = (f() for f in (exact_cupy if exact else strict_cupy,) * 2)
    backend = ExactCUDA if exact else lambda cupy: CUDA(cupy, products=StrictProducts)
    wanted = on(backend(library), formulas, 0)
    cupy.host_kernel = watched()
    monkeypatch.setattr("gpubp.backends.cuda.kernels.reach", lambda a: 2**31)
    found = on(backend(cupy), formulas, 0)
    assert not any("unsigned int n" in code for code, _ in cupy.kernels) and len(cupy.kernels) >= 3
    assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]


def compare(calls: Calls, backend: Callable[[Any], Any], library: Callable[[], Any]) -> None:
    """Two runs in other orders each, with the bits of threads that run one after the other."""
    cupy = library()
    cupy.host_kernel = watched()
    for seed in range(2):
        before = WatchedKernel.switches
        found, wanted = on(backend(cupy), calls, seed), on(backend(library()), calls, seed)
        assert WatchedKernel.switches > before
        for came, want in zip(found, wanted, strict=True):
            assert came.dtype == want.dtype and came.tobytes() == want.tobytes()

"""Exact products and sums: the bits of the program in C for every shape, stride and tile, and in records."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exact_in_c import by_c, compiled
from forked import in_child

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
from numba.core.registry import cpu_target

from gpubp.backends.cpu import blas_threads
from gpubp.backends.cpu.backend import Program
from gpubp.backends.cpu.compiled import wanted
from gpubp.backends.cpu.exact import entries, sharing
from gpubp.backends.cpu.exact.backend import ExactCPU
from gpubp.backends.cpu.exact.product import dot, product, products, sum_last, sum_rows
from gpubp.backends.recording import Call


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("products"))


def numbers(rng, shape, dtype="float32"):
    return rng.standard_normal(shape).astype(dtype)


LAYOUTS = {
    "C": lambda a: a.copy(),
    "F": lambda a: np.asfortranarray(a),
    "columns": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "rows": lambda a: np.repeat(a, 3, axis=0)[::3],
    "part": lambda a: np.pad(a, 2)[2:-2, 2:-2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of_a", LAYOUTS)
@pytest.mark.parametrize("of_b", LAYOUTS)
def test_matrices_may_lie_in_memory_in_any_way(in_c, rng, dtype, of_a, of_b):
    for (M, K, N), of_out in zip([(33, 70, 47), (1, 200, 5), (29, 130, 1), (60, 16, 3)], LAYOUTS, strict=False):
        a, b = numbers(rng, (M, K), dtype), numbers(rng, (K, N), dtype)
        out = LAYOUTS[of_out](np.full((M, N), np.nan, dtype))
        product(LAYOUTS[of_a](a), LAYOUTS[of_b](b), out, 3)
        assert np.ascontiguousarray(out).tobytes() == by_c(in_c, a, b, 3).tobytes()


@pytest.mark.parametrize("K", [0, 1, 63, 64, 65, 512, 1023, 1025, 2048, 3000])
@pytest.mark.parametrize("terms", [1, 10, 64, 65, 200, 784])
def test_lengths_of_sums(in_c, rng, K, terms):
    for M, N in ((17, 35), (1, 1), (1, 130), (3, 16)):
        a, b = numbers(rng, (M, K)), numbers(rng, (K, N))
        assert product(a, b, np.empty((M, N), "float32"), terms).tobytes() == by_c(in_c, a, b, terms).tobytes()


@pytest.mark.parametrize("M", [0, 1, 2, 5, 13, 14, 15, 28, 29, 225, 300])
@pytest.mark.parametrize("N", [0, 1, 2, 10, 16, 17, 32, 33, 64, 128, 513])
def test_edges_of_tiles(in_c, rng, M, N):
    for K in (5, 97):
        a, b = numbers(rng, (M, K)), numbers(rng, (K, N))
        assert product(a, b, np.empty((M, N), "float32")).tobytes() == by_c(in_c, a, b).tobytes()


SIZES = {"float32": 4, "float64": 8}
CASES = [  # M, K, N, terms, dtype
    (128, 784, 64, 1, "float32"),
    (64, 128, 48, 1, "float32"),
    (9, 4704, 32, 784, "float32"),
    (27, 490, 10, 49, "float32"),
    (1, 4000, 1, 1, "float32"),
    (1, 1500, 33, 1, "float32"),
    (70, 1300, 1, 1, "float32"),
    (15, 2600, 17, 65, "float32"),
    (40, 200, 40, 1, "float64"),
    (5, 1100, 6, 300, "float64"),
    (1, 3000, 1, 2, "float64"),
    (1, 700, 20, 7, "float64"),
]


def drawn(shape, dtype, seed):
    """Numbers of either sign and of many sizes, by whole numbers alone (splitmix64)."""
    n = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    n = (n ^ (n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    n = (n ^ (n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    n ^= n >> np.uint64(31)
    size = 2.0 ** -(n >> np.uint64(60)).astype("float64")
    return (((n % np.uint64(2**24)).astype("float64") / 2**23 - 1) * size).astype(dtype).reshape(shape)


def made_by(make):
    found = []
    for k, (M, K, N, terms, dtype) in enumerate(CASES):
        out = make(drawn((M, K), dtype, 2 * k), drawn((K, N), dtype, 2 * k + 1), np.empty((M, N), dtype), terms)
        found.append(hashlib.sha256(out.tobytes()).hexdigest()[:16])
    return " ".join(found)


GOLDEN = (
    "68e8b15c10aa2760 37ef498b2c8a027d e916f9d0e9043234 fb6113fb0c745dc1 "
    "ba346514eda20fd5 be9366360326ec23 d216cc8c0d0df65c d5a57ab530c22e87 "
    "b7b85390a9adb25d ab5f92e34673f2cc 6b2bfc80fd84ba24 0e1e395b6a8387c9"
)


def test_the_golden_bits(in_c):
    assert made_by(lambda a, b, out, terms: by_c(in_c, a, b, terms)) == GOLDEN
    assert made_by(product) == GOLDEN


def test_no_bit_depends_on_the_tile(monkeypatch):
    for rows, vectors, size in [(14, 2, 64), (6, 2, 32), (5, 3, 16)]:
        monkeypatch.setattr(
            entries, "tile", lambda real, tile=(rows, vectors, size): (*tile[:2], tile[2] // SIZES[real])
        )
        entries.default.cache_clear()
        try:
            assert made_by(product) == GOLDEN
        finally:
            entries.default.cache_clear()


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from test_products_exact import made_by, product
print(made_by(product))
"""


@pytest.mark.parametrize("processor", [("generic", ""), ("haswell", "+avx2,+fma"), ("znver4", None)])
def test_no_bit_depends_on_the_processor_that_is_compiled_for(processor):
    name, features = processor
    there = os.environ | {"NUMBA_CPU_NAME": name}  # of each processor, Numba stores its own code
    if features is None and "+avx512f" not in cpu_target.target_context.codegen().magic_tuple()[2]:
        pytest.skip("this processor has no AVX-512")
    if features is not None:
        there["NUMBA_CPU_FEATURES"] = features
    if "+fma" in (features or "") and "+fma" not in cpu_target.target_context.codegen().magic_tuple()[2]:
        pytest.skip("this processor has no fma")
    here = Path(__file__).parent
    program = PROGRAM.format(paths=[str(here), str(here.parent)])
    found = subprocess.run([sys.executable, "-c", program], env=there, capture_output=True, text=True)
    assert found.stdout.strip() == GOLDEN, found.stderr


@pytest.mark.parametrize("threads", [2, 3])
def test_no_bit_depends_on_the_threads(in_c, rng, monkeypatch, threads):
    monkeypatch.setattr(sharing, "threads_now", lambda: threads)
    monkeypatch.setattr(sharing, "SMALL_FLOPS", 1e4)
    for M, K, N in ((300, 70, 40), (40, 70, 301)):
        a, b = numbers(rng, (M, K)), numbers(rng, (K, N))
        for given_a, given_b in ((a, b), (np.asfortranarray(a), np.asfortranarray(b))):
            out = np.full((M, N), np.nan, "float32")
            product(given_a, given_b, out)
            assert out.tobytes() == by_c(in_c, a, b).tobytes()
    a, b, out = numbers(rng, (7, 20, 30)), numbers(rng, (7, 30, 20)), np.empty((7, 20, 20), "float32")
    products(a, b, out)
    assert all(out[k].tobytes() == by_c(in_c, a[k], b[k]).tobytes() for k in range(7))


def test_threads_of_a_forked_child(in_c, rng, monkeypatch):
    monkeypatch.setattr(sharing, "threads_now", lambda: 2)
    monkeypatch.setattr(sharing, "SMALL_FLOPS", 1e4)
    a, b = numbers(rng, (300, 70)), numbers(rng, (70, 40))
    wanted_bits = product(a, b, np.empty((300, 40), "float32")).tobytes()
    assert in_child(lambda: product(a, b, np.empty((300, 40), "float32")).tobytes() == wanted_bits)


def test_one_thread_within_one_blas_thread(monkeypatch):
    words = [0] * 9 + [1024, 1024, 1024, 64, 1, 0, 0, 0, 1, 0, 0, 0]
    monkeypatch.setattr(blas_threads, "blas_threads", lambda: 2)
    assert sharing.threads_for(words) == 2
    with blas_threads.one_blas_thread():
        assert sharing.threads_for(words) == 1


def test_stacks_with_any_steps(in_c, rng):
    B, H, T, d = 3, 2, 20, 9
    Q, K = numbers(rng, (B, T, H, d)).swapaxes(1, 2), numbers(rng, (B, T, H, d)).swapaxes(1, 2)
    out = np.empty((B, H, T, T), "float32")
    products(Q, K.swapaxes(-1, -2), out)
    for i, j in np.ndindex(B, H):
        assert out[i, j].tobytes() == by_c(in_c, Q[i, j], K[i, j].T).tobytes()
    deep = np.empty((2, B, H, T, T), "float32")
    products(np.stack([Q, Q]), np.stack([K, K]).swapaxes(-1, -2), deep)
    assert deep[1].tobytes() == deep[0].tobytes() == out.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 3), (64, 1), (1000, 5), (130, 10, 16), (20, 100, 33), (3000, 70), (40, 5000)])
def test_sums(in_c, rng, dtype, shape):
    a, w = numbers(rng, shape, dtype), numbers(rng, shape[:-1], dtype)
    terms = int(np.prod(shape[1:-1]))
    lines = a.reshape(-1, shape[-1])
    out = np.empty(shape[-1], dtype)
    sum_rows(a, out)
    assert out.tobytes() == by_c(in_c, np.ones((1, len(lines)), dtype), lines, terms).tobytes()
    sum_rows(a, out, w)
    assert out.tobytes() == by_c(in_c, w.reshape(1, -1), lines, terms).tobytes()
    last = np.empty(len(lines), dtype)
    sum_last(a, last)
    assert last.tobytes() == by_c(in_c, lines, np.ones((shape[-1], 1), dtype)).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 64, 65, 1023, 1024, 1025, 5000, 100_000])
def test_dots(in_c, rng, dtype, n):
    a, b, out = numbers(rng, n, dtype), numbers(rng, n, dtype), np.empty((), dtype)
    for x, y in ((a, b), (a, a), (a, a.copy()), (np.repeat(a, 2)[::2], b), (a, np.repeat(b, 3)[::3])):
        dot(x, y, out)
        assert out.tobytes() == by_c(in_c, x[None], y[:, None]).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormals_infinities_and_nan(in_c, rng, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    a, b = numbers(rng, (30, 150), dtype), np.full((150, 35), tiny, dtype)
    a[0, 3], a[1, 5], a[2, :2], a[3] = np.inf, np.nan, (np.inf, -np.inf), 0
    b[:, 1], b[:, 2], b[:, 3] = -0.0, np.finfo(dtype).tiny, 1
    for x, y in ((a, b), (a, b[:, :1]), (a[1:2], b), (np.asfortranarray(a), b), (a[:5], b)):
        found = product(x, y, np.empty((len(x), y.shape[1]), dtype))
        assert_same(found, by_c(in_c, x, y))
    assert not np.signbit(product(-a[3:4], b, np.empty((1, 35), dtype))).any()
    for x in (a[1], a[2], b[:, 0]):
        out = np.empty((), dtype)
        dot(x, x, out)
        assert_same(out, by_c(in_c, x[None], x[:, None]).reshape(()))


def assert_same(found, expected):
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.where(np.isnan(found), 0, found).tobytes() == np.where(np.isnan(expected), 0, expected).tobytes()


def test_a_total_of_dots_is_rounded_once(rng):
    be, a, total = ExactCPU(), numbers(rng, 1000), np.array(0.1)
    out = np.empty((), "float32")
    be.dot(a, a, out=out, total=total)
    assert total == 0.1 + float(out)


def test_other_types_and_shapes_are_refused():
    ones = np.ones((2, 2), "float32")
    with pytest.raises(TypeError, match="float32 or of float64, and got float32, float64 and float32"):
        product(ones, ones.astype("float64"), ones.copy())
    with pytest.raises(TypeError, match="got int64"):
        product(ones.astype("int64"), ones.astype("int64"), ones.astype("int64"))
    with pytest.raises(TypeError, match="sums are of float32 or of float64, and got int64"):
        sum_last(ones.astype("int64"), ones[0].astype("int64"))
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3, 2\) have no product"):
        product(ones, np.ones((3, 2), "float32"), ones.copy())
    with pytest.raises(ValueError, match="stacks"):
        products(np.ones((2, 2, 2)), np.ones((3, 2, 2)), np.ones((3, 2, 2)))


@pytest.mark.skipif(not wanted(), reason="GPUBP_FAST=0")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_records_make_all_of_it_without_python(rng, dtype):
    be = ExactCPU()
    x, W, y = numbers(rng, (40, 30), dtype), numbers(rng, (30, 20), dtype), be.zeros((40, 20), dtype)
    dW, db, squares, of_rows = (be.zeros(shape, dtype) for shape in ((30, 20), (20,), (), (40,)))
    P, total = be.zeros((4, 10, 10), dtype), be.zeros((), "float64")

    def step():
        be.gemm(x, W, out=y)
        be.gemm_over_rows(x, y, out=dW, rows=40)
        be.sum_rows(y, out=db)
        be.weighted_sum_rows(y, x[:, 0], out=db)
        be.sum_last(y, out=of_rows)
        be.dot(db, db, out=squares, total=total)
        be.batched_gemm(x.reshape(4, 10, 30), x.reshape(4, 10, 30).swapaxes(1, 2), out=P)

    results = y, dW, db, squares, of_rows, P
    record = be.capture(step)
    bits = [a.tobytes() for a in results]
    record.settle()
    assert record.program.repeats
    for _ in range(3):
        for a in results:
            a.fill(7)
        record()
        assert [a.tobytes() for a in results] == bits


def without_python(*call):
    """Whether a program makes this call by itself."""
    return Program([Call(call[0], call[1:], {})]).repeats


def test_large_products_stay_with_python_where_there_are_threads(monkeypatch):
    large, small = np.ones((400, 400), "float32"), np.ones((4, 4), "float32")
    monkeypatch.setattr(sharing, "threads_now", lambda: 1)
    assert without_python(product, large, large, large.copy())
    monkeypatch.setattr(sharing, "threads_now", lambda: 2)
    assert not without_python(product, large, large, large.copy())
    assert without_python(product, small, small, small.copy())


def test_copies_stay_with_python(rng):
    a, out = numbers(rng, (6, 6)), np.empty((), "float32")
    assert without_python(dot, a, a, out)
    assert not without_python(dot, a[:, :3], a[:, 3:], out)
    assert without_python(sum_rows, a, a[0].copy(), a[:, 1])

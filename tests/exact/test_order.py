"""The order of exact sums: products against a program in C that has no tiles, and a worker's part of a tree."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from gpubp.backends.order import groups, rows_of_group, share_of_worker, tree

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
from gpubp.backends.cpu.exact.product import product

PROGRAM = r"""
#include <math.h>
#include <stdlib.h>
#define PRODUCT(name, real, fma_of)                                                                          \
  static real tree_##name(real *s, long n) {                                                                 \
    for (; n > 1; n = (n + 1) / 2)                                                                           \
      for (long i = 0; i < (n + 1) / 2; i++) s[i] = 2 * i + 1 < n ? s[2 * i] + s[2 * i + 1] : s[2 * i];      \
    return n ? s[0] : 0;                                                                                     \
  }                                                                                                          \
  void name(long M, long K, long N, long terms, const real *a, const real *b, real *c) {                     \
    long rows = 1;                                                                                           \
    while (2 * rows * terms <= 64) rows *= 2;                                                                \
    const long length = rows * terms;                                                                        \
    real *inner = malloc(sizeof(real) * (length / 64 + 2)), *outer = malloc(sizeof(real) * (K / length + 2)); \
    for (long i = M - 1; i >= 0; i--)                                                                        \
      for (long j = N - 1; j >= 0; j--) {                                                                    \
        long parts = 0;                                                                                      \
        for (long first = 0; first < K; first += length) {                                                   \
          const long end = first + length < K ? first + length : K;                                          \
          long blocks = 0;                                                                                   \
          for (long k = first; k < end; k += 64) {                                                           \
            real s = 0;                                                                                      \
            for (long p = k; p < end && p < k + 64; p++) s = fma_of(a[i * K + p], b[p * N + j], s);          \
            inner[blocks++] = s;                                                                             \
          }                                                                                                  \
          outer[parts++] = tree_##name(inner, blocks);                                                       \
        }                                                                                                    \
        c[i * N + j] = tree_##name(outer, parts);                                                            \
      }                                                                                                      \
    free(inner);                                                                                             \
    free(outer);                                                                                             \
  }
PRODUCT(product_float32, float, fmaf)
PRODUCT(product_float64, double, fma)
"""
SHAPES = [(1, 1, 1, 1), (3, 5, 4, 1), (7, 130, 9, 1), (2, 1000, 3, 1), (5, 300, 2, 100), (4, 490, 6, 49), (3, 96, 5, 3)]


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    """The same products by a program in C, one number after the other, from the last one to the first."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("order")
    (folder / "order.c").write_text(PROGRAM)
    call = ["gcc", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", folder / "order.so", folder / "order.c", "-lm"]
    subprocess.run(call, check=True)
    return ctypes.CDLL(str(folder / "order.so"))


def by_c(library, a, b, terms=1):
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    out = np.empty((len(a), b.shape[1]), a.dtype)
    sizes = [ctypes.c_long(n) for n in (len(a), len(b), b.shape[1], terms)]
    getattr(library, f"product_{a.dtype}")(*sizes, *(ctypes.c_void_p(m.ctypes.data) for m in (a, b, out)))
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("M", "K", "N", "terms"), SHAPES)
def test_products_are_those_of_a_c_program(in_c, rng, dtype, M, K, N, terms):
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N)))
    found = product(a, b, np.empty((M, N), dtype), terms)
    assert found.tobytes() == by_c(in_c, a, b, terms).tobytes()


@pytest.mark.parametrize(("rows", "workers"), [(128, 2), (256, 2), (256, 4), (512, 4), (192, 3), (64, 1)])
@pytest.mark.parametrize("terms", [1, 3, 49, 100])
def test_a_worker_has_one_number_of_the_tree(rng, rows, workers, terms):
    share = share_of_worker(rows, workers)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in ((2, rows * terms), (rows * terms, 3)))
    whole = product(a, b, np.empty((2, 3), "float32"), terms)
    cuts = [slice(k * share * terms, (k + 1) * share * terms) for k in range(workers)]
    parts = [product(a[:, cut], b[cut], np.empty((2, 3), "float32"), terms) for cut in cuts]
    assert tree(parts, np.add).tobytes() == whole.tobytes()


def test_groups_have_all_terms_once():
    for count in (1, 63, 64, 65, 1000):
        for terms in (1, 2, 10, 64, 65, 300):
            found = [k for group in groups(count, terms) for block in group for k in range(block.start, block.stop)]
            assert found == list(range(count))
            assert all(
                sum(b.stop - b.start for b in g) == rows_of_group(terms) * terms for g in groups(count, terms)[:-1]
            )

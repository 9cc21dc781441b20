"""Exact products by a program in C, one number after the other, from the last one to the first: the arbiter."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

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


def compiled(folder):
    """The program; a test without gcc is skipped."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
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

"""CUDA C on the host: kernels as they stand, built by g++ and run thread after thread.

A kernel that never waits runs as a loop over blocks and threads. One that calls `__syncthreads` gets a fibre for each
thread of a block, and each runs until it waits for the others. Blocks run one after the other. So this says whether a
kernel computes what it should, and nothing about races between the threads of a warp.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# A fibre begins by setcontext and then goes on by longjmp, which asks nothing of the system. After a block it waits for
# the next one, so that each begins only once.
RUNTIME = r"""
#undef _FORTIFY_SOURCE  // whose longjmp refuses to go to another stack
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>
struct Index { unsigned int x, y, z; };
extern "C" {
Index blockIdx, threadIdx, blockDim, gridDim;
}
static const int STACK = 32768;
static jmp_buf scheduler, fibres[1024];
static Index indices[1024];
static bool begun[1024], over[1024];
static void (*entry)();
static int current;

extern "C" void __syncthreads() { if (!_setjmp(fibres[current])) _longjmp(scheduler, 1); }

static void fibre() {
  for (;;) { entry(); over[current] = true; __syncthreads(); }
}

static void go_on() {
  if (_setjmp(scheduler)) return;
  if (begun[current]) _longjmp(fibres[current], 1);
  begun[current] = true;
  static ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = malloc(STACK);
  context.uc_stack.ss_size = STACK;
  makecontext(&context, fibre, 0);
  setcontext(&context);
}

extern "C" void run_block(void (*body)()) {
  const int n = blockDim.x * blockDim.y;
  entry = body;
  for (int t = 0; t < n; t++) {
    over[t] = false;
    indices[t] = {t % blockDim.x, t / blockDim.x, 0};
  }
  for (bool some = true; some;) {
    some = false;
    for (current = 0; current < n; current++)
      if (!over[current]) { threadIdx = indices[current]; go_on(); some = true; }
  }
}
"""

PRELUDE = r"""
struct Index { unsigned int x, y, z; };
extern "C" { extern Index blockIdx, threadIdx, blockDim, gridDim; void __syncthreads(); void run_block(void (*)()); }
#define __global__
#define __device__
#define __shared__ static
#define __restrict__
#define __forceinline__ inline
#define __launch_bounds__(...)
static inline void __threadfence() {}
static inline unsigned int atomicInc(unsigned int* a, unsigned int most) {
  const unsigned int old = *a;
  *a = old >= most ? 0 : old + 1;
  return old;
}
static inline unsigned int __float_as_uint(float a) { unsigned int u; __builtin_memcpy(&u, &a, 4); return u; }
static inline double __longlong_as_double(long long a) { double d; __builtin_memcpy(&d, &a, 8); return d; }
static inline long long __double_as_longlong(double a) { long long i; __builtin_memcpy(&i, &a, 8); return i; }
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline int __popc(unsigned int a) { return __builtin_popcount(a); }
static inline int __ffs(int a) { return __builtin_ffs(a); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned __int128)a * b >> 64;
}
#define MATHS(name) \
  static inline float host_##name(float x) { return __builtin_##name##f(x); } \
  static inline double host_##name(double x) { return __builtin_##name(x); }
MATHS(exp) MATHS(expm1) MATHS(log) MATHS(log1p) MATHS(tanh) MATHS(sin) MATHS(cos) MATHS(floor) MATHS(sqrt) MATHS(fabs)
MATHS(ceil) MATHS(trunc) MATHS(rint)
static inline float host_copysign(float a, float b) { return __builtin_copysignf(a, b); }
static inline double host_copysign(double a, double b) { return __builtin_copysign(a, b); }
#define exp host_exp
#define expm1 host_expm1
#define log host_log
#define log1p host_log1p
#define tanh host_tanh
#define sin host_sin
#define cos host_cos
#define floor host_floor
#define sqrt host_sqrt
#define fabs host_fabs
#define ceil host_ceil
#define trunc host_trunc
#define rint host_rint
#define copysign host_copysign
"""

SIZES = {"bool": 1, "int": 4, "unsigned int": 4, "float": 4, "long long": 8, "unsigned long long": 8, "double": 8}


@functools.cache
def _folder() -> Path:
    import atexit

    folder = tempfile.mkdtemp(prefix="gpubp-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _built(source: str) -> Path:
    path = _folder() / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.so"
    if not path.exists():
        compiler = shutil.which("g++") or shutil.which("c++")
        if compiler is None:
            pytest.skip("there is no g++ to build kernels with")
        made = path.with_suffix(f".{threading.get_native_id()}.so")  # several threads may build it
        made.with_suffix(".cpp").write_text(source)
        options = ["-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC", "-nostartfiles"]
        done = subprocess.run(
            [compiler, *options, "-o", made, made.with_suffix(".cpp")], capture_output=True, text=True
        )
        if done.returncode:
            raise AssertionError(f"the kernel does not compile:\n{done.stderr}\n{source}")
        made.replace(path)
    return path


@functools.cache
def _runtime() -> ctypes.CDLL:
    return ctypes.CDLL(str(_built(RUNTIME)), mode=ctypes.RTLD_GLOBAL)


class HostKernel:
    """One `__global__` function of a source; called as a CUDA kernel is, with addresses and NumPy's scalars."""

    def __init__(self, code: str, name: str) -> None:
        found = re.search(rf"__global__ void {name}\((.*?)\)", code, re.DOTALL)
        assert found, f"there is no kernel {name} in\n{code}"
        real = "double" if "typedef double real;" in code else "float"
        parameters = [" ".join(p.split()).replace("const ", "").rsplit(" ", 1) for p in found[1].split(",")]
        self.types = [t if "*" in t else t.replace("real", real) for t, _ in parameters]
        values = ", ".join(f"*({t}*)A[{i}]" for i, (t, _) in enumerate(parameters))
        waits = "__syncthreads" in code
        run = "run_block(body);" if waits else (
            "for (threadIdx.y = 0; threadIdx.y < block.y; threadIdx.y++)\n"
            "      for (threadIdx.x = 0; threadIdx.x < block.x; threadIdx.x++) body();"
        )  # fmt: skip
        launcher = f"""
static void** A;
static void body() {{ {name}({values}); }}
extern "C" void launch(const Index* grid_, const Index* block_, void** arguments) {{
  const Index grid = *grid_, block = *block_;
  gridDim = grid; blockDim = block; A = arguments;
  for (unsigned int y = 0; y < grid.y; y++)
    for (unsigned int x = 0; x < grid.x; x++) {{
      blockIdx.x = x; blockIdx.y = y;
      {run}
    }}
}}
"""
        _runtime()
        self._launch = ctypes.CDLL(str(_built(PRELUDE + code + launcher))).launch

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any]) -> None:
        """arguments: a NumPy scalar for a number, an address (int) for a pointer."""
        assert len(arguments) == len(self.types), f"{len(arguments)} arguments for {self.types}"
        cells = []
        for a, t in zip(arguments, self.types, strict=True):
            if "*" in t:
                cells.append(ctypes.c_uint64(int(a)))
            else:
                assert isinstance(a, np.generic) and a.itemsize == SIZES[t], f"{a!r} for a parameter of type {t}"
                cells.append(ctypes.create_string_buffer(a.tobytes(), a.itemsize))
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(c) for c in cells))
        sizes = [(ctypes.c_uint * 3)(*[*s, 1, 1][:3]) for s in (grid, block)]
        self._launch(*sizes, pointers)

"""CUDA C on the host: kernels as they stand, built by g++ and run thread after thread.

A kernel that never waits runs as a loop over blocks and threads. One that calls `__syncthreads` gets a fibre for each
thread of a block, and each runs until it waits for the others. Blocks run one after the other. So this says whether a
kernel computes what it should, and nothing about races, which `thread_blocks.py` finds.
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
#define __shared__ static
static inline void __threadfence() {}
static inline unsigned int atomicInc(unsigned int* a, unsigned int most) {
  const unsigned int old = *a;
  *a = old >= most ? 0 : old + 1;
  return old;
}
"""

# What CUDA has and C++ has not
DEVICE = r"""
#define __global__
#define __device__
#define __restrict__
#define __forceinline__ inline
#define __launch_bounds__(...)
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

TYPES = {
    "bool": "bool", "signed char": "int8", "unsigned char": "uint8", "short": "int16", "unsigned short": "uint16",
    "int": "int32", "unsigned int": "uint32", "long long": "int64", "unsigned long long": "uint64", "float": "float32",
    "double": "float64",
}  # fmt: skip
MOST_BYTES = 4096  # of a kernel's arguments
MOST_THREADS, MOST_BLOCKS = 1024, (2**31 - 1, 65535, 65535)


@functools.cache
def _folder() -> Path:
    import atexit

    folder = tempfile.mkdtemp(prefix="gpubp-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def built(source: str, *options: str, link: tuple[str, ...] = ()) -> Path:
    """A library made of C++, once for each text. link: options of a second step, if it is to be made in two."""
    path = _folder() / f"{hashlib.sha256(repr((source, options)).encode()).hexdigest()[:24]}.so"
    if not path.exists():
        compiler = shutil.which("g++") or shutil.which("c++")
        if compiler is None:
            pytest.skip("there is no g++ to build kernels with")
        made = path.with_suffix(f".{threading.get_native_id()}.so")  # several threads may build it
        text, part = made.with_suffix(".cpp"), made.with_suffix(".o")
        text.write_text(source)
        always = ["-ffp-contract=off", "-w", "-fPIC"]
        calls = [[compiler, *always, *options, "-shared", "-o", made, text]]
        if link:
            calls = [[compiler, *always, *options, "-c", "-o", part, text], [compiler, *link, "-o", made, part]]
        for call in calls:
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                raise AssertionError(f"the kernel does not compile:\n{done.stderr}\n{source}")
        made.replace(path)
    return path


@functools.cache
def _runtime() -> ctypes.CDLL:
    return ctypes.CDLL(str(built(RUNTIME, "-O1", "-nostartfiles")), mode=ctypes.RTLD_GLOBAL)


class HostKernel:
    """One `__global__` function of a source; called as a CUDA kernel is, with arrays or addresses and NumPy's scalars.

    types: of its parameters, in C. numbers: NumPy's types of the same, or of what they point to.
    """

    before = ""  # what stands before the names that CUDA knows

    def __init__(self, code: str, name: str) -> None:
        found = re.search(rf"__global__ void {name}\((.*?)\)", code, re.DOTALL)
        assert found, f"there is no kernel {name} in\n{code}"
        called = {short: c for c, short in re.findall(r"^typedef ([\w ]+) (\w+);", code, re.MULTILINE)}
        declared = [" ".join(re.sub(r"\bconst\b|\b__restrict__", "", p).split()) for p in found[1].split(",")]
        self.types = [p.rsplit(" ", 1)[0] for p in declared]
        kinds = [t.replace("volatile", "").replace("*", "").strip() for t in self.types]
        self.numbers = [np.dtype(TYPES[called.get(kind, kind)]) for kind in kinds]
        self.name = name
        values = ", ".join(f"*({t}*)A[{i}]" for i, t in enumerate(self.types))
        self.build(code, f"{name}({values})")

    def build(self, code: str, call: str) -> None:
        """Make what `launch` starts. call: of the kernel, with arguments that lie at A[0], A[1], …"""
        waits = "__syncthreads" in code
        run = "run_block(body);" if waits else (
            "for (threadIdx.y = 0; threadIdx.y < block.y; threadIdx.y++)\n"
            "      for (threadIdx.x = 0; threadIdx.x < block.x; threadIdx.x++) body();"
        )  # fmt: skip
        launcher = f"""
static void** A;
static void body() {{ {call}; }}
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
        text = self.before + PRELUDE + DEVICE + code + launcher
        self.library = ctypes.CDLL(str(built(text, "-O1", "-nostartfiles")))
        self._launch = self.library.launch

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any]) -> None:
        """arguments: a NumPy scalar for a number; for a pointer an array, of the type that the kernel takes it for, or
        an address (int). What CUDA refuses raises."""
        assert len(arguments) == len(self.types), f"{len(arguments)} arguments for {self.types}"
        of_grid, of_block = ((*s, 1, 1)[:3] for s in (grid, block))
        within = all(1 <= n <= most for n, most in zip(of_grid, MOST_BLOCKS, strict=True))
        assert within and 1 <= np.prod(of_block) <= MOST_THREADS, f"{self.name} is launched with {grid}, {block}"
        cells: list[Any] = []
        for a, t, kind in zip(arguments, self.types, self.numbers, strict=True):
            if isinstance(a, np.ndarray) and "*" in t:
                assert a.dtype == kind, f"{self.name} takes an array of {a.dtype} for one of {kind}"
                cells.append(ctypes.c_uint64(a.__array_interface__["data"][0] if a.size else 0))
            elif "*" in t:
                cells.append(ctypes.c_uint64(int(a)))
            else:
                same = isinstance(a, np.generic) and a.itemsize == kind.itemsize
                assert same and (a.dtype.kind == "f") == (kind.kind == "f"), f"{a!r} for a parameter of type {t}"
                cells.append(ctypes.create_string_buffer(a.tobytes(), a.itemsize))
        assert sum(map(ctypes.sizeof, cells)) <= MOST_BYTES, f"{self.name} has more arguments than CUDA takes"
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(c) for c in cells))
        self.launch((ctypes.c_uint * 3)(*of_grid), (ctypes.c_uint * 3)(*of_block), pointers, arguments)

    def launch(self, grid: Any, block: Any, pointers: Any, arguments: list[Any]) -> None:
        """Run it. pointers: to the values of the arguments."""
        self._launch(grid, block, pointers)

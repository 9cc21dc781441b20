"""A host emulation of thread blocks: kernels of CUDA C run by g++, and every access to memory is watched.

    cupy.host_kernel = watched(seed)        # of the strict stand-in for CuPy, see strict.py
    WatchedKernel(source, "sum_rows")(grid, block, arguments)

`thread_blocks.cpp` runs the threads of some blocks in turns that are drawn by chance. What raises an AssertionError:

* a race: two threads use one number, one of them writes, and no barrier lies between; or the threads are of two blocks,
  and no fence and atomic operation put them in order;
* an access outside of the arrays that a kernel was given, each from its first number to its last;
* shared memory that is read before it was written;
* a barrier that not all threads of the block reach;
* what the language leaves open: overflow of signed numbers, division by 0, addresses of a wrong alignment.

It says nothing about a GPU's arithmetic, speed, or registers.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from host_cuda import DEVICE, HostKernel, built

PRELUDE = r"""
struct Index { unsigned int x, y, z; };
struct Gpu { Index block, thread, grid, threads; };
extern "C" {
extern Gpu gpu;
void watched_barrier();
void watched_fence();
unsigned int watched_inc(unsigned int*, unsigned int);
extern char __start_of_shared __attribute__((weak, visibility("hidden")));
extern char __stop_of_shared __attribute__((weak, visibility("hidden")));
}
#define blockIdx gpu.block
#define threadIdx gpu.thread
#define gridDim gpu.grid
#define blockDim gpu.threads
#define __syncthreads watched_barrier
#define __threadfence watched_fence
#define atomicInc watched_inc
#define __shared__ static __attribute__((section("of_shared")))
"""

LAUNCHER = """
static void** A;
__attribute__((no_sanitize("thread", "undefined"))) static void body() { CALL; }
extern "C" __attribute__((no_sanitize("thread", "undefined"))) void (*prepare(void** values, void** shared))() {
  A = values;
  shared[0] = &__start_of_shared;
  shared[1] = &__stop_of_shared;
  return body;
}
"""

OPTIONS = (
    "-O0", "-fsanitize=thread", "--param=tsan-distinguish-volatile=1",
    "-fsanitize=signed-integer-overflow,integer-divide-by-zero,bounds,alignment,shift-exponent,float-cast-overflow,bool",
)  # fmt: skip


@functools.cache
def _runtime() -> ctypes.CDLL:
    source = (Path(__file__).parent / "thread_blocks.cpp").read_text()
    library = ctypes.CDLL(str(built(source, "-O1")), mode=ctypes.RTLD_GLOBAL)
    library.run_grid.restype = ctypes.c_char_p
    return library


class WatchedKernel(HostKernel):
    """One kernel; seed: of the order in which threads run. switches: how often one was interrupted so far."""

    seed = 0
    switches = 0
    _one = threading.Lock()

    def build(self, code: str, call: str) -> None:
        """Make what `launch` starts."""
        _runtime()
        source = PRELUDE + DEVICE + code + LAUNCHER.replace("CALL", call)
        library = ctypes.CDLL(str(built(source, *OPTIONS, link=("-shared", "-nostartfiles"))))
        self._prepare = library.prepare
        self._prepare.restype = ctypes.c_void_p

    def launch(self, grid: Any, block: Any, pointers: Any, arguments: list[Any]) -> None:
        """Run it, and raise an AssertionError with what was seen."""
        given = zip(arguments, self.types, self.numbers, strict=True)
        spans = _spans([(a, kind.itemsize) for a, t, kind in given if "*" in t and isinstance(a, np.ndarray)])
        arrays = (ctypes.c_size_t * (3 * len(spans)))(*(n for span in spans for n in span))
        with self._one:
            shared = (ctypes.c_void_p * 2)()
            body = ctypes.c_void_p(self._prepare(pointers, shared))
            ends = (ctypes.c_void_p * 4)(*(shared[k] or 0 for k in (0, 1)), *_image(body.value))
            WatchedKernel.seed += 1
            changes = ctypes.c_uint64()
            said = _runtime().run_grid(
                grid, block, body, arrays, len(spans), ends, ctypes.c_uint64(self.seed), ctypes.byref(changes)
            )
        WatchedKernel.switches += changes.value
        assert not said, f"{self.name}, {tuple(grid)} blocks of {tuple(block)}:\n{said.decode()}"


def _spans(arrays: list[tuple[np.ndarray, int]]) -> list[tuple[int, int, int]]:
    """(first byte, one past the last, bytes of a number) of the memory of arrays; those that overlap are one."""
    found: list[tuple[int, int, int]] = []
    for low, high, grain in sorted((*np.lib.array_utils.byte_bounds(a), grain) for a, grain in arrays if a.size):
        if found and low < found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1]), min(grain, found[-1][2])
        else:
            found.append((low, high, grain))
    return found


class _Info(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("base", ctypes.c_void_p), ("symbol", ctypes.c_char_p), ("at", ctypes.c_void_p)
    )  # fmt: skip


@functools.cache
def _image(address: int) -> tuple[int, int]:
    """Where the program lies in memory of which this is an address."""
    info = _Info()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    with open("/proc/self/maps") as maps:
        of_it = [line.split()[0] for line in maps if line.rstrip().endswith(info.name.decode())]
    ends = [int(end, 16) for part in of_it for end in part.split("-")]
    return min(ends), max(ends)


def watched() -> Callable[[str, str], WatchedKernel]:
    """What makes watched kernels, each once, for `StrictCupy.host_kernel`."""
    return functools.cache(WatchedKernel)

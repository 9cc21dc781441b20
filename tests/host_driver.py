"""CuPy itself without a GPU: a driver whose devices are host memory, and all kernels built for the host.

    PYTHONPATH=tests pytest -p host_driver tests/backends/cuda/kernels/test_training_gpu.py

runs the tests of a GPU where CuPy is installed and no GPU is, on Linux on x86-64, with gcc and nm. All of CuPy's own
code on the host is the real one: types, shapes, its memory pools, its streams, what it refuses in a capture. So this
finds what the strict stand-in (strict.py) lets pass and CuPy does not. It says nothing about time, and nothing about
work that a GPU does at once with other work: here all is done when it is asked for.

CuPy's runtime module contains CUDA's runtime. Its functions are replaced in memory by those of host_driver.c.
Products are NumPy's, as on the stand-in, because cublasLt needs a GPU. A CPU's BLAS does not treat all rows of a
product alike, and so test_predictions_are_bitwise_independent_of_the_batch fails here.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import host_cuda
from strict_products import _EPILOGUES, StrictProducts, _rounded

os.environ["CUPY_ACCELERATORS"] = ""  # reductions by CuPy's own kernels: those of CUB come as machine code

STANDARD = """
#include <algorithm>
#include <cmath>
#include <cstddef>
using std::isfinite; using std::isinf; using std::isnan; using std::max; using std::min; using std::signbit;
typedef _Float16 float16;
static inline bool isfinite(float16 x) { return isfinite((float)x); }
"""

# CuPy's arrays as its kernels see them: an address, sizes and strides
ARRAYS = r"""
#define CUPY_FOR(i, n) \
  for (ptrdiff_t i = (ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (ptrdiff_t)blockDim.x * gridDim.x)
template <typename T, int axes, bool contiguous = false, bool narrow = false> struct CArray {
  typedef ptrdiff_t index_t;
  T* data; ptrdiff_t size_, shape_[axes], strides_[axes];
  ptrdiff_t size() const { return size_; }
  const ptrdiff_t* shape() const { return shape_; }
  T& operator[](const ptrdiff_t* at) const {
    char* place = (char*)data;
    for (int k = 0; k < axes; k++) place += strides_[k] * at[k];
    return *(T*)place;
  }
  T& operator[](ptrdiff_t i) const {
    ptrdiff_t at[axes + 1];
    for (int k = axes - 1; k >= 0; k--) { at[k] = i % shape_[k]; i /= shape_[k]; }
    return (*this)[(const ptrdiff_t*)at];
  }
  T& operator[](int i) const { return (*this)[(ptrdiff_t)i]; }
  T& operator[](long long i) const { return (*this)[(ptrdiff_t)i]; }
};
template <int axes, bool narrow = false> struct CIndexer {
  ptrdiff_t size_, shape_[axes], at[axes];
  ptrdiff_t size() const { return size_; }
  void set(ptrdiff_t i) { for (int k = axes - 1; k >= 0; k--) { at[k] = i % shape_[k]; i /= shape_[k]; } }
  const ptrdiff_t* get() const { return at; }
};
"""


class Kernel(host_cuda.HostKernel):
    """A kernel of CuPy's or gpubp's, whose arguments lie where CUDA is told that they lie."""

    def __init__(self, code: str, name: str) -> None:
        of_cupy = "cupy/carray.cuh" in code
        code = re.sub(r'#include [<"]cupy/.*[>"]', "", code)
        found = re.search(rf"__global__ void {name}\((.*?)\)\s*\{{", code, re.DOTALL)
        assert found, f"there is no kernel {name} in\n{code}"
        parts, depth = [""], 0
        for letter in found[1]:  # commas between < and > divide nothing
            depth += (letter == "<") - (letter == ">")
            parts = [*parts, ""] if letter == "," and not depth else [*parts[:-1], parts[-1] + letter]
        declared = [re.sub(r"\bconst\b|\b__restrict__|\bvolatile\b", "", part).strip() for part in parts]
        types = [re.sub(r"\w+$", "", part).strip() for part in declared]
        self.single = of_cupy and "__syncthreads" not in code  # one thread goes through all elements
        sizes = "".join(f"s[{i}] = sizeof({t}); " for i, t in enumerate(types))
        self.before = STANDARD if of_cupy else ""
        code = (ARRAYS if of_cupy else "") + code + f'\nextern "C" void sizes(long* s) {{ {sizes}}}\n'
        self.build(code, f"{name}({', '.join(f'*({t}*)A[{i}]' for i, t in enumerate(types))})")
        self.sizes = (ctypes.c_long * len(types))()
        self.library.sizes(self.sizes)

    def bound(self, sizes: Any, arguments: Any) -> Callable[[], None]:
        """What launches it with copies of these arguments."""
        cells = [ctypes.create_string_buffer(ctypes.string_at(arguments[k], n), n) for k, n in enumerate(self.sizes)]
        pointers = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
        grid, block = ((1, 1, 1), (1, 1, 1)) if self.single else (sizes[:3], sizes[3:6])
        shape = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)

        def launch() -> None:
            assert cells  # which `pointers` point to
            self._launch(*shape, pointers)

        return launch


class Driver:
    """The driver, with what it launches.

    cupy: CuPy, which uses it. library: host_driver.c. Its numbers can be read and set, as in
    `driver.number("room").value = 1 << 20`: room, used (bytes), capturing (streams), calls, fail_at (the number of a
    call that fails), fail_code, sticky, failed.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="gpubp-driver-"))
        made, options = folder / "libcuda.so.1", ["-O1", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        subprocess.run(["gcc", *options, "-o", made, Path(__file__).with_suffix(".c"), "-lpthread"], check=True)
        self.cupy: Any = None
        self.library = ctypes.CDLL(str(made))  # CuPy gets this one by its name
        shutil.rmtree(folder)
        self.sources: dict[int, str] = {}  # by the number of the module
        self.products: list[Callable[[], None]] = []
        self._captured: list[Callable[[], None]] = []
        self._kernel_of = functools.cache(Kernel)
        bind = ctypes.CFUNCTYPE(
            ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.POINTER(ctypes.c_uint),
            ctypes.POINTER(ctypes.c_void_p), ctypes.c_int,
        )(self._bind)  # fmt: skip
        self._given = bind, ctypes.CFUNCTYPE(None, ctypes.c_long)(lambda k: self._captured[k]())
        self.library.set_kernels(*self._given)

    def number(self, name: str) -> Any:
        """One of the driver's numbers."""
        return ctypes.c_long.in_dll(self.library, name)

    def _bind(self, name: bytes, module: int, sizes: Any, arguments: Any, captured: int) -> int:
        try:
            source = self.sources[module]
            if source == PRODUCT:
                launch = self.products[ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_int64))[0]]
            else:
                launch = self._kernel_of(source, name.decode()).bound(sizes, arguments)
            if captured:
                self._captured.append(launch)
                return len(self._captured) - 1
            launch()
            return 0
        except Exception:
            traceback.print_exc()
            return -1

    def replace(self, module: Any) -> None:
        """Put the driver's functions in the place of those of CUDA's runtime that a module of CuPy contains."""
        path = os.path.realpath(module.__file__)
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        base = next(int(m[0].split("-")[0], 16) for m in maps if m[-1] == path and int(m[2], 16) == 0)
        protect, replaced = ctypes.CDLL(None).mprotect, 0
        for line in subprocess.check_output(["nm", path], text=True).splitlines():
            *place, kind, name = line.split()
            ours = getattr(self.library, f"host_{name}", None) if kind in ("t", "T") else None
            if ours is None:
                continue
            start, target = base + int(place[0], 16), ctypes.cast(ours, ctypes.c_void_p).value or 0
            assert protect(ctypes.c_void_p(start & ~4095), 8192, 7) == 0
            ctypes.memmove(start, b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0", 12)  # jump there
            replaced += 1
        assert replaced > 30, f"{path} has no names of CUDA's runtime"


PRODUCT = "a product of matrices"  # in the place of a kernel's source


class HostProducts(StrictProducts):
    """In the place of cublasLt: NumPy's products, by a kernel that has one's number."""

    def __init__(self, cupy: Any, autotune: bool = False) -> None:
        super().__init__(cupy)
        self._kernel = cupy.RawKernel(PRODUCT, "product")

    def why_not(self, a: Any, b: Any, out: Any, *, epilogue: str | None = None, **options: Any) -> str:
        """As on the stand-in."""
        if epilogue is not None and epilogue not in self.epilogues:
            return f"there is no kernel with the epilogue {epilogue}"
        arrays = [getattr(x, "bits", x) for x in (a, b, *options.values())]
        shares = any(isinstance(x, self._cupy.ndarray) and self._cupy.may_share_memory(x, out) for x in arrays)
        return "out shares memory with what is read; give it its own" if shares else ""

    def gemm(
        self, a: Any, b: Any, out: Any, *, stream: Any, compute: str = "float32", epilogue: Any = None, **finish: Any
    ) -> Any:
        from gpubp.backends.cuda.cublaslt import CublasLtUnavailable

        assert stream == self._cupy.cuda.get_current_stream()
        if reason := self.why_not(a, b, out, stream=stream, epilogue=epilogue, **finish):
            raise CublasLtUnavailable(reason)
        function = _rounded(_EPILOGUES[epilogue], compute)
        arrays = [in_place(getattr(x, "bits", x)) for x in (out, a, b)]
        others = {name: in_place(x) for name, x in finish.items() if x is not None}
        driver.products.append(lambda: function(*arrays, **others))
        self._kernel((1,), (1,), (np.int64(len(driver.products) - 1),))
        return out


def in_place(a: Any) -> np.ndarray:
    """The numbers of an array of CuPy's, where they lie."""
    if not a.size:
        return np.empty(a.shape, a.dtype)
    reach = sum((n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True)) + a.dtype.itemsize
    return np.ndarray(a.shape, a.dtype, (ctypes.c_char * reach).from_address(a.data.ptr), 0, a.strides)


def install() -> Driver:
    """Put all in its place, in this process, before CuPy is asked for a device."""
    made = Driver()
    from cuda import pathfinder

    handle = SimpleNamespace(_handle_uint=made.library._handle)
    pathfinder.load_nvidia_dynamic_lib = lambda name: handle
    import cupy_backends.cuda.api.runtime as runtime

    made.replace(runtime)
    import cupy

    made.cupy = cupy
    from cupy.cuda import compiler, function

    def compiled(source: str, *options: Any, **named: Any) -> Any:
        module = function.Module()
        module.load(b"")
        made.sources[module.ptr] = source
        return module

    compiler._compile_module_with_cache = compiled
    from gpubp.backends.cuda.backend import CUDA

    CUDA.__init__.__kwdefaults__["products"] = HostProducts
    return made


driver = install()

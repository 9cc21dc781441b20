"""BLAS, the library of matrix products: its kernels, and environment variables that select other kernels.

OpenBLAS has kernels for many processors and takes those of the processor it runs on. A variable can force others,
unseen: on two Zen 5 cores float32 products ran at 248 GFLOP/s with OPENBLAS_CORETYPE=Haswell and at 466 without it.
`libraries` says what is loaded, `forcing` which variables are set, and `compare` what they cost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import IO, Any, NamedTuple

import numpy as np

__all__ = ["VARIABLES", "Comparison", "Library", "compare", "forcing", "libraries", "numpys", "unforced"]

# Variables that force a kernel or limit the instructions, and the library that reads them.
VARIABLES = {
    "OPENBLAS_CORETYPE": "OpenBLAS",  # the processor whose kernels it takes
    "OPENBLAS_L2_SIZE": "OpenBLAS",  # the cache's size, by which it cuts blocks and, on Zen 4, chooses kernels
    "OPENBLAS_BLOCK_FACTOR": "OpenBLAS",  # the size of its blocks, in percent
    "MKL_ENABLE_INSTRUCTIONS": "MKL",  # the newest instructions; heard on Intel's processors
    "MKL_CBWR": "MKL",  # one branch of the code, for the same bits on several processors
    "MKL_DEBUG_CPU_TYPE": "MKL",  # the processor it takes for its own; MKL 2020.1 and newer don't read it
    "BLIS_ARCH_TYPE": "BLIS",  # the processor whose kernels it takes
    "AOCL_ENABLE_INSTRUCTIONS": "BLIS",  # the same, in AMD's BLIS
    "NPY_DISABLE_CPU_FEATURES": "NumPy's loops",  # instructions that they don't use
    "NPY_ENABLE_CPU_FEATURES": "NumPy's loops",  # the only ones that they use
    "ONEDNN_MAX_CPU_ISA": "oneDNN",  # the newest instructions, and so to the next one
    "DNNL_MAX_CPU_ISA": "oneDNN",
    "ONEDNN_CPU_ISA_HINTS": "oneDNN",  # the width of vectors
    "DNNL_CPU_ISA_HINTS": "oneDNN",
    "ATEN_CPU_CAPABILITY": "PyTorch's loops",  # "default", "avx2" or "avx512"
    "NUMBA_CPU_NAME": "Numba",  # the processor that it compiles for
    "NUMBA_CPU_FEATURES": "Numba",  # the instructions that it compiles to
    "NUMBA_ENABLE_AVX": "Numba",  # 0: no AVX
}
FLAGS = "XLA_FLAGS"  # many flags, of which two limit the instructions and the width of vectors
XLA = ("--xla_cpu_max_isa", "--xla_cpu_prefer_vector_width")
ONLY_THE_KERNEL = {"OPENBLAS_CORETYPE", "BLIS_ARCH_TYPE"}  # where that is the same, nothing differs
NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "flexiblas": "FlexiBLAS"}

SIZE = 768  # of the matrices whose products are measured
ROUNDS, TURN = 7, 0.03  # turns of each process, seconds of one
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
SLOWER = 1.1  # times as fast without the variables: below that it may be chance
LIMIT = 30.0  # seconds for everything


class Library(NamedTuple):
    """A BLAS that is loaded.

    of: the package it came with, "NumPy" or "SciPy", "" where they share the system's. name, version. kernel: the
    processor it has been written for, "" if the library doesn't say. threads: that it may use, 0 if it doesn't say.

    >>> print(Library("NumPy", "OpenBLAS", "0.3.31", "Zen", 2))
    NumPy's OpenBLAS 0.3.31, Zen kernels, 2 threads
    """

    of: str
    name: str
    version: str
    kernel: str = ""
    threads: int = 0

    def __str__(self) -> str:
        whose = f"{self.of}'s " if self.of else ""
        said = [f"{whose}{self.name} {self.version}".strip()]
        said += [f"{self.kernel} kernels"] if self.kernel else []
        said += [f"{self.threads} thread{'s' if self.threads > 1 else ''}"] if self.threads else []
        return ", ".join(said)


def libraries() -> list[Library]:
    """The BLAS libraries that this process has loaded, as threadpoolctl finds them.

    >>> all(library.name and library.threads >= 1 for library in libraries())
    True
    """
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    found = [
        Library(
            _owner(pool["filepath"]), NAMES.get(pool["internal_api"], pool["internal_api"]), pool["version"] or "",
            pool.get("architecture") or "", pool["num_threads"],
        )
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]  # fmt: skip
    return list(dict.fromkeys(found))


def _owner(path: str) -> str:
    """The package that brought the library at `path`, "" if it is the system's.

    >>> _owner("/site-packages/numpy.libs/libscipy_openblas64_.so"), _owner("/usr/lib/libopenblas.so.0")
    ('NumPy', '')
    """
    folders = PurePath(path).parts[:-1]
    names = {"numpy": "NumPy", "scipy": "SciPy", "numpy.libs": "NumPy", "scipy.libs": "SciPy"}
    return next((names[folder] for folder in reversed(folders) if folder in names), "")


def numpys() -> Library:
    """NumPy's BLAS: as threadpoolctl finds it, or as NumPy was built where it finds none.

    >>> numpys().of
    'NumPy'
    """
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = libraries()
    for library in found:
        if library.of == "NumPy":
            return library
    shared = sorted((one for one in found if not one.of), key=lambda one: one.name.lower() not in built["name"])
    if shared:
        return shared[0]._replace(of="NumPy")
    return Library("NumPy", str(built["name"]), str(built["version"]))


def forcing(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that are set and force a kernel or limit the instructions of some library.

    environment: this process's if it is None. Of XLA_FLAGS the value has only the flags that do so.

    >>> forcing({"OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_dump_to=a", "HOME": "/"})
    {'OPENBLAS_CORETYPE': 'Haswell', 'XLA_FLAGS': '--xla_cpu_max_isa=AVX2'}
    """
    given = os.environ if environment is None else environment
    found = {name: given[name] for name in VARIABLES if given.get(name, "").strip()}
    flags = " ".join(flag for flag in given.get(FLAGS, "").split() if flag.startswith(XLA))
    return found | ({FLAGS: flags} if flags else {})


def unforced(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without these variables, and XLA_FLAGS without these flags.

    >>> unforced({"OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_dump_to=a", "HOME": "/"})
    {'XLA_FLAGS': '--xla_dump_to=a', 'HOME': '/'}
    """
    given = dict(os.environ if environment is None else environment)
    kept = {name: value for name, value in given.items() if name not in VARIABLES}
    if FLAGS in forcing(given):
        kept[FLAGS] = " ".join(flag for flag in given[FLAGS].split() if not flag.startswith(XLA))
        if not kept[FLAGS]:
            del kept[FLAGS]
    return kept


@dataclass(frozen=True)
class Comparison:
    """NumPy's BLAS under the variables that are set for it, and without them.

    variables: their names and values. kernel, own_kernel: with them and without, "" if the library doesn't say.
    gflops, own_gflops: the rates of float32 products on one core with them and without, 0 where they were not measured.
    """

    variables: dict[str, str]
    kernel: str
    own_kernel: str
    gflops: float = 0.0
    own_gflops: float = 0.0

    @property
    def slower(self) -> bool:
        """Whether products are slower under the variables, by more than chance."""
        return self.own_gflops > SLOWER * self.gflops > 0.0

    @property
    def fails(self) -> bool:
        """Whether products end the process under the variables: the kernels are of a newer processor."""
        return self.own_gflops > self.gflops == 0.0

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return asdict(self) | {"slower": self.slower, "fails": self.fails}

    def __str__(self) -> str:
        """What the variables do, in a sentence.

        >>> print(Comparison({"OPENBLAS_CORETYPE": "Haswell"}, "Haswell", "SkylakeX", 124.1, 233.4))
        OPENBLAS_CORETYPE=Haswell makes NumPy's BLAS take its Haswell kernels in place of its SkylakeX kernels: \
products at 124 GFLOP/s a core, 233 without it; unset OPENBLAS_CORETYPE
        >>> print(Comparison({"OPENBLAS_CORETYPE": "Zen"}, "Zen", "Zen"))
        OPENBLAS_CORETYPE=Zen changes nothing: NumPy's BLAS takes its Zen kernels without it too
        """
        named = " and ".join(f"{name}={value}" for name, value in self.variables.items())
        s, it = ("s", "it") if len(self.variables) == 1 else ("", "them")
        if self.kernel != self.own_kernel:
            taken, own = (f"its {kernel} kernels" if kernel else "others" for kernel in (self.kernel, self.own_kernel))
            effect = f"make{s} NumPy's BLAS take {taken} in place of {own}"
        elif self.own_gflops:
            effect = f"slow{s} NumPy's BLAS down" if self.slower or self.fails else f"cost{s} nothing"
        else:
            effect = f"change{s} nothing: NumPy's BLAS takes its {self.kernel} kernels without {it} too"
        rates = (
            f": products at {self.gflops:.0f} GFLOP/s a core, {self.own_gflops:.0f} without {it}" if self.gflops else ""
        )
        if self.fails:
            rates = ", which this processor can't run"
        mend = f"; unset {' and '.join(self.variables)}" if self.slower or self.fails else ""
        return f"{named} {effect}{rates}{mend}"


def compare() -> Comparison | None:
    """NumPy's BLAS with the variables that are set for it and without; None where none is set.

    It is asked in processes of their own, as a library reads the variables when it is loaded. Products are measured
    only where something may differ, for about half a second in all, in turns and by one thread: two threads wait for
    each other where somebody else uses a core too. None too where a process can't be started.
    """
    named = numpys().name.lower()
    variables = {name: value for name, value in forcing().items() if VARIABLES.get(name, "XLA").lower() in named}
    if not variables:
        return None
    kept = {name: value for name, value in os.environ.items() if name not in variables}
    ours, own = _Other(dict(os.environ)), _Other(kept)
    watches = [threading.Timer(LIMIT, process.kill) for process in (ours, own)]
    for watch in watches:
        watch.start()
    try:
        kernel, own_kernel = ours.hear(), own.hear()
        if kernel is None or own_kernel is None:  # it has ended
            return None
        best = [0.0, 0.0]
        if kernel != own_kernel or not kernel or not variables.keys() <= ONLY_THE_KERNEL:
            for _ in range(ROUNDS):
                for k, process in enumerate((ours, own)):
                    best[k] = max(best[k], float(process.ask() or 0.0))
        return Comparison(variables, str(kernel), str(own_kernel), *best)
    finally:
        for watch, process in zip(watches, (ours, own), strict=True):
            watch.cancel()
            process.end()


class _Other:
    """A process that says which kernel NumPy's BLAS takes in it, and then measures a rate whenever it is asked."""

    def __init__(self, environment: dict[str, str]) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from gpubp.backends.cpu import blas; blas._serve()"
        self._process: subprocess.Popen[str] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], env=environment | ONE_THREAD, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def hear(self) -> Any:
        """Its next answer, None if it has ended."""
        line = self._stream("stdout").readline() if self._process is not None else ""
        return json.loads(line) if line else None

    def ask(self) -> Any:
        """A rate in GFLOP/s, None if it has ended."""
        with suppress(OSError):
            self._stream("stdin").write("\n")
            self._stream("stdin").flush()
        return self.hear()

    def _stream(self, name: str) -> IO[str]:
        stream: IO[str] = getattr(self._process, name)
        return stream

    def end(self) -> None:
        """End it, and close its pipes."""
        self.kill()
        for name in ("stdin", "stdout") if self._process is not None else ():
            with suppress(OSError):
                self._stream(name).close()

    def kill(self) -> None:
        """End it; whoever waits for its answer hears that it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _serve() -> None:
    """The other side of `_Other`: the kernel, and a rate for each line that comes."""
    print(json.dumps(numpys().kernel), flush=True)
    a = np.ones((SIZE, SIZE), np.float32)
    out = np.empty_like(a)
    np.matmul(a, a, out=out)
    for _ in sys.stdin:
        print(json.dumps(_rate(a, out)), flush=True)


def _rate(a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> float:
    """GFLOP/s of the quickest product a a in a turn, by the thread's own time where the system counts it finely."""
    fine = time.get_clock_info("thread_time").resolution < 1e-5
    clock = time.thread_time if fine else time.perf_counter
    quickest, end = float("inf"), time.perf_counter() + TURN
    while time.perf_counter() < end:
        start = clock()
        np.matmul(a, a, out=out)
        quickest = min(quickest, clock() - start)
    return 2 * len(a) ** 3 / quickest / 1e9

"""Compilation of kernels without a flush of subnormal numbers.

CuPy adds -ftz=true to the options of whatever it compiles, and the last one counts. So NVRTC is asked directly, for
machine code (a cubin), which the driver takes as it is. A kernel is kept for the process, and its cubin beside those
of CuPy for later ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ....atomic import write_parts
from ....errors import DeviceError
from ...process import ForkSafeLock

OPTIONS = ("-std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")

Kernel = Callable[..., None]
_cubins: dict[bytes, bytes] = {}
_compiling = ForkSafeLock()  # one thread compiles at a time


class CompiledKernel:
    """One kernel of a source, loaded on the GPU where it is first called. Called as CuPy's kernels are.

    cupy: the CuPy module.
    """

    def __init__(self, cupy: Any, source: str, name: str) -> None:
        self._cupy, self._source, self.__name__ = cupy, source, name
        self._loaded: dict[int, Kernel] = {}

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        """Ask the current stream for it."""
        device = int(self._cupy.cuda.runtime.getDevice())
        if device not in self._loaded:
            module = self._cupy.cuda.function.Module()
            module.load(_cubin(self._cupy, self._source))
            self._loaded[device] = module.get_function(self.__name__)
        self._loaded[device](grid, block, arguments)


def _cubin(cupy: Any, source: str) -> bytes:
    """The machine code for the current GPU; for one that is newer than NVRTC, PTX, which the driver translates as it
    stands."""
    nvrtc = cupy.cuda.nvrtc
    own, known = int(cupy.cuda.Device().compute_capability), nvrtc.getSupportedArchs()
    kind = f"sm_{own}" if own in known or own < max(known) else f"compute_{max(known)}"
    options = (f"--gpu-architecture={kind}", *OPTIONS)
    key = hashlib.sha256(repr((tuple(nvrtc.getVersion()), options, source)).encode()).digest()
    with _compiling.held():
        if key not in _cubins:
            folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
            file = Path(folder) / f"gpubp_{key.hex()[:32]}.cubin"
            _cubins[key] = _read(file) or _written(file, _compiled(nvrtc, source, options))
    return _cubins[key]


def _read(file: Path) -> bytes | None:
    """What `_written` has left in a file; None if there is none, or it is damaged."""
    with suppress(OSError):
        kept = file.read_bytes()
        if hashlib.sha256(kept[32:]).digest() == kept[:32]:
            return kept[32:]
    return None


def _written(file: Path, cubin: bytes) -> bytes:
    """The cubin, which is kept in a file where one can be written."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_parts(file, [hashlib.sha256(cubin).digest(), cubin])
    return cubin


def _compiled(nvrtc: Any, source: str, options: tuple[str, ...]) -> bytes:
    program = nvrtc.createProgram(source, "gpubp.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        return bytes(nvrtc.getCUBIN(program) if "=sm_" in options[0] else nvrtc.getPTX(program) + b"\0")
    except nvrtc.NVRTCError as problem:
        said = nvrtc.getProgramLog(program) or str(problem)
        raise DeviceError(f"a kernel of exact numerics does not compile for this GPU: {said}") from None
    finally:
        nvrtc.destroyProgram(program)

"""Selection of the backend by a device's name: "cpu", "cuda", "cuda:1", "auto"."""

from __future__ import annotations

import importlib.util
import logging
import re
from functools import lru_cache

from ..errors import DeviceError
from .base import Backend
from .cpu.backend import CPU

PRECISIONS = ("float32", "tf32", "bfloat16")
NUMERICS = ("ordinary", "exact")
log = logging.getLogger("gpubp")


def get_backend(
    device: str | Backend = "auto", precision: str = "float32", autotune: bool = False, numerics: str = "ordinary"
) -> Backend:
    """The backend for a device.

    device: "cpu"; "cuda" or "cuda:N", which raise if that GPU can't be used; "auto", which takes the GPU if one is
    usable and else the CPU, and says once in the log ("gpubp") which and why: as a warning where CuPy is installed,
    since then a GPU was meant; or a backend, of which another stream is made.

    precision: of matrix products on a GPU. "float32"; "tf32", which rounds the operands to 11 bits and is several times
    as fast on GPUs that have it; "bfloat16", which rounds them to 8 bits and is faster still. They are summed in
    float32 in any case, and all else is computed in float32. A CPU has "float32" alone.

    autotune: of a GPU: for each kind of product, time the kernels that cuBLAS proposes at its first call, and take the
    fastest. It is off because another run may take others, where two are about equal, and then ends with other last
    bits.

    numerics: "exact" computes everything in one order and by formulas of its own, so that training gives the same bits
    on every processor, with any number of threads, and on every GPU. A step takes about one and a half times as long.
    On a CPU it needs Numba (`pip install 'gpubp[fast]'`).

    Raises DeviceError, naming the cause and the command that mends it.

    >>> get_backend("cpu").name
    'cpu'
    >>> get_backend("tpu")
    Traceback (most recent call last):
    ...
    gpubp.errors.DeviceError: there is no device 'tpu'; use "cpu", "cuda", "cuda:N" with the number of a GPU, or "auto"
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"there is no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if numerics not in NUMERICS:
        raise DeviceError(f"there is no numerics {numerics!r}; there are {', '.join(NUMERICS)}")
    if isinstance(device, Backend):
        if numerics == "exact" != device.numerics:
            raise DeviceError('this backend computes with ordinary numerics; give numerics="exact" where it is made')
        backend = _able(device.another(), precision, autotune)
        if precision != "float32":
            backend.precision = precision
        backend.autotune |= autotune
        return backend
    index = _index(device)
    if device == "cpu":
        return _able(_cpu(numerics), precision, autotune)
    from .cuda.driver import find_cupy, why_not

    reason = why_not() if device == "auto" else ""
    if reason:
        backend = _able(_cpu(numerics), precision, autotune)
    elif numerics == "exact":
        from .cuda.exact.backend import ExactCUDA

        backend = _able(ExactCUDA(find_cupy(), index), precision, autotune)
    else:
        from .cuda.backend import CUDA

        backend = CUDA(find_cupy(), index, precision, autotune)
    if device == "auto":
        _say_once(backend.name, reason)
    return backend


def _index(device: str) -> int:
    """The number of the GPU that a name means; 0 where it means another device."""
    match = re.fullmatch(r"(cpu|auto|cuda(?::(\d+))?)", device) if isinstance(device, str) else None
    if match is None:
        raise DeviceError(
            f'there is no device {device!r}; use "cpu", "cuda", "cuda:N" with the number of a GPU, or "auto"'
        )
    return int(match[2] or 0)


def _cpu(numerics: str) -> CPU:
    if numerics == "ordinary":
        return CPU()
    if importlib.util.find_spec("numba") is None:
        raise DeviceError("exact numerics needs Numba on a CPU: pip install 'gpubp[fast]'")
    from .cpu.exact.backend import ExactCPU

    return ExactCPU()


def _able(backend: Backend, precision: str, autotune: bool) -> Backend:
    if backend.numerics == "exact" and (precision != "float32" or autotune):
        raise DeviceError("exact numerics computes every product in the network's own type, without autotune")
    if backend.name == "cpu" and precision != "float32":
        raise DeviceError(f'precision "{precision}" is for GPUs; device="cpu" computes products in float32')
    if backend.name == "cpu" and autotune:
        raise DeviceError('autotune is for GPUs; device="cpu" has no kernels to choose from')
    return backend


@lru_cache
def _say_once(name: str, reason: str) -> None:
    meant = reason and importlib.util.find_spec("cupy") is not None
    log.log(logging.WARNING if meant else logging.INFO, "device: %s%s", name, f" ({reason})" if reason else "")

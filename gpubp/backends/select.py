"""From a device's name to its backend: "cpu", "cuda", "cuda:1", "auto"."""

from __future__ import annotations

import importlib.util
import logging
import re
from functools import lru_cache

from ..errors import DeviceError
from .base import Backend
from .cpu import CPU

__all__ = ["get_backend"]

log = logging.getLogger("gpubp")


def get_backend(device: str | Backend = "auto") -> Backend:
    """The backend for a device.

    device: "cpu"; "cuda" or "cuda:N", which raise if that GPU can't be used; "auto", which takes the GPU if one is
    usable and else the CPU, and says once in the log ("gpubp") which and why: as a warning where CuPy is installed,
    since then a GPU was meant; or a backend, of which another stream is made.

    Raises DeviceError, naming the cause and the command that mends it.

    >>> get_backend("cpu").name
    'cpu'
    >>> get_backend("tpu")
    Traceback (most recent call last):
    ...
    gpubp.errors.DeviceError: there is no device 'tpu'; use "cpu", "cuda", "cuda:N" with the number of a GPU, or "auto"
    """
    if isinstance(device, Backend):
        return device.another()
    if device == "cpu":
        return CPU()
    match = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if device != "auto" and match is None:
        raise DeviceError(
            f'there is no device {device!r}; use "cpu", "cuda", "cuda:N" with the number of a GPU, or "auto"'
        )
    from .cuda import CUDA, find_cupy, why_not

    if match is not None:
        return CUDA(find_cupy(), int(match[1] or 0))
    reason = why_not()
    backend = CPU() if reason else CUDA(find_cupy(), 0)
    _say_once(backend.name, reason)
    return backend


@lru_cache
def _say_once(name: str, reason: str) -> None:
    meant = reason and importlib.util.find_spec("cupy") is not None
    log.log(logging.WARNING if meant else logging.INFO, "device: %s%s", name, f" ({reason})" if reason else "")

"""The kernels that a contender's libraries use, asked in its process.

A library says it in its own way, and some say nothing: then its name and version stand alone, and nothing is guessed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gpubp.backends.cpu.blas import Library, libraries, numpys

from .contenders import CONTENDERS

__all__ = ["kernels_of", "named"]

FEATURES = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"))  # the widest first


def kernels_of(name: str) -> list[dict[str, Any]]:
    """The libraries of a contender that has trained: of, name, version, kernel, threads."""
    entry = CONTENDERS[name]
    found = {
        "gpubp_steps": lambda: [numpys(), *([_numba()] if entry.variant in ("fast", "exact") else [])],
        "torch_steps": _torch,
        "products": _torch,
        "jax_steps": _jax,
        "keras_steps": _keras,
        "sklearn_steps": libraries,
        "thinc_steps": _thinc,
    }[entry.module]()
    return [library._asdict() for library in found]


def named(kernels: list[dict[str, Any]]) -> list[str]:
    """The names of kernels, each once.

    >>> named([{"of": "NumPy", "name": "OpenBLAS", "version": "0.3.31", "kernel": "Zen", "threads": n} for n in (1, 2)])
    ["NumPy's OpenBLAS 0.3.31: Zen"]
    """
    said = [f"{k['of']}'s {k['name']} {k['version']}{': ' if k['kernel'] else ''}{k['kernel']}" for k in kernels]
    return list(dict.fromkeys(said))


def _numba() -> Library:
    import llvmlite.binding as llvm
    from numba.core import config

    processor = str(config.CPU_NAME or llvm.get_host_cpu_name())
    return Library("gpubp[fast]", "Numba", _version("numba"), processor)


def _torch() -> list[Library]:
    import torch

    threads = torch.get_num_threads()
    built = torch.__config__.show()
    own = Library("PyTorch", "loops", torch.__version__, torch.backends.cpu.get_cpu_capability(), threads)
    found = [own]
    if torch.backends.mkl.is_available():
        ones = torch.ones(64, 64)
        with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
            said = _printed(lambda: torch.mm(ones, ones))
        version = _first(r"Math Kernel Library Version ([\d.]+)", built)
        found.append(Library("PyTorch", "MKL", version, _mkl_instructions(said), threads))
    if torch.backends.mkldnn.is_available():
        images, weights = torch.ones(32, 32, 16, 16), torch.ones(32, 32, 3, 3)
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            said = _printed(lambda: torch.nn.functional.conv2d(images, weights))
        version = _first(r"MKL-DNN v([\d.]+)", built)
        found.append(Library("PyTorch", "oneDNN", version, _first(r"info,cpu,isa:(?:Intel )?(.+)", said), threads))
    return found


def _mkl_instructions(said: str) -> str:
    """The instructions that MKL names where it is verbose; on AMD's processors it names none.

    >>> _mkl_instructions("for Intel(R) 64 architecture Intel(R) Advanced Vector Extensions 2 (Intel(R) AVX2) enabled")
    'AVX2'
    >>> _mkl_instructions("for Intel(R) 64 architecture Intel(R) Architecture processors, Lnx 2.45GHz lp64 gnu_thread")
    ''
    """
    return _first(r"architecture .*?\(Intel\(R\) ([\w-]+)\)", said)


def _jax() -> list[Library]:
    """The processor and instructions for which XLA compiled, from the compiled code."""
    import jax
    import jax.numpy as jnp

    kernel = ""
    with suppress(Exception):  # it is free to keep it elsewhere in its next version
        made = jax.jit(lambda a: a @ a).lower(jnp.ones((64, 64), jnp.float32)).compile().runtime_executable()
        kernel = _compiled_for(made.client.serialize_executable(made))
    return [Library("JAX", "XLA", _version("jaxlib"), kernel)]


def _compiled_for(made: bytes) -> str:
    """The processor and its widest vectors, "" if they are not named.

    >>> _compiled_for(b"..x86_64-unknown-linux-gnu\\x12\\x06znver3\\x1a\\x40+64bit,+avx,+avx2,-avx512f,+bmi..")
    'znver3, AVX2'
    """
    found = re.search(rb"-linux-gnu[^+ -~]{1,4}([a-z][\w.-]*)[^+ -~]{1,4}[^+]?((?:[+-][\w.-]+,?)+)", made)
    if not found:
        return ""
    features = found[2].decode().split(",")
    return ", ".join([found[1].decode(), *(text for name, text in FEATURES if f"+{name}" in features)][:2])


def _keras() -> list[Library]:
    import keras

    backend = keras.config.backend()
    asked = {"jax": _jax, "torch": _torch}.get(backend)
    return asked() if asked else [Library("Keras", backend, _version(backend))]


def _thinc() -> list[Library]:
    """The architecture of BLIS, which makes Thinc's products, from the package `blis`."""
    import ctypes

    from blis import cy

    kernel = ""
    with suppress(AttributeError, OSError):
        own = ctypes.CDLL(cy.__file__)
        own.bli_arch_string.restype = ctypes.c_char_p
        kernel = own.bli_arch_string(own.bli_arch_query_id()).decode()
    return [Library("Thinc", "BLIS", _version("blis"), kernel)]


def _printed(call: Callable[[], Any]) -> str:
    """Catch what a library writes to the output stream without Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        os.dup2(file.fileno(), 1)
        try:
            call()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read()


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""

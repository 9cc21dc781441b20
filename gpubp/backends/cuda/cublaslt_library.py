"""Loading of libcublasLt: its file, its functions, its descriptors, and exceptions for its error codes."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

from .cublaslt_layouts import CublasLtUnavailable, Refused

_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name -> types of its arguments; the result is a cublasStatus_t
    "cublasLtCreate": (_POINTER,),
    "cublasLtDestroy": (_POINTER,),
    "cublasLtMatrixLayoutCreate": (_POINTER, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutSetAttribute": (_POINTER, _INT, _POINTER, _SIZE),
    "cublasLtMatrixLayoutDestroy": (_POINTER,),
    "cublasLtMatmulDescCreate": (_POINTER, _INT, _INT),
    "cublasLtMatmulDescDestroy": (_POINTER,),
    "cublasLtMatmulDescSetAttribute": (_POINTER, _INT, _POINTER, _SIZE),
    "cublasLtMatmulPreferenceCreate": (_POINTER,),
    "cublasLtMatmulPreferenceDestroy": (_POINTER,),
    "cublasLtMatmulPreferenceSetAttribute": (_POINTER, _INT, _POINTER, _SIZE),
    "cublasLtMatmulAlgoGetHeuristic": (*[_POINTER] * 7, _INT, _POINTER, _POINTER),
    "cublasLtMatmul": (*[_POINTER] * 13, _POINTER, _SIZE, _POINTER),
    "cublasLtGetVersion": (),
    "cublasLtGetStatusName": (_INT,),
}
_RESULTS = {"cublasLtGetVersion": _SIZE, "cublasLtGetStatusName": ctypes.c_char_p}  # but for these two

LASTING = (7, 8, 15)  # INVALID_VALUE, ARCH_MISMATCH, NOT_SUPPORTED: asking again would not help


class HeuristicResult(ctypes.Structure):
    """`cublasLtMatmulHeuristicResult_t`: an algorithm, 64 opaque bytes, and what it needs.

    >>> ctypes.sizeof(HeuristicResult)
    96
    """

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace_bytes", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


def load_library(cuda: int) -> Any:
    """libcublasLt for CUDA `cuda` (the major version: 12, 13) as a `ctypes.CDLL`, its functions declared.

    Asks cuda-pathfinder, which comes with CuPy and knows the folders of pip, conda and the toolkit, and then
    the loader's own path. Raises CublasLtUnavailable with all that was tried.

    >>> load_library(3)
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.CublasLtUnavailable: there is no libcublasLt for CUDA 3: ...
    """
    causes = []
    names = [f"libcublasLt.so.{cuda}", f"cublasLt64_{cuda}.dll"]
    try:
        found = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt")
        names.insert(0, str(found.abs_path))
    except (ImportError, OSError, RuntimeError) as error:
        causes.append(f"cuda.pathfinder: {str(error).strip() or type(error).__name__}")
    for name in names:
        try:
            library = ctypes.CDLL(name)
            for function, arguments in _FUNCTIONS.items():
                entry = getattr(library, function)
                entry.argtypes, entry.restype = arguments, _RESULTS.get(function, _INT)
        except (OSError, AttributeError) as error:  # no such file; no such function
            causes.append(str(error))
            continue
        version = library.cublasLtGetVersion() // 10000
        if version == cuda:
            return library
        causes.append(f"{name} is for CUDA {version}")
    raise CublasLtUnavailable(f"there is no libcublasLt for CUDA {cuda}: {'; '.join(causes)}")


class Descriptors:
    """The descriptors that one user of the library has made, for which it answers; and the check of its answers.

    >>> class Told:
    ...     def cublasLtGetStatusName(self, status):
    ...         return b"CUBLAS_STATUS_NOT_SUPPORTED"
    >>> Descriptors(Told()).check(15, "cublasLtMatmul")
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.Refused: cublasLtMatmul answered CUBLAS_STATUS_NOT_SUPPORTED (15)
    """

    def __init__(self, library: Any) -> None:
        self._lib = library
        self._owned: list[tuple[Any, int]] = []  # and the function that destroys each

    def __len__(self) -> int:
        return len(self._owned)

    def new(self, kind: str, *arguments: int) -> int:
        """The address of a new descriptor."""
        descriptor = ctypes.c_void_p()
        name = f"cublasLt{kind}Create"
        self.check(getattr(self._lib, name)(ctypes.byref(descriptor), *arguments), name)
        address = int(descriptor.value or 0)
        self._owned.append((getattr(self._lib, f"cublasLt{kind}Destroy"), address))
        return address

    def set(self, kind: str, descriptor: int, attribute: int, value: Any) -> None:
        """descriptor[attribute] = value"""
        name = f"cublasLt{kind}SetAttribute"
        status = getattr(self._lib, name)(descriptor, attribute, ctypes.byref(value), ctypes.sizeof(value))
        self.check(status, f"{name} ({attribute})")

    def check(self, status: int, what: str) -> None:
        """Raise what an answer means: Refused if it will always be so, CublasLtUnavailable if it may pass."""
        if status:
            name = self._lib.cublasLtGetStatusName(status)
            error = Refused if status in LASTING else CublasLtUnavailable
            raise error(f"{what} answered {name.decode() if name else 'status'} ({status})")

    def destroy(self, since: int = 0) -> None:
        """Destroy what was made from number `since` on, newest first."""
        while len(self._owned) > since:
            destroy, address = self._owned.pop()
            destroy(address)

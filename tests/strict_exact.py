"""A strict stand-in for CuPy (see strict.py) for exact numerics: NVRTC makes all kernels, and CuPy computes nothing.

NVRTC's machine code is the source here, and the driver builds it for the host when it loads it. CuPy's own functions
may copy numbers of one type, compare bits, and work on whole numbers and bools; its kernels flush subnormal numbers,
and so anything else raises.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from strict import StrictArray, StrictCupy, StrictError

COPIES = {"copyto", "copy", "memset", "take", "getitem", "setitem", "fill", "where", "concatenate"}
OF_BITS = {"isfinite", "isnan", "isinf", "signbit"}
WANTED = ("-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true")


class NVRTCError(RuntimeError):
    """NVRTC refuses, by CuPy's name for it."""


class Module:
    """What the driver has loaded."""

    def __init__(self, cupy: ExactCupy) -> None:
        self._cupy = cupy

    def load(self, cubin: bytes) -> None:
        self._source = cubin.decode().rstrip("\0")

    def get_function(self, name: str) -> Any:
        return super(ExactCupy, self._cupy).RawKernel(self._source, name)


class ExactCupy(StrictCupy):
    """What `import cupy` gives to exact numerics."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.programs: dict[int, Any] = {}
        self.made = 0  # programs that were compiled
        self.cuda.nvrtc = SimpleNamespace(
            NVRTCError=NVRTCError,
            getVersion=lambda: (0, 0),  # of no real one, whose files these must not be
            getSupportedArchs=lambda: (75, 80, 90),
            createProgram=self._create,
            compileProgram=self._compile,
            getCUBIN=lambda program: self._made_by(program, "sm_90"),
            getPTX=lambda program: self._made_by(program, "compute_90"),
            getProgramLog=lambda program: "no log",
            destroyProgram=lambda program: self.programs.pop(program),
        )
        self.cuda.function = SimpleNamespace(Module=lambda: Module(self))

    def _create(self, source: str, name: str, headers: Any, include_names: Any) -> int:
        number = self._new_handle()
        self.programs[number] = SimpleNamespace(source=source)
        return number

    def _compile(self, program: int, options: tuple[str, ...]) -> None:
        if not set(WANTED) <= set(options) or not options[0].endswith("_90"):
            raise NVRTCError(f"not exact: {options}")
        self.programs[program].kind = options[0].partition("=")[2]
        self.made += 1

    def _made_by(self, program: int, kind: str) -> bytes:
        assert self.programs[program].kind == kind
        return self.programs[program].source.encode()

    def RawKernel(self, *arguments: Any, **options: Any) -> Any:
        raise StrictError("a kernel of exact numerics is compiled by CuPy, which flushes subnormal numbers")

    def _call(self, name: str, function: Any, args: tuple, kwargs: dict[str, Any], writes_first: bool = False) -> Any:
        types = {a.dtype for a in (*args, *kwargs.values()) if isinstance(a, StrictArray)}
        floats = any(dtype.kind == "f" for dtype in types)
        if name.split(" ")[0] in COPIES:
            arrays = [a for a in (*args, kwargs.get("out")) if isinstance(a, StrictArray)]
            of_indices = name.split(" ")[0] in ("take", "getitem")
            kinds = {a.dtype for a in arrays if a.dtype.kind == "f" or not of_indices}
            if floats and len(kinds) > 1:
                raise StrictError(f"{name} of {kinds} casts by a kernel that flushes subnormal numbers")
        elif floats and name not in OF_BITS:
            raise StrictError(f"CuPy's {name} is asked for numbers of {types}, in exact numerics")
        return super()._call(name, function, args, kwargs, writes_first)


def exact_cupy(**options: Any) -> ExactCupy:
    """A stand-in with counters of its own."""
    return ExactCupy(**options)

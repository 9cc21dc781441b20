"""The matrix product that may stand in a captured CUDA graph: `cublasLtMatmul`, called through ctypes.

CuPy's own products call `cublasSetStream`, and CuPy refuses that while a stream is being captured.
`cublasLtMatmul` takes stream and workspace as arguments, so nothing needs to be set, and it can finish the
product with a bias, a ReLU or a bias gradient in the same kernel. `cublaslt_request` has the formulas: how a
row-major product is put to a library that reads by columns, (1) to (5), and what each epilogue computes,
(6) to (16).

Numbers. float32 is computed in float32 (with TF32 only if asked for), float64 in float64; float16 and
bfloat16 are summed in float32. The same call gives the same bits: one stream, a workspace of our own, and, of
the ways to split K, only the one that stores the parts in the computing dtype and sums them in a second pass.

What happens when. The first call of a kind checks it, makes the descriptors and asks cuBLAS for its kernel;
this is kept, by all that decides it: shapes, strides, dtypes, alignments, epilogue. A repeated call is one
call of the library, after a comparison of addresses. The descriptor holds those of bias, aux and bias
gradient; it lies in host memory and is read during the call, so it can be changed for the next one, also
while capturing.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from typing import Any

from .cublaslt_request import (
    EPILOGUES,
    CublasLtUnavailable,
    Layout,
    Operand,
    Refused,
    Request,
    aux_shape,
)

__all__ = ["EPILOGUES", "CublasLt", "CublasLtUnavailable", "Layout", "aux_shape", "load_library"]

_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name -> types of its arguments; the result is a cublasStatus_t
    "cublasLtCreate": (_POINTER,),
    "cublasLtDestroy": (_POINTER,),
    "cublasLtMatrixLayoutCreate": (_POINTER, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
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

_DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
_COMPUTE_32F, _COMPUTE_32F_FAST_TF32, _COMPUTE_64F = 68, 77, 70
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER, _AUX_POINTER, _AUX_LD = 3, 4, 7, 8, 11, 12  # ..._MATMUL_DESC_...
_WORKSPACE_BYTES, _REDUCTION_SCHEMES, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)  # ..._MATMUL_PREF_..., A B C D
_REDUCTION_SCHEME_COMPUTE_TYPE = 2
_LASTING = (7, 8, 15)  # INVALID_VALUE, ARCH_MISMATCH, NOT_SUPPORTED: asking again would not help
_MOST_PLANS = 1024
_NAMES = ("a", "b", "out", "bias", "aux", "bias_gradient")


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
    gpubp.backends.cublaslt_request.CublasLtUnavailable: there is no libcublasLt for CUDA 3: ...
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


class _Plan:
    """A request made ready: descriptors, kernel, and the arguments that stay."""

    __slots__ = ("algorithm", "alpha", "beta", "desc", "layouts", "pointers", "result", "spans", "written")

    desc: int
    layouts: tuple[int, int, int]  # A, B, D; C is D
    result: HeuristicResult
    algorithm: int  # the address of the algorithm in `result`
    alpha: int
    beta: int
    spans: tuple[int, ...]  # bytes that a, b, out, bias, aux, bias_gradient span
    written: tuple[int, ...]  # which of these six the call writes
    pointers: tuple[int, ...] | None  # the addresses it was last called with


class CublasLt:
    """cublasLt on the current device with its own workspace, for one stream of work and one thread at a time.

    cupy: the CuPy module. workspace_bytes: cuBLAS's scratch memory; NVIDIA advises 32 MiB for Hopper.
    library: what `load_library` gives, or in tests something with the same functions.
    Raises CublasLtUnavailable, naming the cause, if library, driver, GPU or memory are not to be had.

    It must live as long as any graph captured with it, which goes on using the workspace. Run a step once
    before capturing it: cuBLAS 13.3 can't choose a kernel during capture, and a kernel's first use loads it.

    >>> import numpy
    >>> CublasLt(numpy)
    Traceback (most recent call last):
    ...
    gpubp.backends.cublaslt_request.CublasLtUnavailable: CublasLt needs the CuPy module and got 'numpy'
    """

    def __init__(self, cupy: Any, workspace_bytes: int = 32 << 20, *, library: Any = None) -> None:
        if not hasattr(cupy, "cuda"):
            got = getattr(cupy, "__name__", cupy)
            raise CublasLtUnavailable(f"CublasLt needs the CuPy module and got {got!r}")
        self._runtime = cupy.cuda.runtime
        self._plans: dict[Request, _Plan | str] = {}
        self._owned: list[tuple[Any, int]] = []  # descriptors, and the function that destroys each
        handle = ctypes.c_void_p()
        try:
            self._lib = load_library(self._runtime.runtimeGetVersion() // 1000) if library is None else library
            self._check(self._lib.cublasLtCreate(ctypes.byref(handle)), "cublasLtCreate (no driver or no GPU?)")
            self._handle = int(handle.value or 0)
            close = weakref.finalize(self, _destroy, self._owned, 0, (self._lib.cublasLtDestroy, self._handle))
            close.atexit = False  # the driver may be gone by then, and the process frees everything
            self.device = int(self._runtime.getDevice())
            self._workspace = cupy.empty(workspace_bytes, dtype="uint8")
        except CublasLtUnavailable:
            raise
        except (RuntimeError, MemoryError) as error:  # as CuPy's own errors are
            raise CublasLtUnavailable(f"cublasLt could not be set up: {error}") from error
        self._workspace_bytes, self._workspace_pointer = workspace_bytes, int(self._workspace.data.ptr)
        if self._workspace_pointer % 256:
            raise CublasLtUnavailable("cublasLt's workspace must start at an address that 256 divides")
        self._numbers = {
            _COMPUTE_32F: (ctypes.c_float(0), ctypes.c_float(1)),
            _COMPUTE_64F: (ctypes.c_double(0), ctypes.c_double(1)),
        }

    @property
    def version(self) -> str:
        """The library's version, as in "12.9.3"."""
        number = int(self._lib.cublasLtGetVersion())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def gemm(
        self,
        a: Any,
        b: Any,
        out: Any,
        *,
        stream: Any,
        bias: Any = None,
        epilogue: str | None = None,
        aux: Any = None,
        bias_gradient: Any = None,
        compute: str = "float32",
        accumulate: bool = False,
    ) -> Any:
        """out (M, N) = a (M, K) b (K, N), finished by an epilogue; asked for on `stream`, and `out` returned.

        a, b: CuPy matrices of one dtype, each row by row or a transposed view. out: row by row, of the same
        dtype, or float32 if theirs has 16 bits. What is written must share no memory with anything else here.
        stream: a `cupy.cuda.Stream`, also one that is being captured, or its address.
        epilogue: a key of EPILOGUES. bias, aux (see `aux_shape`) and bias_gradient, where it has them:
        contiguous, of out's dtype, at addresses that 16 divides.
        compute: "tf32" lets cuBLAS round float32 operands to TF32; for other dtypes it means nothing.
        accumulate: add to out; with no epilogue, or with "bias".

        Raises CublasLtUnavailable, with nothing done, for whatever is not so, and for what the device or the
        library has no kernel for, so that the caller can go another way.
        """
        arrays = (a, b, out, bias, aux, bias_gradient)
        try:
            pointers = tuple([0 if x is None else x.data.ptr for x in arrays])
            operands = [None if x is None else _operand(x, p) for x, p in zip(arrays, pointers, strict=True)]
            stream_pointer = stream if isinstance(stream, int) else int(stream.ptr)
        except (AttributeError, TypeError):
            got = [type(x).__name__ for x in (*arrays, stream)]
            raise CublasLtUnavailable(f"gemm takes CuPy arrays and a CuPy stream; it was given {got}") from None
        request = Request._make([*operands, epilogue, compute, accumulate])
        plan = self._plans.get(request)
        if plan is None:
            plan = self._plan(request, pointers)
        if isinstance(plan, str):
            raise CublasLtUnavailable(plan)
        if pointers != plan.pointers:
            self._point(plan, pointers)
        A, B, D = plan.layouts
        status = self._lib.cublasLtMatmul(  # (3)
            self._handle, plan.desc,
            plan.alpha, pointers[1], A, pointers[0], B,
            plan.beta, pointers[2], D, pointers[2], D,
            plan.algorithm, self._workspace_pointer, self._workspace_bytes, stream_pointer,
        )  # fmt: skip
        if status:
            self._failed(request, status)
        return out

    # -- planning --------------------------------------------------------------------------------------------

    def _plan(self, request: Request, pointers: tuple[int, ...]) -> _Plan | str:
        """The plan for a request of a new kind, or the reason why there is none; it is kept."""
        if any(x is None for x in request[:3]):
            raise CublasLtUnavailable("gemm needs all of a, b and out")
        if int(self._runtime.getDevice()) != self.device:
            raise CublasLtUnavailable(f"this cublasLt works on device {self.device}, which is not the current one")
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
            _destroy(self._owned)
        since = len(self._owned)
        plan: _Plan | str
        try:
            plan = self._describe(request, pointers)
        except Refused as refusal:
            plan = str(refusal)
            _destroy(self._owned, since)
        except CublasLtUnavailable:
            _destroy(self._owned, since)
            raise
        self._plans[request] = plan
        return plan

    def _describe(self, request: Request, pointers: tuple[int, ...]) -> _Plan:
        layouts, spans = request.check(self.device)
        a, b, out, e = request.a, request.b, request.out, EPILOGUES[request.epilogue]
        of_a, of_b, of_out = layouts
        plan = _Plan()
        plan.spans, plan.pointers = spans, None
        plan.written = (2, *[4] * e.writes_aux, *[5] * bool(e.gradient))

        dtype = str(a.dtype)
        compute = _COMPUTE_64F if dtype == "float64" else _COMPUTE_32F
        zero_one = self._numbers[compute]
        plan.alpha, plan.beta = (ctypes.addressof(zero_one[i]) for i in (1, int(request.accumulate)))
        scale = _DATA_TYPES["float64" if dtype == "float64" else "float32"]
        if request.compute == "tf32" and dtype == "float32":
            compute = _COMPUTE_32F_FAST_TF32
        plan.desc = desc = self._new("MatmulDesc", compute, scale)
        self._set("MatmulDesc", desc, _TRANSA, ctypes.c_int32(of_b.transposed))
        self._set("MatmulDesc", desc, _TRANSB, ctypes.c_int32(of_a.transposed))
        self._set("MatmulDesc", desc, _EPILOGUE, ctypes.c_uint32(e.value))
        if request.aux is not None:
            ld = request.aux.shape[1] * (8 if e.aux == "bits" else 1)
            self._set("MatmulDesc", desc, _AUX_LD, ctypes.c_int64(ld))
        plan.layouts = (self._layout(b, of_b), self._layout(a, of_a), self._layout(out, of_out))
        self._point(plan, pointers)  # before the choice, which reads the alignment of bias and aux there
        plan.result = self._choose(plan, (b.alignment, a.alignment, out.alignment, out.alignment))
        plan.algorithm = ctypes.addressof(plan.result)
        return plan

    def _choose(self, plan: _Plan, alignments: tuple[int, ...]) -> HeuristicResult:
        """cuBLAS's best algorithm within our workspace and our rule for splitting K."""
        since = len(self._owned)
        preference = self._new("MatmulPreference")
        for attribute, value in (
            (_WORKSPACE_BYTES, ctypes.c_uint64(self._workspace_bytes)),
            (_REDUCTION_SCHEMES, ctypes.c_uint32(_REDUCTION_SCHEME_COMPUTE_TYPE)),
            *((attribute, ctypes.c_uint32(n)) for attribute, n in zip(_ALIGNMENTS, alignments, strict=True)),
        ):
            self._set("MatmulPreference", preference, attribute, value)
        A, B, D = plan.layouts
        result, count = HeuristicResult(), ctypes.c_int(0)
        status = self._lib.cublasLtMatmulAlgoGetHeuristic(
            self._handle, plan.desc, A, B, D, D, preference, 1, ctypes.byref(result), ctypes.byref(count)
        )
        _destroy(self._owned, since)
        what = "cublasLtMatmulAlgoGetHeuristic (in a capture? run the step once before capturing it)"
        self._check(status, what)
        if not count.value:
            raise Refused("cublasLt has no kernel for this product and epilogue on this device")
        self._check(result.state, what)
        if result.workspace_bytes > self._workspace_bytes:
            raise Refused(f"cublasLt's kernel wants a workspace of {result.workspace_bytes} bytes")
        return result

    def _point(self, plan: _Plan, pointers: tuple[int, ...]) -> None:
        """Put new addresses into the descriptor, unless what is written shares memory with anything else."""
        ends = [start + span for start, span in zip(pointers, plan.spans, strict=True)]
        for i in plan.written:
            for j in range(6):
                if i != j and plan.spans[j] and pointers[i] < ends[j] and pointers[j] < ends[i]:
                    raise CublasLtUnavailable(f"{_NAMES[i]} shares memory with {_NAMES[j]}; give it its own")
        bias, aux = pointers[3] or pointers[5], pointers[4]
        if bias:
            self._set("MatmulDesc", plan.desc, _BIAS_POINTER, ctypes.c_void_p(bias))
        if aux:
            self._set("MatmulDesc", plan.desc, _AUX_POINTER, ctypes.c_void_p(aux))
        plan.pointers = pointers

    # -- talking to the library ------------------------------------------------------------------------------

    def _layout(self, operand: Operand, layout: Layout) -> int:
        dtype = _DATA_TYPES[str(operand.dtype)]
        return self._new("MatrixLayout", dtype, layout.rows, layout.cols, layout.ld)

    def _new(self, kind: str, *arguments: int) -> int:
        descriptor = ctypes.c_void_p()
        name = f"cublasLt{kind}Create"
        self._check(getattr(self._lib, name)(ctypes.byref(descriptor), *arguments), name)
        address = int(descriptor.value or 0)
        self._owned.append((getattr(self._lib, f"cublasLt{kind}Destroy"), address))
        return address

    def _set(self, kind: str, descriptor: int, attribute: int, value: Any) -> None:
        name = f"cublasLt{kind}SetAttribute"
        status = getattr(self._lib, name)(descriptor, attribute, ctypes.byref(value), ctypes.sizeof(value))
        self._check(status, f"{name} ({attribute})")

    def _check(self, status: int, what: str) -> None:
        if status:
            name = self._lib.cublasLtGetStatusName(status)
            error = Refused if status in _LASTING else CublasLtUnavailable
            raise error(f"{what} answered {name.decode() if name else 'status'} ({status})")

    def _failed(self, request: Request, status: int) -> None:
        try:
            self._check(status, "cublasLtMatmul")
        except Refused as refusal:
            self._plans[request] = str(refusal)
            raise


def _operand(x: Any, pointer: int) -> Operand:
    return Operand(x.shape, x.strides, x.dtype, x.data.device_id, min(pointer & -pointer, 256))


def _destroy(owned: list[tuple[Any, int]], since: int = 0, *last: tuple[Any, int]) -> None:
    """Destroy what was made from number `since` on, newest first, and then `last`."""
    while len(owned) > since:
        destroy, address = owned.pop()
        destroy(address)
    for destroy, address in last:
        destroy(address)

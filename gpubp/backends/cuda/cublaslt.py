"""Matrix products by `cublasLtMatmul`, called through ctypes; a CUDA graph can capture them.

CuPy's own products call `cublasSetStream`, and CuPy refuses that while a stream is being captured.
`cublasLtMatmul` takes stream and workspace as arguments, so nothing needs to be set, and it can finish the
product with a bias, a ReLU or a bias gradient in the same kernel. `cublaslt_layouts` has the formulas: how a
row-major product is put to a library that reads by columns, (1) to (5), and what each epilogue computes,
(6) to (16).

Numbers. float32 is computed in float32 (with TF32 only if asked for), float64 in float64; float16 and
bfloat16 are summed in float32. The same call gives the same bits: one stream, a workspace of our own, and, of
the ways to split K, only the one that stores the parts in the computing dtype and sums them in a second pass.

What happens when. The first call of a kind checks it, makes the descriptors and asks cuBLAS for its kernel;
this is kept, by all that decides it: shapes, strides, dtypes, alignments, epilogue. A repeated call is one
call of the library, after a comparison of addresses. The descriptor holds those of bias, aux and bias
gradient; it lies in host memory and is read during the call, so it can be changed for the next one, also
while capturing. For a ReLU the first call makes the product once or twice more, to see whether its kernel does as
NumPy does (`cublaslt_choice`), and before a mask of gpubp's own is used the product that reads it is made once more.

Each stream has a workspace of its own, from its first product on, since two may run at once.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from typing import Any

from .cublaslt_choice import RELUS, Address, Trials, fitting, proposals
from .cublaslt_layouts import EPILOGUES, CublasLtUnavailable, Layout, Operand, Refused, Request
from .cublaslt_library import LASTING, Descriptors, HeuristicResult, load_library
from .cublaslt_plans import NAMES, Asked, Plan

_DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
_COMPUTE_32F, _COMPUTE_32F_FAST_TF32, _COMPUTE_64F = 68, 77, 70
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER, _AUX_POINTER, _AUX_LD = 3, 4, 7, 8, 11, 12  # ..._MATMUL_DESC_...
_BATCH_COUNT, _BATCH_OFFSET = 5, 6  # ..._MATRIX_LAYOUT_...
_WORKSPACE_BYTES, _REDUCTION_SCHEMES, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)  # ..._MATMUL_PREF_..., A B C D
_REDUCTION_SCHEME_COMPUTE_TYPE = 2
_MOST_PLANS = 1024


class CublasLt:
    """cublasLt on the current device, for one thread at a time.

    cupy: the CuPy module. workspace_bytes: cuBLAS's scratch memory for each stream; NVIDIA advises 32 MiB for Hopper.
    library: what `load_library` gives, or in tests something with the same functions.
    autotune: time cuBLAS's kernels for each kind of product at its first call and take the fastest. Another run may
    choose others, and then has other last bits.
    Raises CublasLtUnavailable, naming the cause, if library, driver, GPU or memory are not to be had.

    It must live as long as any graph captured with it, which goes on using the workspaces, and a graph must not
    run beside other products of the streams that it was captured from. Run a step once before capturing it: cuBLAS
    13.3 can't choose a kernel during capture, a kernel's first use loads it, and no ReLU can be tried.

    >>> import numpy
    >>> CublasLt(numpy)
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.CublasLtUnavailable: CublasLt needs the CuPy module and got 'numpy'
    """

    def __init__(
        self, cupy: Any, workspace_bytes: int = 32 << 20, *, library: Any = None, autotune: bool = False
    ) -> None:
        if not hasattr(cupy, "cuda"):
            got = getattr(cupy, "__name__", cupy)
            raise CublasLtUnavailable(f"CublasLt needs the CuPy module and got {got!r}")
        self._cupy, self._runtime, self._trials = cupy, cupy.cuda.runtime, Trials(cupy)
        self._plans: dict[Request, Plan | str] = {}
        self._workspaces: dict[int, tuple[int, Any]] = {}  # address of a stream -> address and array
        self._workspace_bytes, self._autotune = workspace_bytes, autotune
        handle = ctypes.c_void_p()
        try:
            self._lib = _loaded(self._runtime.runtimeGetVersion() // 1000) if library is None else library
            self._made = Descriptors(self._lib)
            self.device = int(self._runtime.getDevice())
            idle = _idle.setdefault((self._lib, self.device), [])
            try:
                self._handle = idle.pop()
            except IndexError:
                status = self._lib.cublasLtCreate(ctypes.byref(handle))
                self._made.check(status, "cublasLtCreate (no driver or no GPU?)")
                self._handle = int(handle.value or 0)
            close = weakref.finalize(self, _close, self._made, idle, self._handle)
            close.atexit = False  # the driver may be gone by then, and the process frees everything
            self.reserve(cupy.cuda.get_current_stream())
        except RuntimeError as error:  # as CuPy's own errors are, and ours
            if isinstance(error, CublasLtUnavailable):
                raise
            raise CublasLtUnavailable(f"cublasLt could not be set up: {error}") from error
        self._numbers = {
            _COMPUTE_32F: (ctypes.c_float(0), ctypes.c_float(1)),
            _COMPUTE_64F: (ctypes.c_double(0), ctypes.c_double(1)),
        }

    @property
    def version(self) -> str:
        """The library's version, as in "12.9.3"."""
        number = int(self._lib.cublasLtGetVersion())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def reserve(self, stream: Any) -> None:
        """Give a stream its workspace, which its first product would do, but can't while it is captured."""
        pointer = _pointer(stream)
        if pointer in self._workspaces:
            return
        stream = self._known(stream)
        if self._trials.capturing(stream):
            raise CublasLtUnavailable(
                "this stream has no workspace for cublasLt yet; run the step once before capturing it, or reserve one"
            )
        try:
            with self._trials.waiting(stream):  # the memory may be in use on the current stream until now
                array = self._cupy.empty(self._workspace_bytes, dtype="uint8")
        except MemoryError as error:  # as CuPy's own is
            raise CublasLtUnavailable(f"there is no room for cublasLt's workspace: {error}") from error
        address = int(array.data.ptr)
        if address % 256:
            raise CublasLtUnavailable("cublasLt's workspace must start at an address that 256 divides")
        self._workspaces[pointer] = address, array

    def why_not(self, a: Any, b: Any, out: Any, *, own_mask: bool = False, **options: Any) -> str:
        """Why `gemm` refuses these arguments; "" if it makes this product.

        It does what the first call of gemm would do but for the product itself, so that `out` and `aux` may be
        overwritten (and `bias_gradient`, with autotune), and nothing else.

        own_mask: whether `aux` is to be a mask of gpubp's own (`own_masks`), for "drelu" and "drelu_bgrad"; whether
        the kernel reads it so is tried once for each kind of product.
        """
        try:
            asked = Asked(a=a, b=b, out=out, **options)
            plan, _, pointers, _ = self._ready(asked)
            if own_mask:
                self._try_own_mask(plan, asked, pointers)
        except CublasLtUnavailable as cause:
            return str(cause)
        return ""

    def gemm(self, a: Any, b: Any, out: Any, **options: Any) -> Any:
        """out (M, N) = a (M, K) b (K, N), finished by an epilogue; asked for on `stream`, and `out` returned.

        a, b: CuPy matrices of one dtype, each row by row or a transposed view; or stacks of as many matrices, all
        three (S, ..., ...) and without an epilogue. out: row by row, of the same dtype, or float32 if theirs has 16
        bits. What is written must share no memory with anything else here.
        stream: a `cupy.cuda.Stream`, also one that is being captured, or its address.
        epilogue: a key of EPILOGUES, or None. bias, aux (see `aux_shape`) and bias_gradient, where it has them:
        contiguous, of out's dtype, at addresses that 16 divides.
        compute: "float32", or "tf32": cuBLAS may round float32 operands to it. For other dtypes it means nothing.
        accumulate: whether to add to out, False; with no epilogue, or with "bias".

        Raises CublasLtUnavailable for whatever is not so, and for what the device or the library has no kernel for, so
        that the caller can go another way. Nothing is done then, but that out and aux hold what a trial left there.
        """
        plan, request, pointers, stream_pointer = self._ready(Asked(a=a, b=b, out=out, **options))
        if status := self._launch_any(plan, pointers, stream_pointer):
            try:
                self._made.check(status, "cublasLtMatmul")
            except Refused as refusal:
                self._plans[request] = str(refusal)
                raise
        return out

    def _launch_any(self, plan: Plan, pointers: tuple[int, ...], stream_pointer: int) -> int:
        """By the plan's kernel or, where that can't be launched, by the first that can, which is kept."""
        status = self._launch(plan, plan.result, pointers, stream_pointer)
        while status in LASTING and plan.others:
            plan.result = plan.others.pop(0)
            status = self._launch(plan, plan.result, pointers, stream_pointer)
        return status

    def _launch(self, plan: Plan, by: HeuristicResult, pointers: tuple[int, ...], stream_pointer: int) -> int:
        """(3), by a kernel of cuBLAS's."""
        A, B, D = plan.layouts
        return int(
            self._lib.cublasLtMatmul(
                self._handle, plan.desc,
                plan.alpha, pointers[1], A, pointers[0], B,
                plan.beta, pointers[2], D, pointers[2], D,
                ctypes.addressof(by), self._workspaces[stream_pointer][0], self._workspace_bytes, stream_pointer,
            )
        )  # fmt: skip

    # -- planning --------------------------------------------------------------------------------------------

    def _ready(self, asked: Asked) -> tuple[Plan, Request, tuple[int, ...], int]:
        """All but the call itself: the plan, the request, and the addresses of arrays and stream."""
        arrays, stream = asked[1:7], asked.stream
        try:
            pointers = tuple([0 if x is None else x.data.ptr for x in arrays])
            described = [None if x is None else _operand(x, p) for x, p in zip(arrays, pointers, strict=True)]
            stream_pointer = _pointer(stream)
        except (AttributeError, TypeError):
            got = [type(x).__name__ for x in (*arrays, stream)]
            raise CublasLtUnavailable(f"gemm takes CuPy arrays and a CuPy stream; it was given {got}") from None
        request = Request._make([*described, asked.epilogue, asked.compute, asked.accumulate])
        plan = self._plans.get(request)
        if plan is None:
            plan = self._plan(request, pointers, asked)
        if isinstance(plan, str):
            raise CublasLtUnavailable(plan)
        if pointers != plan.pointers:
            self._point(plan, pointers)
        if stream_pointer not in self._workspaces:
            self.reserve(stream)
        return plan, request, pointers, stream_pointer

    def _plan(self, request: Request, pointers: tuple[int, ...], asked: Asked) -> Plan | str:
        """The plan for a request of a new kind, or the reason why there is none; it is kept."""
        if any(x is None for x in request[:3]):
            raise CublasLtUnavailable("gemm needs all of a, b and out")
        if int(self._runtime.getDevice()) != self.device:
            raise CublasLtUnavailable(f"this cublasLt works on device {self.device}, which is not the current one")
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
            self._made.destroy()
        since = len(self._made)
        plan: Plan | str
        try:
            plan = self._describe(request, pointers, asked)
        except Refused as refusal:
            plan = str(refusal)
            self._made.destroy(since)
        except MemoryError as error:  # as CuPy's own is
            self._made.destroy(since)
            raise CublasLtUnavailable(f"there is no room to try cublasLt's kernels: {error}") from error
        except BaseException:
            self._made.destroy(since)
            raise
        self._plans[request] = plan
        return plan

    def _describe(self, request: Request, pointers: tuple[int, ...], asked: Asked) -> Plan:
        layouts, spans = request.check(self.device)
        a, b, d, e = request.a, request.b, request.out, EPILOGUES[request.epilogue]
        of_a, of_b, of_out = layouts
        plan = Plan()
        plan.spans, plan.pointers = spans, None
        plan.written = (2, *[4] * e.writes_aux, *[5] * bool(e.gradient))

        dtype = str(a.dtype)
        compute = _COMPUTE_64F if dtype == "float64" else _COMPUTE_32F
        zero_one = self._numbers[compute]
        plan.alpha, plan.beta = (ctypes.addressof(zero_one[i]) for i in (1, int(request.accumulate)))
        scale = _DATA_TYPES["float64" if dtype == "float64" else "float32"]
        if request.compute == "tf32" and dtype == "float32":
            compute = _COMPUTE_32F_FAST_TF32
        plan.desc = desc = self._made.new("MatmulDesc", compute, scale)
        self._made.set("MatmulDesc", desc, _TRANSA, ctypes.c_int32(of_b.transposed))
        self._made.set("MatmulDesc", desc, _TRANSB, ctypes.c_int32(of_a.transposed))
        self._made.set("MatmulDesc", desc, _EPILOGUE, ctypes.c_uint32(e.value))
        if request.aux is not None:
            ld = request.aux.shape[1] * (8 if e.aux == "bits" else 1)
            self._made.set("MatmulDesc", desc, _AUX_LD, ctypes.c_int64(ld))
        plan.layouts = (self._layout(b, of_b), self._layout(a, of_a), self._layout(d, of_out))
        self._point(plan, pointers)  # before the choice, which reads the alignment of bias and aux there
        found = self._proposals(plan, (b.alignment, a.alignment, d.alignment, d.alignment))
        if request.epilogue in RELUS:
            found = self._with_numpys_relu(plan, request, asked, found)
        if self._autotune and len(found) > 1 and not request.accumulate:
            found = [self._fastest(plan, pointers, asked.stream, found)]
        plan.result, *plan.others = found
        return plan

    def _proposals(self, plan: Plan, alignments: tuple[int, ...]) -> list[HeuristicResult]:
        """cuBLAS's kernels within our workspace and our rule for splitting K, best first."""
        since = len(self._made)
        preference = self._made.new("MatmulPreference")
        for attribute, value in (
            (_WORKSPACE_BYTES, ctypes.c_uint64(self._workspace_bytes)),
            (_REDUCTION_SCHEMES, ctypes.c_uint32(_REDUCTION_SCHEME_COMPUTE_TYPE)),
            *((attribute, ctypes.c_uint32(n)) for attribute, n in zip(_ALIGNMENTS, alignments, strict=True)),
        ):
            self._made.set("MatmulPreference", preference, attribute, value)

        def ask(most: int, results: Any, count: Any) -> None:
            A, B, D = plan.layouts
            status = self._lib.cublasLtMatmulAlgoGetHeuristic(
                self._handle, plan.desc, A, B, D, D, preference, most, results, count
            )
            self._made.check(
                status, "cublasLtMatmulAlgoGetHeuristic (in a capture? run the step once before capturing it)"
            )

        found = proposals(ask)
        self._made.destroy(since)
        return fitting(found, self._workspace_bytes, self._made.check)

    def _with_numpys_relu(
        self, plan: Plan, request: Request, asked: Asked, found: list[HeuristicResult]
    ) -> list[HeuristicResult]:
        """The kernels whose ReLU does as NumPy's; the first of them, unless they are to be timed."""
        stream, address = self._known(asked.stream), _pointer(asked.stream)
        if self._trials.capturing(stream):
            raise CublasLtUnavailable(
                "whether cublasLt's ReLU keeps NaN is not known yet: run the step once before capturing it"
            )
        assert request.bias is not None and plan.pointers is not None
        self.reserve(stream)
        pointers, plan.pointers = plan.pointers, None  # so that the next call puts its own bias there
        (columns,), dtype = request.bias.shape, request.bias.dtype
        nan = self._trials.nan_vector(columns, dtype)
        zeros = self._trials.zeros(max(*plan.spans[:2], columns * dtype.itemsize)) if asked.aux is not None else None

        def launch(by: HeuristicResult, bias: Any, operands: tuple[int, ...]) -> int:
            self._made.set("MatmulDesc", plan.desc, _BIAS_POINTER, ctypes.c_void_p(bias.data.ptr))
            return self._launch(plan, by, operands + pointers[2:], address)

        keeping = self._trials.keeping_nan(
            found, lambda by: launch(by, nan, pointers[:2]), asked.out, stream, self._made.check
        )
        if zeros is not None:
            of_0 = (zeros.data.ptr,) * 2
            keeping = self._trials.masking_0(
                keeping, lambda by: launch(by, zeros, of_0), asked.aux, columns, stream, self._made.check
            )
        return list(keeping) if self._autotune else [next(keeping)]

    def _try_own_mask(self, plan: Plan, asked: Asked, pointers: tuple[int, ...]) -> None:
        """Refused where the kernel reads a mask of gpubp's own otherwise than it was written."""
        if plan.own_mask is None:
            stream, address = self._known(asked.stream), _pointer(asked.stream)
            if self._trials.capturing(stream):
                raise CublasLtUnavailable(
                    "whether cublasLt reads gpubp's mask is not known yet: run the step once before capturing it"
                )
            try:
                ones = self._trials.ones(max(plan.spans[:2]), asked.a.dtype)
                gradient = self._trials.ones(plan.spans[5], asked.out.dtype) if plan.spans[5] else None
                if gradient is not None:  # so that the caller's stays as it is
                    plan.pointers = None  # the next call puts its own there
                    self._made.set("MatmulDesc", plan.desc, _BIAS_POINTER, ctypes.c_void_p(gradient.data.ptr))
                of_1 = (ones.data.ptr,) * 2 + pointers[2:]
                plan.own_mask = self._trials.misread(
                    lambda: self._launch_any(plan, of_1, address), asked.out, asked.aux, stream, self._made.check
                )
            except MemoryError as error:  # as CuPy's own is
                raise CublasLtUnavailable(f"there is no room to try cublasLt's kernels: {error}") from error
        if plan.own_mask:
            raise Refused(plan.own_mask)

    def _fastest(
        self, plan: Plan, pointers: tuple[int, ...], stream: Any, found: list[HeuristicResult]
    ) -> HeuristicResult:
        """The fastest of the kernels; the first where a capture lets none be timed."""
        stream, address = self._known(stream), _pointer(stream)
        if self._trials.capturing(stream):
            return found[0]
        self.reserve(stream)
        if pointers != plan.pointers:
            self._point(plan, pointers)
        return self._trials.fastest(found, lambda by: self._launch(plan, by, pointers, address), stream)

    def _point(self, plan: Plan, pointers: tuple[int, ...]) -> None:
        """Put new addresses into the descriptor, unless what is written shares memory with anything else."""
        ends = [start + span for start, span in zip(pointers, plan.spans, strict=True)]
        for i in plan.written:
            for j in range(6):
                if i != j and plan.spans[j] and pointers[i] < ends[j] and pointers[j] < ends[i]:
                    raise CublasLtUnavailable(f"{NAMES[i]} shares memory with {NAMES[j]}; give it its own")
        bias, aux = pointers[3] or pointers[5], pointers[4]
        if bias:
            self._made.set("MatmulDesc", plan.desc, _BIAS_POINTER, ctypes.c_void_p(bias))
        if aux:
            self._made.set("MatmulDesc", plan.desc, _AUX_POINTER, ctypes.c_void_p(aux))
        plan.pointers = pointers

    def _known(self, stream: Any) -> Any:
        """A stream as an object that can be asked and waited for."""
        return stream if hasattr(stream, "is_capturing") else Address(self._runtime, _pointer(stream))

    def _layout(self, operand: Operand, layout: Layout) -> int:
        dtype = _DATA_TYPES[str(operand.dtype)]
        made = self._made.new("MatrixLayout", dtype, layout.rows, layout.cols, layout.ld)
        if layout.matrices > 1:
            self._made.set("MatrixLayout", made, _BATCH_COUNT, ctypes.c_int32(layout.matrices))
            self._made.set("MatrixLayout", made, _BATCH_OFFSET, ctypes.c_int64(layout.offset))
        return made


def _pointer(stream: Any) -> int:
    return stream if isinstance(stream, int) else int(stream.ptr)


def _operand(x: Any, pointer: int) -> Operand:
    addresses = pointer | (x.strides[0] if len(x.shape) == 3 and pointer else 0)  # of all matrices of a stack
    return Operand(x.shape, x.strides, x.dtype, x.data.device_id, min(addresses & -addresses, 256))


_loaded = cache(load_library)

# Handles left for others: cublasLtDestroy would wait for the device, and break a capture that a finalizer may run in.
_idle: dict[tuple[Any, int], list[int]] = {}


def _close(made: Descriptors, idle: list[int], handle: int) -> None:
    made.destroy()
    idle.append(handle)

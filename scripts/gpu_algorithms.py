"""Experiments with the products of the benchmarks' networks, a part of scripts/gpu_profile.py.

For each product: the kernel that cuBLAS proposes first against the best of 8 and of 32, by workspace; which types of
results, biases and bias gradients each epilogue takes; and whether a result in bfloat16 has the bits of one in float32
that is cast. `gpubp` itself asks for eight kernels and float32 results only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from gpu_results import ROOT, Stage

from gpubp.backends.cuda import cublaslt
from gpubp.backends.cuda.bfloat16 import Bfloat16
from gpubp.backends.cuda.cublaslt_layouts import EPILOGUES, CublasLtUnavailable, Operand, aux_shape
from gpubp.backends.cuda.cublaslt_library import Descriptors, HeuristicResult
from gpubp.backends.cuda.timing import milliseconds

MIB = 1 << 20
BIAS_DATA_TYPE = 26  # CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE of cublasLt.h
REDUCTIONS = {"ours": cublaslt._REDUCTION_SCHEME_COMPUTE_TYPE, "any": 7}  # CUBLASLT_REDUCTION_SCHEME_MASK
AT_ONCE, ROUNDS = 5, 3  # launches in a graph, and how often it is timed
KINDS = {"y": "", "dW": "a", "dx": "b"}  # which operand is a transposed view: x W, xᵀ dy, dy Wᵀ


class Product(NamedTuple):
    """One kind of product. of: "y", "dW" or "dx". sizes: (m, k, n). operands: their type, or "tf32". out: the result's
    type. vector: that of its bias or bias gradient."""

    of: str
    sizes: tuple[int, int, int]
    epilogue: str | None = None
    operands: str = "float32"
    out: str = "float32"
    vector: str = "float32"
    reduction: str = "ours"

    def __str__(self) -> str:
        m, k, n = self.sizes
        vector = EPILOGUES[self.epilogue].bias or EPILOGUES[self.epilogue].gradient
        types = f"{self.operands} to {self.out}" + (f", {self.vector} vector" if vector else "")
        return f"{self.of} {m}x{k}x{n} {types}, {self.epilogue or 'no epilogue'}, {self.reduction} sums"


def products_of(name: str, small: bool = False) -> list[Product]:
    """Those of a benchmark's network, each kind once."""
    if small:
        sizes, back = (32, 16, 16), (16, 32, 16)
        half = {"operands": "bfloat16"} if name == "C" else {}
        return [
            Product("y", sizes, "relu_aux_bias", **half),
            Product("dx", sizes, "drelu_bgrad", **half),
            Product("dW", back, **half),
            *(
                [Product("y", sizes, "bias", "bfloat16", "bfloat16", v) for v in ("bfloat16", "float32")]
                if half
                else ()
            ),
        ]
    if name == "C":
        return list(_of_c())
    if name == "D":
        return [
            Product("y", (200704, 9, 32), "relu_bias"), Product("y", (50176, 288, 64), "relu_bias"),
            Product("dx", (25088, 576, 32)), Product("dW", (288, 50176, 64), "bgrada"),
            Product("dW", (9, 200704, 32), "bgrada"), Product("y", (256, 3136, 128), "relu_aux_bias"),
            Product("dW", (288, 50176, 64), "bgrada", reduction="any"),
            Product("dW", (3136, 256, 128)), Product("dx", (256, 128, 3136)),
        ]  # fmt: skip
    rows, width = (128, 512) if name == "A" else (1024, 2048)
    found = [
        Product("y", (rows, 784, width), "relu_aux_bias"), Product("y", (rows, width, width), "relu_aux_bias"),
        Product("y", (rows, width, 10), "bias"), Product("dW", (width, rows, 10), "bgrada"),
        Product("dx", (rows, 10, width), "drelu_bgrad"), Product("dW", (width, rows, width)),
        Product("dx", (rows, width, width), "drelu_bgrad"), Product("dW", (784, rows, width)),
        # where cuBLAS's ReLU is not NumPy's
        Product("y", (rows, width, width), "bias"), Product("dW", (width, rows, width), "bgrada"),
    ]  # fmt: skip
    if name == "B":
        large = [p for p in found if 10 not in p.sizes]
        return [*large, *(p._replace(operands="tf32") for p in large)]
    return [*found, *(p._replace(reduction="any") for p in found)]


def _of_c() -> Iterator[Product]:
    """As they are; then by the type of the result, which decides whether casts can be left out."""
    y, dx, dW = (
        (of, sizes) for of, sizes in (("y", (8192, 4096, 4096)), ("dx", (8192, 4096, 4096)), ("dW", (4096, 8192, 4096)))
    )
    half, full = "bfloat16", "float32"
    yield from (Product(*y, "relu_aux_bias", half), Product(*dx, "drelu_bgrad", half), Product(*dW, None, half))
    for epilogue, vector in (
        ("relu_aux_bias", full),
        ("relu_aux_bias", half),
        ("bias", full),
        ("bias", half),
        (None, full),
    ):
        yield Product(*y, epilogue, half, half, vector)
    for epilogue, vector in (("drelu_bgrad", full), ("drelu_bgrad", half), ("drelu", full), (None, full)):
        yield Product(*dx, epilogue, half, half, vector)
    yield from (Product(*y, None, half), Product(*dx, "drelu", half), Product(*dx, None, half))
    for epilogue, out, vector in (
        ("bgrada", full, full),
        ("bgradb", full, full),
        (None, half, full),
        ("bgrada", half, half),
    ):
        yield Product(*dW, epilogue, half, out, vector)


class Laboratory:
    """cublasLt without the checks and choices of `CublasLt`. cupy: the CuPy module. library: in a dry run a model."""

    def __init__(self, cupy: Any, halve: Callable[[Any, Any], None], library: Any, most: int) -> None:
        self.cupy, self.halve, self.stream = cupy, halve, cupy.cuda.get_current_stream()
        lt = cublaslt.CublasLt(cupy, most, library=library)
        self._lt, self._lib, self.version = lt, lt._lib, lt.version  # its handle, and its workspace
        self._one, self._zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        self._workspace, self._room = lt._workspaces[self.stream.ptr][0], most
        self._numbers: dict[Any, Any] = {}
        self._random = np.random.default_rng(0).standard_normal(1 << 20, np.float32)

    def matrix(self, rows: int, cols: int, kind: str, which: str) -> Any:
        """Random numbers in a matrix, made once: those of zeros take less power, and less time."""
        key = (rows, cols, kind, which)
        if key not in self._numbers:
            if kind == "bfloat16":
                full, bits = self.matrix(rows, cols, "float32", which), self.cupy.empty((rows, cols), np.uint16)
                self.halve(full, bits)
                self._numbers[key] = bits
            else:
                start = 7 * len(self._numbers)
                host = np.resize(np.roll(self._random, start), (rows, cols))
                self._numbers[key] = self.cupy.asarray(host)
        a = self._numbers[key]
        return Bfloat16(a) if kind == "bfloat16" else a

    def bias(self, count: int, kind: str) -> Any:
        """Numbers that bfloat16 holds as float32 does, so that results can be compared."""
        numbers = ((np.arange(count) % 17 - 8) / 8).astype(np.float32)
        if kind != "bfloat16":
            return self.cupy.asarray(numbers)
        return Bfloat16(self.cupy.asarray((numbers.view(np.uint32) >> 16).astype(np.uint16)))

    def empty(self, shape: Any, kind: str) -> Any:
        """A result's memory, all zeros."""
        a = self.cupy.zeros(shape, np.uint16 if kind == "bfloat16" else kind)
        return Bfloat16(a) if kind == "bfloat16" else a


class Trial:
    """A product with its arrays and descriptors. found: kernels for it, best first, with a workspace of `room` bytes.

    Raises CublasLtUnavailable, if there is none.
    """

    def __init__(self, lab: Laboratory, product: Product, most: int, room: int) -> None:
        self.lab, self.product = lab, product
        (m, k, n), kind = product.sizes, product.operands.replace("tf32", "float32")
        turned = KINDS[product.of]
        a = lab.matrix(k, m, kind, "a").T if turned == "a" else lab.matrix(m, k, kind, "a")
        b = lab.matrix(n, k, kind, "b").T if turned == "b" else lab.matrix(k, n, kind, "b")
        self.out, self.aux, self.vector = lab.empty((m, n), product.out), None, None
        e = EPILOGUES[product.epilogue]
        if e.bias:
            self.vector = lab.bias(n, product.vector)
        elif e.gradient:
            count = m if e.gradient == "M" else n
            self.vector = lab.empty((2 * count,), product.vector)  # lest a kernel takes another type than was asked for
        if e.aux:
            shape, dtype = aux_shape(str(product.epilogue), (m, n), product.out)
            self.aux = lab.cupy.zeros(shape, dtype)
            if not e.writes_aux:
                self.aux.fill(0x55)
        self._made = Descriptors(lab._lib)
        try:
            self._desc, self._layouts = self._described(a, b)
            self.found = self._proposals(most, room)
        except BaseException:
            self._made.destroy()
            raise
        self._operands = a, b  # kept

    def _described(self, a: Any, b: Any) -> tuple[int, tuple[int, int, int]]:
        made, e = self._made, EPILOGUES[self.product.epilogue]
        compute = cublaslt._COMPUTE_32F_FAST_TF32 if self.product.operands == "tf32" else cublaslt._COMPUTE_32F
        of_a, of_b, of_out = (_operand(x).layout(x_name) for x, x_name in ((a, "a"), (b, "b"), (self.out, "out")))
        desc = made.new("MatmulDesc", compute, cublaslt._DATA_TYPES["float32"])
        settings: list[tuple[int, Any]] = [
            (cublaslt._TRANSA, ctypes.c_int32(of_b.transposed)), (cublaslt._TRANSB, ctypes.c_int32(of_a.transposed)),
            (cublaslt._EPILOGUE, ctypes.c_uint32(e.value)),
        ]  # fmt: skip
        if self.vector is not None:
            settings.append((cublaslt._BIAS_POINTER, ctypes.c_void_p(self.vector.data.ptr)))
            if self.product.vector != self.product.out:
                settings.append((BIAS_DATA_TYPE, ctypes.c_int32(cublaslt._DATA_TYPES[self.product.vector])))
        if self.aux is not None:
            settings += [
                (cublaslt._AUX_POINTER, ctypes.c_void_p(self.aux.data.ptr)),
                (cublaslt._AUX_LD, ctypes.c_int64(8 * self.aux.shape[1])),
            ]
        for attribute, value in settings:
            made.set("MatmulDesc", desc, attribute, value)
        self._pointers = b.data.ptr, a.data.ptr, self.out.data.ptr
        types = [cublaslt._DATA_TYPES[str(x.dtype)] for x in (b, a, self.out)]
        layouts = zip(types, (of_b, of_a, of_out), strict=True)
        return desc, tuple(made.new("MatrixLayout", t, x.rows, x.cols, x.ld) for t, x in layouts)  # type: ignore[return-value]

    def _proposals(self, most: int, room: int) -> list[HeuristicResult]:
        made, (A, B, D) = self._made, self._layouts
        preference = made.new("MatmulPreference")
        made.set("MatmulPreference", preference, cublaslt._WORKSPACE_BYTES, ctypes.c_uint64(room))
        schemes = ctypes.c_uint32(REDUCTIONS[self.product.reduction])
        made.set("MatmulPreference", preference, cublaslt._REDUCTION_SCHEMES, schemes)
        results, count = (HeuristicResult * most)(), ctypes.c_int(0)
        lib = self.lab._lib
        status = lib.cublasLtMatmulAlgoGetHeuristic(
            self.lab._lt._handle, self._desc, A, B, D, D, preference, most, ctypes.byref(results), ctypes.byref(count)
        )
        made.check(status, "the heuristic")
        found = [result for result in list(results)[: count.value] if not result.state]
        if not found:
            raise CublasLtUnavailable("the heuristic has no kernel")
        return found

    def launch(self, by: HeuristicResult) -> None:
        """The product by one of its kernels; raises where that can't make it."""
        (A, B, D), (b, a, out), lab = self._layouts, self._pointers, self.lab
        one, zero = (ctypes.addressof(x) for x in (lab._one, lab._zero))
        status = lab._lib.cublasLtMatmul(
            lab._lt._handle, self._desc, one, b, A, a, B, zero, out, D, out, D, ctypes.addressof(by),
            lab._workspace, lab._room, lab.stream.ptr,
        )  # fmt: skip
        self._made.check(status, "the product")

    def seconds(self, by: HeuristicResult) -> float:
        """The median of some, launched together; ∞ where the kernel makes none."""
        try:
            self.launch(by)
            graph = self._captured(by)
            return seconds_of(self.lab.cupy, self.lab.stream, graph, ROUNDS) / AT_ONCE
        except CublasLtUnavailable:
            return float("inf")

    def _captured(self, by: HeuristicResult) -> Any:
        self.lab.stream.begin_capture()
        try:
            for _ in range(AT_ONCE):
                self.launch(by)
        finally:
            graph = self.lab.stream.end_capture()
        return graph

    def close(self) -> None:
        """Destroy its descriptors."""
        self._made.destroy()


def seconds_of(cupy: Any, stream: Any, graph: Any, rounds: int, launches: int = 1) -> float:
    """Seconds of a graph on a stream, the median of so many rounds after a first launch. launches: in a round, one
    asked for while the one before runs."""

    def some() -> None:
        for _ in range(launches):
            graph.launch(stream)

    graph.launch(stream)
    return median(milliseconds(cupy.cuda, stream, some, rounds)) / 1000.0 / launches


def explore(stage: Stage, lab: Laboratory, product: Product, rooms: tuple[int, ...], most: int = 32) -> dict[str, Any]:
    """Time the kernels for one product, a line of results. rooms: bytes of workspaces."""
    with stage.results.part(str(product)) as line:
        for room in rooms:
            try:
                trial = Trial(lab, product, most, room)
            except CublasLtUnavailable as refusal:
                line["refused"] = str(refusal)
                break
            times = [trial.seconds(by) for by in trial.found]
            m, k, n = product.sizes
            best, best_of_8 = min(times), min(times[:8])
            place = times.index(best)
            found = {
                "microseconds": 1e6 * times[0], "best_of_8": 1e6 * best_of_8, "best": 1e6 * best, "place": place,
                "kernels": len(times), "teraflops": 2e-12 * m * k * n / best,
                "workspace": trial.found[place].workspace_bytes, "all": [round(1e6 * t, 2) for t in times],
            }  # fmt: skip
            if product.out == "bfloat16":
                found["apart"] = apart(trial)
            line[f"{room // MIB} MiB"] = found
            trial.close()
    return line


def apart(trial: Trial) -> float | str:
    """The share of a result's numbers in bfloat16 that differ from those of the same product in float32, cast; and of
    a mask's bytes. Of the first kernel of each."""
    with suppress(CublasLtUnavailable):
        lab, product = trial.lab, trial.product
        full = Trial(lab, product._replace(out="float32", vector="float32"), 8, 32 * MIB)
        for one in (trial, full):
            one.launch(one.found[0])
        cast = lab.empty(product.sizes[::2], "bfloat16")
        lab.halve(full.out, cast.bits)
        lab.stream.synchronize()
        full.close()
        pairs = [(trial.out.bits, cast.bits), *([(trial.aux, full.aux)] if trial.aux is not None else [])]
        return max(float(np.mean(x.get() != y.get())) for x, y in pairs)
    return "no product in float32 to compare with"


def _operand(x: Any) -> Operand:
    return Operand(x.shape, x.strides, x.dtype, 0, 256)


def laboratory(stage: Stage, backend: Any, most: int) -> Laboratory:
    """On the backend's stream, which is the current one."""
    library = None
    if stage.dry:
        import sys

        sys.path.insert(0, str(ROOT / "tests" / "backends" / "cuda" / "kernels"))
        from cublaslt_model import Kernel, Model, Queued

        library = Queued(backend.cupy, Model(kernels=[Kernel(1), Kernel(2)]))
    return Laboratory(backend.cupy, backend._launches.halve, library, most)


def run(stage: Stage, backend: Any, name: str) -> None:
    """Explore the products of a network, and show what was found in short."""
    rooms = (MIB,) if stage.dry else (32 * MIB, 64 * MIB, 128 * MIB)
    with backend.active():
        lab = laboratory(stage, backend, max(rooms))
        shown = []
        for i, product in enumerate(products_of(name, stage.dry)):
            if stage.left < 1.5:
                stage.results.add(str(product), shown="left out, the time was over")
                break
            first = name == "C" and i < 3
            line = explore(stage, lab, product, rooms if first else rooms[:1], 16 if name == "C" and not first else 32)
            shown.append(f"{_short(line)}  {product}")
        stage.results.add(f"{name} products", detail=shown, cublaslt=lab.version)


def _short(line: dict[str, Any]) -> str:
    if "problem" in line or "refused" in line:
        return f"REFUSED: {line.get('problem', line.get('refused'))}"
    by_room = {room: found for room, found in line.items() if isinstance(found, dict)}
    first = next(iter(by_room.values()))
    said = (
        f"{first['microseconds']:8.1f} first, {first['best_of_8']:.1f} of 8, {first['best']:.1f} of {first['kernels']}"
    )
    said += "".join(f"; {found['best']:.1f} with {room}" for room, found in list(by_room.items())[1:])
    return said + (f"; {first['apart']:.1e} apart" if isinstance(first.get("apart"), float) else "")

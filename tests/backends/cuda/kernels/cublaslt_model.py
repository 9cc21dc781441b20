"""cublasLt as its header describes it, in NumPy and on host memory.

`Model` stands where the library stands. It takes the descriptors that the wrapper made, reads and writes raw
memory through nothing but the addresses and numbers in them, column by column as the header says, and knows
nothing of rows. So what it computes proves the wrapper's view of the memory, without a GPU.

The descriptors are either its own, or those of the real library (which makes them without a GPU), read back
through its GetAttribute functions.
"""

import copy
import ctypes
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

# (rows, columns, inner) of products: single numbers, rows and columns among them
SHAPES = [(1, 1, 1), (1, 5, 3), (4, 1, 3), (4, 5, 1), (1, 1, 6), (1, 6, 1), (6, 1, 1), (7, 3, 2), (65, 33, 130)]
HANDLE = 4242
SUCCESS, NOT_INITIALIZED, ALLOC_FAILED, INVALID_VALUE, INTERNAL_ERROR, NOT_SUPPORTED = 0, 1, 3, 7, 14, 15

# attribute -> (name, bytes, signed), from cublasLt.h
DESC = {
    0: ("COMPUTE_TYPE", 4, True),
    1: ("SCALE_TYPE", 4, True),
    3: ("TRANSA", 4, True),
    4: ("TRANSB", 4, True),
    7: ("EPILOGUE", 4, False),
    8: ("BIAS_POINTER", 8, False),
    11: ("EPILOGUE_AUX_POINTER", 8, False),
    12: ("EPILOGUE_AUX_LD", 8, True),
    26: ("BIAS_DATA_TYPE", 4, True),
}
LAYOUT = {
    0: ("TYPE", 4, False),
    1: ("ORDER", 4, True),
    2: ("ROWS", 8, False),
    3: ("COLS", 8, False),
    4: ("LD", 8, True),
    5: ("BATCH_COUNT", 4, True),
    6: ("STRIDED_BATCH_OFFSET", 8, True),
}
PREF = {
    1: ("MAX_WORKSPACE_BYTES", 8, False),
    3: ("REDUCTION_SCHEME_MASK", 4, False),
    5: ("MIN_ALIGNMENT_A_BYTES", 4, False),
    6: ("MIN_ALIGNMENT_B_BYTES", 4, False),
    7: ("MIN_ALIGNMENT_C_BYTES", 4, False),
    8: ("MIN_ALIGNMENT_D_BYTES", 4, False),
}
KINDS = {"MatmulDesc": DESC, "MatrixLayout": LAYOUT, "MatmulPreference": PREF}


class OwnDescriptors:
    """Descriptors as dictionaries, as strict about attributes and their sizes as the library."""

    def __init__(self):
        self.alive = {}
        self.made = 0

    def _make(self, kind, reference, **values):
        self.made += 1
        address = 0x1000 + self.made
        self.alive[address] = (kind, dict.fromkeys((name for name, _, _ in KINDS[kind].values()), 0) | values)
        reference._obj.value = address
        return SUCCESS

    def _set(self, kind, address, attribute, reference, size):
        made, values = self.alive[address]
        assert made == kind
        if attribute not in KINDS[kind] or KINDS[kind][attribute][1] != size:
            return INVALID_VALUE
        name, _, signed = KINDS[kind][attribute]
        values[name] = int.from_bytes(bytes(reference._obj), "little", signed=signed)
        return SUCCESS

    def _drop(self, kind, address):
        assert self.alive.pop(address)[0] == kind
        return SUCCESS

    def cublasLtMatrixLayoutCreate(self, reference, dtype, rows, cols, ld):
        return self._make("MatrixLayout", reference, TYPE=dtype, ROWS=rows, COLS=cols, LD=ld, BATCH_COUNT=1)

    def cublasLtMatmulDescCreate(self, reference, compute, scale):
        values = {"COMPUTE_TYPE": compute, "SCALE_TYPE": scale, "EPILOGUE": 1, "BIAS_DATA_TYPE": -1}
        return self._make("MatmulDesc", reference, **values)

    def cublasLtMatmulPreferenceCreate(self, reference):
        return self._make("MatmulPreference", reference)

    def __getattr__(self, name):  # cublasLt<kind>SetAttribute, cublasLt<kind>Destroy
        for kind in KINDS:
            if name == f"cublasLt{kind}SetAttribute":
                return lambda *arguments: self._set(kind, *arguments)
            if name == f"cublasLt{kind}Destroy":
                return lambda address: self._drop(kind, address)
        raise AttributeError(name)

    def read(self, kind, address):
        made, values = self.alive[address]
        assert made == kind
        return SimpleNamespace(**values)


class RealDescriptors:
    """The library's own descriptors, and what its GetAttribute functions say stands in them."""

    def __init__(self, library):
        self.library = library
        self.alive = set()
        self.made = 0

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            status = function(*arguments)
            if name.endswith("Create"):
                self.made += 1
                self.alive.add(arguments[0]._obj.value)
            if name.endswith("Destroy"):
                self.alive.remove(arguments[0])
            return status

        return call

    def read(self, kind, address):
        get = getattr(self.library, f"cublasLt{kind}GetAttribute")
        get.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        values = {}
        for attribute, (name, size, signed) in KINDS[kind].items():
            buffer, written = (ctypes.c_char * size)(), ctypes.c_size_t()
            assert get(address, attribute, buffer, size, ctypes.byref(written)) == SUCCESS, name
            assert written.value == size, name
            values[name] = int.from_bytes(buffer.raw, "little", signed=signed)
        return SimpleNamespace(**values)


@dataclass
class Kernel:
    """One of the library's kernels, known by its number. keeps_nan: whether its ReLU does; the documented one doesn't.

    masks_0: whether its mask counts 0 as positive, as CUTLASS's does (`ReluConditional`). bits: in which order the mask
    has them: "little", the first as the lowest of its byte, "big", or "words", bytes of 32 bits backwards. state,
    status: what the heuristic says of it, and what a product by it answers. milliseconds: it takes, for a clock.
    """

    number: int = 99
    keeps_nan: bool = True
    masks_0: bool = False
    bits: str = "little"
    workspace_bytes: int = 0
    state: int = SUCCESS
    status: int = SUCCESS
    milliseconds: float = 1.0


class Model:
    """The library's functions. `fail[function] = status` makes one answer that; `log` is what was called.

    kernels: what the heuristic proposes for every product, best first. made: numbers of those that made products.
    clock: milliseconds that all of these took.
    """

    def __init__(self, descriptors=None, kernels=None):
        self.descriptors = descriptors or OwnDescriptors()
        self.log = []
        self.fail = {}
        self.kernels = kernels or [Kernel()]
        self.made = []
        self.clock = 0.0
        self.open_handles = self.destroyed_handles = 0

    def __getattr__(self, name):
        function = getattr(self.descriptors, name)

        def call(*arguments):
            self.log.append(name)
            return self.fail.get(name) or function(*arguments)

        return call

    def cublasLtCreate(self, reference):
        if status := self.fail.get("cublasLtCreate"):
            return status
        reference._obj.value = HANDLE
        self.open_handles += 1
        return SUCCESS

    def cublasLtDestroy(self, handle):
        assert handle == HANDLE
        self.open_handles -= 1
        self.destroyed_handles += 1
        return SUCCESS

    def cublasLtGetVersion(self):
        return 120903

    def cublasLtGetStatusName(self, status):
        return {1: b"CUBLAS_STATUS_NOT_INITIALIZED", 15: b"CUBLAS_STATUS_NOT_SUPPORTED"}.get(status)

    def cublasLtMatmulAlgoGetHeuristic(self, handle, desc, A, B, C, D, preference, asked, result, count):
        self.log.append("cublasLtMatmulAlgoGetHeuristic")
        assert handle == HANDLE and len(result._obj) == asked
        if status := self.fail.get("cublasLtMatmulAlgoGetHeuristic"):
            return status
        self.preference = self.descriptors.read("MatmulPreference", preference)
        self.desc_at_choice = self.descriptors.read("MatmulDesc", desc)
        for found, kernel in zip(result._obj, self.kernels, strict=False):
            found.algorithm[0], found.state, found.workspace_bytes = kernel.number, kernel.state, kernel.workspace_bytes
        count._obj.value = min(asked, len(self.kernels))
        return SUCCESS

    def number_of(self, algorithm):
        """Of the kernel that an algorithm at this address names."""
        return ctypes.c_uint64.from_address(algorithm).value

    def cublasLtMatmul(
        self, handle, desc, alpha, a, A, b, B, beta, c, C, d, D, algorithm, workspace, workspace_bytes, stream
    ):
        self.log.append("cublasLtMatmul")
        assert handle == HANDLE and workspace % 256 == 0
        number = self.number_of(algorithm)
        (kernel,) = [kernel for kernel in self.kernels if kernel.number == number]
        assert kernel.workspace_bytes <= workspace_bytes
        self.workspace = workspace
        if status := self.fail.get("cublasLtMatmul") or kernel.status:
            return status
        self.made.append(number)
        self.clock += kernel.milliseconds
        self.desc = e = self.descriptors.read("MatmulDesc", desc)
        layouts = [self.descriptors.read("MatrixLayout", x) for x in (A, B, C, D)]
        self.stream, self.layouts = stream, (layouts[0], layouts[1], layouts[3])
        (count,) = {layout.BATCH_COUNT for layout in layouts}
        assert count == 1 or e.EPILOGUE == 1
        for i in range(count):
            self.multiply(e, kernel, alpha, beta, [nth(i, *of) for of in zip(layouts, (a, b, c, d), strict=True)])
        return SUCCESS

    def multiply(self, e, kernel, alpha, beta, matrices):
        """One product; alpha, beta: addresses."""
        A, B, C, D = matrices
        scale = {0: ctypes.c_float, 1: ctypes.c_double}[e.SCALE_TYPE]
        alpha, beta = scale.from_address(alpha).value, scale.from_address(beta).value
        op_a, op_b = A.numbers(), B.numbers()
        op_a = op_a.T if e.TRANSA else op_a
        op_b = op_b.T if e.TRANSB else op_b
        z = alpha * (op_a @ op_b) + (beta * C.numbers() if beta else 0.0)
        D.store(finish(e, z, op_a, op_b, D, kernel))


class Queued:
    """A model whose products are queued or captured like any kernel of the strict stand-in for CuPy.

    chooses_in_capture: whether the heuristic answers during a capture; that of cuBLAS 13.3 does not.
    """

    chooses_in_capture = False

    def __init__(self, cupy, model):
        self._cupy, self._model = cupy, model

    def cublasLtMatmulAlgoGetHeuristic(self, *arguments):
        if self._cupy.cuda.get_current_stream().is_capturing() and not self.chooses_in_capture:
            return INTERNAL_ERROR
        return self._model.cublasLtMatmulAlgoGetHeuristic(*arguments)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def cublasLtMatmul(self, *arguments):
        assert arguments[-1] == self._cupy.cuda.get_current_stream().ptr
        descriptors = self._model.descriptors
        now = copy.deepcopy(descriptors.alive)  # the library reads them during the call

        def kernel():
            later, descriptors.alive = descriptors.alive, now
            try:
                assert self._model.cublasLtMatmul(*arguments) == 0
            finally:
                descriptors.alive = later

        self._cupy._submit("cublasLtMatmul", kernel)
        return 0


def finish(e, z, op_a, op_b, D, kernel):
    """The epilogue on z (m, n), a column at a time, in the header's words."""
    m, n = z.shape
    value = e.EPILOGUE
    assert value in {1, 2, 4, 6, 130, 134, 136, 152, 32, 36, 160, 164, 192, 208, 256, 512}
    if value & 4:  # BIAS: "must match matrix D rows ... broadcasted to all columns"
        z = z + D.vector(e, m).numbers()
    if value & 2:  # RELU
        if value & 128:
            write_bits(e, ~(z < 0) if kernel.masks_0 else z > 0, kernel.bits)
        z = np.maximum(z, 0) if kernel.keeps_nan else np.fmax(z, 0)
    if value & 32:  # GELU
        if value & 128:
            D.like(e.EPILOGUE_AUX_POINTER, e.EPILOGUE_AUX_LD).store(z)
        z = gelu(z)
    if value & 8:  # DRELU
        z = z * read_bits(e, m, n, kernel.bits)
    if value & 64:  # DGELU
        z = z * gelu_slope(D.like(e.EPILOGUE_AUX_POINTER, e.EPILOGUE_AUX_LD).numbers())
    if value & 16:  # BGRAD: of the rows of D
        D.vector(e, m).store(z.sum(axis=1, keepdims=True))
    if value & 256:  # BGRADA: "the number of rows of the matrix D. The reduction happens over the GEMM's k"
        D.vector(e, m).store(op_a.sum(axis=1, keepdims=True))
    if value & 512:  # BGRADB: "the number of columns of the matrix D"
        D.vector(e, n).store(op_b.sum(axis=0)[:, None])
    return z


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def gelu_slope(z):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2)


def raw(pointer, count, dtype):
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(pointer), dtype)


def bit_columns(e, n):
    assert e.EPILOGUE_AUX_LD % 128 == 0
    return raw(e.EPILOGUE_AUX_POINTER, n * e.EPILOGUE_AUX_LD // 8, np.uint8).reshape(n, -1)


def write_bits(e, mask, order):
    m, n = mask.shape
    assert e.EPILOGUE_AUX_LD >= m
    packed = np.packbits(mask.T, axis=1, bitorder="big" if order == "big" else "little")
    columns = bit_columns(e, n)
    columns[:, : packed.shape[1]] = packed
    columns[...] = in_order(columns, order)


def read_bits(e, m, n, order):
    return np.unpackbits(in_order(bit_columns(e, n), order), axis=1, bitorder="big" if order == "big" else "little")[
        :, :m
    ].T


def in_order(columns, order):
    """The bytes of a mask, for "words" with those of each word backwards."""
    return columns.reshape(len(columns), -1, 4)[:, :, ::-1].reshape(columns.shape) if order == "words" else columns


def nth(i, layout, pointer):
    """Matrix i of a stack: "the stride (in elements) to the next matrix for the strided batch operation"."""
    size = {0: 4, 1: 8, 2: 2, 14: 2}[layout.TYPE]
    one = SimpleNamespace(**vars(layout) | {"BATCH_COUNT": 1, "STRIDED_BATCH_OFFSET": 0})
    return Matrix(one, pointer + i * layout.STRIDED_BATCH_OFFSET * size)


class Matrix:
    """Column-major memory at an address, as a layout descriptor says."""

    def __init__(self, layout, pointer):
        assert layout.ORDER == 0 and layout.BATCH_COUNT == 1 and layout.LD >= layout.ROWS >= 1
        self.layout, self.bfloat16 = layout, layout.TYPE == 14
        dtype = np.dtype({0: "f4", 1: "f8", 2: "f2", 14: "u2"}[layout.TYPE])
        flat = raw(pointer, (layout.COLS - 1) * layout.LD + layout.ROWS, dtype)
        strides = (dtype.itemsize, layout.LD * dtype.itemsize)
        self.memory = np.lib.stride_tricks.as_strided(flat, (layout.ROWS, layout.COLS), strides)

    def numbers(self):
        if self.bfloat16:
            return (self.memory.astype("u4") << 16).view("f4").astype("f8")
        return self.memory.astype("f8")

    def store(self, numbers):
        if self.bfloat16:  # to the nearest, ties to even; NaN is none
            bits = np.ascontiguousarray(numbers, "f4").view("u4")
            numbers = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        self.memory[...] = numbers

    def like(self, pointer, ld):
        assert ld % 8 == 0
        return Matrix(SimpleNamespace(**vars(self.layout) | {"LD": ld}), pointer)

    def vector(self, e, rows):
        """Bias or bias gradient: of D's type, unless "the type of bias or bias gradient vector" says another."""
        kind = self.layout.TYPE if e.BIAS_DATA_TYPE < 0 else e.BIAS_DATA_TYPE
        one = {"TYPE": kind, "ROWS": rows, "COLS": 1, "LD": rows}
        return Matrix(SimpleNamespace(**vars(self.layout) | one), e.BIAS_POINTER)

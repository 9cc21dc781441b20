"""Description of a matrix product for cuBLAS: layouts, epilogues, and checks of the operands.

Rows and columns. Our matrices lie in memory row by row, and cuBLAS reads memory column by column. The same
memory read the other way is the transposed matrix, so nothing is moved:

    (1)  Y = X W                X (M, K), W (K, N), Y (M, N), row by row
    (2)  Yᵀ = Wᵀ Xᵀ             the same numbers, column by column
    (3)  D = op(A) op(B)        A is the memory of W, B of X, D of Y; in cuBLAS's letters m = N, n = M, k = K

and cuBLAS reads the memory of one of our operands Z (R, C) as

    (4)  Zᵀ (C, R), ld = row stride, op = N               if Z lies row by row
    (5)  Z (R, C), ld = column stride, op = T gives Zᵀ    if Z is a transposed view

    y  = x W       A = W  by (4)   B = x  by (4)
    dW = xᵀ dy     A = dy by (4)   B = xᵀ by (5)
    dx = dy Wᵀ     A = Wᵀ by (5)   B = dy by (4)

Stacks. a (S, M, K), b (S, K, N) and out (S, M, N) are S products, (3) of each, one stride from matrix to matrix in each
of the three. The matrices may lie between one another, as heads of attention in (B, T, H, d) do; those of `out` must
have no number in common.

Epilogues, in the letters of `gemm(a, b, out)`: a (M, K), b (K, N), out (M, N), z = a b, bias (N,). Stacks have none.

    (6)   bias            out = z + bias
    (7)   relu_bias       out = max(z + bias, 0)
    (8)   relu_aux_bias   the same, and aux = one bit for each number of out: was it positive
    (9)   gelu_bias       out = gelu(z + bias), the one with tanh
    (10)  gelu_aux_bias   the same, and aux = z + bias
    (11)  drelu           out = z · aux                   aux from (8)
    (12)  drelu_bgrad     the same, and bias_gradient (N,) = Σ_M out
    (13)  dgelu           out = z · gelu'(aux)            aux from (10)
    (14)  dgelu_bgrad     the same, and bias_gradient (N,) = Σ_M out
    (15)  bgrada          out = z, and bias_gradient (N,) = Σ_K b: dW and db in one call (its A is our b)
    (16)  bgradb          out = z, and bias_gradient (M,) = Σ_K a

cuBLAS's ReLU may turn NaN into 0, where `numpy.maximum` keeps it, and its mask may count 0 as positive: see
`cublaslt_choice`.

Enum values: cublasLt.h of cuBLAS 12.9 and 13.10, which agree in all that stands here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import GpubpError


class CublasLtUnavailable(GpubpError, RuntimeError):
    """This product can't be had from cublasLt, and the message says why; the caller takes the plain product.

    >>> raise CublasLtUnavailable("libcublasLt was not found")
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.CublasLtUnavailable: libcublasLt was not found
    """


class Refused(CublasLtUnavailable):
    """The same request would be refused again, so the refusal is kept.

    >>> issubclass(Refused, CublasLtUnavailable)
    True
    """


class Epilogue(NamedTuple):
    """One of (6) to (16). aux: "", "bits" or "numbers"; gradient: "" or the side of out it is as long as."""

    value: int
    bias: bool = False
    aux: str = ""
    writes_aux: bool = False
    gradient: str = ""

    @property
    def is_backward(self) -> bool:
        """Whether it belongs to the backward pass; cuBLAS has none of these for K = 1."""
        return bool(self.gradient) or (bool(self.aux) and not self.writes_aux)


EPILOGUES: dict[str | None, Epilogue] = {
    None: Epilogue(1),
    "bias": Epilogue(4, bias=True),
    "relu_bias": Epilogue(6, bias=True),
    "relu_aux_bias": Epilogue(134, bias=True, aux="bits", writes_aux=True),
    "gelu_bias": Epilogue(36, bias=True),
    "gelu_aux_bias": Epilogue(164, bias=True, aux="numbers", writes_aux=True),
    "drelu": Epilogue(136, aux="bits"),
    "drelu_bgrad": Epilogue(152, aux="bits", gradient="N"),
    "dgelu": Epilogue(192, aux="numbers"),
    "dgelu_bgrad": Epilogue(208, aux="numbers", gradient="N"),
    "bgrada": Epilogue(256, gradient="N"),
    "bgradb": Epilogue(512, gradient="M"),
}


def aux_shape(epilogue: str, shape: tuple[int, int], dtype: Any) -> tuple[tuple[int, int], Any]:
    """Shape and dtype of the aux array for an out of `shape` and `dtype`; only cuBLAS reads what it holds.

    For ReLU one bit a number, rows padded to 128 bits; for GELU numbers of out's dtype, rows padded to 8.
    Raises CublasLtUnavailable for an epilogue without one.

    >>> aux_shape("relu_aux_bias", (32, 200), "float32")
    ((32, 32), 'uint8')
    >>> aux_shape("gelu_aux_bias", (32, 201), "float32")
    ((32, 208), 'float32')
    """
    rows, cols = shape
    kind = EPILOGUES[epilogue].aux if epilogue in EPILOGUES else ""
    if not kind:
        raise CublasLtUnavailable(f"the epilogue {epilogue!r} has no aux array")
    return ((rows, -(-cols // 128) * 16), "uint8") if kind == "bits" else ((rows, -(-cols // 8) * 8), dtype)


class Layout(NamedTuple):
    """A matrix as cuBLAS reads its memory, column by column: (4), or (5) where transposed.

    matrices: how many, if it is a stack. offset: numbers from one to the next.

    >>> Layout(rows=4, cols=3, ld=6, transposed=False).span  # from the first number to the last
    16
    """

    rows: int
    cols: int
    ld: int
    transposed: bool
    matrices: int = 1
    offset: int = 0

    @property
    def span(self) -> int:
        """How many numbers lie from the first to the last, both counted."""
        return (self.matrices - 1) * self.offset + self.span_of_one

    @property
    def span_of_one(self) -> int:
        """Those of one matrix."""
        return (self.cols - 1) * self.ld + self.rows

    @property
    def overlaps(self) -> bool:
        """Whether matrices of the stack may have numbers in common: they have none where each begins behind the one
        before, or all lie side by side in one row."""
        side_by_side = self.offset >= self.rows and (self.matrices - 1) * self.offset + self.rows <= self.ld
        return self.matrices > 1 and self.offset < self.span_of_one and not side_by_side


class Operand(NamedTuple):
    """All of an array but its address.

    strides: in bytes, as NumPy's and CuPy's are.
    alignment: the power of two that divides the address, of each matrix of a stack, at most 256; 0 if it is 0.

    >>> import numpy as np
    >>> W = Operand((3, 4), (16, 4), np.dtype("float32"), 0, 256)
    >>> W.layout("W")  # row by row
    Layout(rows=4, cols=3, ld=4, transposed=False, matrices=1, offset=0)
    >>> W._replace(shape=(4, 3), strides=(4, 16)).layout("W.T")  # its transposed view: the same memory
    Layout(rows=4, cols=3, ld=4, transposed=True, matrices=1, offset=0)
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any
    device: int
    alignment: int

    def layout(self, name: str) -> Layout:
        """How cuBLAS reads this matrix, or stack of them; refused if no leading dimension describes it."""
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise Refused(
                f"{name} must be a matrix with at least one row and column, or a stack; its shape is {self.shape}"
            )
        (r, c), (s, t) = self.shape[-2:], (stride / self.dtype.itemsize for stride in self.strides[-2:])
        if (c == 1 or t == 1) and (r == 1 or (s >= c and s == int(s))):
            layout = Layout(c, r, int(s) if r > 1 else c, False)  # (4)
        elif (r == 1 or s == 1) and (c == 1 or (t >= r and t == int(t))):
            layout = Layout(r, c, int(t) if c > 1 else r, True)  # (5)
        else:
            raise Refused(f"{name} {self.shape} must lie row by row or be a transposed view; {self._strides}")
        if len(self.shape) == 3 and self.shape[0] > 1:
            offset = self.strides[0] / self.dtype.itemsize
            if offset != int(offset) or offset < 0:
                raise Refused(f"{name} {self.shape} must go from matrix to matrix by whole numbers; {self._strides}")
            layout = layout._replace(matrices=self.shape[0], offset=int(offset))
        if layout.span >= 2**31:
            raise Refused(f"{name} {self.shape} spans 2³¹ numbers or more, and some cuBLAS fail there")
        return layout

    def check(self, name: str, shape: tuple[int, ...], dtype: Any) -> int:
        """Refuse an array that is not just so and contiguous; give its bytes.

        Kernels read bias, aux and bias gradient 16 bytes at a time, and a misaligned read ends the process.
        """
        if self.shape != shape or str(self.dtype) != str(dtype):
            raise Refused(f"{name} must be {dtype} {shape}; it is {self.dtype} {self.shape}")
        step = self.dtype.itemsize
        for size, stride in zip(reversed(shape), reversed(self.strides), strict=True):
            if size > 1 and stride != step:
                raise Refused(f"{name} {shape} must be contiguous; {self._strides}")
            step *= size
        if self.alignment < 16:
            raise Refused(f"{name} must start at an address that 16 divides; {self.alignment} divides this one")
        return int(step)

    @property
    def _strides(self) -> str:
        return f"its strides are {self.strides} bytes; copy it into a contiguous array"


_OUTPUTS = {  # dtype of a and b -> what out may be
    "float32": ("float32",),
    "float64": ("float64",),
    "float16": ("float16", "float32"),
    "bfloat16": ("bfloat16", "float32"),
}


class Request(NamedTuple):
    """One kind of product: everything about a call but its addresses and its stream. It keys the plans.

    >>> import numpy as np
    >>> f4 = np.dtype("float32")
    >>> x, W, y = (Operand((r, c), (4 * c, 4), f4, 0, 256) for r, c in ((32, 784), (784, 10), (32, 10)))
    >>> Request(x, W, y).check(device=0)[1]  # bytes from the first to the last number of each operand
    (100352, 31360, 1280, 0, 0, 0)
    >>> Request(x, W._replace(shape=(783, 10)), y).check(device=0)
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.Refused: a (32, 784) times b (783, 10) does not go into out (32, 10)
    """

    a: Operand
    b: Operand
    out: Operand
    bias: Operand | None = None
    aux: Operand | None = None
    bias_gradient: Operand | None = None
    epilogue: str | None = None
    compute: str = "float32"
    accumulate: bool = False

    def check(self, device: int) -> tuple[tuple[Layout, Layout, Layout], tuple[int, ...]]:
        """Layouts of a, b, out, and the bytes that each operand spans (0 if there is none).

        Refuses whatever cuBLAS would misread, or read beyond: dtypes, shapes, strides, alignment, device.
        """
        e = self._check_words()
        a, b, out = self.a, self.b, self.out
        operands = dict(zip(self._fields, self[:6], strict=False))
        for name, x in operands.items():
            if x is not None and x.device != device:
                raise Refused(f"{name} is on device {x.device}, and this cublasLt works on device {device}")
            if x is not None and not x.alignment:
                raise Refused(f"{name} {x.shape} has no memory: its address is 0")
        if a.dtype != b.dtype or str(out.dtype) not in _OUTPUTS.get(str(a.dtype), ()):
            raise Refused(
                f"a is {a.dtype}, b {b.dtype}, out {out.dtype}; a and b must be both float32, float64, "
                "float16 or bfloat16, and out the same (or float32, where they have 16 bits)"
            )
        layouts = a.layout("a"), b.layout("b"), out.layout("out")
        (m, k), n = a.shape[-2:], b.shape[-1]
        if b.shape[-2] != k or out.shape != (*a.shape[:-2], m, n) or b.shape[:-2] != a.shape[:-2]:
            raise Refused(f"a {a.shape} times b {b.shape} does not go into out {out.shape}")
        if layouts[2].transposed:
            raise Refused(f"out {out.shape} must lie row by row, and is a transposed view")
        if layouts[2].overlaps:
            raise Refused(f"out {out.shape} must be of matrices that share no number; {out._strides}")
        if len(out.shape) == 3 and self.epilogue is not None:
            raise Refused(f"stacks have no epilogue, and {self.epilogue!r} was asked for")
        if min(a.alignment, b.alignment) < a.dtype.itemsize or out.alignment < out.dtype.itemsize:
            raise Refused("a, b and out must start at multiples of their numbers' bytes")
        if e.is_backward and k == 1:
            raise Refused(f"cublasLt has no {self.epilogue!r} for an inner size of 1")

        wanted: dict[str, tuple[tuple[int, ...], Any]] = {}
        if e.bias:
            wanted["bias"] = (n,), out.dtype
        if e.aux:
            wanted["aux"] = aux_shape(str(self.epilogue), (m, n), out.dtype)
        if e.gradient:
            wanted["bias_gradient"] = (n if e.gradient == "N" else m,), out.dtype
        spans = [layout.span * x.dtype.itemsize for layout, x in zip(layouts, (a, b, out), strict=True)]
        for name in ("bias", "aux", "bias_gradient"):
            x = operands[name]
            if (x is None) == (name in wanted):
                raise Refused(f"the epilogue {self.epilogue!r} {'needs' if x is None else 'has no'} {name}")
            spans.append(0 if x is None else x.check(name, *wanted[name]))
        return layouts, tuple(spans)

    def _check_words(self) -> Epilogue:
        if self.epilogue not in EPILOGUES:
            raise Refused(f"there is no epilogue {self.epilogue!r}, but {', '.join(map(str, EPILOGUES))}")
        if self.compute not in ("float32", "tf32"):
            raise Refused(f"compute must be 'float32' or 'tf32', not {self.compute!r}")
        if self.accumulate and self.epilogue not in (None, "bias"):
            raise Refused(f"accumulate goes with no epilogue or with 'bias', not with {self.epilogue!r}")
        return EPILOGUES[self.epilogue]

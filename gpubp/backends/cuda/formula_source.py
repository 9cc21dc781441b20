"""CUDA C of a formula: one kernel with one line for each value.

A formula without rows (see `gpubp.formula`) becomes a loop over elements. All loads of an element come before its
stores, so an output may be one of the inputs:

    extern "C" __global__ void ReLU_df(const unsigned int n, real* o0, const real* a1, const real* a2)
    {
        for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
            const real v1 = a1[i];
            const real v2 = a2[i];
            const bool v3 = v1 > 0.0f;
            const real v4 = v2 * v3;
            o0[i] = v4;
        }
    }

One with `row_sum` or `row_max` is a loop over rows, with as many passes over a row as sums depend on sums. What a pass
needs of the elements it computes again: reading a row from the cache once more is cheaper than keeping it.

Compiled by OPTIONS, which forbid a product and a sum to melt into one rounding, + - * / √, erf and erfc give the bits
that they have on the CPU; exp, log and their kin may differ in the last one or two. A row is summed in an order that
depends on its length alone. Subnormal float32 numbers, read or computed, are 0 here and not with NumPy: CuPy appends
-ftz=true to the options of every kernel, and the last one counts. (By CuPy's source and what NVRTC makes of it; not
tried on a GPU.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ...formula import OPERATIONS, Number, Program, Step
from ...formula.elementary import OWN
from ...formula.program import Operation

OPTIONS = ("-std=c++17", "-fmad=false")
THREADS = 256  # a block's

C_TYPES = {
    "float32": "float", "float64": "double", "bool": "bool", "int8": "signed char", "uint8": "unsigned char",
    "int16": "short", "uint16": "unsigned short", "int32": "int", "int64": "long long",
}  # fmt: skip
_TYPES = {**C_TYPES, "real": "real"}


# erf and erfc are functions of `formula/elementary`, that stand before the kernel
SPELLED = MappingProxyType(OPERATIONS | {name: Operation(name, f"exact_{name}({{0}})") for name in OWN})


class Kind(NamedTuple):
    """How a kernel reads or writes one array, against the shape of the outputs.

    how: "full" element by element; "number" one number in the kernel's arguments; "single" one number in memory;
    "row" again for every row of trailing axes; "column" one for each of the leading axes; "strided" whatever else
    broadcasts, and "strided column" what of that has one number for all of the last axis. type: of its elements,
    "real", "bool", "int32" or "int64". axes: how many axes index a strided array.

    >>> Kind("row").parameters("a0")
    ['const real* a0', 'const {index} n_a0']
    """

    how: str
    type: str = "real"
    axes: int = 0

    def parameters(self, name: str, const: str = "const ") -> list[str]:
        """The kernel's parameters for this array; `{index}` stands for the index type."""
        c = _TYPES[self.type]
        if self.how == "number":
            return [f"const {c} {name}"]
        parameters = [f"{const}{c}* {name}"]
        if self.how in ("row", "column"):
            parameters.append(f"const {{index}} n_{name}")
        if self.how in ("strided", "strided column"):
            parameters += [f"const {{index}} n{k}_{name}" for k in range(1, self.axes)]
            parameters += [f"const long long s{k}_{name}" for k in range(self.axes)]
        return parameters

    def element(self, name: str) -> str:
        """The array's element that belongs to element i of the outputs."""
        match self.how:
            case "number":
                return name
            case "single":
                return f"{name}[0]"
            case "row":
                return f"{name}[i % n_{name}]"
            case "column":
                return f"{name}[i / n_{name}]"
            case "strided" | "strided column":
                return f"{name}[{' + '.join(self._offsets(name))}]"
        return f"{name}[i]"

    def _offsets(self, name: str) -> list[str]:
        """With i = ((j0 n1 + j1) n2 + j2) ...: the terms jk sk, last axis first."""
        terms, rest = [], "i"
        for k in range(self.axes - 1, 0, -1):
            terms.append(f"{rest} % n{k}_{name} * s{k}_{name}")
            rest = f"{rest} / n{k}_{name}"
        return [*terms, f"{rest} * s0_{name}"]


def prelude(dtype: str) -> str:
    """What every kernel source begins with: the real type, and NumPy's rules for what C leaves open.

    >>> prelude("float64").splitlines()[0]
    'typedef double real;'
    """
    return _PRELUDE.replace("REAL", "double" if dtype == "float64" else "float")


_PRELUDE = """\
typedef REAL real;

static __device__ real larger(real a, real b) { return a > b || a != a ? a : b; }
static __device__ real smaller(real a, real b) { return a < b || a != a ? a : b; }
static __device__ real sign(real a) { return a > 0 ? real(1) : a < 0 ? real(-1) : a == 0 ? real(0) : a; }

"""


def literal(value: float, dtype: str) -> str:
    """A constant in C, exactly NumPy's: decimal where that is short and exact, else hexadecimal.

    >>> literal(0.5, "float32"), literal(0.1, "float32")
    ('0.5f', '0x1.99999a0000000p-4f')
    >>> literal(float("inf"), "float64")
    '(real(1) / real(0))'
    """
    number = float(np.dtype(dtype).type(value))
    if math.isnan(number):
        return "(real(0) / real(0))"
    if math.isinf(number):
        return f"({'-' if number < 0 else ''}real(1) / real(0))"
    suffix = "f" if dtype == "float32" else ""
    if (number * 1024).is_integer() and abs(number) < 1e6:
        text = f"{number!r}{suffix}"
    else:
        text = f"{number.hex()}{suffix}"
    return f"({text})" if text.startswith("-") else text  # or a - -1 would be a decrement


class Values:
    """The lines that compute a program's values, by the spellings of its `operations`.

    varies: whether a value is another one for each element of a row. stage: how many sums over the row it waits for.
    """

    def __init__(
        self, program: Program, dtype: str, inputs: tuple[Kind, ...], operations: Mapping[str, Operation] = SPELLED
    ) -> None:
        self.program, self.dtype, self.kinds, self.operations = program, dtype, inputs, operations
        self.varies = [kind.how in ("full", "row", "strided") for kind in inputs]
        self.stage = [0] * program.inputs
        for step in program.steps:
            read = [o for o in step.operands if isinstance(o, int)]
            reduces = operations[step.operation].reduces
            self.varies.append(not reduces and any(self.varies[o] for o in read))
            self.stage.append(max(self.stage[o] for o in read) + reduces)

    def operand(self, value: int | Number) -> str:
        return literal(value, self.dtype) if isinstance(value, Number) else f"v{value}"

    def reduces(self, value: int) -> bool:
        return value >= self.program.inputs and self.operations[self._step(value).operation].reduces

    def _step(self, value: int) -> Step:
        return self.program.steps[value - self.program.inputs]

    def line(self, value: int) -> str:
        """The line that declares one value."""
        if value < self.program.inputs:
            kind = self.kinds[value]
            c = "real" if kind.type in ("float32", "float64") else _TYPES[kind.type]
            return f"const {c} v{value} = {kind.element(f'a{value}')};"
        step = self._step(value)
        operation = self.operations[step.operation]
        c = "bool" if operation.gives_bool else "real"
        return f"const {c} v{value} = {operation.c.format(*map(self.operand, step.operands))};"

    def needed(self, wanted: Iterable[int | Number], inside: Callable[[int], bool]) -> list[int]:
        """The values that computing `wanted` takes, among those that are `inside`, in the program's order."""
        todo = [o for o in wanted if isinstance(o, int) and inside(o)]
        found: set[int] = set()
        while todo:
            value = todo.pop()
            if value in found:
                continue
            found.add(value)
            if value >= self.program.inputs:
                todo += [o for o in self._step(value).operands if isinstance(o, int) and inside(o)]
        return sorted(found)

    def operands(self, values: Iterable[int]) -> list[int | Number]:
        """What these results of operations are computed from."""
        return [o for value in values for o in self._step(value).operands]


def elementwise(
    program: Program,
    name: str,
    dtype: str,
    inputs: tuple[Kind, ...],
    outs: tuple[Kind, ...],
    wide: bool = False,
    operations: Mapping[str, Operation] = SPELLED,
) -> str:
    """The kernel of a formula without rows; inputs that it does not read are left out of the parameters.

    wide: whether indices need 64 bits. operations: how each is written.

    >>> from gpubp.formula import trace
    >>> print(elementwise(trace(lambda x: x * x + 1.0, 1), "f", "float32", (Kind("full"),), (Kind("full"),)))
    extern "C" __global__ void f(const unsigned int n, real* o0, const real* a0)
    {
        for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
            const real v0 = a0[i];
            const real v1 = v0 * v0;
            const real v2 = v1 + 1.0f;
            o0[i] = v2;
        }
    }
    <BLANKLINE>
    """
    index, values = index_type(wide), Values(program, dtype, inputs, operations)
    used = values.needed(program.outputs, lambda value: True)
    once = [k for k in values.program.read() if inputs[k].how in ("number", "single")]
    body = [values.line(value) for value in used if value not in once]
    body += stores(program, values, outs, range(len(outs)))
    block = f"{'(unsigned long long)' if wide else ''}blockDim.x"
    return kernel(
        name,
        [f"const {index} n", *parameters(values, inputs, outs, index)],
        [
            *(values.line(value) for value in once),
            f"for ({index} i = blockIdx.x * {block} + threadIdx.x; i < n; i += gridDim.x * {block}) {{",
            *indent(body),
            "}",
        ],
    )


def over_rows(
    program: Program, name: str, dtype: str, inputs: tuple[Kind, ...], outs: tuple[Kind, ...], wide: bool = False
) -> str:
    """The kernel of a formula with sums over rows of n elements; a "column" among the outputs has one number a row.

    blockDim = (T, THREADS / T), T a power of two: T threads share a row. Raises ValueError where a sum is over
    something that is the same all along the row.

    >>> from gpubp.formula import row_sum, trace
    >>> program = trace(lambda x: x / row_sum(x), 1)
    >>> print(over_rows(program, "f", "float32", (Kind("full"),), (Kind("full"),)))
    extern "C" __global__ void f(const unsigned int rows, const unsigned int n, real* o0, const real* a0)
    {
        __shared__ real memory[256];
        for (unsigned int first = blockIdx.x * blockDim.y; first < rows; first += gridDim.x * blockDim.y) {
            const unsigned int r = first + threadIdx.y;
            const unsigned int end = r < rows ? n : 0;
            real v1 = real(0);
            for (unsigned int k = threadIdx.x; k < end; k += blockDim.x) {
                const unsigned int i = r * n + k;
                const real v0 = a0[i];
                v1 = v1 + v0;
            }
            v1 = row_sum(v1, memory);
            for (unsigned int k = threadIdx.x; k < end; k += blockDim.x) {
                const unsigned int i = r * n + k;
                const real v0 = a0[i];
                const real v2 = v0 / v1;
                o0[i] = v2;
            }
        }
    }
    <BLANKLINE>
    """
    index, values = index_type(wide), Values(program, dtype, inputs)
    varies, stage = values.varies, values.stage
    live = values.needed(program.outputs, lambda value: True)
    once = [k for k in live if k < program.inputs and inputs[k].how in ("number", "single")]

    def loop(wanted: Iterable[int | Number], then: list[str]) -> list[str]:
        lines = [values.line(v) for v in values.needed(wanted, lambda v: varies[v])]
        body = [f"const {index} i = r * n + k;", *lines, *then]
        return [f"for ({index} k = threadIdx.x; k < end; k += blockDim.x) {{", *indent(body), "}"]

    def of_the_row(s: int) -> list[str]:
        same = [v for v in live if stage[v] == s and not varies[v] and not values.reduces(v) and v not in once]
        return [values.line(v) for v in same]

    body = [f"const {index} r = first + threadIdx.y;", f"const {index} end = r < rows ? n : 0;"]
    gaps = any(kind.how == "strided column" for kind in outs)
    if gaps or any(inputs[k].how.endswith("column") for k in live if k < program.inputs):
        body.append(f"const {index} i = (r < rows ? r : rows - 1) * n;")
    body += of_the_row(0)
    for s in range(1, max(stage) + 1):
        sums = [v for v in live if values.reduces(v) and stage[v] == s]
        operands = values.operands(sums)
        if not all(isinstance(o, int) and varies[o] for o in operands):
            raise ValueError(f"{name} sums over a row what is the same all along it")
        joins = [OPERATIONS[program.steps[v - program.inputs].operation] for v in sums]
        body += [f"real v{v} = {EMPTY[j.ufunc]};" for v, j in zip(sums, joins, strict=True)]
        parts = zip(sums, joins, operands, strict=True)
        body += loop(operands, [f"v{v} = {j.c.format(f'v{v}', values.operand(o))};" for v, j, o in parts])
        body += [f"v{v} = {j.ufunc}(v{v}, memory);" for v, j in zip(sums, joins, strict=True)]
        body += of_the_row(s)
    full = [j for j, kind in enumerate(outs) if not kind.how.endswith("column")]
    if full:
        body += loop([program.outputs[j] for j in full], stores(program, values, outs, full))
    columns = columns_of(program, values, outs)
    if columns:
        body += ["if (end && threadIdx.x == 0) {", *indent(columns), "}"]
    columnless = tuple(Kind("full", kind.type) if kind.how == "column" else kind for kind in outs)
    return kernel(
        name,
        [f"const {index} rows", f"const {index} n", *parameters(values, inputs, columnless, index)],
        [
            f"__shared__ real memory[{THREADS}];",
            *(values.line(value) for value in once),
            f"for ({index} first = blockIdx.x * blockDim.y; first < rows; first += gridDim.x * blockDim.y) {{",
            *indent(body),
            "}",
        ],
    )


EMPTY = {"row_sum": "real(0)", "row_max": "-real(1) / real(0)"}

_ROW_FUNCTION = """\
// {0} of v over the T threads of this row of threads, the same to all of them.
static __device__ real {1}(real v, real* memory)
{{
    real* mine = memory + threadIdx.y * blockDim.x;
    mine[threadIdx.x] = v;
    __syncthreads();
    for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {{
        if (threadIdx.x < half) {{
            const real a = mine[threadIdx.x], b = mine[threadIdx.x + half];
            mine[threadIdx.x] = {2};
        }}
        __syncthreads();
    }}
    v = mine[0];
    __syncthreads();
    return v;
}}

"""

ROW_FUNCTIONS = "".join(
    _ROW_FUNCTION.format(what, name, OPERATIONS[name].c.format("a", "b"))
    for name, what in (("row_sum", "The sum"), ("row_max", "The largest"))
)


def index_type(wide: bool) -> str:
    """What indices are: 32 bits divide in a fraction of the time that 64 take.

    >>> index_type(wide=False)
    'unsigned int'
    """
    return "unsigned long long" if wide else "unsigned int"


def parameters(values: Values, inputs: tuple[Kind, ...], outs: tuple[Kind, ...], index: str) -> list[str]:
    """Those of a kernel, for its outputs and then for the inputs that it reads."""
    of_outs = [p for j, kind in enumerate(outs) for p in kind.parameters(f"o{j}", const="")]
    of_inputs = [p for k in values.program.read() for p in inputs[k].parameters(f"a{k}")]
    return [p.format(index=index) for p in of_outs + of_inputs]


def stores(program: Program, values: Values, outs: tuple[Kind, ...], which: Iterable[int]) -> list[str]:
    """The lines that write these outputs."""
    return [f"{outs[j].element(f'o{j}')} = {values.operand(program.outputs[j])};" for j in which]


def columns_of(program: Program, values: Values, outs: tuple[Kind, ...]) -> list[str]:
    """The lines that write the outputs with one number for each row r, which begins at element i."""
    places = [(j, f"o{j}[r]" if kind.how == "column" else kind.element(f"o{j}")) for j, kind in enumerate(outs)]
    return [f"{at} = {values.operand(program.outputs[j])};" for j, at in places if outs[j].how.endswith("column")]


def kernel(name: str, parameters: list[str], body: list[str]) -> str:
    """The text of a kernel."""
    lines = [f'extern "C" __global__ void {name}({", ".join(parameters)})', "{", *indent(body), "}"]
    return "\n".join(lines) + "\n"


def indent(lines: Iterable[str]) -> list[str]:
    """The lines, moved to the right."""
    return [f"    {line}" for line in lines]

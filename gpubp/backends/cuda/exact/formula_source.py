"""CUDA C of formulas in exact numerics: sums over rows in the order of `order.py`, and functions of own formulas.

A thread sums blocks of a row, one after the other: neighbouring blocks, a power of two of them, and as few as there are
threads. A tree over the threads adds what they have. The largest of a row is found in the same way, so that of +0 and
-0 it is the last one, and NaN stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from ....formula import OPERATIONS, Number, Program
from ....formula.elementary import NAMES, c_functions
from ....formula.program import Operation
from ..formula_source import (
    EMPTY,
    THREADS,
    Kind,
    Values,
    columns_of,
    elementwise,
    indent,
    index_type,
    kernel,
    parameters,
    stores,
)
from .sources import MERGES

_BEYOND = (  # what the array library has and formulas have not
    Operation("floor", "floor({0})"),
    Operation("ceil", "ceil({0})"),
    Operation("trunc", "trunc({0})"),
    Operation("rint", "rint({0})"),
    Operation("copysign", "copysign({0}, {1})"),
    Operation("not_equal", "{0} != {1}", gives_bool=True),
)
EXACT_OPERATIONS = MappingProxyType(
    OPERATIONS
    | {name: Operation(name, f"exact_{name}({{0}})") for name in NAMES}
    | {operation.ufunc: operation for operation in _BEYOND}
)

_JOIN = """\
// {0} of v over the T threads of this row of threads, neighbours first, the same to all of them.
static __device__ real {1}(real v, real* memory, unsigned int parts)
{{
    real* mine = memory + threadIdx.y * blockDim.x;
    mine[threadIdx.x] = v;
    __syncthreads();
    for (unsigned int step = 1; step < blockDim.x; step *= 2) {{
        if (threadIdx.x % (2 * step) == 0 && threadIdx.x + step < parts) {{
            const real a = mine[threadIdx.x], b = mine[threadIdx.x + step];
            mine[threadIdx.x] = {2};
        }}
        __syncthreads();
    }}
    v = mine[0];
    __syncthreads();
    return v;
}}

"""


def source(
    program: Program, name: str, dtype: str, inputs: tuple[Kind, ...], outs: tuple[Kind, ...], wide: bool, reduces: bool
) -> str:
    """The kernel of a formula, and before it the functions that it calls; its parameters are those of
    `formula_source.elementwise` and `over_rows`.

    >>> from gpubp.formula import exp, trace
    >>> text = source(trace(exp, 1), "f", "float32", (Kind("full"),), (Kind("full"),), False, False)
    >>> "exact_exp(v0)" in text
    True
    """
    before = c_functions(program, dtype)
    if not reduces:
        return before + elementwise(program, name, dtype, inputs, outs, wide, EXACT_OPERATIONS)
    joins = {step.operation for step in program.steps if OPERATIONS[step.operation].reduces}
    before += MERGES
    for join in sorted(joins):
        what = "The sum" if join == "row_sum" else "The largest"
        before += _JOIN.format(what, join, OPERATIONS[join].c.format("a", "b"))
    return before + _over_rows(program, name, dtype, inputs, outs, wide)


def _over_rows(
    program: Program, name: str, dtype: str, inputs: tuple[Kind, ...], outs: tuple[Kind, ...], wide: bool
) -> str:
    """blockDim = (T, THREADS / T), T a power of two: T threads share a row."""
    index, values = index_type(wide), Values(program, dtype, inputs, EXACT_OPERATIONS)
    varies, stage = values.varies, values.stage
    live = values.needed(program.outputs, lambda value: True)
    once = [k for k in live if k < program.inputs and inputs[k].how in ("number", "single")]

    def element(wanted: Iterable[int | Number], then: list[str]) -> list[str]:
        return [f"const {index} i = r * n + k;", *map(values.line, values.needed(wanted, lambda v: varies[v])), *then]

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
        parts = list(zip(sums, joins, operands, strict=True))
        empty = {v: EMPTY[j.ufunc] for v, j, _ in parts}
        body += [f"real v{v} = {empty[v]}, stack_{v}[24];" for v in sums]
        begins = [f"v{v} = {empty[v]};" for v in sums]
        adds = [f"v{v} = {j.c.format(f'v{v}', values.operand(o))};" for v, j, o in parts]
        merge = [f"v{v} = {j.c.format(f'stack_{v}[top]', f'v{v}')};" for v, j, _ in parts]
        body += [
            f"for (unsigned int b = mine, top = 0; b < mine + own && 64 * ({index})b < end; b++) {{",
            *indent(begins),
            f"    const {index} stop = end - 64 * ({index})b < 64 ? end : 64 * ({index})b + 64;",
            "    #pragma unroll 4",
            f"    for ({index} k = 64 * ({index})b; k < stop; k++) {{",
            *indent(indent(element(operands, adds))),
            "    }",
            "    const bool last = b + 1 == mine + own || b + 1 == blocks;",
            "    for (int more = merges(b - mine, 0, last, true); more > 0; more--) {",
            "        top--;",
            *indent(indent(merge)),
            "    }",
            "    if (!last) {",
            *(f"        stack_{v}[top] = v{v};" for v in sums),
            "        top++;",
            "    }",
            "}",
            *(f"v{v} = {j.ufunc}(v{v}, memory, (blocks + own - 1) / own);" for v, j, _ in parts),
            *of_the_row(s),
        ]
    every = f"for ({index} k = threadIdx.x; k < end; k += blockDim.x) {{"
    full = [j for j, kind in enumerate(outs) if not kind.how.endswith("column")]
    if full:
        lines = element([program.outputs[j] for j in full], stores(program, values, outs, full))
        body += [every, *indent(lines), "}"]
    columns = columns_of(program, values, outs)
    if columns:
        body += ["if (end && threadIdx.x == 0) {", *indent(columns), "}"]
    columnless = tuple(Kind("full", kind.type) if kind.how == "column" else kind for kind in outs)
    return kernel(
        name,
        [f"const {index} rows", f"const {index} n", *parameters(values, inputs, columnless, index)],
        [
            f"__shared__ real memory[{THREADS}];",
            "const unsigned int blocks = (n + 63) / 64;",
            "unsigned int own = 1;  // blocks of a thread",
            "while (own * blockDim.x < blocks) own *= 2;",
            "const unsigned int mine = threadIdx.x * own;",
            *(values.line(value) for value in once),
            f"for ({index} first = blockIdx.x * blockDim.y; first < rows; first += gridDim.x * blockDim.y) {{",
            *indent(body),
            "}",
        ],
    )

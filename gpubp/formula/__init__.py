"""Formulas: elementwise mathematics, written once and computed on every device.

A formula is an ordinary Python function of elementwise arithmetic, as a textbook writes it:

    def f(x):                    # y = x σ(x)
        return x * sigmoid(x)

Called with numbers or arrays it computes. Called by `trace` with symbols it writes itself down as a
`Program`: a list of operations without loops or branches. A backend turns the program into what its device
does best, so that no second version of the formula can ever disagree with the first:

    NumPy     one call an operation, each into a given buffer (`backends/lowering.py`)
    CUDA      one kernel, each value in a register (`backends/cuda/formula_source.py`); each operation's C++ stands in
              `OPERATIONS`

`normal.py` has a short form of Φ, which GELU takes for float32 numbers; a test compares it with the truth.

In exact numerics exp, log, tanh and their kin have the same bits in both (`elementary/`), and erf and erfc, which NumPy
has not, always have.

Beside arithmetic there are `row_sum` and `row_max`, over the last axis, so that a softmax is a formula too. Equal
subexpressions are computed once, arithmetic on constants is done while tracing, and the order of operations is the
one that Python's grammar gives the source line, on every device.
"""

from .functions import (
    absolute,
    cos,
    equal,
    erf,
    erfc,
    exp,
    expm1,
    fmax,
    fmin,
    log,
    log1p,
    maximum,
    minimum,
    row_max,
    row_sum,
    sigmoid,
    sign,
    sin,
    sqrt,
    tanh,
)
from .program import OPERATIONS, Number, Program, Step, trace
from .symbols import FormulaError

__all__ = [
    "OPERATIONS", "FormulaError", "Number", "Program", "Step", "absolute", "cos", "equal", "erf", "erfc", "exp",
    "expm1", "fmax", "fmin", "log", "log1p", "maximum", "minimum", "row_max", "row_sum", "sigmoid", "sign", "sin",
    "sqrt", "tanh", "trace",
]  # fmt: skip

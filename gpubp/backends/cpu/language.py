"""The operations that loops of formulas compute, and their source for Numba."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from ...formula import Program
from ...formula.elementary import OWN, numba_functions

EXACT = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "absolute": "abs({0})",
    "sqrt": "sqrt({0})",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",  # the second of equals, as NumPy takes of 0 and -0
    "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
}


class Language:
    """What loops compute, and how it is written.

    operations: the Python of each. helpers: (their names, the type of numbers) -> source of the functions that they
    call. alone: the operations that are worth a loop by themselves; NumPy's own are as quick.

    >>> ORDINARY.operations["add"], ORDINARY.helpers(("add",), "float32"), ORDINARY.alone
    ('{0} + {1}', '', ('erf', 'erfc'))
    """

    def __init__(
        self,
        operations: Mapping[str, str],
        helpers: Callable[[Sequence[str], str], str] = lambda operations, dtype: "",
        alone: Collection[str] = (),
    ) -> None:
        self.operations, self.helpers, self.alone = operations, helpers, alone

    def pays(self, program: Program) -> bool:
        """Whether a loop pays for whatever else a program has, because an operation of it does alone."""
        return any(step.operation in self.alone for step in program.steps)


ORDINARY = Language(
    EXACT | {name: f"_{name}({{0}})" for name in OWN}, partial(numba_functions, numerics="ordinary"), OWN
)

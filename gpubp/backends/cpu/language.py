"""The operations that loops of formulas compute, and their source for Numba."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    call. alone: whether an operation by itself is worth a loop; NumPy's own are as quick.

    >>> ORDINARY.operations["add"], ORDINARY.helpers(("add",), "float32"), ORDINARY.alone
    ('{0} + {1}', '', False)
    """

    def __init__(
        self,
        operations: Mapping[str, str],
        helpers: Callable[[Sequence[str], str], str] = lambda operations, dtype: "",
        alone: bool = False,
    ) -> None:
        self.operations, self.helpers, self.alone = operations, helpers, alone


ORDINARY = Language(EXACT)

"""The array library of exact numerics: what has the same bits everywhere, and an error in words for all else.

IEEE 754 fixes sums, differences, products, quotients, square roots, comparisons and casts of numbers, and copies and
whole numbers have no rounding. Everything else of NumPy and CuPy depends on the processor, the version or the number of
threads: BLAS, functions such as `exp`, sums, and which zero a maximum of +0 and -0 is. Some of that a backend brings in
an exact form; the rest is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import ExactError
from .recording import VIEWS, RecordedLibrary

ROUNDED_ONCE = {
    "add", "subtract", "multiply", "divide", "true_divide", "sqrt", "square", "absolute", "abs", "fabs", "positive",
    "floor", "ceil", "trunc", "rint", "copysign",
}  # fmt: skip
LOGICAL = {
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
    "logical_not", "isfinite", "isnan", "isinf", "signbit", "any", "all", "argmax", "argmin", "count_nonzero",
    "array_equal",
}  # fmt: skip
BITS = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"}
COPIES = {
    "copyto", "take", "put", "place", "putmask", "fill_diagonal", "concatenate", "stack", "choose", "compress", "where",
    "tile", "repeat", "flip", "roll", "zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like",
    "full_like", "array", "asarray", "ascontiguousarray", "copy", "eye", "arange", "tri", "tril", "triu", "nonzero",
    "flatnonzero", "shape", "ndim", "size", "result_type", "may_share_memory", "shares_memory", "broadcast_arrays",
}  # fmt: skip
EXACT = ROUNDED_ONCE | LOGICAL | BITS | COPIES | VIEWS
INSTEAD = {
    "sums": "be.sum_last, be.sum_rows, or xp.sum with the axes of one sum",
    "products": "be.gemm, be.gemm_over_rows or be.batched_gemm",
    "formulas": "be.apply with a formula of gpubp.formula",
    "draws": "be.random_uniform or be.random_mask",
    "others": "what else xp and be have",
}
KINDS = {
    "dot": "products", "matmul": "products", "einsum": "products", "tensordot": "products", "inner": "products",
    "outer": "products", "vdot": "products", "mean": "sums", "average": "sums", "var": "sums", "std": "sums",
    "cumsum": "sums", "prod": "sums", "cumprod": "sums", "trace": "sums", "nansum": "sums", "trapezoid": "sums",
    "linalg": "products", "random": "draws",
}  # fmt: skip


class ExactLibrary(RecordedLibrary):
    """An array library that offers what is exact alone.

    replaced: by name, what is called in place of the library's own, with its arguments.

    >>> from gpubp.backends import get_backend
    >>> xp = ExactLibrary(np, get_backend("cpu"), {})
    >>> xp.add(1, 2).item()
    3
    >>> xp.einsum("ij->i", np.ones((2, 2)))
    Traceback (most recent call last):
    ...
    gpubp.errors.ExactError: xp.einsum has other last bits on other machines, and numerics="exact" has none of that; ...
    """

    def __init__(self, library: Any, backend: Any, replaced: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(With(library, replaced), backend, {})
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        if isinstance(found, ModuleType) and name != "cuda":  # which tells of the GPU
            raise ExactError(_refusal(f"xp.{name}", name))
        if name in EXACT or name in self._replaced or not callable(found) or isinstance(found, type):
            return super().__getattr__(name)
        whole = super().__getattr__(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not _of_whole_numbers([*args, *kwargs.values()]):
                raise ExactError(_refusal(f"xp.{name}", name))
            return whole(*args, **kwargs)

        setattr(self, name, call)
        return call


class With:
    """A library with other functions in place of some of its own, or beside them.

    >>> With(np, {"exp": abs}).exp(-1.0), With(np, {}).exp is np.exp
    (1.0, True)
    """

    def __init__(self, library: Any, replaced: Mapping[str, Callable[..., Any]]) -> None:
        self._library, self._replaced = library, replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._library, name)


def check_exact(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise ExactError if `function` is NumPy's and not exact: for calls by `be.run`.

    >>> check_exact(np.add, (1.0, 2.0), {})
    >>> check_exact(np.sinh, (1.0,), {})
    Traceback (most recent call last):
    ...
    gpubp.errors.ExactError: numpy.sinh has other last bits on other machines, and ...
    """
    name: str = getattr(function, "__name__", "")
    is_ufunc = isinstance(function, np.ufunc)
    if not is_ufunc and (getattr(function, "__module__", None) or "").split(".")[0] != "numpy":
        of = getattr(function, "__self__", None)  # as np.add.reduce
        if not isinstance(of, np.ufunc):
            return
        name = f"{of.__name__}.{name}"
    if name != "add.at":
        check_name(name, [*args, *kwargs.values()], "numpy")


def check_name(name: str, values: list[Any], library: str) -> None:
    """Raise ExactError if a library's function of that name is not exact for these values.

    >>> check_name("cumsum", [np.arange(3)], "numpy")
    """
    if name not in EXACT and not _of_whole_numbers(values):
        raise ExactError(_refusal(f"{library}.{name}", name.split(".")[0]))


def _of_whole_numbers(values: list[Any]) -> bool:
    """Whether there are arrays among the values, and all hold whole numbers or bools."""
    arrays = [a for a in values if hasattr(a, "dtype")]
    return bool(arrays) and all(a.dtype.kind in "iub" for a in arrays)


def _refusal(shown: str, name: str) -> str:
    elementwise = isinstance(getattr(np, name, None), np.ufunc)
    hint = INSTEAD[KINDS.get(name, "formulas" if elementwise else "others")]
    return f'{shown} has other last bits on other machines, and numerics="exact" has none of that; use {hint}'

"""The arguments of `CublasLt.gemm`, and the plan that it keeps for each kind of product."""

from __future__ import annotations

from typing import Any, NamedTuple

from .cublaslt_library import HeuristicResult


class Plan:
    """A request made ready: descriptors, kernel, and the arguments that stay.

    >>> Plan().own_mask is None  # not tried yet
    True
    """

    __slots__ = ("alpha", "beta", "desc", "layouts", "others", "own_mask", "pointers", "result", "spans", "written")

    desc: int
    layouts: tuple[int, int, int]  # A, B, D; C is D
    result: HeuristicResult  # the kernel
    others: list[HeuristicResult]  # that take its place where it can't be launched
    alpha: int
    beta: int
    spans: tuple[int, ...]  # bytes that a, b, out, bias, aux, bias_gradient span
    written: tuple[int, ...]  # which of these six the call writes
    pointers: tuple[int, ...] | None  # the addresses it was last called with
    own_mask: str | None  # why it can't read a mask of gpubp's own, "" if it can; None if that was not tried

    def __init__(self) -> None:
        self.own_mask = None


class Asked(NamedTuple):
    """What `gemm` is given.

    >>> Asked(stream=None, a=1, b=2, out=3).compute
    'float32'
    """

    stream: Any
    a: Any
    b: Any
    out: Any
    bias: Any = None
    aux: Any = None
    bias_gradient: Any = None
    epilogue: str | None = None
    compute: str = "float32"
    accumulate: bool = False


NAMES = Asked._fields[1:7]  # of the arrays

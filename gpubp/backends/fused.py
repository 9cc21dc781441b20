"""A formula as one loop on the CPU, if Numba is installed (`pip install 'gpubp[fast]'`).

NumPy makes a pass over the arrays for every operation of a formula; a loop compiled by Numba makes one for all:

    def Adam_rule(a0, a1, a2, a3, a4):
        v4 = a4[()]
        for i in range(a0.size):
            v0 = a0[i]
            ...
            v7 = v1 * v4
            ...
            a0[i] = v12

Only operations that IEEE 754 fixes to the last bit are taken (`EXACT`), and no product and sum melt into one rounding,
so a loop has the bits of the passes. That makes it free to choose the moment: compiling takes half a second, and is
put off until the passes have cost as much. Short trainings never wait for it, long ones hardly notice it, and whoever
rents before buying pays at most twice what would have been best. What was compiled is kept on disk for the next time,
in `$GPUBP_CACHE_DIR`, or gpubp's folder among the user's caches. GPUBP_FAST=0 forgoes all this.
"""

from __future__ import annotations

import hashlib
import importlib.util
import keyword
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..formula import Number, Program
from .recording import Record

__all__ = ["EXACT", "Fused", "Loop", "fuse", "wanted"]

EXACT = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "absolute": "abs({0})",
    "sqrt": "sqrt({0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
}
PRICE = 0.5  # seconds to compile a loop, roughly

log = logging.getLogger("gpubp")


def wanted() -> bool:
    """Whether formulas are to become loops: Numba is there, and GPUBP_FAST does not say 0.

    >>> wanted() in (True, False)
    True
    """
    return os.environ.get("GPUBP_FAST", "1") != "0" and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


class Loop:
    """One formula for arrays of certain kinds and one type, compiled when it has earned it.

    source: of the loop. spent: seconds that the passes in its place have taken so far. compiled: the loop, None before.

    >>> Loop("def f(a0):\\n    a0[0] = 1.0\\n", "float32").compiled is None
    True
    """

    def __init__(self, source: str, dtype: str) -> None:
        self.source, self.dtype = source, dtype
        self.spent = 0.0
        self.compiled: Callable[..., None] | None = None
        self._one_at_a_time = threading.Lock()

    def passed(self, seconds: float) -> None:
        """Count what the passes took, and compile the loop if that was enough."""
        self.spent += seconds
        if self.spent > PRICE and self._one_at_a_time.acquire(blocking=False):
            try:
                if self.compiled is None:
                    self.compiled = self._compile()
            except Exception as problem:  # whatever Numba or its cache can't do, the passes can
                log.warning("Numba can't compile a loop, and NumPy goes on alone: %s", problem)
                self.spent = -float("inf")
            finally:
                self._one_at_a_time.release()

    def _compile(self) -> Callable[..., None]:
        import numba

        sqrt, real = np.sqrt, getattr(np, self.dtype)
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        name = self.source.split("(", 1)[0].removeprefix("def ")
        file = _kept(f"from numpy import sqrt, {self.dtype} as real\n\n\n{self.source}")
        if file is None:
            space: dict[str, Any] = {"sqrt": sqrt, "real": real}
            exec(compile(self.source, "<formula>", "exec"), space)
            return numba.njit(space[name], **options)  # type: ignore[no-any-return]
        spec = importlib.util.spec_from_file_location(f"gpubp_loop_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where Numba looks for it
        spec.loader.exec_module(module)
        return numba.njit(getattr(module, name), cache=True, **options)  # type: ignore[no-any-return]


def _kept(source: str) -> Path | None:
    """A file with this text in the folder of what was compiled; None if there can be none."""
    given = os.environ.get("GPUBP_CACHE_DIR")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    file = Path(given or Path(caches) / "gpubp") / "loops" / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.py"
    try:
        if not file.is_file() or file.read_text(encoding="utf-8") != source:
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
            aside.write_text(source, encoding="utf-8")
            os.replace(aside, file)
        return file if os.access(file.parent, os.W_OK) else None
    except OSError:
        return None


class Fused:
    """A formula on certain arrays in a record: passes at first, one loop later, the same bits always.

    >>> passes = Record([])
    >>> Fused("f", Loop("def f(a0):\\n    a0[0] = 1.0\\n", "float32"), passes)(np.zeros(1, "float32"))
    """

    def __init__(self, name: str, loop: Loop, passes: Record) -> None:
        self.__name__, self.loop, self.passes = name, loop, passes

    def __call__(self, *arrays: Any) -> None:
        """Do it once, the quickest way there is by now."""
        compiled = self.loop.compiled
        if compiled is not None:
            compiled(*arrays)
            return
        start = time.perf_counter()
        self.passes()
        self.loop.passed(time.perf_counter() - start)


class _Operand(NamedTuple):
    """An array as the loop sees it, and how an element of it is read."""

    array: Any
    how: str  # "full", "row", "column" or "number"


def fuse(
    f: Callable[..., Any], program: Program, inputs: Sequence[Any], outs: Sequence[Any], passes: Record
) -> tuple[Fused, tuple[Any, ...]] | None:
    """The formula on these arrays as a call and its arguments, or None if no loop can do it.

    >>> from gpubp.formula import trace
    >>> x, y = np.ones(3, "float32"), np.zeros(3, "float32")
    >>> found = fuse(max, trace(lambda x: x * x + 1.0, 1), [x], [y], Record([]))
    >>> print(found[0].loop.source)
    def max(a0, a1):
        for i in range(a1.size):
            v0 = a0[i]
            v1 = v0 * v0
            v2 = v1 + real(1.0)
            a1[i] = v2
    <BLANKLINE>
    """
    dtype = outs[0].dtype if outs[0].dtype.kind == "f" else inputs[0].dtype
    shape = outs[0].shape
    if not _exact(program) or str(dtype) not in ("float32", "float64"):
        return None
    if any(a.dtype not in (dtype, np.bool_) for a in (*inputs, *outs)):
        return None
    masks = {k for k, a in enumerate(inputs) if a.dtype == np.bool_} | {k for k, b in enumerate(program.is_bool) if b}
    if any(masks.issuperset(step.operands) for step in program.steps):
        return None  # to NumPy the sum of two masks is a mask
    if not outs[0].size or any(o.shape != shape or not o.flags.c_contiguous for o in outs):
        return None
    if [o.dtype == np.bool_ for o in outs] != [program.is_bool[int(o)] for o in program.outputs]:
        return None
    read = program.read()
    operands = {k: _operand(inputs[k], shape) for k in read}
    flat = all(operand is not None and operand.how in ("full", "number") for operand in operands.values())
    arrays: dict[tuple[int, str], Any] = {}  # one for each stretch of memory that is read or written alike

    def name(a: Any, how: str) -> str:
        place = (a.__array_interface__["data"][0], how)
        arrays.setdefault(place, a)
        return f"a{list(arrays).index(place)}"

    names: dict[int, str] = {}
    for k, operand in operands.items():
        if operand is None or not _may_be_read(operand, outs):
            return None
        a = operand.array
        if operand.how == "full":
            a = a.reshape(-1) if flat else a.reshape(-1, shape[-1])
        names[k] = name(a, operand.how)
    if any(np.may_share_memory(one, other) for i, one in enumerate(outs) for other in outs[:i]):
        return None
    targets = [name(o.reshape(-1) if flat else o.reshape(-1, shape[-1]), "full") for o in outs]
    hows = {k: operand.how for k, operand in operands.items() if operand is not None}
    told = _name(f)
    key = (told, program, tuple(names.items()), tuple(targets), tuple(hows.items()), flat, str(dtype))
    bools = tuple(inputs[k].dtype == np.bool_ for k in read)
    return Fused(told, _loop(*key, len(arrays), bools), passes), tuple(arrays.values())


def _exact(program: Program) -> bool:
    """Whether IEEE 754 fixes every bit of it, and every output is computed."""
    constants = [o for step in program.steps for o in step.operands if isinstance(o, Number)]
    computed = all(not isinstance(o, Number) and o >= program.inputs for o in program.outputs)
    return computed and all(s.operation in EXACT for s in program.steps) and all(map(math.isfinite, constants))


def _name(f: Callable[..., Any]) -> str:
    f = getattr(f, "func", f)
    name = re.sub(r"\W+", "_", getattr(f, "__qualname__", "formula").split("<locals>.")[-1], flags=re.ASCII).strip("_")
    return (
        name
        if name.isidentifier() and not keyword.iskeyword(name) and not re.fullmatch(r"[av]\d+", name)
        else "formula"
    )


def _operand(a: Any, shape: tuple[int, ...]) -> _Operand | None:
    if a.shape == shape and a.flags.c_contiguous:
        return _Operand(a, "full")
    if a.size == 1:
        return _Operand(a.reshape(()), "number")
    if len(shape) > 1 and a.flags.c_contiguous:
        if a.size == shape[-1] == a.shape[-1]:
            return _Operand(a.reshape(-1), "row")
        if a.shape == (*shape[:-1], 1):
            return _Operand(a.reshape(-1), "column")
    return None


def _may_be_read(operand: _Operand, outs: Sequence[Any]) -> bool:
    """Whether what is written never changes what is still to be read: the two are one, or apart."""
    a = operand.array
    for o in outs:
        same = operand.how == "full" and a.ctypes.data == o.ctypes.data and a.dtype == o.dtype
        if not same and np.may_share_memory(a, o):
            return False
    return True


@lru_cache(maxsize=4096)
def _loop(
    name: str,
    program: Program,
    names: tuple[tuple[int, str], ...],
    targets: tuple[str, ...],
    hows: tuple[tuple[int, str], ...],
    flat: bool,
    dtype: str,
    arrays: int,
    bools: tuple[bool, ...],
) -> Loop:
    """The loop of a formula; the arguments tell all loops apart."""
    kind, is_bool = dict(hows), dict(zip(dict(names), bools, strict=True))
    place = {"full": "[i]" if flat else "[i, j]", "row": "[j]", "column": "[i]", "number": "[()]"}
    reads: dict[str, list[str]] = {how: [] for how in place}
    for k, a in names:
        reads[kind[k]].append(f"v{k} = {f'real({a}{place[kind[k]]})' if is_bool[k] else a + place[kind[k]]}")

    def operand(o: int | Number) -> str:
        if isinstance(o, Number):
            return f"real({float(o)!r})"
        return f"real(v{o})" if program.is_bool[o] else f"v{o}"

    body = reads["full"] + reads["row"]
    for k, step in enumerate(program.steps):
        terms = [operand(o) for o in step.operands]
        body.append(f"v{program.inputs + k} = {EXACT[step.operation].format(*terms)}")
    body += [f"{a}{place['full']} = v{o}" for a, o in zip(targets, program.outputs, strict=True)]
    lines = [f"def {name}({', '.join(f'a{n}' for n in range(arrays))}):", *(f"    {line}" for line in reads["number"])]
    if flat:
        lines += [f"    for i in range({targets[0]}.size):", *(f"        {line}" for line in body)]
    else:
        lines.append(f"    for i in range({targets[0]}.shape[0]):")
        lines += [f"        {line}" for line in reads["column"]]
        lines += [f"        for j in range({targets[0]}.shape[1]):", *(f"            {line}" for line in body)]
    return Loop("\n".join(lines) + "\n", dtype)

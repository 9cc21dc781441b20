"""A formula as one loop on the CPU, if Numba is installed (`pip install 'gpubp[fast]'`).

NumPy makes a pass over the arrays for every operation of a formula; a loop compiled by Numba makes one for all:

    def Adam_rule(a0, a1, a2, a3, a4):
        v4 = a4[0]
        for i in range(a0.size):
            v0 = a0[i]
            ...
            v7 = v1 * v4
            ...
            a0[i] = v12

Only operations that IEEE 754 fixes to the last bit are taken (`language.py`), and no product and sum melt into one
rounding, so a loop has the bits of the passes, and may take their place at any step; `compiled.py` says when. Compiled
loops are stored for the next process in `$GPUBP_CACHE_DIR`, or in gpubp's folder among the user's caches.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import keyword
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...formula import Number, Program
from ..arrays import share
from ..process import ForkSafeLock
from ..recording import Call
from .language import ORDINARY, Language

# calls that programs make without Python, by code that is compiled already: entry(kept, *args) says where the code is,
# and then what words it takes, or None if Python is to make the call. kept: what must live as long as the program
ENTRIES: dict[Any, Callable[..., list[int] | None]] = {}
NAMES = {"f": "float32", "d": "float64"}  # of types of numbers, by their letters: NumPy is slow to make them


class _CompilerLock(ForkSafeLock):
    def after_fork(self) -> None:
        """Also let garbage of LLVM be freed in a child: that waits for a lock, which the thread that compiled has."""
        super().after_fork()
        llvm = sys.modules.get("llvmlite.binding.ffi")
        if self.left_held and llvm is not None:
            with suppress(AttributeError):  # another version of it
                llvm.lib._lock._lock = threading.RLock()


compiling = _CompilerLock()  # one thread compiles at a time


class Loop:
    """One formula for arrays of certain kinds, compiled when it is asked for.

    source: of the loop. dtype: of its numbers. arrays: "real" or "mask" and the axes of each. helpers: source of
    functions that it calls. address: of the machine code, None before it was compiled.

    >>> loop = Loop("def f(a0):\\n    a0[0] = 1.0\\n", "float32", (("real", 1),))
    >>> print(loop.address, loop.module())
    None from numba import carray, njit
    from numpy import bool_ as mask, float32 as real, sqrt
    from gpubp.backends.cpu.pointers import at_float32 as at_real, at_mask
    <BLANKLINE>
    <BLANKLINE>
    @njit(nogil=True, error_model="numpy")
    def f(a0):
        a0[0] = 1.0
    <BLANKLINE>
    <BLANKLINE>
    def entry(block):
        b = carray(block, 3)
        f(carray(at_real(b[0]), b[1], real))
    <BLANKLINE>
    """

    def __init__(self, source: str, dtype: str, arrays: tuple[tuple[str, int], ...], helpers: str = "") -> None:
        self.source, self.dtype, self.arrays, self.helpers = source, dtype, arrays, helpers
        self.name = source.split("(", 1)[0].removeprefix("def ")
        self.address: int | None = None
        self._entry: Any = None

    def compile(self) -> None:
        """Give it an address."""
        with compiling.held():
            if self.address is None:
                self._entry = self._compiled()
                self.address = int(self._entry.address)

    def module(self) -> str:
        """The text of a module with the loop, and with its entry: a function of a vector with the address, the length
        and the length of a row of each array."""
        given = []
        for k, (kind, axes) in enumerate(self.arrays):
            lengths = f"b[{3 * k + 1}]" if axes == 1 else f"(b[{3 * k + 1}], b[{3 * k + 2}])"
            given.append(f"carray(at_{kind}(b[{3 * k}]), {lengths}, {kind})")
        return (
            "from numba import carray, njit\n"
            f"from numpy import bool_ as mask, {self.dtype} as real, sqrt\n"
            f"from gpubp.backends.cpu.pointers import at_{self.dtype} as at_real, at_mask\n\n\n{self.helpers}"
            f'@njit(nogil=True, error_model="numpy")\n{self.source}\n\n'
            f"def entry(block):\n    b = carray(block, {3 * len(self.arrays)})\n    {self.name}({', '.join(given)})\n"
        )

    def block(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[int]:
        """What the entry takes for these arrays."""
        return [n for a in arrays for n in (a.ctypes.data, *a.shape, 0)[:3]]

    def bound(self, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], Any]:
        """(block, function): the compiled loop as a function of the block's address; the block must stay in memory."""
        function: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address or 0)
        function.__name__ = self.name
        return np.array(self.block(arrays), np.int64), function

    def _compiled(self) -> Any:
        return entry_of(self.module())


def entry_of(source: str) -> Any:
    """The function `entry` of a module with this text, compiled by Numba as a C function of a vector of words.

    >>> from importlib.util import find_spec
    >>> find_spec("numba") is None or entry_of("def entry(block):\\n    pass\\n").address > 0
    True
    """
    import numba

    file = _kept(source)
    if file is None:
        space: dict[str, Any] = {}
        exec(compile(source, "<formula>", "exec"), space)
        entry, cached = space["entry"], False
    else:
        spec = importlib.util.spec_from_file_location(f"gpubp_loop_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where Numba looks for it
        spec.loader.exec_module(module)
        entry, cached = module.entry, True
    signature = numba.types.void(numba.types.CPointer(numba.types.int64))
    return numba.cfunc(signature, cache=cached, nopython=True)(entry)


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
    """A formula on certain arrays in a record. Called, it makes its passes; a `Program` takes its loop if compiled.

    >>> loop = Loop("def f(a0):\\n    a0[0] = 1.0\\n", "float32", (("real", 1),))
    >>> Fused("f", loop, [])(np.zeros(1, "float32"))
    """

    def __init__(self, name: str, loop: Loop, passes: list[Call]) -> None:
        self.__name__, self.loop, self.passes = name, loop, passes

    def __call__(self, *arrays: Any) -> None:
        """Do it once."""
        for function, args, kwargs in self.passes:
            function(*args, **kwargs)


class _Operand(NamedTuple):
    """An array as the loop sees it, how an element of it is read, and the steps of its axes where it has gaps.

    how: "full" and "gaps" element by element, "row" again for every row, "rows" a row again for so many as steps say,
    "column" one for each row, or for so many as steps say, "number".
    """

    array: Any
    how: str
    steps: tuple[int, ...] = ()


def fuse(
    name: str, program: Program, inputs: Sequence[Any], outs: Sequence[Any], language: Language = ORDINARY
) -> tuple[Fused, tuple[Any, ...]] | None:
    """The formula on these arrays as a call and its arguments, or None if no loop can do it. It is given its passes
    when they are known.

    >>> from gpubp.formula import trace
    >>> x, y = np.ones(3, "float32"), np.zeros(3, "float32")
    >>> found = fuse("f", trace(lambda x: x * x + 1.0, 1), [x], [y])
    >>> print(found[0].loop.source)
    def f(a0, a1):
        for i in range(a1.size):
            v0 = a0[i]
            v1 = v0 * v0
            v2 = v1 + real(1.0)
            a1[i] = v2
    <BLANKLINE>
    """
    dtype = outs[0].dtype if outs[0].dtype.kind == "f" else inputs[0].dtype
    shape = outs[0].shape
    if not _exact(program, language) or dtype.char not in NAMES:
        return None
    if any(a.dtype not in (dtype, np.bool_) for a in (*inputs, *outs)):
        return None
    masks = {k for k, a in enumerate(inputs) if a.dtype == np.bool_} | {k for k, b in enumerate(program.is_bool) if b}
    if any(masks.issuperset(step.operands) for step in program.steps):
        return None  # to NumPy the sum of two masks is a mask
    if not outs[0].size or any(o.shape != shape for o in outs):
        return None
    if [o.dtype == np.bool_ for o in outs] != [program.is_bool[int(o)] for o in program.outputs]:
        return None
    read = program.read()
    operands = [_operand(a, shape) for a in (*(inputs[k] for k in read), *outs)]
    if any(operand is None for operand in operands):
        return None
    known = [operand for operand in operands if operand is not None]
    if not all(_may_be_read(operand, outs) for operand in known[: len(read)]):
        return None
    if any(share(one, other) for i, one in enumerate(outs) for other in outs[:i]):
        return None
    hows = {operand.how for operand in known}
    form = "gaps" if "gaps" in hows else "rows" if hows & {"row", "rows", "column"} else "flat"
    arrays: dict[tuple[Any, ...], Any] = {}  # one for each stretch of memory that is read or written alike
    names = []
    for operand in known:
        a, how, steps = operand
        if how in ("full", "gaps"):
            a, steps = (a.reshape(-1, shape[-1]), ()) if form == "rows" else _stretch(a)
        place = (a.__array_interface__["data"][0], how, steps)
        arrays.setdefault(place, a)
        kept = steps if form == "gaps" or how in ("column", "rows") else ()
        names.append((f"a{list(arrays).index(place)}", how, kept, a.dtype == np.bool_))
    sizes = shape if form == "gaps" else ()
    kinds = tuple(("mask" if a.dtype == np.bool_ else "real", a.ndim) for a in arrays.values())
    loop = _loop(name, program, tuple(names), form, sizes, NAMES[dtype.char], kinds, language)
    return Fused(name, loop, []), tuple(arrays.values())


def _exact(program: Program, language: Language) -> bool:
    """Whether a loop has every bit of it, and every output is computed."""
    constants = [o for step in program.steps for o in step.operands if isinstance(o, Number)]
    computed = all(not isinstance(o, Number) and o >= program.inputs for o in program.outputs)
    return (
        computed
        and all(s.operation in language.operations for s in program.steps)
        and all(map(math.isfinite, constants))
    )


def name_of(f: Callable[..., Any]) -> str:
    """The name of a formula's loop.

    >>> name_of(max), name_of(lambda x: x)
    ('max', 'formula')
    """
    f = getattr(f, "func", f)
    name = re.sub(r"\W+", "_", getattr(f, "__qualname__", "formula").split("<locals>.")[-1], flags=re.ASCII).strip("_")
    usable = name.isidentifier() and not keyword.iskeyword(name) and not re.fullmatch(r"[av]\d+", name)
    return name if usable else "formula"


def _operand(a: Any, shape: tuple[int, ...]) -> _Operand | None:
    if a.shape == shape and a.flags.c_contiguous:
        return _Operand(a, "full")
    if a.size == 1:
        return _Operand(a.reshape(1), "number")
    if a.shape == shape and a.strides[-1] == a.itemsize and min(a.strides) > 0:
        return _Operand(a, "gaps")
    if len(shape) > 1 and a.flags.c_contiguous:
        if a.size == shape[-1] == a.shape[-1]:
            return _Operand(a.reshape(-1), "row")
        if a.shape == (*shape[:-1], 1):
            return _Operand(a.reshape(-1), "column")
        if a.shape == (shape[0], *[1] * (len(shape) - 1)):
            return _Operand(a.reshape(-1), "column", (math.prod(shape[1:-1]),))
        if a.shape == (shape[0], *[1] * (len(shape) - 2), shape[-1]):
            return _Operand(a.reshape(len(a), -1), "rows", (math.prod(shape[1:-1]),))
    return None


def _stretch(a: Any) -> tuple[Any, tuple[int, ...]]:
    """The memory from an array's first number to its last, and how far it is along each axis from one to the next."""
    steps = tuple(s // a.itemsize for s in a.strides)
    length = 1 + sum((n - 1) * s for n, s in zip(a.shape, steps, strict=True))
    return np.lib.stride_tricks.as_strided(a, (length,), (a.itemsize,)), steps


def _may_be_read(operand: _Operand, outs: Sequence[Any]) -> bool:
    """Whether what is written never changes what is still to be read: the two are one, or apart."""
    a = operand.array
    return all(o is a or not share(a, o) or are_one(a, o) for o in outs)


def are_one(a: Any, o: Any) -> bool:
    """Whether two arrays are the same numbers in the same places.

    >>> x = np.zeros((2, 2))
    >>> are_one(x, x[:]), are_one(x, x.T)
    (True, False)
    """
    alike = a.shape == o.shape and a.strides == o.strides and a.dtype == o.dtype
    return bool(alike and a.ctypes.data == o.ctypes.data)


@lru_cache(maxsize=4096)
def _loop(
    name: str,
    program: Program,
    names: tuple[tuple[str, str, tuple[int, ...], bool], ...],
    form: str,
    sizes: tuple[int, ...],
    dtype: str,
    arrays: tuple[tuple[str, int], ...],
    language: Language,
) -> Loop:
    """The loop of a formula; the arguments tell all loops apart.

    names: (array, how, steps, is_bool) of what is read and then of what is written. form: "flat", one loop over all
    numbers; "rows", one over rows and one within; "gaps", one for each axis, of which `sizes` are the lengths.
    """
    outer = [f"i{k}" for k in range(len(sizes) - 1)] if form == "gaps" else ["i"]
    line = _sum(f"{i} * {math.prod(sizes[k + 1 : -1])}" for k, i in enumerate(outer)) if form == "gaps" else "i"
    full = {"flat": "[i]", "rows": "[i, j]", "gaps": "[j]"}[form]
    place = {"full": full, "gaps": full, "row": "[j]", "rows": "[j]", "column": f"[{line}]", "number": "[0]"}
    reads: dict[str, list[str]] = {how: [] for how in place}
    rows = {}  # where there are gaps, or rows of rows, the row that is worked on
    for a, how, steps, _ in names:
        if form == "gaps" and how in ("full", "gaps"):
            start = _sum(f"{i} * {step}" for i, step in zip(outer, steps, strict=False))
            rows[a] = f"{a}_ = {a}[{start} : {start} + {sizes[-1]}]"
        elif how == "rows":
            rows[a] = f"{a}_ = {a}[({line}) // {steps[0]}]"
    read = program.read()
    for k, (a, how, steps, is_bool) in zip(read, names, strict=False):
        element = f"{a}{'_' * (a in rows)}{place[how]}"
        if how == "column" and steps:
            element = f"{a}[({line}) // {steps[0]}]"
        reads[how].append(f"v{k} = {f'real({element})' if is_bool else element}")

    def operand(o: int | Number) -> str:
        if isinstance(o, Number):
            return f"real({float(o)!r})"
        return f"real(v{o})" if program.is_bool[o] else f"v{o}"

    body = reads["full"] + reads["gaps"] + reads["row"] + reads["rows"]
    for k, step in enumerate(program.steps):
        terms = [operand(o) for o in step.operands]
        body.append(f"v{program.inputs + k} = {language.operations[step.operation].format(*terms)}")
    for (a, *_), o in zip(names[len(read) :], program.outputs, strict=True):
        body.append(f"{a}{'_' * (a in rows)}{full} = v{o}")
    target = names[len(read)][0]
    loops = {
        "flat": [f"for i in range({target}.size):"],
        "rows": [f"for i in range({target}.shape[0]):", f"for j in range({target}.shape[1]):"],
        "gaps": [f"for {i} in range({n}):" for i, n in zip([*outer, "j"], sizes, strict=False)],
    }[form]
    lines = [
        f"def {name}({', '.join(f'a{n}' for n in range(len(arrays)))}):",
        *(f"    {line}" for line in reads["number"]),
    ]
    for depth, loop in enumerate(loops, 1):
        if depth == len(loops) and depth > 1:
            lines += [f"{'    ' * depth}{line}" for line in (*rows.values(), *reads["column"])]
        lines.append(f"{'    ' * depth}{loop}")
    lines += [f"{'    ' * (len(loops) + 1)}{line}" for line in body]
    helpers = language.helpers([step.operation for step in program.steps], dtype)
    return Loop("\n".join(lines) + "\n", dtype, arrays, helpers)


def _sum(terms: Iterable[str]) -> str:
    return " + ".join(terms) or "0"

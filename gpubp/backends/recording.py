"""Recording of a step: the list of its calls on fixed arrays, which can be repeated.

Layers call `ws.xp` and `ws.be`. While a backend records, each call becomes a `Call`. The list of them is the step: it
can be printed, fused into fewer calls (`epilogues.py`), captured as a CUDA graph, or repeated by one flat function.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from ..errors import RecordError
from .process import OfOneProcess

WRITES_FIRST_ARGUMENT = {"copyto", "put", "place", "putmask", "fill_diagonal"}
VIEWS = {
    "reshape", "transpose", "broadcast_to", "expand_dims", "squeeze", "swapaxes", "moveaxis", "ravel", "atleast_2d"
}  # fmt: skip

LONG, LONGEST_FOLD = 1000, 256  # calls: from where on a record is printed in short, and of which period at most


class Call(NamedTuple):
    """One call of a step.

    >>> Call(max, (1, 2), {}).function(1, 2)
    2
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def parts(call: Call) -> list[Call]:
    """The calls that one call of a record stands for: itself, or those that were joined to it (`epilogues.py`).

    >>> len(parts(Call(max, (1, 2), {})))
    1
    """
    joined: list[Call] = getattr(getattr(call.function, "__self__", None), "plain", [call])
    return joined


def address(value: Any) -> int:
    """Where an array's numbers begin in memory, on either device; 0 for what is no array.

    >>> address(3.0)
    0
    """
    if isinstance(value, np.ndarray):
        return int(value.ctypes.data)
    return int(getattr(getattr(value, "data", None), "ptr", 0)) if hasattr(value, "strides") else 0


class Record(OfOneProcess):
    """A step as one flat function; called, it does what the step did. Printed, it shows the calls.

    calls: in the order of the step. kept: what must live as long as it, if its calls hold bare addresses. source: one
    line a call; of very many calls, as of a thousand steps of time, those that are repeated are printed once.

    >>> print(Record([Call(max, (1, 2), {})]))
    max(1, 2)
    """

    def __init__(self, calls: list[Call]) -> None:
        self.calls, self.kept = calls, cast(Any, None)
        self.names: dict[str, Any] = {}
        self._arrays: dict[Any, str] = {}
        self._functions: dict[Any, str] = {}
        self._numbers: dict[str, int] = {}  # how many functions have a name
        lines = [self._line(*call) for call in calls]
        self.source = "\n".join(lines)
        body = "".join(f"    {line}\n" for line in lines) or "    pass\n"
        exec(compile(f"def replay():\n{body}", "<recorded step>", "exec"), self.names)
        # `names` are the globals of the function: were it among them, dropped records would stay until Python looks for
        # circles, with all arrays of their step
        self._replay: Callable[[], None] = self.names.pop("replay")

    def __call__(self) -> None:
        """Do it again."""
        self._replay()

    def __len__(self) -> int:
        return len(self.calls)

    def __str__(self) -> str:
        return self.source if len(self) <= LONG else "\n".join(_folded(self.source.split("\n")))

    def _line(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        name = self._name(function)
        if isinstance(function, np.ufunc) and list(kwargs) == ["out"] and function not in (np.maximum, np.minimum):
            args, kwargs = (*args, kwargs["out"]), {}  # cheaper; of those two NumPy wants the name
        parts = [self._value(a) for a in args] + [f"{k}={self._value(a)}" for k, a in kwargs.items()]
        return f"{name}({', '.join(parts)})"

    def _name(self, function: Callable[..., Any]) -> str:
        key: Any = function
        try:
            if function in self._functions:
                return self._functions[function]
        except TypeError:  # it has no hash
            key = id(function)
            if key in self._functions:
                return self._functions[key]
        name = getattr(function, "__name__", "call").lstrip("_")
        if not name.isidentifier() or keyword.iskeyword(name) or re.fullmatch(r"a\d+|replay", name):
            name = "call"  # a lambda, or one of the record's own names
        if name == "reduce" and isinstance(getattr(function, "__self__", None), np.ufunc):
            name = f"{function.__self__.__name__}_reduce"  # type: ignore[attr-defined]
        n = self._numbers.get(name, 0) + 1
        while (unique := name if n == 1 else f"{name}_{n}") in self.names:
            n += 1
        self._numbers[name] = n
        self.names[unique] = function
        self._functions[key] = unique
        return unique

    def _value(self, value: Any) -> str:
        if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
            return repr(value)
        if type(value) is tuple and all(type(v) is int for v in value):
            return repr(value)
        key: Any = id(value)
        place = address(value)
        if place:  # views of the same numbers have one name
            key = (place, value.shape, value.strides, value.dtype)
        if key not in self._arrays:
            name = getattr(value, "__qualname__", "")
            name = re.sub(r"\W+", "_", name, flags=re.ASCII) if name else ""
            if not name.isidentifier() or keyword.iskeyword(name) or name in self.names:
                name = f"a{len(self._arrays)}"
            self._arrays[key] = name
            self.names[name] = value
        return self._arrays[key]


def _folded(lines: list[str]) -> list[str]:
    """The lines, where the same functions are called over and over only the first time."""
    kinds = [re.sub(r"(_\d+)?\(.*", "", line) for line in lines]
    found, first = [], 0
    while first < len(lines):
        saved, period, times = 0, 1, 1
        for p in range(1, min(LONGEST_FOLD, len(lines) - first) + 1):
            end = first + p
            while end < len(lines) and kinds[end] == kinds[end - p]:
                end += 1
            n = (end - first) // p
            if (n - 1) * p > saved:
                saved, period, times = (n - 1) * p, p, n
        found += lines[first : first + period]
        if saved > 2:
            calls = "call" if period == 1 else f"{period} calls"
            found.append(f"# the same {calls} {times - 1} times more, on other arrays")
        else:
            times = 1
        first += period * times
    return found


def replay_if(flag: Any, record: Record) -> None:
    """The record within a record that is replayed only if flag[()].

    >>> replay_if(np.array(False), Record([Call(print, ("not now",), {})]))
    """
    if flag[()]:
        record()


class RecordedLibrary:
    """An array library as layers see it: each call goes through the backend, which notes it while it records.

    direct: what is called for some of the names.

    >>> from gpubp.backends import get_backend
    >>> get_backend("cpu").xp.add(1, 2).item()
    3
    """

    def __init__(self, library: Any, backend: Any, direct: dict[str, Callable[..., Any]]) -> None:
        self._library, self._backend, self._direct = library, backend, direct

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)
        if not callable(function) or isinstance(function, type) or name in VIEWS:
            return function
        backend, called, writes_first = self._backend, self._direct.get(name, function), name in WRITES_FIRST_ARGUMENT

        def call(*args: Any, **kwargs: Any) -> Any:
            if called is not function and "axis" not in kwargs and len(args) < 2:
                kwargs["axis"] = None
            if backend.recording and not writes_first and kwargs.get("out") is None:
                raise RecordError(
                    f"xp.{name} was called without out= in a step that is recorded. The record would repeat the "
                    f"call and lose its result: declare an array in plan() and write xp.{name}(..., out=ws.name)"
                )
            return backend.run(called, *args, **kwargs)

        setattr(self, name, call)
        return call

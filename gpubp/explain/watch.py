"""Watch: a CPU backend that keeps every call of a step, and every number that the call has written.

A step runs on it as on any CPU, with the same bits. Elementwise formulas are kept whole, all else as calls of NumPy.
`frames` are the calls of layers and losses, which tell whose formulas a call belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Backend
from ..backends.cpu.backend import CPU
from ..backends.recording import WRITES_FIRST_ARGUMENT, address
from ..layers import Workspace

REDUCTION = ("array", "axis", "dtype", "out", "keepdims", "initial", "where")  # the arguments of `ufunc.reduce`
WRITES_FIRST = WRITES_FIRST_ARGUMENT | {"put_along_axis"}


class Event(NamedTuple):
    """One call: what was called, with which arrays, and which numbers the arrays that it wrote had after it.

    number: in the order of calls. outs: the arrays that it wrote; after: copies of them. frame: whose call it is.
    chosen: copies of the whole numbers among its arguments, which say what it reads; None for all other arguments.
    """

    number: int
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: tuple[Array, ...]
    after: tuple[Array, ...]
    frame: Frame
    chosen: tuple[Any, ...]


class Frame:
    """A call of a method of a layer, loss or optimizer. events: the numbers of its calls, from first to last.

    ws: its workspace, None where there is none. method: "forward", "backward", ... arguments, result: its arrays.
    """

    def __init__(
        self, ws: Workspace | None, path: str, method: str, arguments: tuple[Any, ...], outer: Frame | None
    ) -> None:
        self.ws, self.path, self.method, self.arguments, self.outer = ws, path, method, arguments, outer
        self.result: Any = None
        self.first = self.last = 0
        self.inner: list[Frame] = []

    def within(self, other: Frame) -> bool:
        """Whether it is the other, or was called inside it."""
        one: Frame | None = self
        while one is not None and one is not other:
            one = one.outer
        return one is other


class Watch(CPU):
    """NumPy on the CPU, with all calls kept. top: what was called outside of any frame.

    >>> be = Watch()
    >>> x, y = be.to_device([1.0, 2.0]), be.zeros((2,), "float64")
    >>> be.xp.add(x, 1.0, out=y)
    array([2., 3.])
    >>> [event.function.__name__ for event in be.events]
    ['add']
    """

    block = 2**62  # formulas work on all numbers at once
    _divides = False  # a product is one call, whose numbers have one expression

    def __init__(self) -> None:
        super().__init__()
        self.native = False
        self.events: list[Event] = []
        self.top = self.frame = Frame(None, "", "", (), None)
        self.before: dict[int, tuple[Array, Array]] = {}  # memory and its bytes before the first call that writes it
        self._now: dict[int, tuple[Array, Array]] = {}  # memory and its bytes after the last call
        self.writers: dict[int, list[int]] = {}
        self.watching = True

    @contextmanager
    def inside(self, ws: Workspace | None, path: str, method: str, arguments: tuple[Any, ...]) -> Iterator[Frame]:
        """Calls inside belong to a new frame."""
        outer = self.frame
        self.frame = frame = Frame(ws, path, method, arguments, outer)
        outer.inner.append(frame)
        frame.first = len(self.events)
        self._look_at(frame)
        try:
            yield frame
            result = frame.result
            if isinstance(result, np.ndarray) and id(root(result)) not in self._now and result.any():  # by no call
                self._look([result])
                self._happened(unseen, (), {}, (result,), ())
            self._look_at(frame)
        finally:
            frame.last = len(self.events)
            self.frame = outer

    def attach(self, ws: Workspace, path: str | None = None) -> None:
        """Make a frame of each method that is run on the workspace or on one inside it."""
        for one in ws.walk():
            one.run_method = self._framed(one, one.run_method, one.path if path is None else path)  # type: ignore[method-assign]

    def _framed(self, ws: Workspace, run: Callable[..., Any], path: str) -> Callable[..., Any]:
        def run_method(method: str, shape: Any, *arguments: Any, **options: Any) -> Any:
            with self.inside(ws, path, method, arguments) as frame:
                frame.result = run(method, shape, *arguments, **options)
            return frame.result

        return run_method

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.watching:
            return function(*args, **kwargs)
        outs = outs_of(function, args, kwargs)
        return self._keep(function, args, kwargs, outs, lambda: function(*args, **kwargs))

    def apply(self, f: Callable[..., Any], *inputs: Array, out: Any) -> Any:
        """The formula as one call."""
        if not self.watching:
            return super().apply(f, *inputs, out=out)
        outs = out if isinstance(out, tuple) else (out,)

        def compute() -> Any:
            self.watching = False
            try:
                return super(Watch, self).apply(f, *inputs, out=out)
            finally:
                self.watching = True

        return self._keep(f, inputs, {"out": out}, outs, compute)

    def sum_places(self, a: Array, out: Array) -> Array:
        """As a sum, which `origins.py` reads"""
        return Backend.sum_places(self, a, out)

    def _keep(
        self,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outs: tuple[Array, ...],
        compute: Callable[[], Any],
    ) -> Any:
        arrays = [a for a in (*args, *outs, kwargs.get("where")) if isinstance(a, np.ndarray)]
        self._look(arrays)
        chosen = tuple(a.copy() if isinstance(a, np.ndarray) and a.dtype.kind in "iub" else None for a in args)
        given = compute()
        if not outs and isinstance(given, np.ndarray) and all(root(a) is not root(given) for a in arrays):
            outs = (given,)  # a new array
            self._look(outs)
        self._happened(function, args, kwargs, outs, chosen)
        return given

    def _happened(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outs: tuple[Array, ...], chosen: Any
    ) -> None:
        number = len(self.events)
        after = tuple(a.copy() for a in outs)
        self.events.append(Event(number, function, args, kwargs, outs, after, self.frame, chosen))
        for a in outs:
            whole, now = self._now[id(root(a))]
            self.before.setdefault(id(whole), (whole, now.copy()))
            within(now, a, whole)[...] = a
        for key in {id(root(a)) for a in outs}:
            self.writers.setdefault(key, []).append(number)

    def _look_at(self, frame: Frame) -> None:
        if frame.ws is not None:
            self._look([a for a in (*frame.arguments, *vars(frame.ws).values()) if isinstance(a, np.ndarray)])

    def _look(self, arrays: Sequence[Array]) -> None:
        """Keep as a call of `unseen` what has changed since the last call."""
        for a in arrays:
            whole = root(a)
            if id(whole) not in self._now:
                self._now[id(whole)] = whole, whole.ravel(order="K").copy()
            elif not np.array_equal(within(self._now[id(whole)][1], a, whole), a, equal_nan=a.dtype.kind == "f"):
                self._happened(unseen, (), {}, (a,), ())


def unseen() -> None:
    """Stands for code that writes numbers and is no call of the backend, such as y[...] = 2 * x."""


def outs_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Array, ...]:
    """The arrays that a call writes.

    >>> a, b, c = np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2))
    >>> outs_of(np.dot, (a, b, c), {})[0] is c
    True
    """
    name = getattr(function, "__name__", "")
    given = kwargs.get("out")
    if name == "reduce" and isinstance(getattr(function, "__self__", None), np.ufunc):
        given = reduction(args, kwargs).get("out", given)
    if given is not None:
        return tuple(given) if isinstance(given, tuple) else (given,)
    if isinstance(function, np.ufunc):
        return tuple(args[function.nin :])
    if function is np.dot:
        return tuple(args[2:3])
    if name not in WRITES_FIRST and (getattr(function, "__module__", "") or "").split(".")[0] == "numpy":
        return ()
    arrays = [a for a in args if isinstance(a, np.ndarray) and a.flags.writeable]
    if name in ("sample", "adjoint"):
        return tuple(args[-1:])
    if name == "scatter":
        return tuple(args[2:3])
    return tuple(arrays[:1])


def reduction(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `ufunc.reduce` by their names.

    >>> reduction((1.0, 0), {"keepdims": True})
    {'array': 1.0, 'axis': 0, 'keepdims': True}
    """
    return dict(zip(REDUCTION, args, strict=False)) | kwargs


def within(memory: Array, a: Array, whole: Array) -> Array:
    """`a` as it would lie in another memory than `whole`.

    >>> a = np.arange(4.0)
    >>> within(a + 10, a[1:3], a)
    array([11., 12.])
    """
    return np.ndarray(a.shape, a.dtype, memory, address(a) - address(whole), a.strides)


def root(a: Array) -> Array:
    """The array that owns the memory of `a`.

    >>> a = np.zeros((2, 3))
    >>> root(a[1].reshape(3, 1)) is a
    True
    """
    whole = a
    base = a.base
    while base is not None:  # between them stands what `as_strided` makes, which is no array
        if isinstance(base, np.ndarray):
            whole = base
        base = getattr(base, "base", None)
    return whole

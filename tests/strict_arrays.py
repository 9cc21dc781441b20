"""The arrays of the strict stand-in for CuPy (see strict.py)."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from strict_streams import Memory, Stream, StrictError


class Pointer(SimpleNamespace):
    """Where an array starts: ptr, device_id."""


class Flags:
    """What `flags` of a CuPy array has: NumPy's have more."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.fnc, self.forc = flags.fnc, flags.forc


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: StrictArray, *others: Any) -> Any:
        self._library._bare(f"an operator ({name})")
        arguments = (*others, self) if swapped else (self, *others)
        return getattr(self._library, name)(*arguments)

    return method


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: StrictArray, other: Any) -> StrictArray:
        self._library._bare(f"an operator in place ({name})")
        getattr(self._library, name)(self, other, out=self)
        return self

    return method


def _read(convert: Callable[[Any], Any]) -> Callable[[StrictArray], Any]:
    return lambda self: convert(self.get())


class StrictArray:
    """A device array, as much of `cupy.ndarray` as gpubp may use."""

    __slots__ = ("_layout", "_library", "_memory", "__weakref__")

    def __init__(self, library: Any, memory: Memory, layout: tuple) -> None:
        self._library, self._memory, self._layout = library, memory, layout

    # what it looks like

    @property
    def _view(self) -> np.ndarray:
        return self._memory.view(self._layout)

    shape = property(lambda self: self._layout[1])
    strides = property(lambda self: self._layout[2])
    dtype = property(lambda self: self._layout[3])
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape, dtype=np.int64)))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.itemsize)
    flags = property(lambda self: Flags(self._view.flags))
    device = property(lambda self: SimpleNamespace(id=self._memory.device_id))
    data = property(lambda self: Pointer(ptr=self._memory.ptr + self._layout[0], device_id=self._memory.device_id))
    __cuda_array_interface__ = property(
        lambda self: dict(shape=self.shape, strides=self.strides, typestr=self.dtype.str, data=(self.data.ptr, False))
    )

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"StrictArray({self.shape}, {self.dtype})"  # CuPy's shows the numbers, and reads them for that

    # views

    def _like(self, view: np.ndarray) -> StrictArray:
        offset = view.__array_interface__["data"][0] - self._memory.ptr if view.size else 0
        return StrictArray(self._library, self._memory, (offset, view.shape, view.strides, view.dtype))

    def view(self, dtype: Any = None, type: Any = None) -> StrictArray:
        return self._like(self._view.view(dtype) if dtype is not None else self._view)

    def reshape(self, *shape: Any, order: str = "C") -> StrictArray:
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        shaped = np.reshape(self._view, wanted)  # NumPy 2.0 has no copy=False
        if shaped.size == 0 or np.may_share_memory(shaped, self._view):
            return self._like(shaped)
        return self.copy().reshape(wanted)

    def ravel(self, order: str = "C") -> StrictArray:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> StrictArray:
        return self._like(self._view.transpose(*axes))

    T = property(lambda self: self.transpose())

    def swapaxes(self, axis1: int, axis2: int) -> StrictArray:
        return self._like(self._view.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> StrictArray:
        return self._like(self._view.squeeze(axis))

    def __getitem__(self, key: Any) -> StrictArray:
        keys = key if isinstance(key, tuple) else (key,)
        if all(k is None or k is Ellipsis or isinstance(k, slice | int | np.integer) for k in keys):
            return self._like(self._view[keys if any(k is Ellipsis for k in keys) else (*keys, ...)])
        host = tuple(k.get() if isinstance(k, StrictArray) else k for k in keys)
        self._library.counts.host_copies += sum(isinstance(k, np.ndarray | list) for k in keys)
        self._library._refuse_copies("H2D")
        return self._library._call(
            f"getitem {list(map(np.shape, host))}",
            lambda a: a[host if isinstance(key, tuple) else host[0]],
            (self,),
            {},
        )

    # the host's reads and writes

    def get(self, stream: Stream | None = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        stream = stream or self._library._stream()
        self._library._refuse_copies("D2H", stream)
        self._library.counts.host_reads += 1
        stream.synchronize()
        if out is None:
            return np.array(self._view, order=order)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(f"{self!r} can't be read into {out!r}")
        out[...] = self._view
        return out

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = stream or self._library._stream()
        self._library._refuse_copies("H2D", stream)
        self._library.counts.host_copies += 1
        fetch = self._library._fetch(arr)
        target = self._view
        stream._queue.append(lambda: np.copyto(target, fetch()))

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    __float__, __int__, __bool__, __complex__ = _read(float), _read(int), _read(bool), _read(complex)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or any(isinstance(i, np.ndarray) for i in inputs):
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return getattr(self._library, ufunc.__name__)(*inputs, **kwargs)

    # work

    def __setitem__(self, key: Any, value: Any) -> None:
        self._library._bare("an assignment to a bare array")
        target = self if key is Ellipsis else self[key]
        if target._memory is not self._memory:
            raise StrictError("an assignment by row numbers or a mask, in an order that CuPy leaves open")
        if not isinstance(value, StrictArray) and np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._library._call("setitem", np.copyto, (target, value), {"casting": "unsafe"}, writes_first=True)

    def fill(self, value: Any) -> None:
        self._library._bare("fill")
        if np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._library._call("fill", np.copyto, (self, value), {"casting": "unsafe"}, writes_first=True)

    def copy(self, order: str = "C") -> StrictArray:
        return self._library._call("copy", np.copy, (self,), {"order": order})

    def astype(self, dtype: Any, copy: bool = True) -> StrictArray:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return self._library._call(f"astype {dtype}", lambda a: a.astype(dtype), (self,), {})

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))


for _name in ("sum", "max", "min", "argmax", "argmin", "mean", "all", "any", "take"):
    setattr(StrictArray, _name, (lambda n: lambda self, *a, **k: getattr(self._library, n)(self, *a, **k))(_name))
for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "matmul": "matmul", "pow": "power",
    "mod": "remainder", "floordiv": "floor_divide", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}.items():  # fmt: skip
    setattr(StrictArray, f"__{_symbol}__", _operator(_name))
    setattr(StrictArray, f"__r{_symbol}__", _operator(_name, swapped=True))
    setattr(StrictArray, f"__i{_symbol}__", _in_place(_name))
for _symbol, _name in {
    "neg": "negative", "abs": "absolute", "invert": "invert", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(StrictArray, f"__{_symbol}__", _operator(_name))
StrictArray.__hash__ = None  # type: ignore[assignment]


def signature_of(a: Any) -> Any:
    if isinstance(a, StrictArray):
        return "array", a.shape, a.dtype.str
    return (type(a).__name__,) if isinstance(a, int | float | np.generic) else repr(a)


def result_of(function: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Shape and type of the result, by a trial on zeros, which raises NumPy's error where something doesn't fit."""
    trial = [np.zeros(a.shape, a.dtype) if isinstance(a, StrictArray) else a for a in args]
    options = {k: np.zeros(a.shape, a.dtype) if isinstance(a, StrictArray) else a for k, a in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*trial, **options)
    return (None, None) if result is None else (np.shape(result), np.asarray(result).dtype)


def take(a: np.ndarray, indices: Any, axis: Any = None, out: Any = None) -> np.ndarray:
    """CuPy wraps indices that are out of range."""
    return np.take(a, np.mod(indices, a.size if axis is None else a.shape[axis]), axis=axis, out=out, mode="clip")


def overlap(a: StrictArray, b: StrictArray) -> bool:
    return a._memory is b._memory and np.may_share_memory(a._view, b._view)

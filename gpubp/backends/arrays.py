"""Arrays of NumPy and CuPy: types, overlap in memory, and conversion to NumPy."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

Array = Any  # a numpy.ndarray or a cupy.ndarray
Shape = tuple[int, ...]


def may_share(a: Array, b: Array) -> bool:
    """Whether two arrays of one device may overlap, by the bytes they span; `share` is exact.

    >>> a = np.zeros(4)
    >>> may_share(a[:2], a[1:]), may_share(a[:2], a[2:])
    (True, False)
    """
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.may_share_memory(a, b)
    one, two = span(a), span(b)
    return one[0] < two[1] and two[0] < one[1]


def share(a: Array, b: Array) -> bool:
    """Whether two arrays of one device overlap. Columns of one matrix lie between one another and have no number in
    common, though their bytes span the same memory. With the bound that NumPy's own calls have; True if that is not
    enough to tell, and on a GPU as `may_share` says.

    >>> a = np.zeros((3, 4))
    >>> share(a[:, :2], a[:, 2:]), share(a[:, :3], a[:, 2:]), may_share(a[:, :2], a[:, 2:])
    (False, True, True)
    """
    if not may_share(a, b):
        return False
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return True
    try:
        return np.shares_memory(a, b, max_work=cast(Any, 1))
    except (np.exceptions.TooHardError, OverflowError):
        return True


def span(a: Any) -> tuple[int, int]:
    """(first, one past the last) byte of an array on a GPU; (0, 0) of anything else.

    >>> span(2.0)
    (0, 0)
    """
    start = getattr(getattr(a, "data", None), "ptr", None)
    if start is None or not a.size:
        return 0, 0
    reach = [(n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True)]
    return start + sum(min(r, 0) for r in reach), start + sum(max(r, 0) for r in reach) + a.dtype.itemsize


def as_numpy(a: Any) -> np.ndarray[Any, Any]:
    """Any array as NumPy's: CuPy's are copied from the device, others come by `__array__` or DLPack.

    >>> as_numpy([1, 2]).shape
    (2,)
    """
    if isinstance(a, np.ndarray):
        return a
    if hasattr(a, "__cuda_array_interface__") and hasattr(a, "get"):
        return np.asarray(a.get())
    if not hasattr(a, "__array__") and hasattr(a, "__dlpack__"):
        return np.from_dlpack(a)
    return np.asarray(a)

"""The check that data are finite, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, as_numpy
from ..errors import DataError
from .numbers import FILL_IN

CHECKED_AT_ONCE = 1 << 22  # numbers; keeps the masks of a check small beside the data


def check_finite(
    a: Array,
    name: str,
    dtype: Any = "float64",
    first: int = 0,
    place: Callable[[int, int], tuple[str, str]] | None = None,
) -> None:
    """Raise DataError, naming the first row concerned, if `a` holds a value that is not finite, in `dtype` too.

    first: the number of the row that a begins with. place: from (row of a, place in the row) to (subject, place) of the
    message.

    >>> import numpy as np
    >>> check_finite(np.array([[1.0], [np.nan]]), "X")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: X holds nan in row 1; drop such rows, or fill them in, before training
    """
    if a.dtype.kind != "f" or not a.size:
        return
    narrowed = a.dtype.itemsize > np.dtype(dtype).itemsize
    rows = max(1, CHECKED_AT_ONCE // max(1, a[:1].size))
    for start in range(0, a.shape[0], rows):
        part = a[start : start + rows]
        with np.errstate(over="ignore"):
            fine = np.isfinite(part.astype(dtype) if narrowed else part)  # CuPy's arrays take NumPy's ufuncs over
        if not bool(fine.all()):
            wrong = as_numpy(~fine).reshape(len(part), -1)
            row = int(wrong.any(axis=1).argmax())
            column = int(wrong[row].argmax())
            value = as_numpy(part[row]).ravel()[column]
            what = FILL_IN
            if np.isfinite(value):
                what = f'more than {np.dtype(dtype)} can hold; scale {name}, or make the network with dtype="float64"'
            subject, where = (name, f"row {first + start + row}") if place is None else place(start + row, column)
            raise DataError(f"{subject} holds {value} in {where}; {what}")

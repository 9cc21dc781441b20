"""Checks of inputs, targets and weights before training, and the order of the rows of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..backends import Array, Backend, Shape, as_numpy
from ..errors import DataError
from .row_groups import RowGroups

CHECKED_AT_ONCE = 1 << 22  # numbers; keeps the masks of a check small beside the data


class SparseRows:
    """A sparse matrix of SciPy as rows; only the rows of a batch become dense.

    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> SparseRows(csr_array(np.eye(3))).take([2, 0], out=np.empty((2, 3)))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    def __init__(self, matrix: Any) -> None:
        self.rows = matrix.tocsr()
        self.shape: Shape = tuple(matrix.shape)
        self.ndim, self.dtype = 2, np.dtype(matrix.dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize  # were they filled in

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]:
        part: np.ndarray[Any, Any] = self.rows[rows].toarray()
        return part

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.rows.toarray(), dtype)

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """`numpy.take` calls this."""
        return self.rows[rows].toarray(out=out)


def as_inputs(
    X: Any, row: Shape, backend: Backend, dtype: Any, name: str = "X", check: Callable[[Array], None] = lambda X: None
) -> Array:
    """`X` as an array that batches can be taken from: (n, *row), finite, of the network's type or cast batch by batch.

    Arrays of the backend's own library stay where they are, memory maps and row groups on disk, SciPy's sparse matrices
    sparse; anything else is made a NumPy array. Raises DataError on another shape or type, on no rows, and on values
    that are not finite: in row groups when they are read. So is `check` called, with X or with what is read of it.

    >>> from gpubp.backends import get_backend
    >>> as_inputs([[1, 2], [3, 4]], (2,), get_backend("cpu"), "float32").dtype
    dtype('float32')
    """
    own = not isinstance(X, np.ndarray) and backend.owns(X)
    if hasattr(X, "tocsr"):
        X = SparseRows(X)
    sparse, on_disk = isinstance(X, SparseRows), isinstance(X, RowGroups)
    a: Any = X if own or sparse or on_disk else _as_array(X, name)
    if a.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {a.dtype}, and the network needs numbers: turn text and categories into numbers")
    if a.ndim == 0 or tuple(a.shape[1:]) != row:
        hint = ""
        if a.ndim and math.prod(a.shape[1:]) == math.prod(row):
            hint = f": {name}.reshape(-1, {', '.join(map(str, row))}) would make them so"
        elif tuple(a.shape) == row:
            hint = f": for a single row write {name}[None]"
        shown = tuple(a.shape[1:]) if a.ndim else "no axes"
        raise DataError(f"{name} has rows of shape {shown}, and the network takes rows of shape {row}{hint}")
    if a.shape[0] == 0:
        raise DataError(f"{name} has no rows")
    if on_disk:

        def look(part: Array, first: int) -> None:
            check_finite(part, name, dtype, first)
            check(part)

        return a.checked(look)
    check_finite(a.rows.data if sparse else a, name, dtype)
    if not (own or sparse or isinstance(a, np.memmap)):
        a = np.ascontiguousarray(a, dtype)
    check(a)
    return a


def as_targets(y: Any, loss: Any, output: Shape, rows: int, dtype: Any, name: str = "y") -> np.ndarray[Any, Any]:
    """`y` as `loss` needs it, one for each of `rows` rows, in int32 (classes) or the network's type.

    >>> import gpubp as bp
    >>> as_targets([0, 2], bp.SoftmaxCrossEntropy(), (3,), 2, "float32")
    array([0, 2], dtype=int32)
    """
    a = _as_array(y, name)
    if a.ndim == 0 or a.shape[0] != rows:
        length = f"has {a.shape[0]}" if a.ndim else f"is the single value {a!s:.40}"
        raise DataError(f"X has {rows} rows and {name} {length}; each row of X needs its one {name}")
    if a.dtype.kind in "OUS":
        raise DataError(f"{name} holds {a.dtype}, and a loss needs numbers; number the classes 0, 1, 2, ...")
    check_finite(a, name, dtype)
    t = loss.targets(a, (rows, *output))
    return np.ascontiguousarray(t, t.dtype if t.dtype == np.int32 else dtype)


def _as_array(a: Any, name: str) -> np.ndarray[Any, Any]:
    if np.ma.is_masked(a):
        raise DataError(f"{name} has masked values; drop their rows, or fill them in, before training")
    try:
        return as_numpy(a)
    except (ValueError, TypeError, RuntimeError, BufferError) as problem:
        if "inhomogeneous" in str(problem):
            raise DataError(f"{name} has rows of different lengths; every row needs as many numbers") from None
        raise DataError(f"{name} can't be made a NumPy array: {problem}") from problem


def check_finite(a: Array, name: str, dtype: Any = "float64", first: int = 0) -> None:
    """Raise DataError, naming the first row concerned, if `a` holds a value that is not finite, in `dtype` too.

    first: the number of the row that a begins with.

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
            value = as_numpy(part[row]).ravel()[wrong[row].argmax()]
            what = "drop such rows, or fill them in, before training"
            if np.isfinite(value):
                what = f'more than {np.dtype(dtype)} can hold; scale {name}, or make the network with dtype="float64"'
            raise DataError(f"{name} holds {value} in row {first + start + row}; {what}")


def row_weights(
    rows: int, sample_weight: Any = None, class_weight: Mapping[Any, float] | str | None = None, t: Any = None
) -> np.ndarray[Any, Any] | None:
    """The weight of each row in float64, or None where all are 1.

    sample_weight: (rows,), 0 or more. class_weight: class -> weight, classes left out having 1, or "balanced" for
    n / (classes · count of the class), as in scikit-learn; t are then the class indices, -1 for rows that the loss
    leaves out, which are not counted and have no class.

    >>> import numpy as np
    >>> row_weights(3, class_weight={1: 2.0}, t=np.array([0, 1, 1], np.int32)).tolist()
    [1.0, 2.0, 2.0]
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = np.ones(rows)
    if sample_weight is not None:
        given = _as_array(sample_weight, "sample_weight")
        if given.dtype.kind not in "fiub":
            raise DataError(f"sample_weight holds {given.dtype}, and it needs numbers")
        weights = given.astype(np.float64)
    if weights.shape != (rows,):
        raise DataError(
            f"sample_weight has the shape {weights.shape}, and X has {rows} rows; it needs one weight a row"
        )
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise DataError("sample_weight needs finite weights of 0 or more, and not all of them zero")
    if class_weight is None:
        return weights
    if t is None or t.dtype != np.int32 or t.ndim != 1:
        raise DataError("class_weight needs one class index a row in y; weigh other targets by sample_weight")
    known = t[t >= 0]
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise DataError(f'class_weight is class -> weight, or "balanced", and not {class_weight!r}')
        counts = np.bincount(known)
        class_weight = {c: len(known) / (np.count_nonzero(counts) * n) for c, n in enumerate(counts) if n}
    if not isinstance(class_weight, Mapping):
        raise DataError(f'class_weight is class -> weight, as {{0: 1.0, 1: 2.0}}, or "balanced"; got {class_weight!r}')
    unknown = sorted(set(class_weight) - set(np.unique(known).tolist()), key=str)
    if unknown:
        raise DataError(f"class_weight names classes that y does not hold: {', '.join(map(repr, unknown))}")
    of_class = np.ones(int(t.max()) + 2)  # the last for -1
    for c, weight in class_weight.items():
        if not (isinstance(weight, float | int | np.number) and math.isfinite(weight) and weight >= 0):
            raise DataError(f"class_weight gives class {c} the weight {weight}; weights are 0 or more")
        of_class[c] = weight
    weighted: np.ndarray[Any, Any] = weights * of_class[t]
    if not weighted.sum() > 0:
        raise DataError("the class weights leave every row without weight")
    return weighted


def epoch_order(rows: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray[Any, Any]:
    """The order of the rows in an epoch, by seed and epoch alone: the same on every device, and after a resume.

    >>> sorted(epoch_order(4, seed=0, epoch=0).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng([seed, epoch]).permutation(rows) if shuffle else np.arange(rows)


def split(rows: int, fraction: float, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(training rows, validation rows): a random `fraction` for validation, at least one row on each side.

    >>> train, validation = split(10, 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation_fraction must lie between 0 and 1, and is {fraction!r}")
    if rows < 2:
        raise DataError("validation_fraction needs at least two rows, one to train on and one to validate with")
    order = np.random.default_rng([seed, 0x5911]).permutation(rows)
    taken = min(max(1, round(fraction * rows)), rows - 1)
    return np.sort(order[taken:]), np.sort(order[:taken])


def as_images(shape: Shape) -> Shape:
    """(height, width, channels) of rows of `shape`; raises ValueError if they are no pictures.

    >>> as_images((28, 28)), as_images((64,))
    ((28, 28, 1), (8, 8, 1))
    >>> as_images((13,))
    Traceback (most recent call last):
    ...
    ValueError: rows of 13 numbers are no square pictures; give rows of shape (height, width, channels)
    """
    if len(shape) == 3:
        return tuple(shape)
    if len(shape) == 2:
        return (*shape, 1)
    side = math.isqrt(math.prod(shape))
    if len(shape) != 1 or side * side != shape[0]:
        raise ValueError(
            f"rows of {' x '.join(map(str, shape))} numbers are no square pictures; "
            "give rows of shape (height, width, channels)"
        )
    return (side, side, 1)

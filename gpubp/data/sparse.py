"""SparseRows: sparse matrices of SciPy as rows for training and prediction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backends import Shape
from ..errors import DataError


class SparseRows:
    """A sparse matrix of SciPy or CuPy as rows; only the rows of a batch become dense.

    matrix: of any format, and it stays as it is. Numbers that it holds twice for one place are summed. rows: the matrix
    in the format CSR, each place once. Raises DataError for an array that is no matrix.

    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> SparseRows(csr_array(np.eye(3))).take([2, 0], out=np.empty((2, 3)))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    def __init__(self, matrix: Any, name: str = "X") -> None:
        if type(matrix).__module__.partition(".")[0] == "cupyx":  # CuPy's: batches come from the host
            matrix = matrix.get()
        try:
            rows = matrix.tocsr()
        except (ValueError, TypeError) as problem:
            raise DataError(f"{name} is a sparse array of shape {matrix.shape}, and it needs two axes") from problem
        if not rows.has_canonical_format:
            rows = rows.copy() if rows is matrix else rows
            rows.sum_duplicates()
        self.rows = rows
        self.shape: Shape = tuple(matrix.shape)
        self.ndim, self.dtype = len(self.shape), np.dtype(matrix.dtype)
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

    def astype(self, dtype: Any) -> SparseRows:
        """The same rows in another type, in which batches are then made; itself if it is of that type.

        >>> from scipy.sparse import csr_array
        >>> SparseRows(csr_array(np.eye(3))).astype("float32").dtype
        dtype('float32')
        """
        return self if self.dtype == dtype else SparseRows(self.rows.astype(dtype))

    def part(self, rows: Any) -> SparseRows:
        """The rows of these numbers, sparse.

        >>> from scipy.sparse import csr_array
        >>> SparseRows(csr_array(np.eye(3))).part([2]).rows.nnz
        1
        """
        return SparseRows(self.rows[rows])

    def place(self, k: int) -> tuple[int, int]:
        """(row, column) of number k of `rows.data`.

        >>> from scipy.sparse import csr_array
        >>> SparseRows(csr_array(np.eye(3))).place(2)
        (2, 2)
        """
        return int(np.searchsorted(self.rows.indptr, k, side="right")) - 1, int(self.rows.indices[k])


def from_sparse_columns(frame: Any) -> Any:
    """A DataFrame of pandas whose columns are all sparse, as a sparse matrix; None for anything else.

    >>> from_sparse_columns(np.eye(2)) is None
    True
    """
    if not hasattr(frame, "iloc") or not hasattr(frame, "items"):
        return None
    if frame.ndim != 2 or not all(hasattr(dtype, "fill_value") for dtype in frame.dtypes):
        return None
    columns = [column.array for _, column in frame.items()]
    if not columns or not all(getattr(column, "sp_index", None) is not None for column in columns):
        return None
    if any(column.fill_value != 0 or column.sp_values.dtype.kind not in "fiub" for column in columns):
        return None
    from scipy.sparse import csc_array

    parts = [(column.sp_index.indices, column.sp_values) for column in columns]
    ends = np.cumsum([0, *(len(values) for _, values in parts)])
    data = np.concatenate([values for _, values in parts])
    return csc_array((data, np.concatenate([rows for rows, _ in parts]), ends), shape=frame.shape)

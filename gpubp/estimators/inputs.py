"""Checks of input data: by scikit-learn, or here for arrays on a GPU. Errors name row, column and value."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import column_or_1d, validate_data

from ..backends import as_numpy
from ..data.checks import as_rows, check_rows
from ..data.numbers import Argument, to_numbers
from ..data.sparse import from_sparse_columns
from ..errors import DataError


def on_gpu(a: Any) -> bool:
    """Whether `a` is a CuPy array.

    >>> on_gpu(np.zeros(2))
    False
    """
    return hasattr(a, "__cuda_array_interface__") and hasattr(a, "get")


def rows(estimator: Any, X: Any, reset: bool = False) -> Any:
    """X as an array or a sparse matrix. With `reset` the estimator notes its features; else they must be the same."""
    if not on_gpu(X):
        try:
            matrix = _sparse_table(estimator, X, reset)
            if matrix is not None:
                return check_array(matrix, **_options(estimator))
            return validate_data(estimator, X, reset=reset, **_options(estimator))
        except (ValueError, TypeError) as problem:
            raise _explained(problem, estimator, X) from problem
    if X.ndim < 2 or (X.ndim > 2 and not estimator._several_axes):
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead; use X.reshape(-1, 1) for one feature")
    if reset:
        estimator.n_features_in_ = X.shape[1]
        estimator.__dict__.pop("feature_names_in_", None)
    elif X.shape[1] != estimator.n_features_in_:
        name = type(estimator).__name__
        raise ValueError(
            f"X has {X.shape[1]} features, but {name} is expecting {estimator.n_features_in_} features as input"
        )
    return X


def rows_and_targets(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
    """(X, y), checked together; y (n, 1) becomes (n,), with scikit-learn's warning, and sparse labels become dense."""
    y = as_numpy(y) if on_gpu(y) else y
    if hasattr(y, "tocsr"):
        if estimator._numeric:
            raise DataError("y is a sparse matrix, and only X may be one; give y.toarray()")
        y = y.toarray()
    options: dict[str, Any] = dict(multi_output=True, y_numeric=estimator._numeric)
    if not on_gpu(X):
        try:
            matrix = _sparse_table(estimator, X, reset)
            if matrix is not None:
                X, y = check_X_y(matrix, y, **options, **_options(estimator))
            else:
                X, y = validate_data(estimator, X, y, reset=reset, **options, **_options(estimator))
        except (ValueError, TypeError) as problem:
            raise _explained(problem, estimator, X, y) from problem
    else:
        X = rows(estimator, X, reset)
        y = check_X_y(np.zeros((X.shape[0], 1)), y, **options)[1]  # checked beside as many rows
    return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def _sparse_table(estimator: Any, X: Any, reset: bool) -> Any:
    """A table of pandas whose columns are all sparse, as a matrix; None for anything else."""
    matrix = from_sparse_columns(X)
    if matrix is not None:
        validate_data(estimator, X, reset=reset, skip_check_array=True)  # which looks at the names
    return matrix


def _explained(problem: Exception, estimator: Any, X: Any, y: Any = None) -> Exception:
    """scikit-learn's error with the row and the column of the value that it is about, where there is one."""
    text = str(problem).partition("\n")[0]
    if text.startswith("Expected "):
        return ValueError(f"X: {problem}")
    infinite, objects = "NaN" in text or "infinity" in text, "argument must be" in text
    others = ("could not convert", "promoted", "setting an array element")
    if not (infinite or objects or any(other in text for other in others)):
        return problem
    dtype = np.float64 if estimator._auto_dtype else np.dtype(estimator.dtype)
    try:
        if " y " in text or (not infinite and y is not None and _is_fine(X, dtype)):
            a, columns = to_numbers(y, Argument("y", "and a regressor needs numbers", reads_text=True))
            check_rows(a, Argument("y", "", columns))
        else:
            _look_at(X, dtype)
    except DataError as found:
        if objects:
            return TypeError(f"{text}: {found}")
        return DataError(f"{text} {found}" if infinite else str(found))
    return problem


def _look_at(X: Any, dtype: Any) -> None:
    a, of = as_rows(X, reads_text=True)
    check_rows(a, of, dtype)


def _is_fine(X: Any, dtype: Any) -> bool:
    try:
        _look_at(X, dtype)
    except DataError:
        return False
    return True


def _options(estimator: Any) -> dict[str, Any]:
    dtype = [np.float64, np.float32] if estimator._auto_dtype else np.dtype(estimator.dtype)
    return dict(accept_sparse="csr", dtype=dtype, allow_nd=estimator._several_axes)

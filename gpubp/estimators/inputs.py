"""Checks of input data: by scikit-learn, or here for arrays on a GPU. Errors name row, column and value."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import column_or_1d, validate_data

from ..backends import as_numpy
from ..data.checks import OF_X, as_rows, check_rows
from ..data.numbers import Argument, is_column, is_data_frame, to_numbers, types_of_pandas
from ..data.sparse import from_sparse_columns
from ..errors import DataError

OF_X_OR_TEXT = OF_X._replace(reads_text=True)
OF_Y = Argument("y", "and a regressor needs numbers", reads_text=True)


def on_gpu(a: Any) -> bool:
    """Whether `a` is a CuPy array.

    >>> on_gpu(np.zeros(2))
    False
    """
    return hasattr(a, "__cuda_array_interface__") and hasattr(a, "get")


def rows(estimator: Any, X: Any, reset: bool = False) -> Any:
    """X as an array or a sparse matrix. With `reset` the estimator notes its features; else they must be the same."""
    if not on_gpu(X):
        a, found = _read(X, OF_X_OR_TEXT)
        try:
            options = _options(estimator, a is not X and not hasattr(a, "tocsr"))
            if a is X or not _is_table(X):
                checked = validate_data(estimator, a, reset=reset, **options)
            else:
                validate_data(estimator, X, reset=reset, skip_check_array=True)  # which looks at the names
                checked = check_array(a, input_name="X", estimator=estimator, **options)
        except Exception as problem:
            raise _explained(problem, estimator, X, found=found) from problem
        if found is not None:
            raise found
        return checked
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
    t, found_in_y = _read(y, OF_Y) if estimator._numeric else (y, None)
    if not on_gpu(X):
        a, found = _read(X, OF_X_OR_TEXT)
        try:
            options |= _options(estimator, a is not X and not hasattr(a, "tocsr"))
            if a is X or not _is_table(X):
                a, t = validate_data(estimator, a, t, reset=reset, **options)
            else:
                validate_data(estimator, X, t, reset=reset, skip_check_array=True)
                a, t = check_X_y(a, t, estimator=estimator, **options)
        except Exception as problem:
            raise _explained(problem, estimator, X, y, found or found_in_y) from problem
        if found is not None:
            raise found
    else:
        a = rows(estimator, X, reset)
        t = check_X_y(np.zeros((X.shape[0], 1)), t, **options)[1]  # checked beside as many rows
    if found_in_y is not None:
        raise found_in_y
    return a, column_or_1d(t, warn=True) if t.ndim == 2 and t.shape[1] == 1 else t


def _read(given: Any, of: Argument) -> tuple[Any, DataError | None]:
    """(tables, columns, lists and text as arrays or sparse matrices, the rest as it is; what is no number in it).

    scikit-learn takes dates, durations, and missing or masked values of some types for numbers, so where it finds
    nothing, this counts. It reads arrays and tables of pandas that hold NumPy's numbers faster.
    """
    plain = (type(given) is np.ndarray and given.dtype.kind in "fiub") or types_of_pandas(given)
    if plain or hasattr(given, "tocsr"):
        return given, None
    try:
        matrix = from_sparse_columns(given)
        a = to_numbers(given, of)[0] if matrix is None else matrix
    except DataError as problem:
        return given, problem
    return a if type(given) in (list, tuple, np.ndarray) or _is_table(given) else given, None


def _is_table(given: Any) -> bool:
    return is_data_frame(given) or is_column(given)


def _explained(problem: Exception, estimator: Any, X: Any, y: Any = None, found: DataError | None = None) -> Exception:
    """scikit-learn's error with the row and the column of the value that it is about, where there is one; `found`, if
    it is an error of the library of a table."""
    if not isinstance(problem, ValueError | TypeError):
        return found or problem
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
            a, columns = to_numbers(y, OF_Y)
            check_rows(a, OF_Y._replace(columns=columns))
        else:
            _look_at(X, dtype)
    except DataError as wrong:
        if objects and not is_data_frame(X):  # scikit-learn's checks of estimators want the type
            return TypeError(f"{text}: {wrong}")
        return DataError(f"{text} {wrong}" if infinite else str(wrong))
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


def _options(estimator: Any, was_read: bool) -> dict[str, Any]:
    """was_read: whether the rows are made of something whose type scikit-learn does not look at, and takes float64."""
    dtype: Any = np.float64 if was_read else [np.float64, np.float32]
    if not estimator._auto_dtype:
        dtype = np.dtype(estimator.dtype)
    return dict(accept_sparse="csr", dtype=dtype, allow_nd=estimator._several_axes)

"""Checks of input data: by scikit-learn, or here for arrays on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_X_y
from sklearn.utils.validation import column_or_1d, validate_data

from ..backends import as_numpy


def on_gpu(a: Any) -> bool:
    """Whether `a` is a CuPy array.

    >>> on_gpu(np.zeros(2))
    False
    """
    return hasattr(a, "__cuda_array_interface__") and hasattr(a, "get")


def rows(estimator: Any, X: Any, reset: bool = False) -> Any:
    """X as an array or a sparse matrix. With `reset` the estimator notes its features; else they must be the same."""
    if not on_gpu(X):
        return validate_data(estimator, X, reset=reset, **_options(estimator))
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
    """(X, y), checked together; y (n, 1) becomes (n,), with scikit-learn's warning."""
    y = as_numpy(y) if on_gpu(y) else y
    options: dict[str, Any] = dict(multi_output=True, y_numeric=estimator._numeric)
    if not on_gpu(X):
        X, y = validate_data(estimator, X, y, reset=reset, **options, **_options(estimator))
    else:
        X = rows(estimator, X, reset)
        y = check_X_y(np.zeros((X.shape[0], 1)), y, **options)[1]  # checked beside as many rows
    return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def _options(estimator: Any) -> dict[str, Any]:
    dtype = [np.float64, np.float32] if estimator._auto_dtype else np.dtype(estimator.dtype)
    return dict(accept_sparse=["csr", "csc"], dtype=dtype, allow_nd=estimator._several_axes)

"""The split of an estimator's rows, as in scikit-learn: those to train on, and those that early stopping judges by."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split


def split_rows(estimator: Any, X: Any, y: Any, weights: Any, stratify: Any) -> tuple[Any, Any, Any, Any]:
    """(X, y, weights, (X, y, weights)): rows to train on, and those to judge by; sparse rows stay sparse.

    stratify: (n, 1), what is to be as frequent in both, or None. Raises ValueError where `validation_fraction` leaves
    too few.

    >>> from types import SimpleNamespace
    >>> estimator = SimpleNamespace(validation_fraction=0.5, _random_state=np.random.RandomState(0))
    >>> X, y, weights, held = split_rows(estimator, np.eye(4), np.arange(4), None, None)
    >>> y.tolist(), held[1].tolist()
    ([1, 0], [2, 3])
    """
    n, fraction = X.shape[0], estimator.validation_fraction
    if not fraction:
        raise ValueError(
            "early_stopping=True needs a validation_fraction above 0, or validation_data, and validation_fraction is "
            f"{fraction!r}"
        )
    try:
        train, held = train_test_split(
            np.arange(n), random_state=estimator._random_state, test_size=float(fraction), stratify=stratify
        )
    except ValueError as problem:
        raise ValueError(f"validation_fraction={fraction!r} of {n} rows can't be held out: {problem}") from problem
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset: "
            f"{fraction} of {n} rows leave {len(held)} to judge by, and 2 are needed"
        )
    of = (lambda rows: None) if weights is None else (lambda rows: weights[rows])
    return X[train], y[train], of(train), (X[held], y[held], of(held))

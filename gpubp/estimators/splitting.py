"""The split of an estimator's rows, as in scikit-learn: those to train on, and those that early stopping judges by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from ..backends import Array
from ..layers.words import WordError

Split = tuple[Array, Array]  # the numbers of the rows to train on, and of those to judge by


def split_rows(estimator: Any, X: Any, y: Any, weights: Any, stratify: Any) -> tuple[Any, Any, Any, Any, Split]:
    """(X, y, weights, (X, y, weights), numbers): rows to train on, and those to judge by; sparse rows stay sparse.

    stratify: (n, 1), what is to be as frequent in both, or None. Raises ValueError where `validation_fraction` leaves
    too few.

    >>> from types import SimpleNamespace
    >>> estimator = SimpleNamespace(validation_fraction=0.5, _random_state=np.random.RandomState(0))
    >>> X, y, weights, judged, (train, held) = split_rows(estimator, np.eye(4), np.arange(4), None, None)
    >>> y.tolist(), judged[1].tolist(), held.tolist()
    ([1, 0], [2, 3], [2, 3])
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
    return X[train], y[train], of(train), (X[held], y[held], of(held)), (train, held)


@contextmanager
def rows_before_split(split: Split | None) -> Iterator[None]:
    """Inside, errors of words name the row of X, where some rows of it are held out.

    >>> with rows_before_split(None):
    ...     pass
    """
    try:
        yield
    except WordError as problem:
        if split is None:
            raise
        raise problem.numbered(*split) from None

"""Class weights: a factor for the weight of each row, by its class. They apply to training rows only.

"balanced"      n / (classes · count of the class)      as in scikit-learn, counted over the rows trained on
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config import real
from ..errors import DataError
from .weights import times

FORMS = 'class_weight is class -> weight, as {0: 1.0, 1: 2.0}, or "balanced"'


def check_class_weight(class_weight: Any, classes: np.ndarray[Any, Any]) -> None:
    """Raise DataError if `class_weight` is not "balanced" or class -> weight for some of `classes`, sorted labels.

    >>> check_class_weight({0: 1.0, 1: -1.0}, np.array([0, 1]))
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: class_weight gives class 1 the weight -1.0; weights are 0 or more, and finite
    """
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise DataError(f"{FORMS}; got {class_weight!r}")
        return
    if not isinstance(class_weight, Mapping):
        raise DataError(f"{FORMS}; got {class_weight!r:.100}")
    known = set(classes.tolist())
    unknown = [c for c in class_weight if c not in known]
    if unknown:
        named = ", ".join(sorted(map(_shown, unknown)))
        raise DataError(f"class_weight names classes that y does not hold: {named}; y holds {listed(classes)}")
    for c, weight in class_weight.items():
        if isinstance(weight, bool | np.bool_) or not (math.isfinite(real(weight)) and real(weight) >= 0):
            raise DataError(
                f"class_weight gives class {_shown(c)} the weight {weight!r}; weights are 0 or more, and finite"
            )


def weights_by_class(
    class_weight: Mapping[Any, float] | str, classes: np.ndarray[Any, Any], index: np.ndarray[Any, Any], weights: Any
) -> np.ndarray[Any, Any]:
    """The weight of each row in float64: that of its class, 1 for classes left out, times its own.

    class_weight: has been checked. classes: sorted labels. index: (rows,), the place of each row's label among them, -1
    for a row without a class, which counts 1. weights: (rows,) or None. Raises DataError where no row has any weight.

    >>> weights_by_class({"b": 2.0}, np.array(["a", "b"]), np.array([0, 1, 1]), None).tolist()
    [1.0, 2.0, 2.0]
    >>> weights_by_class("balanced", np.array([3, 5]), np.array([0, 1, 1, 1]), None).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]
    """
    of_class = np.ones(len(classes) + 1)  # the last for -1
    if isinstance(class_weight, str):
        counts = np.bincount(index[index >= 0], minlength=len(classes))
        held = np.flatnonzero(counts)
        of_class[held] = counts.sum() / (len(held) * counts[held])
    else:
        for k, c in enumerate(classes.tolist()):
            of_class[k] = class_weight.get(c, 1.0)
    return multiplied(weights, of_class[index])


def multiplied(weights: Any, factors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The weights of rows (rows,) or of their positions, or None, times the factors of the rows' classes.

    Raises DataError where all are 0.

    >>> multiplied(None, np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    product: np.ndarray[Any, Any] = times(weights, factors)
    if not product.sum() > 0:
        raise DataError("class_weight: the class weights leave every row without weight")
    return product


def listed(classes: np.ndarray[Any, Any]) -> str:
    """The labels as messages show them, the first eight of many.

    >>> listed(np.array(["no", "yes"])), listed(np.arange(100))
    ("'no', 'yes'", '0, 1, 2, 3, 4, 5, 6, 7, ...')
    """
    return ", ".join(map(repr, classes[:8].tolist())) + (", ..." if len(classes) > 8 else "")


def _shown(c: Any) -> str:
    return repr(c.item() if isinstance(c, np.generic) else c)

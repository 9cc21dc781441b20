"""confusion_matrix: counts, on the host and after training, of the answers for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import as_numpy
from ..config import Count, argument
from ..errors import DataError


def confusion_matrix(y: Any, answers: Any, classes: int | None = None) -> np.ndarray[Any, Any]:
    """How many rows of class i were taken for class j, (classes, classes): true in rows, as scikit-learn has it.

        (1)  Cᵢⱼ = |{rows r: yᵣ = i and answerᵣ = j}|

    y: (n,) class numbers from 0, or (n, classes), one 1 a row. answers: class numbers, or a network's outputs
    (n, classes), of which the largest is its answer; single outputs (n, 1) answer 1 above 0. classes: how many; None
    for as many as are seen. Raises DataError where these don't fit.

    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    classes = argument("confusion_matrix", "classes", Count | None, classes)
    y, answers = as_numpy(y), as_numpy(answers)
    if classes is None:
        widths = [a.shape[1] for a in (y, answers) if a.ndim == 2 and a.shape[1] > 1]
        if answers.ndim == 2 and answers.dtype.kind == "f":
            widths.append(2)  # yes or no
        seen = [as_classes(y, "y"), as_classes(answers, "answers")]
        classes = max(widths) if widths else 1 + max(int(numbers.max()) for numbers in seen)
    truth, said = as_classes(y, "y", classes), as_classes(answers, "answers", classes)
    if len(truth) != len(said):
        raise DataError(f"there are {len(truth)} rows of y and {len(said)} answers; each row needs its one answer")
    counted = np.bincount(truth * classes + said, minlength=classes * classes)  # (1)
    return counted.reshape(classes, classes).astype(np.int64)


def as_classes(a: Any, name: str, classes: int | None = None) -> np.ndarray[Any, Any]:
    """Class numbers (n,) of class numbers (n,) or (n, 1), or of one number a class (n, classes); see confusion_matrix.

    >>> as_classes([[0.5, -1.0], [0.0, 2.0]], "answers")
    array([0, 1])
    """
    numbers: np.ndarray[Any, Any]
    a = as_numpy(a)
    if a.ndim not in (1, 2) or a.dtype.kind not in "fiub" or a.size == 0:
        raise DataError(f"{name} needs a class number a row, or a number a class, and is {a.dtype} of shape {a.shape}")
    if a.ndim == 2 and a.shape[1] > 1:
        if name == "y" and not (((a == 0) | (a == 1)).all() and (a.sum(axis=1) == 1).all()):
            raise DataError("rows of y belong to several classes, or to none; a confusion needs one 1 in each row")
        numbers = a.argmax(axis=1)
    elif a.ndim == 2 and a.dtype.kind == "f" and name != "y":
        numbers = (a[:, 0] > 0).astype(np.int64)
    else:
        a = a.reshape(-1)
        strange = a[~((a >= 0) & (a == np.floor(a)))] if a.dtype.kind != "b" else a[:0]
        if len(strange):
            raise DataError(f"{name} holds {strange[0]}, and classes are numbered 0, 1, 2, ...")
        numbers = a.astype(np.int64)
    if classes is not None and numbers.max() >= classes:
        raise DataError(f"{name} holds the class {numbers.max()}, and the {classes} classes are 0 to {classes - 1}")
    return numbers

"""PlaneModel: the predictions of a network or an estimator of two inputs, at any points of the plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import as_numpy
from ..config import instance
from ..data.checks import OF_TARGETS, as_rows, check_rows
from ..data.numbers import Argument, to_numbers
from ..data.row_groups import RowGroups
from ..data.sparse import SparseRows
from ..errors import DataError
from ..losses import Loss, answers_in, outputs_are
from ..losses.base import targets_of
from ..metrics import as_classes
from ..network.network import Network
from ..network.purpose import told_loss
from .probabilities import probabilities

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PlaneModel:
    """What a model of two inputs says.

    values: rows (m, 2), as the model takes them, -> probabilities (m, classes), or numbers (m, 1). y: (n,) class
    numbers, or numbers, of the rows that are given. names: of the classes, as the model tells them; None where it
    tells none. classes: how many there are; None where the model predicts numbers. has_shades: whether probabilities
    are more than 0 and 1.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3), 2, device="cpu")
    >>> PlaneModel.of(net, [2]).classes
    3
    """

    values: Callable[[Any], Array]
    y: Array
    names: Sequence[Any] | None = None
    classes: int | None = None
    has_shades: bool = True

    @classmethod
    def of(cls, model: Any, y: Any, loss: Loss | None = None) -> PlaneModel:
        """The model, with y of its rows. Raises ValueError, DataError, TypeError: see `plot_decision_boundary`."""
        if isinstance(model, Network):
            return _of_network(model, y, loss)
        if not callable(getattr(model, "predict", None)):
            raise TypeError(f"a decision boundary is drawn of what has a method predict, and {model!r:.100} has none")
        if loss is not None:
            raise ValueError(f"loss says what the outputs of a Network are; leave it out for {type(model).__name__}")
        return _of_estimator(model, y)


def points_of(X: Any) -> tuple[Array, tuple[Any, ...]]:
    """(rows of X (n, 2) in float64, the names of its columns, if it has any). Raises DataError for anything else.

    >>> points_of([[1, 2]])
    (array([[1., 2.]]), ())
    """
    a, of = as_rows(X)
    if isinstance(a, RowGroups):
        raise DataError("X lies in a file, and a picture shows rows in memory: give an array of some rows")
    if isinstance(a, SparseRows):
        a = a.rows.toarray()
    a = as_numpy(a)
    if a.ndim != 2 or a.shape[1] != 2:
        shown = f"rows of shape {a.shape[1:]}" if a.ndim else "no axes"
        raise DataError(f"a decision boundary is drawn over two inputs, so X needs the shape (n, 2), and has {shown}")
    if not len(a):
        raise DataError("X has no rows")
    check_rows(a, of)
    return np.asarray(a, np.float64), tuple(of.columns)


def like(plane: Array, X: Any) -> Any:
    """Rows (m, 2) as a table of the kind of X, with its columns, if X is a table of pandas or polars, so that an
    estimator takes them as it took X; else as they are.

    >>> like(np.zeros((3, 2)), [[1, 2]]).shape
    (3, 2)
    """
    columns = getattr(X, "columns", None)
    if columns is None or callable(columns) or not hasattr(X, "dtypes"):
        return plane
    return type(X)(dict(zip(columns, plane.T, strict=True)))


def _of_network(network: Network, y: Any, loss: Loss | None) -> PlaneModel:
    if network.has_lengths:
        raise ValueError(
            "a decision boundary is drawn over two inputs, and this network takes rows of different lengths, "
            f"{network.input_shape}"
        )
    if tuple(network.input_shape) != (2,):
        raise ValueError(
            f"a decision boundary is drawn over two inputs, and this network takes rows of shape "
            f"{network.input_shape}; train one on two columns, or on two principal components"
        )
    if network.input_check is not None:
        raise ValueError("a decision boundary is drawn over any numbers, and this network reads its inputs as words")
    outputs = network.output_shape
    if len(outputs) != 1:
        raise ValueError(f"a decision boundary needs outputs in one row, and this network gives them as {outputs}")
    loss = told_loss(network) if loss is None else instance("plot_decision_boundary", "loss", Loss, loss)
    kind = _guess(y, outputs[0]) if loss is None else loss.predicts
    if kind == "labels" and outputs[0] > 1:
        raise ValueError(
            f"this network gives {outputs[0]} labels, each a yes or no of its own, and a picture shows the regions of "
            "one: train a network of one output"
        )
    answers = outputs[0] if loss is None else answers_in(loss, outputs[0])
    if kind == "numbers" and answers > 1:
        raise ValueError(
            f"this network gives {answers} numbers, and a picture shows one; if they are classes, give "
            "loss=SoftmaxCrossEntropy()"
        )

    def outputs_of(X: Any) -> Array:
        return np.asarray(as_numpy(network.predict(X)), np.float64)

    if kind == "numbers":
        t = _numbers(y)
        if loss is not None and outputs_are(loss) == "logarithms":
            return PlaneModel(lambda X: np.exp(outputs_of(X)), t)
        return PlaneModel(lambda X: outputs_of(X)[:, :answers], t)
    classes = max(outputs[0], 2)
    y = _given(y)
    if loss is not None and kind == "labels":
        y = targets_of(loss, y, (len(y), 1))  # of -1 and 1, 0 and 1
    told = network.metadata.get("names") or network.metadata.get("classes")
    names = told if isinstance(told, list | tuple) and len(told) == classes else None
    return PlaneModel(
        lambda X: probabilities(network, outputs_of(X), loss), as_classes(y, "y", classes), names, classes
    )


def _guess(y: Any, outputs: int) -> str:
    """What a network predicts that does not tell it: see `plot_decision_boundary`."""
    t = _given(y)
    whole = bool((t == np.floor(t)).all())
    if outputs > 1:
        return (
            "classes"
            if whole and (t.ndim == 1 or t.shape[1:] == (1,) or bool((t.sum(axis=1) == 1).all()))
            else "numbers"
        )
    return "labels" if whole and bool(((t == 0) | (t == 1)).all()) else "numbers"


def _of_estimator(model: Any, y: Any) -> PlaneModel:
    name = type(model).__name__
    inputs = getattr(model, "n_features_in_", 2)
    if inputs != 2:
        raise ValueError(
            f"a decision boundary is drawn over two inputs, and this {name} was fitted on {inputs} columns"
        )
    labels = getattr(model, "classes_", None)
    if labels is None:

        def numbers_of(X: Any) -> Array:
            z = np.asarray(as_numpy(model.predict(X)), np.float64)
            z = z.reshape(len(z), -1)
            if z.shape[1] != 1:
                raise ValueError(f"this {name} predicts {z.shape[1]} numbers, and a picture shows one")
            return z

        return PlaneModel(numbers_of, _numbers(y))
    several = isinstance(labels, list) or hasattr(y, "toarray") or (np.ndim(y) == 2 and np.shape(y)[1] > 1)
    if several:
        raise ValueError(f"this {name} tells several labels of each row, and a picture shows the regions of one")
    place = {label: k for k, label in enumerate(labels.tolist())}
    given = as_numpy(y).reshape(-1).tolist()
    if strange := [label for label in given if label not in place]:
        raise DataError(f"y holds {strange[0]!r}, and this {name} knows {', '.join(map(repr, list(place)[:6]))}")

    def probabilities_of(X: Any) -> Array:
        if hasattr(model, "predict_proba"):
            return np.asarray(as_numpy(model.predict_proba(X)), np.float64)
        said = as_numpy(model.predict(X)).reshape(-1).tolist()
        return np.eye(len(place))[[place[label] for label in said]]

    told = np.array([place[label] for label in given], np.int64)
    return PlaneModel(probabilities_of, told, list(place), len(place), hasattr(model, "predict_proba"))


def _given(y: Any) -> Array:
    t, columns = to_numbers(y, Argument("y", OF_TARGETS))
    check_rows(t, Argument("y", OF_TARGETS, columns))
    return t


def _numbers(y: Any) -> Array:
    """y (n,) or (n, 1) as (n,) numbers."""
    t = _given(y)
    if t.ndim == 0 or t.shape[1:] not in ((), (1,)):
        raise DataError(f"y needs one number a row, and has the shape {t.shape}")
    return t.reshape(-1).astype(np.float64)

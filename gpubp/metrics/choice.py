"""Metrics by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..config import argument, as_call, same
from ..losses import Loss
from .base import Metric
from .classification import F1, ROCAUC, Precision, Recall
from .means import Accuracy, MeanAbsolute, MeanSquared, TopKAccuracy
from .regression import R2

LOG_COLUMNS = ("epoch", "step", "seconds", "learning_rate")  # what a line of a log has beside an epoch's numbers

BY_NAME: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "mean_absolute_error": MeanAbsolute,
    "mae": MeanAbsolute,
    "mean_squared_error": MeanSquared,
    "mse": MeanSquared,
    "precision": Precision,
    "r2": R2,
    "recall": Recall,
    "roc_auc": ROCAUC,
    "top_k_accuracy": TopKAccuracy,
}


def get_metrics(metrics: Iterable[str | Metric], loss: Loss) -> tuple[Metric, ...]:
    """Metrics by name ("accuracy", "mae", "f1", ..., see BY_NAME) or as objects.

    Raises TypeError for what is neither, ValueError for a metric that isn't for `loss`, for two of one name, and for a
    name that an epoch or a log has already.

    >>> import gpubp as bp
    >>> get_metrics(["accuracy"], bp.SoftmaxCrossEntropy())
    (Accuracy(),)
    """
    chosen: list[Metric] = []
    for metric in metrics if isinstance(metrics, Iterable) and not isinstance(metrics, str) else (metrics,):
        if isinstance(metric, str):
            if metric not in BY_NAME:
                raise ValueError(f"there is no metric {metric!r}; there are {', '.join(sorted(BY_NAME))}")
            metric = BY_NAME[metric]()
        _check(metric)
        kinds = _kinds(metric)
        if loss.predicts not in kinds:
            raise ValueError(
                f"the metric {metric.name!r} judges {' or '.join(kinds)}, and {loss!r} predicts {loss.predicts}"
            )
        if any(other.name == metric.name and not same(other, metric) for other in chosen):
            raise ValueError(
                f"two metrics have the name {metric.name!r}, which an epoch reports once; derive a class with another "
                "name for one of them"
            )
        chosen.append(metric)
    return tuple(chosen)


def _check(metric: Any) -> None:
    """Raise TypeError or ValueError unless it is a metric with a name of its own, and kinds."""
    if not isinstance(metric, Metric):
        raise TypeError(
            f"metrics are names, or gpubp Metrics such as Accuracy(), and one is {metric!r}{as_call(metric)}"
        )
    of = type(metric).__name__
    for attribute, example in (("name", '"hits"'), ("kinds", '("classes",)')):
        if not getattr(metric, attribute, None):
            raise TypeError(f"the class {of} has no {attribute}; a metric needs one, such as {attribute} = {example}")
    argument(of, "higher_is_better", bool | None, metric.higher_is_better)
    if taken := _taken(argument(of, "name", str, metric.name)):
        raise ValueError(f'{of} has the name "{metric.name}", {taken}; give it another name')


def _taken(name: str) -> str:
    """Who has that name, in the numbers of an epoch or in a line of a log; "" if nobody has it."""
    if name == "loss":
        return "under which an epoch reports the loss"
    if name in LOG_COLUMNS:
        return "which is a column of the log files"
    return "which begins with val_, as the numbers of the validation do" if name.startswith("val_") else ""


def _kinds(metric: Metric) -> tuple[str, ...]:
    """What the metric is for, as losses name it in `predicts`; one kind may be a text. Raises ValueError for others."""
    given: Any = metric.kinds
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    kinds: tuple[str, ...] = argument(type(metric).__name__, "kinds", tuple[str, ...], several)
    return kinds

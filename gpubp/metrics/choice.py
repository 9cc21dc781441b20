"""Metrics by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..config import same
from ..losses import Loss
from .base import Metric
from .classification import F1, ROCAUC, Precision, Recall
from .means import Accuracy, MeanAbsolute, MeanSquared, TopKAccuracy
from .regression import R2

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

    Raises TypeError for what is neither, ValueError for a metric that isn't for `loss`, and for two of one name.

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
        if loss.predicts not in metric.kinds:
            raise ValueError(
                f"the metric {metric.name!r} judges {' or '.join(metric.kinds)}, and {loss!r} predicts {loss.predicts}"
            )
        if any(other.name == metric.name and not same(other, metric) for other in chosen):
            raise ValueError(
                f"two metrics have the name {metric.name!r}, which an epoch reports once; derive a class with another "
                "name for one of them"
            )
        chosen.append(metric)
    return tuple(chosen)


def _check(metric: Any) -> None:
    """Raise TypeError or ValueError unless it is a metric with a name and kinds."""
    if not isinstance(metric, Metric):
        hint = f"; write {metric.__name__}(...)" if isinstance(metric, type) else ""
        raise TypeError(f"metrics are names, or gpubp Metrics such as Accuracy(), and one is {metric!r}{hint}")
    of = type(metric).__name__
    for attribute, example in (("name", '"hits"'), ("kinds", '("classes",)')):
        if getattr(metric, attribute, None) is None:
            raise TypeError(f"the class {of} has no {attribute}; a metric needs one, such as {attribute} = {example}")
    if metric.name == "loss":
        raise ValueError(f'{of} has the name "loss", under which an epoch reports the loss; give it another name')

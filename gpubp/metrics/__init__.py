"""Metrics: what an epoch reports beside the loss.

base              Metric, a weighted mean of the rows' values, and EpochMetric, computed from all rows of an epoch
means             accuracy, top-k accuracy, absolute and squared errors
classification    precision, recall, F1, and the area under the ROC curve
regression        R²
choice            metrics by name
confusion         the confusion matrix, which is counted after training
"""

from .base import EpochMetric, Metric
from .choice import BY_NAME, get_metrics
from .classification import F1, ROCAUC, Precision, Recall
from .confusion import as_classes, confusion_matrix
from .means import Accuracy, MeanAbsolute, MeanSquared, TopKAccuracy
from .regression import R2

__all__ = [
    "BY_NAME", "F1", "R2", "ROCAUC", "Accuracy", "EpochMetric", "MeanAbsolute", "MeanSquared", "Metric", "Precision",
    "Recall", "TopKAccuracy", "as_classes", "confusion_matrix", "get_metrics",
]  # fmt: skip

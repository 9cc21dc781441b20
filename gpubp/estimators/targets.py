"""Encoding of labels as targets, and decoding of outputs z into labels and probabilities.

one of two classes      one output,  p = σ(z),        label: z > 0
one of K classes        K outputs,   p = softmax z,   label: the largest
several labels at once  K outputs,   p = σ(z) each,   label: z > 0 each
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import Array, Backend, as_numpy
from ..data.class_weights import listed
from ..errors import DataError
from ..losses import BinaryCrossEntropy, Loss, PointwiseLoss, SoftmaxCrossEntropy
from ..network.probabilities import computed, sigmoid, softmax
from .rules import SumOverOutputs


def sum_over(loss: Loss, outputs: int) -> Loss:
    """The loss, summed over outputs if there are several.

    >>> type(sum_over(BinaryCrossEntropy(), 1)).__name__, type(sum_over(BinaryCrossEntropy(), 2)).__name__
    ('BinaryCrossEntropy', 'SumOverOutputs')
    """
    return SumOverOutputs(loss, outputs) if outputs > 1 and isinstance(loss, PointwiseLoss) else loss


@dataclass(frozen=True)
class Labels:
    """The meaning of a classifier's outputs.

    kind: "binary", "multiclass" or "multilabel". classes: the labels, sorted. softmax: whether two classes have an
    output each.

    >>> labels = Labels.of(np.array(["no", "yes", "no"]))
    >>> labels.kind, labels.targets(np.array(["yes", "no"])).tolist()
    ('binary', [1.0, 0.0])
    """

    kind: str
    classes: Any
    softmax: bool = False

    @classmethod
    def of(cls, y: Any, classes: Any = None) -> Labels:
        """The labels of y (n,) or (n, labels) of 0 and 1. classes: all labels, if y may lack some."""
        from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError(
                "Multioutput target data is not supported with several classes in a column of y; wrap the classifier "
                "in sklearn.multioutput.MultiOutputClassifier"
            )
        known = unique_labels(y) if classes is None else unique_labels(classes)
        if kind == "multilabel-indicator":
            return cls("multilabel", known if classes is not None else np.arange(np.shape(y)[1]))
        return cls("multiclass" if len(known) > 2 else "binary", known)

    @property
    def outputs(self) -> int:
        """The number of outputs that the network needs."""
        return 1 if self.kind == "binary" and not self.softmax else max(len(self.classes), 2 if self.softmax else 1)

    def loss(self, given: Any) -> tuple[Labels, Loss]:
        """(these labels as that loss has them, the loss): "log_loss", or an object such as
        SoftmaxCrossEntropy(label_smoothing=0.1). Raises ValueError for a loss that does not go with the labels."""
        several = self.kind == "multiclass" or self.softmax
        if isinstance(given, Loss):
            if given.predicts == "classes" and self.kind != "multilabel":
                self._check_indices(given)
                return replace(self, softmax=True), given
            if given.predicts == "labels" and not several:
                return self, sum_over(given, self.outputs)
            suited = "SoftmaxCrossEntropy" if several else "BinaryCrossEntropy"
            raise ValueError(f"{given!r} is no loss for {self.kind} labels; use loss='log_loss' or {suited}(...)")
        if several:
            return self, SoftmaxCrossEntropy()
        return self, sum_over(BinaryCrossEntropy(), self.outputs)

    def _check_indices(self, loss: Loss) -> None:
        """Raise ValueError where the loss names classes by index, and the labels are others than the indices."""
        if not isinstance(loss, SoftmaxCrossEntropy) or np.array_equal(self.classes, np.arange(len(self.classes))):
            return
        of_class, ignored = loss.class_weight, loss.ignore_index
        if ignored is not None and (0 <= ignored < len(self.classes) or ignored in self.classes.tolist()):
            hint = "leave the rows to ignore out of X and y"
        elif of_class is not None and isinstance(of_class[0], tuple):
            hint = "give the estimator itself class_weight, which is by label"
        else:
            return
        raise ValueError(
            f"{loss!r} names classes by their indices 0, 1, 2, ..., and the labels are {listed(self.classes)}: {hint}"
        )

    def targets(self, y: Any) -> np.ndarray[Any, Any]:
        """Indices of classes for softmax, else a column of 0 and 1 an output; y holds known labels only."""
        if self.kind == "multilabel":
            dense: np.ndarray[Any, Any] = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
            if dense.ndim != 2 or dense.shape[1] != self.outputs:
                raise DataError(f"y has rows of shape {dense.shape[1:]}, and the classifier has {self.outputs} labels")
            return dense.astype(np.float64)
        index: np.ndarray[Any, Any] = np.searchsorted(self.classes, y)
        return index.astype(np.int32) if self.kind == "multiclass" or self.softmax else index.astype(np.float64)

    def decode(self, z: Array, backend: Backend) -> Array:
        """The labels for outputs z (n, outputs): (n,), or (n, labels) of 0 and 1."""
        xp = np if isinstance(z, np.ndarray) else backend.xp
        if self.kind == "multilabel":
            return (z > 0).astype(np.int64)
        several = self.kind == "multiclass" or self.softmax
        index = xp.argmax(z, axis=1) if several else (z > 0).reshape(-1).astype(np.int64)
        if len(self.classes) == 1:
            index = index * 0
        if xp is np or self.classes.dtype.kind not in "iufb":
            return self.classes[as_numpy(index)]
        return xp.take(backend.to_device(self.classes), index, axis=0)

    def probabilities(self, z: Array, backend: Backend) -> Array:
        """p of every class or label, (n, classes), never rounded to 0 or 1, so that log p is finite."""
        return computed(self._probabilities, z, backend)

    def _probabilities(self, xp: Any, z: Array) -> Array:
        if self.kind == "multiclass" or self.softmax:
            p = softmax(xp, z)
        else:
            p = sigmoid(xp, xp.concatenate((-z, z), axis=1) if self.kind == "binary" else z)
        if len(self.classes) == 1 and self.kind != "multilabel":
            return p[:, :1] * 0 + 1
        info = np.finfo(p.dtype)
        return xp.minimum(xp.maximum(p, info.tiny), 1 - info.epsneg)

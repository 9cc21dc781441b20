"""The base classes of classifiers and regressors: how they read y and make predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels

from ..backends import Array
from ..backends.order import exact_sum
from ..config import same
from ..data.class_weights import check_class_weight, multiplied, weights_by_class
from ..errors import DataError
from ..losses import Loss, outputs_are
from ..metrics import R2
from ..network.probabilities import computed
from .base import Estimator
from .going_on import changed, noted
from .parameters import REGRESSION_LOSSES
from .portable import told_classes
from .targets import Labels, sum_over


def _in_steps(estimator: Any) -> bool:
    if isinstance(estimator.solver, str) and estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit takes a step for each batch, and solver='lbfgs' takes none; use solver='adam'"
        )
    return True


def _has_probabilities(estimator: Any) -> bool:
    if isinstance(estimator.loss, Loss) and outputs_are(estimator.loss) == "scores":
        raise AttributeError(
            f"{estimator.loss!r} makes outputs scores, which are no probabilities; predict gives the labels"
        )
    return True


def _of_known(class_weight: Any, classes: Any) -> Any:
    """Without classes that y lacks, if all that it has are there, as in scikit-learn: a fold may lack a rare one."""
    known = classes.tolist()
    if isinstance(class_weight, Mapping) and all(c in class_weight for c in known):
        return {c: class_weight[c] for c in known}
    return class_weight


def _check_classes(classes: Any) -> Any:
    """The labels, sorted; ValueError if they are none."""
    try:
        with np.errstate(invalid="ignore"):
            return None if classes is None else unique_labels(classes)
    except (ValueError, TypeError) as problem:
        raise ValueError(f"classes are a list of all labels, and got {classes!r:.60}: {problem}") from problem


class Classifier(ClassifierMixin, Estimator):
    """An estimator whose y holds labels."""

    _labels: Labels

    @available_if(_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train one epoch on X (n, features) and y, continuing after the last call or `fit`.

        classes: all labels that will ever come; needed at the first call.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def _take_targets(self, y: Any, first: bool, incremental: bool, classes: Any) -> None:
        if first:
            if classes is None and incremental:
                raise ValueError("classes must be passed on the first call to partial_fit: all labels that will come")
            _check_classes(classes)
            self._labels = Labels.of(y, classes)
            self.classes_ = self._labels.classes
        elif classes is not None and not np.array_equal(self.classes_, _check_classes(classes)):
            raise ValueError(
                f"classes={classes!r} is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        present = np.unique(y) if self._labels.kind != "multilabel" else np.arange(y.shape[1])
        if not first and self.warm_start and not incremental and set(present) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {present}"
            )
        self._known(y, "y")

    def _known(self, y: Any, where: str) -> None:
        if self._labels.kind == "multilabel":
            return
        strangers = np.setdiff1d(y, self.classes_)
        if len(strangers):
            raise ValueError(f"{where} has classes not in `self.classes_`: {strangers}, where fit saw {self.classes_}")

    def _targets(self, y: Any) -> np.ndarray[Any, Any]:
        return self._labels.targets(y)

    def _loss(self) -> Loss:
        return self._labels.loss(self.loss)[1]

    def _stratifies(self) -> bool:
        return self._labels.outputs == 1

    def _class_weights(self) -> list[tuple[Any, Any]]:
        """(class_weight, labels) of y, or of each column of several labels; DataError for what they can't be."""
        given, labels = self.class_weight, [np.asarray(self.classes_)]
        if self._labels.kind == "multilabel":
            labels = [np.arange(2)] * self._labels.outputs
            if not isinstance(given, str) and not (isinstance(given, list | tuple) and len(given) == len(labels)):
                raise DataError(
                    'class_weight of several labels is "balanced", or a list of dictionaries, one for each of the '
                    f"{len(labels)} labels, as {{0: 1.0, 1: 2.0}}; got {given!r:.100}"
                )
        each = given if isinstance(given, list | tuple) and len(labels) > 1 else [given] * len(labels)
        found = [(_of_known(one, classes), classes) for one, classes in zip(each, labels, strict=True)]
        for one, classes in found:
            check_class_weight(one, classes)
        return found

    def _check_class_weight(self, incremental: bool) -> None:
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' needs all rows at once, and partial_fit sees a part; give partial_fit a "
                "dictionary class -> weight, such as sklearn.utils.class_weight.compute_class_weight makes"
            )
        if self.class_weight is not None:
            self._class_weights()

    def _weigh(self, y: Any, weights: Any) -> Any:
        if self.class_weight is None:
            return weights
        columns = y.T if self._labels.kind == "multilabel" else [y]
        factors = None
        for (of_class, classes), column in zip(self._class_weights(), columns, strict=True):
            factors = weights_by_class(of_class, classes, np.searchsorted(classes, column), factors)
        return weights if factors is None else multiplied(weights, factors)

    def _decode(self, z: Array) -> Array:
        return self._labels.decode(z, self.network_.backend)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """The probability of every class, (n, classes), in the order of `classes_`; of every label, each by itself."""
        z = self._outputs(X)
        return self._labels.probabilities(z, self.network_.backend)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of every probability, (n, classes)."""
        return computed(lambda xp, p: xp.log(p), self.predict_proba(X), self.network_.backend)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows of X (n, features) whose label, or set of labels, is right."""
        return self._score(X, y, sample_weight)

    def _score_of(self, y: Any, predicted: Any, sample_weight: Any) -> float:
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def _out_activation(self) -> str:
        return "softmax" if self._labels.kind == "multiclass" or self._labels.softmax else "logistic"

    def _score_of_checked(self, y: Any, predicted: Any, weights: Any) -> float:
        """The same for a y that is checked already, which saves half a millisecond in every epoch."""
        right = predicted == (y.toarray() if hasattr(y, "toarray") else y)
        of_rows = right.reshape(len(predicted), -1).all(axis=1)
        if self.network_.numerics == "exact" and weights is not None:
            return float(exact_sum(of_rows * weights) / exact_sum(weights))
        return float(np.average(of_rows, weights=weights))

    def _settled(self, fitted: bool) -> Labels:
        """The labels as the loss has them. fitted: "log_loss" takes the outputs that there are."""
        if fitted and isinstance(self.loss, str):
            return self._labels
        return replace(self._labels, softmax=False).loss(self.loss)[0]

    def _settle(self, fitted: bool) -> int:
        labels = self._settled(fitted)
        if fitted and labels.outputs != self.network_.output_shape[-1]:
            before = self.__dict__.get("_as_fitted", {})
            name = "layers" if "layers" in before and same(before.get("loss"), self.loss) else "loss"
            raise changed(self, name, before.get(name, "log_loss"))
        self._labels = labels
        return labels.outputs

    def _inner(self) -> dict[str, Any]:
        return {"kind": self._labels.kind, "softmax": self._labels.softmax}

    def _answers(self) -> dict[str, Any]:
        labels = self._labels
        if labels.kind == "multilabel":
            scores = isinstance(self.loss, Loss) and outputs_are(self.loss) == "scores"
            return {"task": "labels", **({"loss": self.loss.config()} if scores else {})}
        one = len(self.classes_) == 1  # so that every output stands for it
        told = told_classes(np.repeat(self.classes_, labels.outputs) if one else self.classes_)
        several = one or labels.kind == "multiclass" or labels.softmax
        return {"task": "classes" if several else "labels", "classes": None, "names": None, **told}

    def _take_inner(self, inner: dict[str, Any]) -> None:
        self._labels = Labels(inner["kind"], self.classes_, inner["softmax"])
        self._as_fitted = noted(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin, Estimator):
    """An estimator whose y holds numbers."""

    _numeric = True

    @available_if(_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch on X (n, features) and y, continuing after the last call or `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _take_targets(self, y: Any, first: bool, incremental: bool, classes: Any) -> None:
        columns = self._targets(y).shape[1]
        if first:
            self._columns = columns
        elif columns != self._columns:
            raise ValueError(f"y has {columns} columns, and fit saw {self._columns}")

    def _targets(self, y: Any) -> np.ndarray[Any, Any]:
        y = np.asarray(y)
        columns: np.ndarray[Any, Any] = y.reshape(-1, 1) if y.ndim == 1 else y
        return columns

    def _loss(self) -> Loss:
        loss = self.loss if isinstance(self.loss, Loss) else REGRESSION_LOSSES[self.loss]
        return sum_over(loss, self._columns)

    def _settle(self, fitted: bool) -> int:
        return int(self._columns)

    def _out_activation(self) -> str:
        loss = REGRESSION_LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        return "exp" if outputs_are(loss) == "logarithms" else "identity"

    def _decode(self, z: Array) -> Array:
        is_logarithm = self.out_activation_ == "exp"
        predicted = computed(lambda xp, z: xp.exp(z), z, self.network_.backend) if is_logarithm else z
        return predicted.reshape(-1) if predicted.shape[1] == 1 else predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions for X (n, features), the mean over the columns of y."""
        return self._score(X, y, sample_weight)

    def _score_of(self, y: Any, predicted: Any, sample_weight: Any) -> float:
        return float(r2_score(y, predicted, sample_weight=sample_weight))

    def _score_of_checked(self, y: Any, predicted: Any, weights: Any) -> float:
        """The same for a checked y; in exact numerics, where early stopping goes by it, by exact sums."""
        if self.network_.numerics == "ordinary":
            return self._score_of(y, predicted, weights)
        weights = np.ones(len(predicted)) if weights is None else np.asarray(weights, np.float64)
        y, predicted = (np.asarray(a, np.float64) for a in (y, predicted))
        return R2().exact_result(predicted, y, weights)

    def _inner(self) -> dict[str, Any]:
        return {"columns": self._columns}

    def _answers(self) -> dict[str, Any]:
        return {"task": "numbers", "link": "log" if self.out_activation_ == "exp" else "identity"}

    def _take_inner(self, inner: dict[str, Any]) -> None:
        self._columns = inner["columns"]
        self._as_fitted = noted(self)

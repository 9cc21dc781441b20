"""scikit-learn's MLPClassifier: one `partial_fit` over the rows of all steps, in batches, in their order."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from ..workloads import MOMENTUM, Job
from . import CannotDo


class Contender:
    def __init__(self, job: Job, variant: str) -> None:
        w, self.data = job.workload, job.data
        if {layer[0] for layer in w.layers} - {"dense", "relu"}:
            raise CannotDo("scikit-learn has Dense and ReLU only")
        if w.loss != "softmax":
            raise CannotDo("scikit-learn minimises half the squared error")
        widths = [layer[1] for layer in w.layers if layer[0] == "dense"]
        self.mlp = MLPClassifier(
            widths[:-1],
            solver="adam" if w.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=w.batch,
            learning_rate_init=w.rate,
            momentum=MOMENTUM,
            nesterovs_momentum=False,
            shuffle=False,
        )
        X, classes = job.data.X, np.arange(widths[-1])
        self.mlp.partial_fit(X[: w.batch], job.data.y[: w.batch], classes=classes)  # makes the arrays, in X's type
        for W, b, own in zip(self.mlp.coefs_, self.mlp.intercepts_, job.weights, strict=True):
            W[...], b[...] = own["W"], own["b"]
        del self.mlp._optimizer  # and with it the moments and the count of that step

    def run(self, rows: Any) -> tuple[float, float]:
        order = rows.reshape(-1)
        start = time.perf_counter()
        self.mlp.partial_fit(self.data.X[order], self.data.y[order])
        return time.perf_counter() - start, float(self.mlp.loss_)  # the mean: of the one step, where there is one

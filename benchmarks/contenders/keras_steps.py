"""Keras 3 through `fit`, on JAX where there is one, else on torch or TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import time
from typing import Any

os.environ.setdefault(
    "KERAS_BACKEND", next((n for n in ("jax", "tensorflow", "torch") if importlib.util.find_spec(n)), "numpy")
)
import keras

from ..workloads import EPS, MOMENTUM, Job
from . import CannotDo


class _Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.spent = time.perf_counter() - self.start


class Contender:
    def __init__(self, job: Job, variant: str) -> None:
        if keras.config.backend() == "numpy":
            raise CannotDo("Keras trains on JAX, torch or TensorFlow, and there is none")
        w, self.data = job.workload, job.data
        self.model = keras.Sequential([keras.Input(w.shape), *(_layer(*layer) for layer in w.layers)])
        for layer, arrays in zip((n for n in self.model.layers if n.trainable_weights), job.weights, strict=True):
            for variable, a in zip(layer.trainable_weights, arrays.values(), strict=True):
                variable.assign(a)
        rule = (
            keras.optimizers.Adam(w.rate, epsilon=1e-8)
            if w.optimizer == "adam"
            else keras.optimizers.SGD(w.rate, momentum=MOMENTUM)
        )
        loss = (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if w.loss == "softmax"
            else "mean_squared_error"
        )
        self.model.compile(optimizer=rule, loss=loss)

    def run(self, rows: Any) -> tuple[float, float]:
        order, clock = rows.reshape(-1), _Clock()
        start = time.perf_counter()
        X, y = self.data.X[order], self.data.y[order]
        taken = time.perf_counter() - start
        history = self.model.fit(X, y, batch_size=rows.shape[1], epochs=1, shuffle=False, verbose=0, callbacks=[clock])
        return taken + clock.spent, float(history.history["loss"][-1])  # the mean: of the one step, where there is one


def _layer(kind: str, n: Any = None) -> Any:
    match kind:
        case "dense":
            return keras.layers.Dense(n)
        case "conv":
            return keras.layers.Conv2D(n, 3, padding="same")
        case "pool":
            return keras.layers.MaxPooling2D(2)
        case "flatten":
            return keras.layers.Flatten()
        case "relu":
            return keras.layers.ReLU()
        case "batchnorm":
            return keras.layers.BatchNormalization(epsilon=EPS, momentum=0.9)
        case "dropout":
            return keras.layers.Dropout(n)
    raise CannotDo(f"no layer {kind}")

"""gpubp, through `Trainer.fit`: the rows of every step are given as the order of an epoch."""

from __future__ import annotations

import inspect
import sys
import time
from pathlib import Path
from typing import Any

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.cpu import compiled
from gpubp.backends.cuda.backend import CUDA

from ..workloads import EPS, MOMENTUM, Job
from . import CannotDo

COMPILED = ("fast", "exact")


class _Clock(bp.Callback):
    """Times from an epoch's order to the epoch's end, because the checks of the data by `fit` are no part of a step."""

    def __init__(self) -> None:
        self.order: Any = None
        self.start = self.spent = 0.0

    def rows(self, epoch: int, n: int) -> Any:
        self.start = time.perf_counter()
        return self.order

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.spent = time.perf_counter() - self.start


class Contender:
    def __init__(self, job: Job, variant: str) -> None:
        w, self._data = job.workload, job.data
        options: dict[str, Any] = {}
        if w.precision != "float32":
            if "precision" not in inspect.signature(bp.Network).parameters:
                raise CannotDo(f"this gpubp does not compute in {w.precision}")
            options["precision"] = w.precision
        if variant == "exact":
            options["numerics"] = "exact"
        layers = bp.Sequential(*(own for kind, shape, _, layer in w.walk() for own in _layers(shape[-1], *layer)))
        net = bp.Network(layers, w.shape, device=_device(job.device), **options)
        if isinstance(net.backend, CPU):
            net.backend.native = variant in COMPILED
            if variant in COMPILED:
                # What is to be compiled is compiled before the clock runs.
                compiled.PRICE = compiled.LOOP_PRICE = 0.0
        given = iter(net.parameters.values())  # in the order of the weights
        with net.backend.active():
            for name, a in ((name, layer[name]) for layer in job.weights for name in layer):
                parameter = next(given)
                if parameter.shape != a.shape:
                    raise ValueError(f"{name} has the shape {a.shape}, and gpubp's parameter {parameter.shape}")
                net.backend.put(parameter, a)
        loss = bp.SoftmaxCrossEntropy() if w.loss == "softmax" else bp.MeanSquaredError()
        rule = bp.Adam(w.rate) if w.optimizer == "adam" else bp.SGD(w.rate, momentum=MOMENTUM)
        self.trainer = bp.Trainer(net, loss, rule, batch_size=w.batch)
        self._clock = _Clock()

    def run(self, rows: Any) -> tuple[float, float]:
        self._clock.order = rows.reshape(-1)
        self.trainer.fit(self._data.X, self._data.y, shuffle=self._clock.rows, callbacks=[self._clock], verbose=False)
        return self._clock.spent, self.trainer.loss


def _device(device: Any) -> Any:
    """The device of a job: a name, a backend, or "stand-in" for the stand-in for a GPU in tests."""
    if device != "stand-in":
        return device
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from strict import StrictProducts, strict_cupy

    return CUDA(strict_cupy(), products=StrictProducts)


def _layers(width: int, kind: str, *numbers: Any) -> list[bp.Layer]:
    if kind != "block":
        return [_layer(kind, *numbers)]
    attention, units = bp.MultiHeadAttention(*numbers), (bp.Dense(4 * width), bp.ReLU(), bp.Dense(width))
    return [bp.Residual(bp.Sequential(bp.LayerNorm(eps=EPS), *inner)) for inner in ((attention,), units)]


def _layer(kind: str, n: Any = None, m: Any = None) -> bp.Layer:
    match kind:
        case "dense":
            return bp.Dense(n)
        case "conv":
            return bp.Conv2D(n, 3, padding="same")
        case "pool":
            return bp.MaxPool2D(2)
        case "flatten":
            return bp.Flatten()
        case "relu":
            return bp.ReLU()
        case "batchnorm":
            return bp.BatchNorm(eps=EPS)
        case "dropout":
            return bp.Dropout(n)
        case "words":
            return bp.Embedding(n, m)
        case "lstm" | "lstm-all":
            return bp.LSTM(n, return_sequences=kind == "lstm-all")
        case "gru":
            return bp.GRU(n)
        case "norm":
            return bp.LayerNorm(eps=EPS)
        case "mean":
            return bp.MeanOverTime()
    raise CannotDo(f"no layer {kind}")

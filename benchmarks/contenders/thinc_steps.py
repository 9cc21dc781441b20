"""Thinc: `begin_update`, the gradient, `finish_update`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from thinc.api import Adam, Linear, Relu, chain

from ..workloads import Job
from . import CannotDo


class Contender:
    def __init__(self, job: Job, variant: str) -> None:
        w, self.data = job.workload, job.data
        kinds = [layer[0] for layer in w.layers]
        if set(kinds) - {"dense", "relu"}:
            raise CannotDo("only networks of Dense and ReLU are compared")
        if w.optimizer != "adam":
            raise CannotDo("Thinc has no momentum")
        self.loss = w.loss
        layers: list[Any] = []
        shape = w.shape[0]
        for i, layer in enumerate(w.layers):
            if layer[0] == "dense":
                kind = Relu if kinds[i + 1 : i + 2] == ["relu"] else Linear
                made = kind(nO=layer[1], nI=shape)
                layers.append(made)
                shape = layer[1]
        self.model = chain(*layers) if len(layers) > 1 else layers[0]
        self.model.initialize()  # which draws weights, and so comes before ours
        for made, own in zip(layers, job.weights, strict=True):
            made.set_param("W", np.ascontiguousarray(own["W"].T))
            made.set_param("b", own["b"].copy())
        self.rule = Adam(w.rate, L2=0.0, grad_clip=0.0, use_averages=False)

    def run(self, rows: Any) -> tuple[float, float]:
        X, y = self.data.X, self.data.y
        loss = 0.0
        start = time.perf_counter()
        for batch in rows:
            z, back = self.model.begin_update(X[batch])
            dz, loss = _softmax(z, y[batch]) if self.loss == "softmax" else _squares(z, y[batch])
            back(dz)
            self.model.finish_update(self.rule)
            self.rule.step_schedules()
        return time.perf_counter() - start, float(loss)


def _softmax(z: Any, t: Any) -> tuple[Any, float]:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    at = np.arange(len(t)), t
    loss = -np.log(p[at]).mean()
    p[at] -= 1.0
    p /= len(t)
    return p, loss


def _squares(z: Any, t: Any) -> tuple[Any, float]:
    d = z - t
    return d * np.float32(2.0 / d.size), np.square(d).mean()

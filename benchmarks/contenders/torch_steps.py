"""PyTorch: eager, with its fused optimizer, compiled, channels_last, as a CUDA graph."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..workloads import EPS, MOMENTUM, Job
from . import CannotDo


class Contender:
    """variant: "eager", "fused" (optimizer), "compile" and "channels_last" (both with it), "graph" (the whole step
    captured) or "reduce-overhead" (compiled, its kernels in graphs)."""

    def __init__(self, job: Job, variant: str) -> None:
        w = job.workload
        self.w, self.variant, self.device = w, variant, torch.device(job.device)
        self.cuda = self.device.type == "cuda"
        if variant in ("graph",) and not self.cuda:
            raise CannotDo("graphs are captured on a GPU")
        torch.set_num_threads(job.threads)
        torch.set_float32_matmul_precision("high" if w.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = w.precision == "tf32"
        self.X = torch.from_numpy(_channels_first(job.data.X)).to(self.device)
        self.y = torch.from_numpy(job.data.y).to(self.device)
        self.model = _model(w, job.weights).to(self.device)
        if variant == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
            self.X = self.X.contiguous(memory_format=torch.channels_last)
        options: dict[str, Any] = {"lr": w.rate}
        if variant != "eager":
            options["fused"] = True
        if variant == "graph" and w.optimizer == "adam":
            options["capturable"] = True
        if w.optimizer == "adam":
            self.rule: Any = torch.optim.Adam(self.model.parameters(), **options)
        else:
            self.rule = torch.optim.SGD(self.model.parameters(), momentum=MOMENTUM, **options)
        if variant in ("compile", "reduce-overhead"):
            torch.compiler.reset()  # or it would take another workload's batch for a size that changes
        mode = {"compile": "default", "reduce-overhead": "reduce-overhead"}.get(variant)
        self._loss = torch.compile(self._forward, mode=mode) if mode else self._forward
        self._graph: Any = None

    def _forward(self, x: Any, t: Any) -> Any:
        z = self.model(x)
        return F.cross_entropy(z, t) if self.w.loss == "softmax" else F.mse_loss(z, t)

    def _step(self, x: Any, t: Any) -> Any:
        self.rule.zero_grad()
        half = self.w.precision == "bfloat16"
        kept = self.variant != "graph"  # a graph must cast its weights each time
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=kept):
            loss = self._loss(x, t)
        loss.backward()
        self.rule.step()
        return loss

    def run(self, rows: Any) -> tuple[float, float]:
        order = torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)
        step = self._captured if self.variant == "graph" else self._plain
        self._wait()
        start = time.perf_counter()
        loss = step(order)
        self._wait()
        return time.perf_counter() - start, float(loss.detach())

    def _plain(self, order: Any) -> Any:
        mark = self.variant == "reduce-overhead" and self.cuda
        loss = None
        for batch in order:
            if mark:
                torch.compiler.cudagraph_mark_step_begin()
            loss = self._step(self.X[batch], self.y[batch])
        return loss

    def _captured(self, order: Any) -> Any:
        """By the graph of a step; the steps before its capture are undone, so that the work is the others'."""
        batches = iter(order)
        if self._graph is None:
            self._rows = order[0].clone()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            kept = [p.detach().clone() for p in self.model.parameters()]
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._step(self.X[self._rows], self.y[self._rows])
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            self.rule.zero_grad()
            with torch.cuda.graph(self._graph):
                self._last = self._step(self.X[self._rows], self.y[self._rows])
            with torch.no_grad():  # back to the beginning: the warm-up is no training
                for p, before in zip(self.model.parameters(), kept, strict=True):
                    p.copy_(before)
                for state in self.rule.state.values():
                    for value in state.values():
                        if torch.is_tensor(value):
                            value.zero_()
        for batch in batches:
            self._rows.copy_(batch)
            self._graph.replay()
        return self._last

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def _channels_first(X: Any) -> Any:
    return np.ascontiguousarray(X.transpose(0, 3, 1, 2)) if X.ndim == 4 else X


def _model(w: Any, weights: list[dict[str, Any]]) -> Any:
    modules: list[Any] = []
    given, flattened = iter(weights), None
    for kind, before, _, layer in w.walk():
        n = layer[1] if len(layer) > 1 else None
        if kind in ("dense", "conv"):
            own = next(given)
            W = torch.from_numpy(own["W"])
            if kind == "dense":
                module: Any = torch.nn.Linear(before[-1], n)
                if flattened:  # (h, w, c) -> (c, h, w)
                    W = W.reshape(*flattened, n).permute(2, 0, 1, 3).reshape(-1, n)
                    flattened = None
                W = W.T
            else:
                module = torch.nn.Conv2d(before[-1], n, 3, padding="same")
                W = W.permute(3, 2, 0, 1)
            with torch.no_grad():
                module.weight.copy_(W)
                module.bias.copy_(torch.from_numpy(own["b"]))
        elif kind == "batchnorm":
            own = next(given)
            module = (torch.nn.BatchNorm2d if len(before) == 3 else torch.nn.BatchNorm1d)(before[-1], eps=EPS)
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(own["gamma"]))
                module.bias.copy_(torch.from_numpy(own["beta"]))
        elif kind == "flatten":
            flattened, module = before, torch.nn.Flatten()
        elif kind == "pool":
            module = torch.nn.MaxPool2d(2)
        elif kind == "relu":
            module = torch.nn.ReLU()
        elif kind == "dropout":
            module = torch.nn.Dropout(n)
        else:
            raise CannotDo(f"no layer {kind}")
        modules.append(module)
    return torch.nn.Sequential(*modules)

"""PyTorch: eager, with its fused optimizer, compiled, channels_last, as a CUDA graph."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..workloads import EPS, GATES, MOMENTUM, Job
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
            self.rule: Any = torch.optim.Adam(self._learned(), **options)
        else:
            self.rule = torch.optim.SGD(self._learned(), momentum=MOMENTUM, **options)
        if variant in ("compile", "reduce-overhead"):
            torch.compiler.reset()  # or it would take another workload's batch for a size that changes
        mode = {"compile": "default", "reduce-overhead": "reduce-overhead"}.get(variant)
        self._loss = torch.compile(self._forward, mode=mode) if mode else self._forward
        self._graph: Any = None

    def _learned(self) -> list[Any]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _forward(self, x: Any, t: Any) -> Any:
        z = self.model(x)
        if self.w.each:
            z, t = z.flatten(0, 1), t.flatten()
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


def _filled(module: Any, own: dict[str, Any]) -> Any:
    """The module, with weights W and b, or γ and β."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            a = own[{"weight": "gamma" if "gamma" in own else "W", "bias": "beta" if "beta" in own else "b"}[name]]
            parameter.copy_(torch.from_numpy(a.T if isinstance(module, torch.nn.Linear) else a))
    return module


class _Recurrent(torch.nn.Module):
    def __init__(self, kind: str, n: int, m: int, own: dict[str, Any]) -> None:
        super().__init__()
        self.all = kind == "lstm-all"
        self.inner = (torch.nn.GRU if kind == "gru" else torch.nn.LSTM)(n, m, batch_first=True)
        with torch.no_grad():
            self.inner.weight_ih_l0.copy_(torch.from_numpy(own["W"].T))
            self.inner.weight_hh_l0.copy_(torch.from_numpy(own["U"].T))
            self.inner.bias_ih_l0.copy_(torch.from_numpy(own["b"]))
            self.inner.bias_hh_l0.zero_()
            if "b_U" in own:
                self.inner.bias_hh_l0[2 * m :].copy_(torch.from_numpy(own["b_U"]))
        if kind != "gru":
            self.inner.bias_hh_l0.requires_grad_(
                False
            )  # gpubp has one bias: with two, Adam's steps would be twice as long

    def forward(self, x: Any) -> Any:
        h, _ = self.inner(x)
        return h if self.all else h[:, -1]


class _Block(torch.nn.Module):
    """A block of an encoder; keys and values have no bias, see gpubp's `MultiHeadAttention`."""

    def __init__(self, n: int, heads: int, weights: list[dict[str, Any]]) -> None:
        super().__init__()
        before, attention, behind, first, second = weights
        self.heads = heads
        self.before, self.behind = (_filled(torch.nn.LayerNorm(n, eps=EPS), own) for own in (before, behind))
        self.QKV = _filled(torch.nn.Linear(n, 3 * n, bias=False), {"W": attention["WQKV"]})
        self.bQ = torch.nn.Parameter(torch.from_numpy(attention["bQ"].copy()))
        self.O = _filled(torch.nn.Linear(n, n), {"W": attention["WO"], "b": attention["bO"]})
        self.first, self.second = _filled(torch.nn.Linear(n, 4 * n), first), _filled(torch.nn.Linear(4 * n, n), second)

    def forward(self, x: Any) -> Any:
        B, T, n = x.shape
        q, k, v = self.QKV(self.before(x)).split(n, -1)
        q, k, v = (a.reshape(B, T, self.heads, -1).transpose(1, 2) for a in (q + self.bQ, k, v))
        x = x + self.O(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, n))
        return x + self.second(F.relu(self.first(self.behind(x))))


class _Mean(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean(1)


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
        elif kind == "norm":
            module = _filled(torch.nn.LayerNorm(before[-1], eps=EPS), next(given))
        elif kind == "words":
            module = _filled(torch.nn.Embedding(*layer[1:]), next(given))
        elif kind in GATES:
            module = _Recurrent(kind, before[-1], n, next(given))
        elif kind == "block":
            module = _Block(before[-1], n, [next(given) for _ in range(5)])
        elif kind == "mean":
            module = _Mean()
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

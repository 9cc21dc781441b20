"""The lower bound of all contenders: the matrix products of a step and nothing else, at the precision of the workload,
as one CUDA graph on a GPU."""

from __future__ import annotations

import time
from typing import Any

import torch

from ..workloads import Job


class Contender:
    def __init__(self, job: Job, variant: str) -> None:
        w, device = job.workload, torch.device(job.device)
        torch.set_num_threads(job.threads)
        torch.set_float32_matmul_precision("high" if w.precision == "tf32" else "highest")
        kind = torch.bfloat16 if w.precision == "bfloat16" else torch.float32
        self.cuda = device.type == "cuda"
        made: dict[tuple[int, int, int], Any] = {}
        for m, k, n in w.products():
            if (m, k, n) not in made:
                made[m, k, n] = tuple(
                    torch.randn(shape, device=device, dtype=kind) for shape in ((m, k), (k, n), (m, n))
                )
        self.products = [made[sizes] for sizes in w.products()]
        self._once = self._multiply
        if self.cuda:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                self._multiply()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._multiply()
            self._once = graph.replay

    def _multiply(self) -> None:
        for a, b, out in self.products:
            torch.mm(a, b, out=out)

    def run(self, rows: Any) -> tuple[float, float]:
        self._wait()
        start = time.perf_counter()
        for _ in rows:
            self._once()
        self._wait()
        return time.perf_counter() - start, 0.0

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

"""The process of a contender: it reads requests as lines of JSON, and answers with lines of JSON.

    {"do": "make", "name": ..., "workload": ..., "device": ..., "threads": ..., "chunk": ...}    -> {"version": ...}
    {"do": "run", "rows": [[...], ...]}                                                -> {"seconds": ..., "loss": ...}
    {"do": "steps", "steps": n}     n steps on rows of its own drawing                 -> the same
    {"do": "memory"}                bytes that it grew by, at its highest since "make" -> {"growth": ...}
    {"do": "kernels"}               the kernels that its libraries took on the CPU     -> {"kernels": [...]}
    {"do": "measure"}               this process's matrix products and copies          -> {"gflops": ..., "gbytes": ...}

A problem is answered by {"cannot": why} or {"error": what}. Answers go to the stream that was the standard output when
the process began; whatever a library prints goes to the error stream.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries' prints
    worker = Worker()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = worker.answer(asked)
        except Exception as problem:
            from .contenders import CannotDo

            kind = "cannot" if isinstance(problem, CannotDo) else "error"
            answer = {kind: str(problem).strip().split("\n")[0][:300] or type(problem).__name__}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    def __init__(self) -> None:
        self.contender: Any = None
        self.base, self.device, self.name = 0, "cpu", ""

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        return dict(getattr(self, f"do_{asked.pop('do')}")(**asked))

    def do_make(
        self, name: str, workload: dict[str, Any], device: str = "cpu", threads: int = 2, chunk: int = 50
    ) -> dict[str, Any]:
        import numpy as np

        from .contenders import CONTENDERS, load, make
        from .workloads import Job, Workload, data_of, first_weights, orders

        entry = CONTENDERS[name]
        w = Workload.from_json(workload)
        data, weights = data_of(w), first_weights(w)
        load(name)
        self.contender = None  # that of the workload before, with all of its memory
        gc.collect()
        self.orders, self.np, self.chunk = orders(w), np, chunk if entry.variant == "scan" else 1
        reset_peak()
        self.base = memory("VmRSS")
        self.device, self.name = device, name
        self.contender = make(name, Job(w, data, weights, device, threads, chunk))
        return {"version": version(entry.needs[0]), "chunk": self.chunk}

    def do_run(self, rows: list[list[int]]) -> dict[str, Any]:
        seconds, loss = self.contender.run(self.np.asarray(rows, self.np.int64))
        return {"seconds": seconds, "loss": loss}

    def do_steps(self, steps: int) -> dict[str, Any]:
        steps = -(-steps // self.chunk) * self.chunk
        seconds, loss = self.contender.run(self.np.stack(list(islice(self.orders, steps))))
        return {"seconds": seconds, "loss": loss, "steps": steps}

    def do_forget(self) -> dict[str, Any]:
        """Reset the peak of memory, so that compiling is no part of it."""
        reset_peak()
        return {}

    def do_memory(self) -> dict[str, Any]:
        return {"growth": max(0, memory("VmHWM") - self.base) if self.device == "cpu" else None}

    def do_kernels(self) -> dict[str, Any]:
        from .kernels import kernels_of

        return {"kernels": kernels_of(self.name) if self.device == "cpu" else []}

    def do_measure(self, library: str = "numpy", threads: int = 2) -> dict[str, Any]:
        """The quickest of some large products, and of copies that no cache holds (read and write counted)."""
        import numpy as np

        a, b, c = (np.ones((1536, 1536), np.float32) for _ in range(3))
        multiply: Any = lambda: np.matmul(a, b, out=c)  # noqa: E731
        if library == "torch":
            import torch

            torch.set_num_threads(threads)
            ta, tb, tc = map(torch.from_numpy, (a, b, c))
            multiply = lambda: torch.mm(ta, tb, out=tc)  # noqa: E731
        x, y = np.ones(2**24, np.float32), np.ones(2**24, np.float32)
        return {
            "gflops": 2 * 1536**3 / quickest(multiply) / 1e9,
            "gbytes": 2 * x.nbytes / quickest(lambda: np.copyto(y, x)) / 1e9,
        }


def quickest(call: Any, times: int = 5) -> float:
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def memory(field: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at the highest."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def reset_peak() -> None:
    """Reset VmHWM; if Linux refuses, it stays that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def version(module: str) -> str:
    try:
        return importlib.metadata.version({"sklearn": "scikit-learn"}.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(module), "__version__", "?"))


if __name__ == "__main__":
    main()

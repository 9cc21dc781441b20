"""Train two networks on a GPU, and check graphs, epilogues, step times and learning: gpu_smoke.py RESULTS LOGS --name
smoke-A|smoke-D

A is the perceptron of `python -m benchmarks gpu`, in three precisions, and also with simpler ways to launch it. D is
its convolutional network, with blocks of four sizes. For both, the results say which calls take how long, and whether
the networks learn as on the CPU.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from gpu_calls import profile
from gpu_results import Stage

from benchmarks.contenders.gpubp_steps import Contender
from benchmarks.workloads import GPU, Job, Workload, data_of, first_weights, mlp, orders
from gpubp.backends.cuda import launches
from gpubp.backends.cuda.cublaslt import CublasLtUnavailable
from gpubp.backends.cuda.graphs import Graphs
from gpubp.training import loop

SMALL = {
    "A": Workload("A", "16-12-8-4", (16,), mlp(12, 8, 4), 8, rows=64),
    "D": Workload("D", "CNN 4-8", (6, 6, 1), (("conv", 4), ("relu",), ("pool",), ("flatten",), *mlp(8, 4)), 4, rows=16),
}
NEAR = {"float32": 1e-2, "tf32": 5e-2, "bfloat16": 2e-1}  # relative difference of losses after the first steps
WAYS: dict[str, tuple[Any, str, Any]] = {
    "one stream": (Graphs, "branches", False),
    "step by step": (loop, "chain_of", lambda *args: None),
    "no epilogues": (launches.Launches, "epilogues", False),
}
PIECES = (2**24, 2**19, 2**23, 2**21)


class ProductLog:
    """Counts the products that were asked for, and notes which were refused."""

    def __init__(self, made: Any) -> None:
        self.seen: Counter[str] = Counter()
        log = self

        class Products(made):  # type: ignore[misc]
            def why_not(self, a: Any, b: Any, out: Any, **options: Any) -> str:
                reason = str(super().why_not(a, b, out, **options))
                if reason:  # so that it is never asked for
                    log.seen[f"{asked(a, b, options)}: REFUSED, {reason}"] += 1
                return reason

            def gemm(self, a: Any, b: Any, out: Any, **options: Any) -> Any:
                what = asked(a, b, options)
                try:
                    result = super().gemm(a, b, out, **options)
                except CublasLtUnavailable as refusal:
                    log.seen[f"{what}: REFUSED, {refusal}"] += 1
                    raise
                log.seen[what] += 1
                return result

        self.products = Products


def asked(a: Any, b: Any, options: dict[str, Any]) -> str:
    """A product in words."""
    what = f"{a.shape[0]} x {a.shape[1]} x {b.shape[1]} {a.dtype}"
    what += f" {options['compute']}" if options.get("compute", "float32") != "float32" else ""
    return f"{what}, {options.get('epilogue') or 'no epilogue'}"


def run(stage: Stage, w: Workload, chunks: list[int], backend: Any = "cpu", most: float = 6.0, piece: int = 0) -> Any:
    """(contender, [(steps so far, loss, seconds a step)]), for some seconds at most."""
    contender = Contender(Job(w, data_of(w), first_weights(w), backend), "")
    if piece:
        contender.trainer.backend.piece = piece
    found, rows, done, spent = [], orders(w), 0, 0.0
    for steps in chunks:
        seconds, loss = contender.run(np.stack(list(islice(rows, steps))))
        done, spent = done + steps, spent + seconds
        found.append((done, float(loss), seconds / steps))
        if spent > most or stage.left < 3.0:
            break
    return contender, found


def graph_of(trainer: Any) -> tuple[bool, str, int]:
    """(whether the step is a graph, why not, calls)"""
    record = trainer.record
    if record is None:
        return False, "no step was recorded", 0
    return record.graph is not None, record.refusal, len(record) if record.record is not None else 0


def perceptron(stage: Stage, w: Workload, precision: str, chunks: list[int], on_cpu: list[Any], way: str = "") -> Any:
    """Network A in one precision, launched in one of WAYS, as a line; returns the contender."""
    contender = None
    name = f"A {precision}, {way}" if way else f"A {precision}"
    with ExitStack() as around:
        line = around.enter_context(stage.results.part(name))
        heard = around.enter_context(warnings.catch_warnings(record=True))
        if way:
            around.enter_context(mock.patch.object(*WAYS[way]))
        warnings.simplefilter("always")
        launches._warned.clear()
        log = ProductLog(stage.products())
        contender, found = run(stage, replace(w, precision=precision), chunks, stage.backend(products=log.products))
        captured, why, calls = graph_of(contender.trainer)
        line |= compare_losses(found, on_cpu, NEAR[precision])
        line |= {"captured": captured, "why": why, "calls": calls, "products": dict(log.seen)}
        line["warnings"] = [f"{h.category.__name__}: {h.message}" for h in heard]
        line["ok"] = line["near"] and captured
        line["shown"] = shown(stage, line)
        line["detail"] = [f"product {what}" for what in log.seen if precision == "float32" or "REFUSED" in what]
        line["detail"] += [f"warning {text}" for text in line["warnings"]]
        print(contender.trainer.record)
    return contender


def compare_losses(found: list[Any], on_cpu: list[Any], near: float) -> dict[str, Any]:
    """µs a step, and the losses beside the CPU's: near each other after the first steps, and then as they come."""
    both = list(zip(found, on_cpu, strict=False))
    first, last = both[0], both[-1]
    apart = abs(first[0][1] - first[1][1]) / max(abs(first[1][1]), 1e-3)
    return {
        "microseconds": round(median(seconds for _, _, seconds in found[1:] or found) * 1e6, 2),
        "cpu_microseconds": round(median(seconds for _, _, seconds in on_cpu[1:] or on_cpu) * 1e6, 2),
        "steps": found[-1][0], "loss": found[-1][1], "apart_at_first": apart, "compared_at": last[0][0],
        "losses": [last[0][1], last[1][1]], "near": bool(apart <= near and np.isfinite(found[-1][1])),
    }  # fmt: skip


def shown(stage: Stage, line: dict[str, Any]) -> str:
    """A line of results in words."""
    graph = f"a graph of {line['calls']} calls" if line["captured"] else f"NO GRAPH ({line['why']})"
    ours, cpu = line["losses"]
    said = f"{line['microseconds']} {stage.us} a step, {graph}; loss after {line['compared_at']} steps {ours:.6g}, "
    return said + f"CPU {cpu:.6g}, {line['apart_at_first']:.0e} apart at first; {len(line['warnings'])} warnings"


def convolutions(stage: Stage, w: Workload, chunks: list[int], on_cpu: list[Any], pieces: tuple[int, ...]) -> Any:
    """Network D by pieces of each size, a line each; returns the quickest contender."""
    best: tuple[float, Any] | None = None
    for piece in pieces:
        if stage.left < 6.0:
            stage.results.add(f"D pieces of {piece}", shown="left out, the time was over")
            continue
        with stage.results.part(f"D pieces of 2^{piece.bit_length() - 1}") as line:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                launches._warned.clear()
                contender, found = run(stage, w, chunks, stage.backend(), piece=piece)
            captured, why, calls = graph_of(contender.trainer)
            line |= compare_losses(found, on_cpu, NEAR["float32"])
            line |= {"captured": captured, "why": why, "calls": calls, "piece": piece}
            line["warnings"] = [f"{h.category.__name__}: {h.message}" for h in heard]
            line["detail"] = [f"warning {text}" for text in line["warnings"]]
            line["ok"], line["shown"] = line["near"] and captured, shown(stage, line)
            if best is None or line["microseconds"] < best[0]:
                best = line["microseconds"], contender
    return None if best is None else best[1]


def main(stage: Stage) -> int:
    """Network A, or network D, by the stage's name."""
    networks = SMALL if stage.dry else GPU
    rounds = 10 if stage.dry else 30
    if stage.name.endswith("D"):
        chunks, pieces = ([3, 2], (2**10, 2**8)) if stage.dry else ([20, 100, 100], PIECES)
        _, on_cpu = run(stage, networks["D"], chunks[:1])
        contender = convolutions(stage, networks["D"], chunks, on_cpu, pieces)
        if contender is not None:
            profile(stage, "D", networks["D"], contender, rounds, 14)
        return 0
    chunks = [3, 3] if stage.dry else [100, *[200] * 9, 100]
    _, on_cpu = run(stage, networks["A"], chunks)
    contender = perceptron(stage, networks["A"], "float32", chunks, on_cpu)
    if contender is not None:
        profile(stage, "A", networks["A"], contender, rounds, 14)
    for precision in ("tf32", "bfloat16"):
        if stage.left > 4.0:
            perceptron(stage, networks["A"], precision, chunks, on_cpu)
        else:
            stage.results.add(f"A {precision}", shown="left out, the time was over")
    for way in WAYS:
        if stage.left > 4.0:
            perceptron(stage, networks["A"], "float32", chunks, on_cpu, way)
        else:
            stage.results.add(f"A float32, {way}", shown="left out, the time was over")
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("smoke-A")))

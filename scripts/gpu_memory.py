"""Train with a batch that has no room in the GPU's memory: gpu_memory.py RESULTS LOGS

All memory but a little is taken by a plain allocation. A fit must then raise gpubp's own error, which names the largest
batch that fits. The process must go on after it, and training with the batch that was named must have room, by single
steps and by a fit whose data lie on the GPU.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from gpu_results import Stage

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.errors import in_bytes

STEPS = 4  # of which the last ones are a graph


class Case(NamedTuple):
    """A network; rows: of a batch that has no room; leave: bytes of the GPU's memory that are left for all."""

    name: str
    layers: bp.Layer
    shape: tuple[int, ...]
    rows: int
    leave: int


def cases(small: bool) -> tuple[Case, ...]:
    """An MLP and a CNN."""
    if small:
        return (
            Case("mlp", bp.mlp(10, (32, 32)), (100,), 1000, 800_000),
            Case("cnn", bp.cnn(10, (4, 8), (4,), (8,)), (4, 8), 600, 700_000),
        )
    return (
        Case("mlp", bp.mlp(10, (2048, 2048), dropout=0.2), (784,), 65_536, 1_500_000_000),
        Case("cnn", bp.cnn(10, (28, 28, 1), (32, 64), batch_norm=True), (28, 28, 1), 8192, 1_500_000_000),
    )


@contextmanager
def nearly_full(stage: Stage, cupy: Any, leave: int) -> Iterator[int]:
    """All of the GPU's memory but so many bytes is taken; gives how many are free then."""
    if stage.dry:
        before = cupy.room
        cupy.room -= cupy._free() - leave
        yield cupy._free()
        cupy.room = before
        return
    runtime = cupy.cuda.runtime
    cupy.get_default_memory_pool().free_all_blocks()
    taken = runtime.malloc(max(int(runtime.memGetInfo()[0]) - leave, 1))
    try:
        yield int(runtime.memGetInfo()[0])
    finally:
        runtime.free(taken)


def refused(trainer: bp.Trainer, X: Any, y: Any) -> str:
    """The error of a fit on batches that have no room."""
    try:
        trainer.fit(X, y, verbose=False)
    except bp.DeviceMemoryError as problem:
        return str(problem)
    raise AssertionError("a batch that has no room was trained on")


def few_steps(trainer: bp.Trainer, X: Any, y: Any, rows: int) -> None:
    """Steps on so many rows, of which the last ones are a graph."""
    for _ in range(STEPS):
        trainer.step(X[:rows], y[:rows])
    assert np.isfinite(trainer.loss), f"the loss is {trainer.loss}"


def tried(stage: Stage, cupy: Any, case: Case) -> None:
    """One network, as a line."""
    with stage.results.part(case.name) as line, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        rng = np.random.default_rng(0)
        X, y = rng.random((case.rows, *case.shape), np.float32), rng.integers(0, 10, case.rows)
        with nearly_full(stage, cupy, case.leave) as free:
            net = bp.Network(case.layers, case.shape, device=CUDA(cupy, 0, products=stage.products()), seed=1)
            trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=case.rows)
            line |= {"free": free, "rows": case.rows, "error": (error := refused(trainer, X, y))}
            line["shown"] = line["problem"] = f"the error names no batch: {error}"
            named = re.search(r"a batch_size of about (\d+) fits$", error)
            assert named, error
            line["named"] = fits = int(named[1])
            line["shown"] = f"{case.rows:,} rows in {in_bytes(free)}: the error names {fits:,}"
            line["problem"] = f"{line['shown']}; a step of as many fails"
            few_steps(trainer, X, y, fits)
            del trainer
            line["problem"] = f"{line['shown']}; a step of as many works, a fit fails"
            again = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=fits)
            history = again.fit(X, y, epochs=3, verbose=False)
            record = again.record
            line["left"], line["losses"] = again.backend.memory()[0], history["loss"]
            line["captured"], line["why"] = record.graph is not None, record.refusal
        line["warnings"] = [f"{h.category.__name__}: {h.message}" for h in heard]
        line["detail"] = [f"warning {text}" for text in line["warnings"]]
        line["ok"] = bool(line["captured"] and np.isfinite(history["loss"][-1]))
        graph = "" if line["captured"] else f"; NO GRAPH ({record.refusal})"
        line["shown"] += f"; steps and a fit of as many work, {in_bytes(line['left'])} are left{graph}"
        line["shown"] += f"; {len(heard)} warnings" if heard else ""
        line["problem"] = line["shown"]


def main(stage: Stage) -> int:
    """Both networks."""
    cupy = stage.cupy()
    for case in cases(stage.dry):
        if stage.left < 4.0:
            stage.results.add(case.name, ok=False, problem="left out, the time was over")
        else:
            tried(stage, cupy, case)
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("memory")))

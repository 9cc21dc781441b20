"""Short trainings in exact numerics of every layer and every loss of `cases.py`, and what is left of them: hashes.

python tests/exact/exact_runs.py            those of all cases as JSON, for processes with another processor's libraries
python tests/exact/exact_runs.py --write    into exact_layers.json, after a change of exact numerics that was meant
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "layers")]

import gpubp as bp
import length_cases
from cases import LAYERS, LOSSES
from gpubp.backends.cpu import compiled
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update

KEPT = Path(__file__).with_name("exact_layers.json")


class Run(NamedTuple):
    """A network, a step on one batch, and the targets as a user gives them."""

    net: bp.Network
    step: TrainingStep
    y: Any


class Numbers(np.random.Generator):
    """Random numbers that no library computes: they have the same bits everywhere."""

    def normal(self, *, size: Any) -> Any:
        """From -2 to 2, evenly."""
        return 4.0 * self.random(size) - 2.0

    def poisson(self, lam: float, size: Any) -> Any:
        """From 0 to 4, evenly."""
        return self.integers(0, 5, size)


def digest(*arrays: Any) -> str:
    """Of the bits of arrays and numbers."""
    found = hashlib.sha256()
    for a in arrays:
        found.update(np.ascontiguousarray(a).tobytes())
    return found.hexdigest()[:16]


def step_of(layers: bp.Layer, row: Any, loss: bp.Loss, x: Any, y: Any, workers: int = 1, dtype: str = "float32") -> Run:
    """A network and a step on one batch."""
    net = bp.Network(layers, row, device="cpu", seed=1, dtype=dtype, numerics="exact")
    t = loss.targets(np.asarray(y), (len(x), *net.output_shape))
    t = t if t.dtype == np.int32 else t.astype(dtype)
    step = TrainingStep(
        StepJob(net, loss, seed=3), Batch(net, len(x), TargetShape.of(t)), Update(net, bp.Adam(0.01)), workers
    )
    step.load(x.astype(dtype), t)
    return Run(net, step, y)


def layer_step(case: Any, rows: int = 5, **options: Any) -> Run:
    """A step of a layer amid others."""
    rng = Numbers(np.random.PCG64(7))
    x, y = case.x(rng, rows), rng.integers(0, 3, rows)
    return step_of(case.network_layers(), case.shape[1:], bp.SoftmaxCrossEntropy(), x, y, **options)


def loss_step(case: Any, rows: int = 6, **options: Any) -> Run:
    """A step of a loss on what a Dense gives."""
    rng = Numbers(np.random.PCG64(8))
    x, y = rng.normal(size=(rows, 4)), case.targets(rng, (rows, *case.shape[1:]))
    last = [] if case.last is None else [case.last]
    layers = bp.Sequential(bp.Dense(math.prod(case.shape[1:])), bp.Reshape(case.shape[1:]), *last)
    return step_of(layers, 4, case.loss, x, y, **options)


def trained(run: Run, steps: int = 3) -> str:
    """The digest of what is left after some steps."""
    net, step, _ = run
    with net.backend.active():
        for _ in range(steps):
            step.run()
    assert np.isfinite(net.flat).all()
    return digest(net.flat, net.states.flat, step.last_loss())


def of_lengths(name: str) -> str:
    """The digest after an epoch on rows of different lengths."""
    net = length_cases.network(name, numerics="exact")
    length_cases.trainer(net).fit(length_cases.X, length_cases.targets(name), epochs=1, verbose=False)
    return digest(net.flat, net.states.flat)


def all_digests(rows: int = 5, workers: int = 1) -> dict[str, str]:
    """Of every case by its name."""
    options = {"rows": rows, "workers": workers}
    found = {f"layer {case}": trained(layer_step(case, **options)) for case in LAYERS}
    return found | {f"loss {case}": trained(loss_step(case, **options)) for case in LOSSES}


def all_of_lengths() -> dict[str, str]:
    """Of every network for rows of different lengths."""
    return {f"lengths {name}": of_lengths(name) for name in length_cases.ALL}


WITH_LOOPS = {
    "LSTM-states", "GRU", "MultiHeadAttention-causal", "BatchNorm-images", "MaxPool2D-overlapping", "Ensemble-labels",
    "augmented", "GELU", "CE-ignored-weighted",
}  # fmt: skip
SOME = {
    case.id: partial(make, case)
    for make, cases in ((layer_step, LAYERS), (loss_step, LOSSES))
    for case in cases
    if case.id in WITH_LOOPS
}


def by_loops(run: Run) -> str:
    """The digest after four steps, the last two of which are compiled, formulas too."""
    with run.net.backend.active():
        run.step.run()
        run.step.run()
        record: Any = run.step.record
        record.settle()
        assert record.program is not None
    return trained(run, 2)


if __name__ == "__main__":
    found = all_digests(rows=70)
    if "--write" in sys.argv:
        KEPT.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    found |= all_of_lengths()
    compiled.PRICE = -1.0
    print(json.dumps(found | {f"loops {name}": by_loops(SOME[name]()) for name in ("LSTM-states", "BatchNorm-images")}))

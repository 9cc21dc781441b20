"""The batch that an error of full memory names: training on it has room, in the memory that there is."""

from __future__ import annotations

import gc
import re
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts

ROOM = 800_000
KINDS: dict[str, dict[str, Any]] = {
    "wide rows": {},
    "bfloat16": {"precision": "bfloat16"},
    "data on the device": {"room": 1_300_000, "fit": True},
    "batches in pieces": {"batch": 500, "accumulate": 4},
    "pieces of data": {"batch": 500, "accumulate": 4, "fit": True},
    "many outputs": {"outputs": 200, "fit": True, "shape": (20,), "batch": 300, "room": 800_000},
    "images": {"layers": bp.cnn(10, (4, 8), (4,), (8,)), "shape": (4, 8), "batch": 600, "fit": True, "room": 700_000},
}


def asked(cupy: Any, rng: Any, **kind: Any) -> tuple[bp.Trainer, Any, Any, bool]:
    """A trainer whose batches have no room, and data of one of its steps."""
    outputs, shape, batch = kind.get("outputs", 10), kind.get("shape", (100,)), kind.get("batch", 1000)
    layers = kind.get("layers") or bp.mlp(outputs, (32, 32))
    backend = CUDA(cupy, 0, kind.get("precision", "float32"), products=StrictProducts)
    net = bp.Network(layers, shape, device=backend, seed=1)
    accumulate = kind.get("accumulate", 1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=batch, accumulate=accumulate)
    rows = batch * accumulate
    cupy.room -= cupy._free() - kind.get("room", ROOM)
    return trainer, rng.normal(size=(rows, *shape)).astype("float32"), rng.integers(0, 10, rows), kind.get("fit", False)


def run(trainer: bp.Trainer, X: Any, y: Any, fit: bool) -> None:
    """Enough steps for a graph."""
    if fit:
        trainer.fit(X, y, epochs=3, verbose=False)
    else:
        rows = trainer.rows_of_step(len(X))
        for _ in range(4):
            trainer.step(X[:rows], y[:rows])


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_that_is_named_has_room(kind: str, cupy: Any, rng: np.random.Generator) -> None:
    trainer, X, y, fit = asked(cupy, rng, **KINDS[kind])
    with pytest.raises(bp.DeviceMemoryError, match="has no room") as caught:
        run(trainer, X, y, fit)
    fits = int(re.search(r"batch_size of about (\d+) fits", str(caught.value))[1])  # type: ignore[index]
    network, settings = trainer.network, trainer.settings | {"batch_size": fits}
    del trainer, caught
    gc.collect()  # as CuPy does where memory runs out
    again = bp.Trainer(network, bp.SoftmaxCrossEntropy(), bp.Adam(), **settings)
    run(again, X, y, fit)
    assert again.record.graph is not None and np.isfinite(again.loss)
    assert cupy._free() < KINDS[kind].get("room", ROOM) * 0.3, "the batch is needlessly small"


def test_scratch_memory_of_a_kernel_without_room_is_named(cupy: Any) -> None:
    """It is made when the step is first run."""
    be = CUDA(cupy, products=StrictProducts)
    x, out, total = be.zeros((100,), "float32"), be.zeros((), "float32"), be.zeros((), "float64")
    cupy.room -= cupy._free()
    with pytest.raises(bp.DeviceMemoryError, match="cuda:0 has no room for another array: .* are free"):
        be.capture(lambda: be.dot(x, x, out, total))

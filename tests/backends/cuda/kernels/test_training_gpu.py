"""On a GPU: every case trains as on the CPU, a replayed step is the step, and masks have the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import assert_close, of_layer, of_loss, of_optimizer, outcome, train

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.graphs import CapturedStep, Graphs

pytestmark = pytest.mark.gpu

DTYPES = ["float32", "float64"]


def compare(
    cupy: Any, layers: bp.Layer, loss: bp.Loss, optimizer: bp.Optimizer, X: Any, y: Any, **options: Any
) -> None:
    for dtype in DTYPES:
        got = outcome(*train(CUDA(cupy), layers, loss, optimizer, X, y, dtype=dtype, **options), X)
        assert_close(got, outcome(*train("cpu", layers, loss, optimizer, X, y, dtype=dtype, **options), X), dtype)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_trains_as_on_the_cpu(gpu: Any, case: Any, rng: np.random.Generator) -> None:
    compare(gpu, *of_layer(case, rng))


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss_trains_as_on_the_cpu(gpu: Any, case: Any, rng: np.random.Generator) -> None:
    arguments, weights = of_loss(case, rng)
    compare(gpu, *arguments, **weights)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer_trains_as_on_the_cpu(gpu: Any, case: Any, rng: np.random.Generator) -> None:
    compare(gpu, *of_optimizer(case, rng))


def test_a_step_is_one_graph_and_replays_exactly(gpu: Any, rng: np.random.Generator) -> None:
    """100 steps by the graph, and 100 whose calls are made one by one."""
    X, y = rng.normal(size=(12800, 784)).astype("float32"), rng.integers(0, 10, 12800)
    results = []
    for capture in (True, False):
        net = bp.Network(bp.mlp(10, (512, 512), dropout=0.3), 784, device=CUDA(gpu), seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=128, seed=2)
        if not capture:
            net.backend.graphs.allowed = trainer.backend.graphs.allowed = False
        history = trainer.fit(X, y, epochs=1)
        record = trainer.record
        assert isinstance(record, CapturedStep) and (record.graph is not None) == capture
        results.append((net.backend.to_host(net.flat), history["loss"]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


WAYS = {
    "one by one": lambda patch: patch.setattr("gpubp.training.loop.chain_of", lambda *args: None),
    "on one stream": lambda patch: patch.setattr(Graphs, "branches", False),
    "in memory of their own": lambda patch: patch.setattr(CUDA, "reuses_memory", False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_bits_do_not_depend_on_how_steps_are_launched(
    gpu: Any, way: str, model: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many in one graph, with branches, in memory that is used again; or not."""
    X, y = rng.normal(size=(2000, 14, 14, 1)).astype("float32"), rng.integers(0, 10, 2000)
    layers = bp.cnn(10, (14, 14, 1)) if model == "cnn" else bp.Sequential(bp.Flatten(), bp.mlp(10, (256, 256, 256)))
    flats = []
    for change in (None, WAYS[way]):
        if change is not None:
            change(monkeypatch)
        net = bp.Network(layers, (14, 14, 1), device=CUDA(gpu), seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=32, seed=2)
        trainer.fit(X, y, epochs=2)
        assert trainer.record.graph is not None, trainer.record.refusal
        flats.append(net.backend.to_host(net.flat))
    np.testing.assert_array_equal(*flats)


def test_masks_have_the_cpus_bits(gpu: Any) -> None:
    on_gpu, on_cpu = CUDA(gpu), bp.backends.get_backend("cpu")
    masks = []
    for be in (on_gpu, on_cpu):
        out, step = be.zeros((1000, 77), bool), be.zeros((1,), np.uint64)
        with be.active():
            be.put(step, 12345)
            be.random_mask(out, 20_000, (7, 2**40), step)
        masks.append(be.to_host(out))
    np.testing.assert_array_equal(*masks)


def test_two_runs_have_the_same_bits(gpu: Any, rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(2000, 28, 28, 1)), rng.integers(0, 10, 2000)
    flats = []
    for _ in range(2):
        net = bp.Network(bp.cnn(10, (28, 28, 1), dropout=0.25), (28, 28, 1), device=CUDA(gpu), seed=1)
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=64, seed=2).fit(X, y, epochs=1)
        flats.append(net.backend.to_host(net.flat))
    np.testing.assert_array_equal(*flats)


@pytest.mark.parametrize(("precision", "near"), [("tf32", 1e-2), ("bfloat16", 1e-1)])
def test_products_of_less_precision_learn_the_same(
    gpu: Any, precision: str, near: float, rng: np.random.Generator
) -> None:
    X = rng.normal(size=(4096, 64))
    y = (X[:, :8] @ rng.normal(size=(8, 10))).argmax(axis=1)
    losses = []
    for chosen in ("float32", precision):
        net = bp.Network(bp.mlp(10, (256, 256)), 64, device=CUDA(gpu, 0, chosen), seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=128, seed=2)
        losses.append(trainer.fit(X, y, epochs=3)["loss"])
        assert trainer.record.graph is not None
    np.testing.assert_allclose(*losses, rtol=near)


def test_predictions_are_bitwise_independent_of_the_batch(gpu: Any, rng: np.random.Generator) -> None:
    """Tiles of one size; cuBLAS is trusted to treat all rows of one product alike, and this is where it shows."""
    net = bp.Network(bp.mlp(10, (512, 100)), 784, device=CUDA(gpu))
    X = rng.normal(size=(1000, 784)).astype("float32")
    whole = net.predict(X)
    for rows in (1, 7, 127, 128, 129):
        for start in (0, 3, 1000 - rows):
            assert np.array_equal(net.predict(X[start : start + rows]), whole[start : start + rows]), (rows, start)

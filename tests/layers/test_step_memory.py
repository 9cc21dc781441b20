"""What a training step needs on a GPU, as counted from plans: not less than on the stand-in for CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, LayerCase, LossCase
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

FEW, MANY = 8, 40  # rows
EACH_LAYER = {type(case.layer): case for case in LAYERS}.values()
EACH_LOSS = {type(case.loss): case for case in LOSSES}.values()


def needed(net: bp.Network, loss: bp.Loss, X: Any, y: Any, **options: Any) -> tuple[int, int]:
    """Bytes that a trained network and its step take, and what is counted for the step."""
    trainer = bp.Trainer(net, loss, bp.SGD(1e-3), batch_size=len(X), **options)
    for _ in range(3):
        trainer.step(X, y)
    cupy = net.backend.cupy  # type: ignore[attr-defined]
    return cupy.room - cupy._free(), trainer.step_cache._bytes_of_step(trainer._feed(X, y), 1, False, len(X))


def network(layers: bp.Layer, shape: Any) -> bp.Network:
    return bp.Network(layers, shape, device=CUDA(strict_cupy(), products=StrictProducts), seed=1)


def grown(few: tuple[int, int], many: tuple[int, int]) -> tuple[int, int]:
    return many[0] - few[0], many[1] - few[1]


@pytest.mark.parametrize("case", EACH_LAYER, ids=str)
def test_no_layer_takes_more(case: LayerCase) -> None:
    """Above a layer that is trained, unless it takes words. Memory that several kinds share may be counted once."""
    words = any(isinstance(layer, bp.Embedding) for _, layer in case.layer.walk())
    chain = bp.Sequential(*[bp.PReLU()] * (not words), case.layer, bp.Flatten(), bp.Dense(3), bp.Tanh(), bp.Dense(2))

    def of(rows: int) -> tuple[int, int]:
        X = case.x(np.random.default_rng(0), rows).astype("float32")
        return needed(network(chain, case.shape[1:]), bp.HalfMeanSquaredError(), X, np.zeros((rows, 2)))

    used, counted = grown(of(FEW), of(MANY))
    assert used <= 1.03 * counted


@pytest.mark.parametrize("case", EACH_LOSS, ids=str)
def test_no_loss_takes_more(case: LossCase) -> None:
    def of(rows: int) -> tuple[int, int]:
        rng, shape = np.random.default_rng(0), (rows, *case.shape[1:])
        return needed(network(case.layers(), shape[1:]), case.loss, rng.normal(size=shape), case.targets(rng, shape))

    used, counted = grown(of(FEW), of(MANY))
    assert used <= counted


CHAINS = {
    "frozen": (bp.mlp(10, (64, 64)), (100,), "0.*", 1.15),
    "mlp": (bp.mlp(10, (64, 64)), (100,), "", 1.15),
    "cnn": (bp.cnn(10, (16, 16), (8, 16), (32,)), (16, 16), "", 1.05),
    "residual": (bp.Sequential(bp.Residual(bp.mlp(20, (64,))), bp.ReLU(), bp.Dense(10)), (20,), "", 1.4),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_usual_networks_take_little_less(kind: str) -> None:
    layers, shape, frozen, most = CHAINS[kind]

    def of(rows: int) -> tuple[int, int]:
        rng, net = np.random.default_rng(0), network(layers, shape)
        if frozen:
            net.freeze(frozen)
        X, y = rng.normal(size=(rows, *shape)), rng.integers(0, 10, rows)
        return needed(net, bp.SoftmaxCrossEntropy(), X, y, metrics=["accuracy"])

    used, counted = grown(of(FEW), of(MANY))
    assert used <= counted < most * used, (used, counted)

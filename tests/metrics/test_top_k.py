"""Top-k accuracy where k is the number of classes or more, and where positions are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

INF = np.inf
Z = np.random.default_rng(0).normal(size=(40, 3))
Y = np.where(np.arange(40) % 2 == 0, -100, np.arange(40) % 3)


def trainer(k: int, device: Any = "cpu") -> bp.Trainer:
    """One whose outputs are its inputs."""
    net = bp.Network(bp.Dense(3, use_bias=False), 3, device=device)
    net.parameters["W"][...] = net.backend.to_device(np.eye(3), net.dtype)
    loss = bp.SoftmaxCrossEntropy(ignore_index=-100)
    return bp.Trainer(net, loss, bp.SGD(0.0), 8, metrics=[bp.TopKAccuracy(k)])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 100])
def test_positions_left_out_do_not_count(k: int, device: str) -> None:
    t = trainer(k, CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu")
    counted = Y >= 0
    own = Z[counted, Y[counted]]
    wanted = np.mean((Z[counted] > own[:, None]).sum(axis=1) < k)
    assert t.evaluate(Z, Y)["top_k_accuracy"] == pytest.approx(wanted, rel=1e-6)
    assert t.fit(Z, Y, verbose=False)["top_k_accuracy"] == [pytest.approx(wanted, rel=1e-6)]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_masked_classes_do_not_make_a_position_that_is_left_out_right(k: int) -> None:
    """A logit of -inf lies below the number that takes an output below all others."""
    net = bp.Network(bp.Sequential(bp.Dense(3, weight_initializer=bp.Zeros())), 3, device="cpu")
    net.parameters["0.b"][...] = [0.0, -np.inf, -np.inf]
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(ignore_index=-1), bp.SGD(), metrics=[bp.TopKAccuracy(k)])
    assert t.evaluate(np.ones((3, 3)), [0, -1, -1])["top_k_accuracy"] == 1.0


def test_an_output_that_is_not_a_number_is_wrong_for_any_k() -> None:
    for k in (1, 3, 4):
        t = trainer(k)
        t.network.parameters["W"][0] = np.nan
        assert t.evaluate(Z, np.abs(Y) % 3)["top_k_accuracy"] == 0.0


OUTPUTS = [
    [2, -INF, -INF, -INF], [-INF, -INF, 1, 0], [INF, 0, 0, 0], [0, INF, 0, 0], [INF, INF, 0, -INF], [-INF] * 4,
    [INF] * 4, [1e38, -3e38, 3.4e38, -3.4e38], [0, 1, 1, 0], [5, 5, 5, 5],
]  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_infinite_outputs_are_compared_as_numbers(k: int, dtype: str, device: str) -> None:
    """Those of later classes come first among equal ones, infinite ones too."""
    for outputs in OUTPUTS + [[1e300, -1e300, 1e305, -INF]] * (dtype == "float64"):
        on = CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu"
        net = bp.Network(bp.Dense(4, weight_initializer=bp.Zeros()), 1, device=on, dtype=dtype)
        net.backend.put(net.parameters["b"], outputs)
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), metrics=[bp.TopKAccuracy(k)])
        first = sorted(range(4), key=lambda c: (outputs[c], c), reverse=True)[:k]
        for c in range(4):
            assert t.evaluate([[0.0]], [c])["top_k_accuracy"] == (c in first), (outputs, c)


def test_scikit_ranks_very_large_outputs_likewise() -> None:
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    for outputs in OUTPUTS:
        net = bp.Network(bp.Dense(4, weight_initializer=bp.Zeros()), 1, device="cpu", dtype="float64")
        net.parameters["b"][...] = outputs
        for k in (1, 2, 3):
            t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), metrics=[bp.TopKAccuracy(k)])
            for c in range(4):
                theirs = sk.top_k_accuracy_score([c], np.clip([outputs], -1e300, 1e300), k=k, labels=range(4))
                assert t.evaluate([[0.0]], [c])["top_k_accuracy"] == theirs, (outputs, k, c)

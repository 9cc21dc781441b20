"""The kernels of exact numerics on CUDA, built for the host, train networks to the bits of the CPU."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("numba")

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.exact.launches import ExactLaunches
from gpubp.errors import DeviceError
from strict_exact import exact_cupy


@pytest.fixture(autouse=True, scope="module")
def own_folder(tmp_path_factory):
    """For cubins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPY_CACHE_DIR", str(tmp_path_factory.mktemp("cubins")))
        yield


Seq = bp.Sequential
NETWORKS = {
    "mlp": (Seq(bp.Dense(9), bp.Tanh(), bp.Dense(3)), (6,), bp.Adam()),
    "cnn": (
        Seq(
            bp.Conv2D(3, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(2), bp.Flatten(), bp.Dropout(0.3),
            bp.Dense(3),
        ),
        (6, 6, 2),
        bp.SGD(0.05, momentum=0.9),
    ),
    "residual": (
        Seq(bp.Dense(8), bp.Residual(Seq(bp.LayerNorm(), bp.Dense(8), bp.GELU())), bp.Dense(3)), (6,), bp.RMSprop()
    ),
    "gru": (Seq(bp.Embedding(11, 4), bp.GRU(5), bp.Dense(3)), None, bp.Adam()),
    "attention": (Seq(bp.Embedding(11, 8), bp.MultiHeadAttention(2), bp.MeanOverTime(), bp.Dense(3)), None, bp.Adam()),
}  # fmt: skip


def train(device, name, dtype, **options):
    """Parameters, history and predictions after three epochs with a ragged last batch, and the trainer."""
    layers, shape, optimizer = NETWORKS[name]
    rng = np.random.default_rng(4)
    X = rng.standard_normal((22, *shape)) if shape else rng.integers(0, 11, (22, 5))
    y, weights = rng.integers(0, 3, 22), rng.uniform(0.5, 2.0, 22)
    net = bp.Network(layers, X.shape[1:], device=device, dtype=dtype, seed=3, numerics="exact")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), optimizer, batch_size=8, seed=5, **options)
    history = trainer.fit(X, y, epochs=3, sample_weight=weights)
    return [net.backend.to_host(net.flat).tobytes(), dict(history), net.predict(X).tobytes()], trainer


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in NETWORKS), ("cnn", "float64")])
def test_a_network_has_the_bits_of_the_cpu(name, dtype):
    cupy = exact_cupy()
    found, trainer = train(ExactCUDA(cupy), name, dtype)
    assert found == train("cpu", name, dtype)[0]
    assert trainer.record.refusal == "" and cupy.counts.graph_launches > 3


def test_a_step_without_graphs_and_one_without_branches_have_the_same_bits(monkeypatch):
    wanted = train(ExactCUDA(exact_cupy()), "cnn", "float32")[0]
    cupy = exact_cupy()
    cupy.branches_first = True
    assert train(ExactCUDA(cupy), "cnn", "float32")[0] == wanted
    for switch in ("branches", "allowed"):
        backend = ExactCUDA(exact_cupy())
        monkeypatch.setattr(type(backend.graphs), switch, False)
        assert train(backend, "cnn", "float32")[0] == wanted


def test_metrics_and_batches_in_pieces_have_the_same_bits():
    wanted = train("cpu", "mlp", "float32", metrics=("accuracy",))[0]
    assert train(ExactCUDA(exact_cupy()), "mlp", "float32", metrics=("accuracy",))[0] == wanted
    pieces = train("cpu", "mlp", "float32", accumulate=2)[0]
    assert train(ExactCUDA(exact_cupy()), "mlp", "float32", accumulate=2)[0] == pieces


def test_products_stand_on_a_branch_and_are_joined_with_nothing():
    _, trainer = train(ExactCUDA(exact_cupy()), "mlp", "float32")
    names = [call.function.__name__ for call in trainer.record.record.calls]
    assert "product" in names and "sum_rows" in names
    assert all(isinstance(call.function.__self__, ExactLaunches) for call in trainer.record.record.calls)
    assert any(turn.aside for turn in trainer.record._branches.turns)


def test_the_backend_is_found_copied_and_pickled(monkeypatch):
    cupy = exact_cupy()
    monkeypatch.setattr("gpubp.backends.cuda.driver.find_cupy", lambda: cupy)
    monkeypatch.setattr("gpubp.backends.cuda.backend.find_cupy", lambda: cupy)
    monkeypatch.setattr("gpubp.backends.cuda.driver.why_not", lambda: "")
    backend = get_backend("cuda", numerics="exact")
    for other in (backend, backend.another(), copy.copy(backend), pickle.loads(pickle.dumps(backend))):
        assert type(other) is ExactCUDA and other.numerics == "exact" and other.index == 0
    assert type(get_backend("auto", numerics="exact")) is ExactCUDA
    assert type(get_backend(backend, numerics="exact")) is ExactCUDA
    assert backend.arithmetic() == get_backend("cpu", numerics="exact").arithmetic()
    for options in ({"precision": "tf32"}, {"autotune": True}):
        for device in ("cuda", backend):
            with pytest.raises(DeviceError, match="in the network's own type, without autotune"):
                get_backend(device, numerics="exact", **options)

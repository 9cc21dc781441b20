"""The kernels of exact numerics on CUDA, built for the host, train networks to the bits of the CPU."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from exact_networks import NETWORKS, trained

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.exact.compiler import OPTIONS
from gpubp.backends.cuda.exact.launches import ExactLaunches
from gpubp.errors import DeviceError
from layer_cases import LAYERS
from strict_exact import exact_cupy


@pytest.fixture(autouse=True, scope="module")
def own_folder(tmp_path_factory):
    """For cubins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPY_CACHE_DIR", str(tmp_path_factory.mktemp("cubins")))
        yield


@pytest.mark.parametrize("name", NETWORKS)
def test_the_five_networks_have_the_hashes_of_the_page(name):
    """Those that docs/exact.md has of every CPU."""
    page = (Path(__file__).parents[2] / "docs" / "exact.md").read_text(encoding="utf-8")
    cupy = exact_cupy()
    trainer = trained(name, device=ExactCUDA(cupy))
    assert re.search(rf"^\| {name} \|.*`{trainer.network.sha256()}`", page, re.MULTILINE)
    assert trainer.record.refusal == "" and cupy.counts.graph_launches > 3


def test_nvrtc_compiles_the_kernels_without_a_flush():
    """In float32 and float64; by NVRTC itself, which needs no GPU, all in one source."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed: '.[test,kernels]'")
    cupy, parts = exact_cupy(), []
    for name in ("cnn", "numbers"):
        trained(name, device=ExactCUDA(cupy))
    for i, (code, _) in enumerate(cupy.kernels):
        parts.append(f"namespace k{i} {{\n" + re.sub(r"(__global__ void \w+)\(", rf"\1_{i}(", code) + "\n}\n")
    assert len(parts) > 40
    for kind in ("sm_80", "sm_90", "compute_80"):
        _, program = nvrtc.nvrtcCreateProgram("".join(parts).encode(), b"kernels.cu", 0, [], [])
        options = [option.encode() for option in (f"--gpu-architecture={kind}", *OPTIONS)]
        assert int(nvrtc.nvrtcCompileProgram(program, len(options), options)[0]) == 0
    ptx = b" " * nvrtc.nvrtcGetPTXSize(program)[1]
    nvrtc.nvrtcGetPTX(program, ptx)
    assert b"fma.rn" in ptx and b".ftz" not in ptx and b".approx" not in ptx


def train(device, layers, X, *, loss=None, rows=4, **options):
    """Parameters, history and predictions after two epochs with weights and a ragged last batch, and the trainer."""
    rng = np.random.default_rng(4)
    shape = (None, *X[0].shape[1:]) if isinstance(X, bp.Sequences) else X.shape[1:]
    y, weights = rng.standard_normal((len(X), 3)), rng.uniform(0.5, 2.0, len(X))
    net = bp.Network(layers, shape, device=device, seed=3, numerics="exact")
    trainer = bp.Trainer(net, loss or bp.MeanSquaredError(), bp.Adam(), batch_size=rows, seed=5, **options)
    history = trainer.fit(X, y, epochs=2, sample_weight=weights)
    return [net.backend.to_host(net.flat).tobytes(), repr(dict(history)), net.predict(X).tobytes()], trainer


OTHERS = {  # layers that none of the five networks has, and whose kernels differ
    "MelSpectrogram-overlapping", "Conv2D-groups", "Conv1D-causal", "AvgPool2D-same", "MaxOverTime", "Bidirectional",
    "LSTM", "MultiHeadAttention-causal", "PositionalEmbedding", "RandomRotation", "Residual-shortcut",
    "WordColumns-two-texts", "Ensemble-classes",
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in LAYERS if str(case) in OTHERS], ids=str)
def test_layers_have_the_bits_of_the_cpu(case):
    X = case.x(np.random.default_rng(1), rows=10)
    wanted = train("cpu", case.network_layers(), X)[0]
    assert train(ExactCUDA(exact_cupy()), case.network_layers(), X)[0] == wanted


def test_rows_of_different_lengths_have_the_bits_of_the_cpu():
    rng = np.random.default_rng(2)
    X = bp.Sequences(rng.standard_normal((10, 6, 4)), rng.integers(1, 7, 10))
    layers = bp.Sequential(bp.MultiHeadAttention(2), bp.LayerNorm(), bp.GRU(4), bp.Dense(3))
    assert train(ExactCUDA(exact_cupy()), layers, X)[0] == train("cpu", layers, X)[0]


PERCEPTRON = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(3))


@pytest.fixture
def X():
    return np.random.default_rng(3).standard_normal((22, 6))


@pytest.mark.parametrize(
    "options", [{"metrics": ("mean_absolute_error", "r2")}, {"accumulate": 2}, {"loss": bp.Huber()}], ids=str
)
def test_options_of_a_training_have_the_bits_of_the_cpu(X, options):
    assert train(ExactCUDA(exact_cupy()), PERCEPTRON, X, **options)[0] == train("cpu", PERCEPTRON, X, **options)[0]


def test_a_step_without_graphs_and_one_without_branches_have_the_same_bits(X, monkeypatch):
    wanted = train("cpu", PERCEPTRON, X)[0]
    cupy = exact_cupy()
    cupy.branches_first = True
    assert train(ExactCUDA(cupy), PERCEPTRON, X)[0] == wanted
    for switch in ("branches", "allowed"):
        backend = ExactCUDA(exact_cupy())
        monkeypatch.setattr(type(backend.graphs), switch, False)
        assert train(backend, PERCEPTRON, X)[0] == wanted


def test_several_workers_have_the_same_hash():
    wanted = trained("shared").network.sha256()
    for workers in (2, 4):
        assert trained("shared", device=ExactCUDA(exact_cupy()), workers=workers).network.sha256() == wanted


def test_products_stand_on_a_branch_and_are_joined_with_nothing(X):
    _, trainer = train(ExactCUDA(exact_cupy()), PERCEPTRON, X)
    calls = trainer.record.record.calls
    assert {"product", "sum_rows"} <= {call.function.__name__ for call in calls}
    assert all(isinstance(call.function.__self__, ExactLaunches) for call in calls)
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

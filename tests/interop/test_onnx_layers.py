"""ONNX files of the layers without time steps: every case of `layer_cases`, the nodes, and special numbers."""

import copy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx_runs import as_trained, compare_anywhere, ops_of, outputs_of, session_of
from test_onnx_time import CASES as OVER_TIME

import gpubp as bp
from layer_cases import LAYERS, LayerCase

CASES = [case for case in LAYERS if case not in OVER_TIME]  # together they are all
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}  # attributes of nodes, such as eps, are float32 in both


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer_has_the_outputs_of_predict(case: LayerCase, dtype: str, tmp_path: Path) -> None:
    X = case.x(np.random.default_rng(1), 37).astype(dtype)
    for layers in (case.network_layers(), case.layer) if dtype == "float32" else (case.layer,):
        net = as_trained(bp.Network(layers, case.shape[1:], device="cpu", dtype=dtype))
        compare_anywhere(net, tmp_path, X, TOLERANCE[dtype])


CONV = bp.Sequential(bp.Conv2D(4, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(2))


@pytest.mark.parametrize(
    ("layers", "shape", "transposes"),
    [
        (bp.Sequential(CONV, CONV, bp.Flatten(), bp.Dropout(0.3), bp.Dense(3)), (8, 8, 3), 1),
        (bp.Sequential(CONV, bp.GlobalAvgPool2D(), bp.Dense(3)), (8, 8, 3), 1),
        (bp.Sequential(CONV, bp.Residual(CONV.layers[0], bp.Conv2D(4, 1)), bp.Flatten(), bp.Dense(3)), (8, 8, 2), 1),
        (bp.Sequential(bp.Residual(bp.Conv2D(2, 3, padding="same")), bp.ReLU(), bp.Flatten()), (4, 4, 2), 2),
        (bp.Sequential(bp.Parallel(CONV, CONV), bp.Conv2D(1, 4), bp.Flatten()), (8, 8, 3), 1),
        (bp.Sequential(bp.Reshape((8, 8, 1)), CONV, bp.Flatten(), bp.Dense(3)), (64,), 0),
        (bp.Sequential(bp.Conv2D(2, 3), bp.Tanh()), (5, 5, 1), 2),
        (bp.Sequential(bp.Reshape((2, 3, 1)), bp.ReLU()), (6,), 0),
    ],
)
def test_images_are_transposed_at_the_border_alone(
    layers: bp.Layer, shape: tuple[int, ...], transposes: int, tmp_path: Path
) -> None:
    net = as_trained(bp.Network(layers, shape, device="cpu"))
    assert ops_of(net, tmp_path).count("Transpose") == transposes
    compare_anywhere(net, tmp_path, np.random.default_rng(0).normal(size=(37, *shape)).astype(np.float32), 1e-5)


ACTIVATIONS = [
    bp.Sigmoid(), bp.Tanh(), bp.ReLU(), bp.LeakyReLU(0.2), bp.LeakyReLU(0.0), bp.ELU(0.7), bp.Softplus(), bp.SiLU(),
    bp.GELU(), bp.GELU("tanh"), bp.ReLU(6.0),
    bp.ThresholdedReLU(0.5), bp.ThresholdedReLU(-2.0, 3.0), bp.SELU(), bp.CELU(2.0),
    bp.Softplus(2.0), bp.LogSigmoid(), bp.SiLU(0.5), bp.Mish(), bp.Softsign(), bp.Tanhshrink(), bp.HardSigmoid(0.3),
    bp.HardSwish(), bp.Hardtanh(-2.0, 0.5), bp.Hardtanh(None, 0.5),
    bp.Hardtanh(-2.0, None), bp.Softshrink(), bp.Hardshrink(),
]  # fmt: skip
SPECIAL = [-np.inf, np.inf, np.nan, -1e30, 1e30, -1e6, -200.0, -20.0, -5.0, -1e-30, -0.0, 0.0, 1e-30, 5.0, 20.0, 200.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations_are_those_of_gpubp_for_infinite_numbers_too(layer: bp.Layer, dtype: str, tmp_path: Path) -> None:
    net = bp.Network(layer, len(SPECIAL), device="cpu", dtype=dtype)
    X = np.array([SPECIAL], dtype)
    found = outputs_of(session_of(net, tmp_path), X)["output"]
    with np.errstate(all="ignore"):
        expected = layer.f(X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("average", ["classes", "labels"])
def test_an_ensemble_of_infinite_logits_is_that_of_gpubp(average: str, dtype: str, tmp_path: Path) -> None:
    net = bp.Network(bp.Ensemble(bp.ReLU(), bp.ELU(), average=average), 3, device="cpu", dtype=dtype)
    X = np.array([[500.0, -1.0, 0.0], [1e4, 1e4, -1e4], [-np.inf, 0.0, 1.0], [-np.inf, -np.inf, 2.0]], dtype)
    found = outputs_of(session_of(net, tmp_path), X)["output"]
    ws = net.workspace(rows=4)
    with np.errstate(all="ignore"):
        expected = ws.run_forward(X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [-1.0, 7.0, 2.5, -0.5, np.nan, np.inf, -np.inf, 3e9, -3e9, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_no_words_are_refused(wrong: float, dtype: str, tmp_path: Path) -> None:
    """Gather alone would take -1 for the last word."""
    net = bp.Network(bp.Embedding(7, 4), 3, device="cpu", dtype=dtype)
    session = session_of(net, tmp_path)
    assert outputs_of(session, np.array([[0, 6, 3]], dtype))["output"].shape == (1, 3, 4)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        outputs_of(session, np.array([[0, 6, wrong]], dtype))


class Block(bp.Sequential):
    """Layers of one's own choice, computed as a Sequential."""

    def __init__(self, units: int) -> None:
        super().__init__(bp.Dense(units), bp.ReLU())

    def backward(self, ws, dy):
        return super().backward(ws, dy)


class Doubled(bp.Dense):
    def forward(self, ws, x):
        return super().forward(ws, 2 * x)


class Steep(bp.Tanh):
    def f(self, x):
        return x * 3.0


class Planned(bp.Sequential):
    def plan(self, x):
        return super().plan(x)


def test_a_class_of_ones_own_that_computes_as_its_base_is_written(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Sequential(Block(5), Steep(), bp.Dense(2)), 4, device="cpu"))
    assert ops_of(net, tmp_path) == ["Gemm", "Relu", "Mul", "Gemm"]
    compare_anywhere(net, tmp_path, np.random.default_rng(0).normal(size=(37, 4)).astype(np.float32), 1e-5)


@pytest.mark.parametrize("case", {type(case.layer): case for case in LAYERS}.values(), ids=str)
def test_a_class_without_methods_of_its_own_is_written_as_its_base(case: LayerCase, tmp_path: Path) -> None:
    of, derived = type(case.layer), copy.copy(case.layer)
    object.__setattr__(derived, "__class__", type(f"My{of.__name__}", (of,), {"__doc__": "Mine."}))
    net = as_trained(bp.Network(derived, case.shape[1:], device="cpu"))
    compare_anywhere(net, tmp_path, case.x(np.random.default_rng(1), 5).astype(np.float32), 1e-5)


@pytest.mark.parametrize("layers", [bp.Sequential(bp.ReLU(), Doubled(4)), Planned(bp.Dense(2), bp.ReLU())], ids=repr)
def test_a_class_of_ones_own_that_computes_otherwise_is_refused(layers: bp.Layer, tmp_path: Path) -> None:
    with pytest.raises(bp.ExportError, match="Doubled|Planned"):
        bp.Network(layers, 4, device="cpu").to_onnx(tmp_path / "no.onnx")
    assert not list(tmp_path.iterdir())


KEEPING = [
    bp.ReLU,
    bp.Tanh,
    bp.GELU,
    bp.SiLU,
    bp.Softplus,
    bp.ELU,
    bp.BatchNorm,
    bp.LayerNorm,
    lambda: bp.LeakyReLU(0.3),
]


def of_images(rng: np.random.Generator, shape: tuple[int, int, int], depth: int) -> tuple[bp.Layer, tuple[int, ...]]:
    """Random layers on images, and the shape of a row of their output."""
    layers: list[bp.Layer] = []
    for _ in range(rng.integers(1, 4)):
        inner = bp.Sequential(*layers).plan((1, *shape)).output[1:] if layers else shape
        kind, k, s = rng.integers(0, 7), int(rng.integers(1, 4)), int(rng.integers(1, 3))
        padding = ["same", (k - 1, k // 2), k // 2][rng.integers(0, 3)]
        if kind == 0:
            groups = int(rng.choice([g for g in (1, 2, 3) if inner[-1] % g == 0]))
            layers.append(bp.Conv2D(6, k, s, padding, groups, use_bias=bool(rng.integers(0, 2))))
        elif kind == 1:
            layers.append([bp.MaxPool2D, bp.AvgPool2D][rng.integers(0, 2)]((k, k + 1), s, "same"))
        elif kind == 2 and depth:
            body, _ = of_images(rng, inner, 0)
            merged = bp.Parallel(bp.Sequential(body, bp.GlobalAvgPool2D()), bp.Sequential(bp.Flatten(), bp.Dense(3)))
            layers.append(bp.Sequential(merged, bp.Reshape((1, 1, bp.Sequential(merged).plan((1, *inner)).output[-1]))))
        elif kind == 3 and depth:
            body = bp.Sequential(bp.Conv2D(inner[-1], 3, padding="same"), KEEPING[rng.integers(0, len(KEEPING))]())
            layers.append(bp.Residual(body, None if rng.integers(0, 2) else bp.Conv2D(inner[-1], 1)))
        elif kind == 4 and depth:
            layers.append(bp.Parallel(bp.Conv2D(2, 1), bp.Dense(3), bp.ReLU()))
        else:
            layers.append(KEEPING[rng.integers(0, len(KEEPING))]())
    made = bp.Sequential(*layers)
    return made, made.plan((1, *shape)).output[1:]


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_of_images_have_the_outputs_of_predict(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 9)), int(rng.integers(3, 9)), int(rng.integers(1, 5)))
    one, inner = of_images(rng, shape, 1)
    two, _ = of_images(rng, inner, 1)
    ends = [bp.Flatten(), bp.Sequential(bp.Flatten(), bp.BatchNorm(), bp.Dense(3)), bp.GlobalAvgPool2D(), bp.Tanh()]
    net = as_trained(bp.Network(bp.Sequential(one, two, ends[seed % 4]), shape, device="cpu"), seed)
    for name, array in net.parameters.items():
        array *= 0.5 if name.endswith("W") else 1.0
    X = rng.normal(size=(9, *shape)).astype(np.float32)
    compare_anywhere(net, tmp_path, X, 1e-5)

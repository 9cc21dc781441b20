"""Comparison of backends: differences that rounding explains, and faults."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.analysis.differences import Difference, Rounding
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

DEEP = bp.Sequential(bp.Dense(9), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3), bp.Residual(bp.Dense(9)), bp.Dense(3))


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(50, 6)), rng.integers(0, 3, 50)


def compare(layers: bp.Layer, data: Any, *backends: Any, steps: int = 6, **options: Any) -> bp.BackendComparison:
    return bp.compare_backends(
        layers, *data, loss=bp.SoftmaxCrossEntropy(), backends=backends, steps=steps, batch_size=16, **options
    )


@pytest.mark.parametrize(
    ("layers", "shape"),
    [(DEEP, (50, 6)), (bp.cnn(3, (8, 8, 1), batch_norm=True, dropout=0.2), (50, 8, 8, 1)), (bp.Dense(3), (50, 6))],
    ids=["deep", "cnn", "one layer"],
)
def test_float32_and_float64_differ_by_rounding_alone(layers: bp.Layer, shape: Any, rng: np.random.Generator) -> None:
    found = compare(layers, (rng.normal(size=shape), rng.integers(0, 3, 50)), "cpu", "cpu-float64")
    other = found.others[0]
    assert found.ok and other.same_batches and other.same_masks and all(found.replayed.values())
    assert all(len(layer.outputs) == 6 for layer in other.layers)
    assert 0 < max(d.relative for layer in other.layers for d in layer.outputs) < 1e-5
    assert len(found.losses) == len(other.losses) == len(other.drift) == 6


def test_every_layer_has_its_differences(data: Any) -> None:
    layers = compare(DEEP, data, "cpu", "cpu-float64").others[0].layers
    assert [layer.name for layer in layers] == ["0", "1", "2", "3", "4.0", "5"]
    has = {
        layer.name: [bool(d) for d in (layer.outputs, layer.inputs, layer.gradients, layer.parameters)]
        for layer in layers
    }
    assert has["0"] == [True, False, True, True], "nobody wants the lowest layer's input gradient"
    assert has["1"] == has["5"] == has["4.0"] == [True] * 4
    assert has["2"] == has["3"] == [True, True, False, False]


class Narrow(bp.Activation):
    """Wrong in float32: it adds a thousandth."""

    def f(self, x: Any) -> Any:
        return x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        return ws.xp.add(x, ws.be.constant(1e-3 if ws.dtype == "float32" else 0.0, ws.dtype), out=ws.y)


class Slanted(Narrow):
    """Its derivative is wrong in float32."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return x

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, ws.be.constant(1.01 if ws.dtype == "float32" else 1.0, ws.dtype), out=ws.dx)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (Narrow(), r'outputs of "1", Narrow\(\), differ by .* in step'),
        (Slanted(), r'input gradients of "1", Slanted\(\), differ by 9.9e-03 in the median step'),
    ],
)
def test_a_wrong_layer_is_named(wrong: bp.Layer, what: str, data: Any) -> None:
    found = compare(bp.Sequential(bp.Dense(5), wrong, bp.Dense(3)), data, "cpu", "cpu-float64")
    assert not found.ok
    with pytest.raises(AssertionError, match=what):
        raise AssertionError(str(found))


class Unlike(bp.Dropout):
    """Draws something else in float64."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        y = super().forward(ws, x)
        if ws.dtype == "float64" and ws.training:
            ws.xp.logical_not(ws.kept, out=ws.kept)
        return y


def test_different_random_draws_are_a_fault(data: Any) -> None:
    found = compare(bp.Sequential(bp.Dense(5), Unlike(0.5), bp.Dense(3)), data, "cpu", "cpu-float64")
    assert not found.others[0].same_masks and "random draws differ" in found.others[0].faults


def test_a_gpu_is_compared_layer_by_layer(data: Any) -> None:
    """The CUDA backend on the strict stand-in."""
    gpu = CUDA(strict_cupy(), products=StrictProducts)
    found = compare(DEEP, data, "cpu", gpu, "cpu-float64", steps=4, clip_norm=1.0, l2=0.01)
    assert found.ok and [other.name for other in found.others] == ["cuda:0-float32", "cpu-float64"]
    assert found.others[0].tolerance == 1e-5 and found.others[0].same_masks
    assert set(found.seconds) == {"cpu", "cuda:0-float32", "cpu-float64"}


class Backwards(StrictProducts):
    """Products that are summed from the last term to the first: other rounding, and nothing else."""

    def gemm(self, a: Any, b: Any, out: Any, **options: Any) -> Any:
        return super().gemm(a[:, ::-1], b[::-1], out, **options)


class OnGPUs(Slanted):
    """Its derivative is wrong on a GPU, by half a thousandth."""

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        factor = 1.0005 if ws.be.name.startswith("cuda") else 1.0
        return ws.xp.multiply(dy, ws.be.constant(factor, ws.dtype), out=ws.dx)


def cancelling(rng: np.random.Generator) -> np.ndarray:
    """Rows of numbers near 10,000, and then as many near -10,000."""
    return rng.normal(size=(48, 64)) + np.where(np.arange(64) < 32, 1e4, -1e4)


EVEN = bp.Dense(3, weight_initializer=bp.Constant(0.5))


def test_sums_that_cancel_are_judged_by_float64(rng: np.random.Generator) -> None:
    """They differ by more than 1e-5 of the largest number, and the CPU is as far from float64."""
    data = cancelling(rng), rng.integers(0, 3, 48)
    found = compare(EVEN, data, "cpu", CUDA(strict_cupy(), products=Backwards), steps=3)
    (other,) = found.others
    assert max(d.relative for d in other.layers[0].outputs) > other.tolerance == 1e-5
    assert found.ok and "outputs" in {r.what for r in other.rounding} and "about as far from float64" in str(found)
    for r in other.rounding:
        assert r.explains and 1e-6 < r.first and r.other < 10 * r.first + 4e-6
    written = json.loads(json.dumps(found.to_dict()))["others"][0]
    assert written["faults"] == [] and len(written["rounding"][0]) == 4
    assert written.keys() == {
        "name", "tolerance", "layers", "same_batches", "same_masks", "losses", "drift", "rounding", "faults"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "shape", "precision"),
    [
        (bp.encoder(3, width=8, blocks=1, heads=2), (50, 7, 6), "bfloat16"),
        (bp.cnn(3, (8, 8, 1), (4,)), (50, 8, 8, 1), "bfloat16"),
        (bp.cnn(3, (8, 8, 1), (4,)), (50, 8, 8, 1), "tf32"),
    ],
)
def test_signs_that_coarse_products_decide_are_no_fault(layers: bp.Layer, shape: Any, precision: str) -> None:
    """ReLU's kink makes more of them than the tolerance, on a CPU with such products too."""
    draw = np.random.default_rng(0)
    gpu = CUDA(strict_cupy(), products=StrictProducts, precision=precision)
    found = compare(layers, (draw.normal(size=shape), draw.integers(0, 3, 50)), "cpu", gpu, steps=3)
    assert found.ok, found.others[0].faults
    assert found.others[0].rounding and "a CPU with such products and this are" in str(found)


def test_a_fault_is_one_with_coarse_products_too(data: Any) -> None:
    class Flipped(Slanted):
        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            factor = -1.0 if ws.be.name.startswith("cuda") else 1.0
            return ws.xp.multiply(dy, ws.be.constant(factor, ws.dtype), out=ws.dx)

    layers = bp.Sequential(bp.Dense(5), Flipped(), bp.Dense(3))
    for precision in ("tf32", "bfloat16"):
        found = compare(layers, data, "cpu", CUDA(strict_cupy(), products=StrictProducts, precision=precision), steps=3)
        assert any('input gradients of "1", Flipped()' in fault for fault in found.others[0].faults)


def test_a_fault_of_one_backend_is_not_rounding(data: Any) -> None:
    layers = bp.Sequential(bp.Dense(5), OnGPUs(), bp.Dense(3))
    found = compare(layers, data, "cpu", CUDA(strict_cupy(), products=StrictProducts), "cpu-float64", steps=3)
    on_gpu, in_float64 = found.others
    assert not found.ok and on_gpu.faults and not in_float64.faults and not in_float64.rounding
    assert all(r.first < 1e-6 and 1e-4 < r.other < 1e-3 and not r.explains for r in on_gpu.rounding)
    assert 'input gradients of "1", OnGPUs(), differ by 5.0e-04 in the median step (' in on_gpu.faults[-1]
    assert "from float64)" in on_gpu.faults[-1]


def test_the_limit_of_the_distance_from_float64() -> None:
    assert Rounding("0", "outputs", 1e-5, 9e-5).explains and not Rounding("0", "outputs", 1e-5, 2e-4).explains
    assert Rounding("0", "outputs", 0.0, 3e-6).explains and not Rounding("0", "outputs", 0.0, 5e-6).explains
    assert not Rounding("0", "outputs", 1e-5, np.inf).explains and not Rounding("0", "outputs", np.inf, np.inf).explains


def test_a_comparison_as_json_and_as_a_figure(data: Any, tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    found = compare(DEEP, data, "cpu", "cpu-float64")
    again = json.loads(json.dumps(found.to_dict()))
    assert again["ok"] is True and again["others"][0]["layers"][1]["layer"] == "BatchNorm()"
    assert again["machine"]["numpy"] == np.__version__
    figure = found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    outputs, gradients, drift = figure.axes
    assert len(outputs.get_lines()) == 6 + 1 and len(gradients.get_lines()) == 4 + 1 and len(drift.get_lines()) == 1


@pytest.mark.parametrize(
    ("backends", "error", "words"),
    [
        (("cpu",), ValueError, "two backends or more, and got 1"),
        (("cpu", "cpu"), ValueError, "named once, and got cpu, cpu"),
        (("cpu", "cpu-float16"), bp.DeviceError, '"float32" or "float64"'),
        (("cpu", "tpu"), bp.DeviceError, "no device 'tpu'"),
    ],
)
def test_unknown_backends(backends: Any, error: type[Exception], words: str, data: Any) -> None:
    with pytest.raises(error, match=words):
        compare(DEEP, data, *backends)


@pytest.mark.parametrize("name", ["steps", "batch_size"])
def test_nothing_to_compare(name: str, data: Any) -> None:
    with pytest.raises(ValueError, match=f"compare_backends needs {name} to be a whole number, 1 or more, and got 0"):
        bp.compare_backends(
            bp.Dense(3), *data, loss=bp.SoftmaxCrossEntropy(), backends=("cpu", "cpu-float64"), **{name: 0}
        )


def test_differences_of_numbers_that_are_not_finite() -> None:
    a, b = np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 2.0])
    assert Difference.of(a, b) == (1.0, 1.0)
    assert Difference.of(a, b[::-1]).absolute == np.inf
    assert Difference.of(np.zeros(2), np.zeros(2)) == (0.0, 0.0)

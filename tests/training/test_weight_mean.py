"""WeightAverage, the mean of the weights of many steps: its numbers, resumed, on a GPU, and what it is refused for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import XV, YV, X, Y, bits, trainer
from test_weight_average import Watch

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 1), (0, 3), (2, 2), (100, 1)])
def test_it_is_the_mean_of_those_that_count(start: int, every: int, workers: int) -> None:
    t, watch, mean = trainer(dtype="float64", workers=workers), Watch(), bp.WeightAverage(start, every)
    t.fit(X, Y, epochs=3, callbacks=[watch, mean])
    for k, average in enumerate(watch.averages):
        counting = watch.steps[start + every - 1 : k + 1 : every] or [watch.steps[k]]
        np.testing.assert_allclose(average, np.mean(counting, axis=0), rtol=1e-12, atol=1e-15)
        if counting[-1] is not watch.steps[k]:
            assert average.tobytes() == watch.averages[k - 1].tobytes(), "others leave it bit for bit"
    assert len(watch.steps) == 9
    np.testing.assert_array_equal(t.network.flat, watch.averages[-1])
    assert mean.parameters.keys() == t.network.parameters.keys()


def test_the_mean_of_the_ends_of_epochs_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, a reference for averages, is not installed")
    from torch.optim.swa_utils import AveragedModel

    t, watch = trainer(dtype="float64"), Watch()
    model = torch.nn.Linear(len(t.network.flat), 1, bias=False, dtype=torch.float64)
    theirs = AveragedModel(model)
    t.fit(X, Y, epochs=4, callbacks=[watch, bp.WeightAverage(3, every=3)])
    for theta in watch.steps[5::3]:  # of the epochs 2, 3 and 4
        model.weight.data[...] = torch.tensor(theta)
        theirs.update_parameters(model)
    np.testing.assert_allclose(t.network.flat, theirs.module.weight.detach().numpy()[0], rtol=1e-12)


def test_resumed_after_any_step_it_is_the_same(tmp_path: Path) -> None:
    def callbacks() -> list[bp.Callback]:
        return [bp.WeightAverage(2, every=2), bp.EarlyStopping(patience=3)]

    def save(t: Any) -> None:
        t.save(tmp_path / f"{t.step_count}.safetensors")

    whole = trainer()
    history = whole.fit(
        X, Y, epochs=3, validation_data=(XV, YV), callbacks=[*callbacks(), bp.LambdaCallback(on_step_end=save)]
    )
    for step in (1, 2, 3, 4, 5, 8):
        again = trainer()
        again.resume(tmp_path / f"{step}.safetensors")
        found = again.fit(X, Y, epochs=3, validation_data=(XV, YV), callbacks=callbacks())
        assert bits(again) == bits(whole) and found["val_loss"] == history["val_loss"], step
    with pytest.raises(bp.ModelFileError, match=r"WeightAverage\(every=2\), and fit was given every=1; give it"):
        again = trainer()
        again.resume(tmp_path / "5.safetensors")
        again.fit(X, Y, epochs=3, validation_data=(XV, YV), callbacks=[bp.WeightAverage(2), bp.EarlyStopping()])


@pytest.mark.parametrize("choice", [None, "skip"])
def test_on_a_gpu(choice: str | None) -> None:
    flats = []
    for device in ("cpu", "strict"):
        be: Any = device if device == "cpu" else CUDA(strict_cupy(), products=StrictProducts)
        net = bp.Network(bp.Sequential(bp.Dense(9), bp.BatchNorm(), bp.Tanh(), bp.Dense(3)), 5, device=be, seed=3)
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8, on_nonfinite=choice)
        t.fit(X, Y, epochs=5, callbacks=[bp.WeightAverage(2, every=2)])
        flats.append(net.backend.to_host(net.flat).copy())
        assert device == "cpu" or getattr(t.record, "graph", None) is not None
    np.testing.assert_allclose(flats[1], flats[0], rtol=1e-4, atol=1e-6)


def test_a_step_that_is_skipped_counts_as_the_average() -> None:
    bad = X.copy()
    bad[5] = 3e38
    t, watch = trainer(on_nonfinite="skip"), Watch()
    with pytest.warns(RuntimeWarning, match="changed nothing"):
        t.fit(bad, Y, epochs=2, callbacks=[watch, bp.WeightAverage()])
    average, skipped = watch.steps[0].astype(float), 0
    for k in range(1, 6):
        if np.array_equal(watch.steps[k], watch.steps[k - 1]):
            skipped += 1
        else:
            average = (k * average + watch.steps[k]) / (k + 1)
        np.testing.assert_allclose(watch.averages[k], average, rtol=1e-5, atol=1e-6)
    assert skipped == 2


def test_statistics_are_computed_anew_by_an_epoch_with_the_rate_0() -> None:
    """Of the mean of the weights, as PyTorch's update_bn."""
    net = bp.Network(bp.Sequential(bp.Dense(9), bp.BatchNorm(momentum=0.5), bp.Dense(3)), 5, device="cpu", seed=3)
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.1), batch_size=8).fit(
        X, Y, epochs=5, callbacks=[bp.WeightAverage()]
    )
    weights, before = net.flat.copy(), net.states["1.mean"].copy()
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), batch_size=len(X)).fit(X, Y, epochs=30)
    assert net.flat.tobytes() == weights.tobytes()
    mean = (X @ net.parameters["0.W"] + net.parameters["0.b"]).mean(axis=0)
    assert not np.allclose(before, mean, atol=1e-3)
    np.testing.assert_allclose(net.states["1.mean"], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "WeightAverage needs every to be a whole number, 1 or more, and got 0"),
        ({"start_step": -1}, "WeightAverage needs start_step to be a whole number, 0 or more, and got -1"),
        ({"replace": "no"}, "WeightAverage needs replace to be True or False"),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bp.WeightAverage(**options)


def test_two_averages_are_refused() -> None:
    with pytest.raises(ValueError, match="WeightAverage and another average; one averages all weights"):
        trainer().fit(X, Y, callbacks=[bp.ExponentialMovingAverage(), bp.WeightAverage()])

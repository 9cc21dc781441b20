"""SpatialDropout, AlphaDropout and GaussianNoise: what they draw, and that it goes by seed, step and row alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpubp as bp
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update


def outputs(layer: bp.Layer, x: np.ndarray, seed: int = 0, steps: int = 2) -> list[np.ndarray]:
    """Of the layer, at each of the first steps of a trainer's recorded step."""
    n = x.shape[-1]
    net = bp.Network(bp.Sequential(bp.Dense(n, use_bias=False), layer), x.shape[1:], device="cpu")
    net.parameters["0.W"][...] = np.eye(n)
    batch = Batch(net, len(x), TargetShape(x.shape[1:], "float32"))
    step = TrainingStep(StepJob(net, bp.MeanSquaredError(), seed=seed), batch, Update(net, bp.SGD(0.0)))
    step.load(x, x)
    found = []
    for _ in range(steps):
        step.run()
        found.append(np.array(step.z))
    return found


@pytest.mark.parametrize("layer", [bp.SpatialDropout(0.4), bp.AlphaDropout(0.4), bp.GaussianNoise(0.4)], ids=str)
def test_draws_go_by_seed_and_step_alone(layer: bp.Layer) -> None:
    x = np.ones((16, 5, 9), "float32")
    one, two, other = outputs(layer, x), outputs(layer, x), outputs(layer, x, seed=1)
    assert np.array_equal(one, two)
    assert not np.array_equal(one[0], one[1]) and not np.array_equal(one[0], other[0])
    net = bp.Network(layer, (5, 9), device="cpu")
    assert np.array_equal(net.predict(x), x)


@pytest.mark.parametrize("layer", [bp.SpatialDropout(0.4), bp.AlphaDropout(0.4), bp.GaussianNoise(0.4)], ids=str)
def test_workers_draw_what_one_draws(layer: bp.Layer, rng: np.random.Generator) -> None:
    """A row's draws go by its number in the whole batch; 3 numbers a row are no whole block."""
    x = rng.normal(size=(8, 1, 3))
    nets = []
    for workers, accumulate in ((1, 1), (2, 1), (1, 2)):
        net = bp.Network(bp.Sequential(bp.Dense(3), layer, bp.Dense(3)), (1, 3), device="cpu", dtype="float64")
        options = {"batch_size": 8, "workers": workers, "accumulate": accumulate}
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), **options).fit(x, x, epochs=3, verbose=False, shuffle=False)
        nets.append(net)
    for net in nets[1:]:
        assert nets[0].flat == pytest.approx(net.flat, rel=1e-10)


def test_spatial_dropout_drops_whole_channels() -> None:
    y = outputs(bp.SpatialDropout(0.25), np.ones((200, 3, 4, 10), "float32"), steps=1)[0]
    assert (y == y[:, :1, :1]).all()
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert y.max() == pytest.approx(1 / 0.75, rel=1e-4)
    with pytest.raises(bp.ShapeError, match="for rows of numbers take Dropout"):
        bp.Network(bp.SpatialDropout(0.5), 4, device="cpu")


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(rate: float, rng: np.random.Generator) -> None:
    x = rng.normal(size=(500, 400)).astype("float32")
    y = outputs(bp.AlphaDropout(rate), x, steps=1)[0]
    assert y.mean() == pytest.approx(0.0, abs=0.01) and y.std() == pytest.approx(1.0, abs=0.01)
    a = 1 / math.sqrt((1 - rate) * (1 + rate * 1.7580993408473766**2))
    dropped = -a * 1.7580993408473766 * (1 - rate)  # a α' + b
    assert np.isclose(y, dropped, atol=1e-3).mean() == pytest.approx(rate, abs=0.01)


def test_gaussian_noise_is_normal() -> None:
    """Mean, variance, third and fourth moment, tails; and no two of the numbers of a pair go together."""
    y = outputs(bp.GaussianNoise(2.0), np.ones((400, 501), "float32"), steps=1)[0]
    z = (y.astype("float64") - 1.0) / 2.0
    assert z.mean() == pytest.approx(0.0, abs=0.01) and z.var() == pytest.approx(1.0, abs=0.01)
    assert (z**3).mean() == pytest.approx(0.0, abs=0.03) and (z**4).mean() == pytest.approx(3.0, abs=0.06)
    for limit in (1.0, 2.0, 3.0):
        assert (np.abs(z) > limit).mean() == pytest.approx(math.erfc(limit / math.sqrt(2)), rel=0.1, abs=2e-4)
    for a, b in ((z[:, :250], z[:, 250:500]), (z[:, :252], z[:, -252:]), (z[1:], z[:-1]), (z[:, 1:], z[:, :-1])):
        assert abs(np.corrcoef(a[:, : b.shape[1]].ravel(), b[:, : a.shape[1]].ravel())[0, 1]) < 0.01


def test_the_gradient_passes_noise_unchanged(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.GaussianNoise(0.5)), 3, device="cpu", dtype="float64")
    x = rng.normal(size=(4, 3))
    _, noisy = net.loss_and_gradients(bp.MeanAbsoluteError(), x, np.full((4, 3), -1e3))
    _, plain = net.loss_and_gradients(bp.MeanAbsoluteError(), x, np.full((4, 3), -1e3), training=False)
    assert noisy["0.W"] == pytest.approx(plain["0.W"], rel=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.SpatialDropout(1.0), "SpatialDropout needs rate"),
        (lambda: bp.AlphaDropout(0.999999), "AlphaDropout meets its rate to 1/65536"),
        (lambda: bp.GaussianNoise(-1.0), "GaussianNoise needs std"),
    ],
)
def test_wrong_arguments_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]

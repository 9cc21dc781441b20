"""Augmentation compared with loops over pixels and with PyTorch, and in training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update
from strict import StrictProducts, strict_cupy

LAYERS = [
    bp.RandomFlip(), bp.RandomFlip("horizontal"), bp.RandomFlip("vertical"), bp.RandomTranslation(0.3, (0.0, 0.5)),
    bp.RandomRotation(0.2), bp.RandomRotation((0.25, 0.25)), bp.RandomZoom(0.5), bp.RandomZoom((-0.5, 0.0), 0.2),
]  # fmt: skip


def seen(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Bilinear sampling by its formula."""
    y = np.zeros_like(x)
    B, H, W, C = x.shape
    for n in range(B):
        a, b, c, d, e, f = theta[n]
        for i in range(H):
            for j in range(W):
                h, w = a * i + b * j + c, d * i + e * j + f
                for k in (math.floor(h), math.floor(h) + 1):
                    for m in (math.floor(w), math.floor(w) + 1):
                        if 0 <= k < H and 0 <= m < W:
                            y[n, i, j] += x[n, k, m] * (1 - abs(h - k)) * (1 - abs(w - m))
    return y


def run(layer: bp.Layer, x: np.ndarray, seed: int = 1, step: int = 3, backend: Any = "cpu") -> dict[str, np.ndarray]:
    """y, θ and, for dy = y, dx of a step."""
    net = bp.Network(layer, x.shape[1:], device=backend, dtype="float64")
    be = net.backend
    ws = net.workspace(len(x), training=True, gradients={})
    ws.wants_dx, ws.context.seed = True, seed
    with be.active():
        be.put(ws.context.step, step)
        y = layer.forward(ws, be.to_device(x))
        dx = layer.backward(ws, y)
        return {"y": be.to_host(y).copy(), "theta": be.to_host(ws.theta).copy(), "dx": be.to_host(dx).copy()}


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_each_pixel_agrees_with_loops(layer: bp.Layer, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 5, 7, 2))
    got = run(layer, x)
    np.testing.assert_allclose(got["y"], seen(x, got["theta"]), atol=1e-12)
    assert len(np.unique(got["theta"].round(9), axis=0)) > 1 or layer == bp.RandomRotation((0.25, 0.25))
    dy = got["y"]
    np.testing.assert_allclose((dy * dy).sum(), (got["dx"] * x).sum(), rtol=1e-10)  # <dy, A x> = <A' dy, x>


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_cuda_and_cpu_give_equal_pictures(layer: bp.Layer, rng: np.random.Generator) -> None:
    """The kernels, built for the host."""
    x = rng.normal(size=(4, 5, 7, 2))
    here, there = run(layer, x), run(layer, x, backend=CUDA(strict_cupy(), products=StrictProducts))
    for name in here:
        np.testing.assert_allclose(here[name], there[name], atol=1e-12, err_msg=name)


def test_pictures_agree_with_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[reference]'")
    x = rng.normal(size=(6, 9, 9, 3))
    got = run(bp.RandomRotation(0.5), x)
    p = (9 - 1) / 2  # PyTorch: (w, h) in -1 to 1 from the first pixel's middle to the last one's
    a, b, c, d, e, f = got["theta"].T
    map_ = np.stack([e, d, (d * p + e * p + f - p) / p, b, a, (a * p + b * p + c - p) / p], axis=1).reshape(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(torch.tensor(map_), (6, 3, 9, 9), align_corners=True)
    pictures = torch.tensor(x).permute(0, 3, 1, 2)
    want = torch.nn.functional.grid_sample(pictures, grid, align_corners=True).permute(0, 2, 3, 1)
    np.testing.assert_allclose(got["y"], want.numpy(), atol=1e-10)


def test_signs_of_directions_agree_with_keras() -> None:
    x = np.zeros((1, 5, 5, 1))
    x[0, 2, 4] = 1.0  # at the right of the middle

    def where(layer: bp.Layer) -> tuple[int, ...]:
        return tuple(int(k) for k in np.argwhere(run(layer, x)["y"][0, :, :, 0].round(9) == 1.0)[0])

    assert where(bp.RandomRotation((0.25, 0.25))) == (0, 2), "a quarter counter-clockwise: to the top"
    assert where(bp.RandomTranslation((0.4, 0.4), (-0.2, -0.2))) == (4, 3), "down by two, left by one"
    assert where(bp.RandomZoom((1.0, 1.0))) == (2, 3), "half as large"


def test_half_of_the_flips_are_made_and_are_exact(rng: np.random.Generator) -> None:
    x = rng.normal(size=(400, 3, 4, 1))
    y = run(bp.RandomFlip("horizontal"), x)["y"]
    flipped = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(y, x, strict=True)])
    assert all(f or np.array_equal(a, b) for f, a, b in zip(flipped, y, x, strict=True))
    assert 0.4 < flipped.mean() < 0.6


def test_draws_depend_on_the_step_number_alone(rng: np.random.Generator) -> None:
    x, t = rng.normal(size=(8, 5, 5, 1)), np.zeros(8, np.int32)
    net = bp.Network(bp.Sequential(bp.RandomTranslation(0.3, 0.3), bp.Flatten(), bp.Dense(2)), (5, 5, 1), device="cpu")
    update = Update(net, bp.SGD(0.0))
    job, batch = StepJob(net, bp.SoftmaxCrossEntropy(), seed=4), Batch(net, 8, TargetShape((), "int32"))
    step = TrainingStep(job, batch, update)
    shown = []
    with net.backend.active():
        for number in (1, 2, 3, 2):
            update.t = number - 1
            step.load(x, t)
            step.run()
            shown.append(step.ws.children[0].y.copy())
    assert not np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[1], shown[2])
    np.testing.assert_array_equal(shown[1], shown[3])


def test_predictions_use_unchanged_pictures(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4, 4, 1)).astype("float32")
    net = bp.Network(bp.Sequential(*LAYERS), (4, 4, 1), device="cpu")
    np.testing.assert_array_equal(net.predict(x), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.RandomFlip("diagonal"), "and got 'diagonal'"),
        (lambda: bp.RandomTranslation(2.0, 0.1), "height_factor .* from -1 to 1, and got 2.0"),
        (lambda: bp.RandomTranslation(0.1, (0.3, 0.2)), r"width_factor .* and got \(0.3, 0.2\)"),
        (
            lambda: bp.RandomZoom("much"),
            "RandomZoom needs height_factor to be a number, or two of them, and got 'much'",
        ),
        (lambda: bp.RandomRotation((0.1,)), "RandomRotation needs factor to be a number, or two of them"),
    ],
)
def test_wrong_limits_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_inputs_that_are_no_images_are_refused() -> None:
    with pytest.raises(bp.ShapeError, match="expects images"):
        bp.Network(bp.RandomFlip(), 16, device="cpu")


def test_augmentation_reduces_the_gap_between_training_and_validation() -> None:
    """Few digits, learnt by heart without it."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from gpubp.datasets import load_digits

    digits = load_digits()
    X, y = digits.X[:150].reshape(-1, 8, 8, 1), digits.y[:150]
    X_test, y_test = digits.X_test.reshape(-1, 8, 8, 1), digits.y_test
    gaps, losses = {}, {}
    for name, augment in (("without", ()), ("with", [bp.RandomTranslation(0.08, 0.08)])):
        found = []
        for seed in range(4):
            layers = bp.cnn(10, (8, 8, 1), filters=(16,), hidden=(64,), dropout=0.0, augment=augment)
            net = bp.Network(layers, (8, 8, 1), device="cpu", seed=seed)
            trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(3e-3), seed=seed)
            trainer.fit(X, y, epochs=60, verbose=False)
            found.append((trainer.evaluate(X, y)["loss"], trainer.evaluate(X_test, y_test)["loss"]))
        gaps[name] = np.mean([test - train for train, test in found])
        losses[name] = np.mean([test for _, test in found])
    assert gaps["with"] < 0.85 * gaps["without"], gaps
    assert losses["with"] < losses["without"], losses

"""Losses that leave out positions or weigh classes: PyTorch's means, and sums worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp import model_file
from gpubp.backends.cpu import compiled

CE = bp.SoftmaxCrossEntropy


def gives_back(shape: tuple[int, ...], **options: Any) -> bp.Network:
    """A network that gives back its input."""
    net = bp.Network(bp.Dense(shape[-1], use_bias=False), shape, **{"device": "cpu", "dtype": "float64"} | options)
    net.parameters["W"][...] = np.eye(shape[-1])
    return net


def by_hand(
    z: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, ignored: int | None, smoothing: float = 0.0
) -> float:
    """Formula (5) in loops over rows and positions."""
    above = below = 0.0
    z, y = z.reshape(len(z), -1, z.shape[-1]), y.reshape(len(y), -1)
    for i in range(len(z)):
        for p in range(z.shape[1]):
            t = y[i, p]
            if t == ignored:
                continue
            log_p = z[i, p] - math.log(sum(math.exp(v) for v in z[i, p]))
            q = (1 - smoothing) * np.eye(len(a))[t] + smoothing / len(a)
            above += w[i] * sum(-a[k] * q[k] * log_p[k] for k in range(len(a)))
            below += w[i] * a[t]
    return above / below


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [-100, 0, None])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0, 0.0)])
@pytest.mark.parametrize("positions", [(), (5,), (2, 3)], ids=str)
def test_the_mean_is_over_the_positions_that_count(
    positions: tuple[int, ...], weights: Any, ignored: int | None, smoothing: float, rng: np.random.Generator
) -> None:
    """With row weights, and a row of which no position counts; gradients by differences."""
    shape = (6, *positions, 4)
    z, y, w = rng.normal(size=shape), rng.integers(0, 4, shape[:-1]), rng.uniform(0.1, 2, 6)
    if ignored is not None:
        y[rng.uniform(size=y.shape) < 0.4] = ignored
        y[3] = ignored
    loss = CE(smoothing, ignored, weights)
    a = np.ones(4) if weights is None else np.array(weights)
    net = gives_back(shape[1:])
    found, gradients = net.loss_and_gradients(loss, z, y, sample_weight=w)
    assert found == pytest.approx(by_hand(z, y, w, a, ignored, smoothing), rel=1e-12)
    for place in ((0, 1), (2, 2), (3, 0)):
        moved = []
        for step in (1e-5, -1e-5):
            net.parameters["W"][...] = np.eye(4)
            net.parameters["W"][place] += step
            moved.append(net.loss_and_gradients(loss, z, y, sample_weight=w)[0])
        assert gradients["W"][place] == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [-100, 1])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0, 0.25)])
@pytest.mark.parametrize("positions", [(), (5,)], ids=str)
def test_pytorch_has_the_same_mean_and_gradient(
    positions: tuple[int, ...], weights: Any, ignored: int, smoothing: float, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shape = (6, *positions, 4)
    x, y = rng.normal(size=(*shape[:-1], 3)), rng.integers(0, 4, shape[:-1])
    y[rng.uniform(size=y.shape) < 0.4] = ignored
    net = bp.Network(bp.Dense(4), shape[1:-1] + (3,), device="cpu", dtype="float64", seed=2)
    W = torch.tensor(net.parameters["W"], requires_grad=True)
    z = (torch.tensor(x) @ W).reshape(-1, 4)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    theirs = torch.nn.functional.cross_entropy(
        z, torch.tensor(y.reshape(-1)), weight=weight, ignore_index=ignored, label_smoothing=smoothing
    )
    theirs.backward()
    ours, gradients = net.loss_and_gradients(CE(smoothing, ignored, weights), x, y)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(gradients["W"], W.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_pytorch_has_the_same_class_weights_of_probabilities(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z, q, a = rng.normal(size=(6, 4)), rng.dirichlet(np.ones(4), 6), (1.0, 0.5, 3.0, 0.0)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(q), weight=torch.tensor(a).double())
    assert gives_back((4,)).loss_and_gradients(CE(class_weight=a), z, q)[0] == pytest.approx(theirs.item(), rel=1e-12)


def test_positions_left_out_have_no_gradient(rng: np.random.Generator) -> None:
    """The rows of an embedding that only such positions read."""
    net = bp.Network(bp.Sequential(bp.Embedding(9, 5)), (4,), device="cpu")
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    y = np.array([[0, 1, -100, 2], [-100, -100, -100, -100]])
    _, gradients = net.loss_and_gradients(CE(0.1, ignore_index=-100), x, y)
    moved = np.flatnonzero(np.abs(gradients["0.W"]).sum(axis=1))
    assert moved.tolist() == [1, 2, 4]


def test_a_batch_of_which_nothing_counts_changes_nothing() -> None:
    net = gives_back((3,), dtype="float32")
    trainer = bp.Trainer(net, CE(ignore_index=255), bp.SGD(1.0), batch_size=2, on_nonfinite="raise")
    trainer.step(np.eye(3)[:2], np.array([255, 255], np.uint8))
    assert np.isnan(trainer.loss) and (net.parameters["W"] == np.eye(3)).all()
    history = trainer.fit(np.eye(3), [255, 255, 1], epochs=1, shuffle=False)
    assert history["loss"][0] == pytest.approx(math.log(2 + math.e), rel=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("guarded", [None, "skip", "raise", "rollback"])
def test_an_epoch_reports_the_mean_over_all_its_positions(
    workers: int, guarded: str | None, rng: np.random.Generator
) -> None:
    """And not the mean of its batches, which have different numbers of positions that count."""
    z, y = rng.normal(size=(50, 7, 4)), rng.integers(0, 4, (50, 7))
    y[rng.uniform(size=y.shape) < np.linspace(0, 1, 50)[:, None]] = -100
    w, a = rng.uniform(0.5, 2, 50), (1.0, 0.5, 3.0, 2.0)
    loss = CE(0.1, -100, a)
    net = gives_back((7, 4))
    trainer = bp.Trainer(
        net, loss, bp.SGD(0.0), batch_size=8, metrics=["accuracy", bp.TopKAccuracy(2)], workers=workers,
        on_nonfinite=guarded,
    )  # fmt: skip
    expected = by_hand(z, y, w, np.array(a), -100, 0.1)
    right = (z.argmax(axis=-1) == y) * w[:, None]
    ranks = (z > np.take_along_axis(z, np.maximum(y, 0)[..., None], -1)).sum(axis=-1)
    among = ((ranks < 2) & (y >= 0)) * w[:, None]
    counted = ((y >= 0) * w[:, None]).sum()
    history = trainer.fit(z, y, sample_weight=w, validation_data=(z, y, w))
    for start in ("", "val_"):
        assert history[f"{start}loss"][0] == pytest.approx(expected, rel=1e-12)
        assert history[f"{start}accuracy"][0] == pytest.approx(right.sum() / counted, rel=1e-12)
        assert history[f"{start}top_k_accuracy"][0] == pytest.approx(among.sum() / counted, rel=1e-12)


@pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
@pytest.mark.usefixtures("compiled_at_once")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0, 2.0)])
def test_chained_steps_count_too(smoothing: float, weights: Any, rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(803, 4)).astype("float32"), rng.integers(0, 4, 803)
    y[rng.uniform(size=803) < 0.4] = -100
    metrics, net = ["accuracy", bp.TopKAccuracy(2)], gives_back((4,), dtype="float32")
    trainer = bp.Trainer(net, CE(smoothing, -100, weights), bp.SGD(0.0), batch_size=8, metrics=metrics)
    history = trainer.fit(z, y, epochs=5)
    assert trainer.record.can_repeat
    expected = by_hand(z, y, np.ones(803), np.ones(4) if weights is None else np.array(weights), -100, smoothing)
    assert history["loss"] == pytest.approx([expected] * 5, rel=1e-6)
    assert history["accuracy"] == pytest.approx([(z.argmax(axis=1) == y)[y >= 0].mean()] * 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_penalty_is_in_the_loss_once(workers: int, rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(16, 4)), np.where(np.arange(16) % 3, -100, 1)
    plain, penal = (
        bp.Trainer(gives_back((4,)), CE(ignore_index=-100), bp.SGD(0.0), batch_size=4, l2=l2, workers=workers)
        for l2 in (0.0, 0.5)
    )
    losses = [t.fit(z, y, validation_data=(z, y)) for t in (plain, penal)]
    for name in ("loss", "val_loss"):
        assert losses[1][name][0] == pytest.approx(losses[0][name][0] + 0.25 * 4, rel=1e-12)  # ½ · 0.5 · Σ W²


def test_weights_of_the_loss_and_of_the_trainer_are_multiplied(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    y[:4] = -100
    once = bp.Trainer(gives_back((3,)), CE(ignore_index=-100, class_weight={0: 6.0, 1: 0.5}), bp.SGD(0.0))
    both = bp.Trainer(gives_back((3,)), CE(ignore_index=-100, class_weight={0: 2.0}), bp.SGD(0.0))
    found = both.fit(z, y, class_weight={0: 3.0, 1: 0.5})["loss"]
    assert found == pytest.approx(once.fit(z, y)["loss"])


def test_balanced_class_weights_count_the_rows_that_count(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(12, 2)), np.array([0] * 6 + [1] * 2 + [-100] * 4)
    balanced = bp.Trainer(gives_back((2,)), CE(ignore_index=-100), bp.SGD(0.0))
    named = bp.Trainer(gives_back((2,)), CE(ignore_index=-100), bp.SGD(0.0))
    found = balanced.fit(z, y, class_weight="balanced")["loss"]
    assert found == pytest.approx(named.fit(z, y, class_weight={0: 8 / 12, 1: 8 / 4})["loss"])


@pytest.mark.parametrize("loss", [CE(ignore_index=-100), CE(class_weight={1: 2.0})], ids=repr)
def test_a_loss_with_counts_of_one_is_the_plain_loss(loss: bp.Loss, rng: np.random.Generator) -> None:
    """Where nothing is left out, or only classes of weight 1 come."""
    X, y = rng.normal(size=(30, 5)), rng.integers(0, 2, 30) * 2
    trained = []
    for one in (loss, CE()):
        net = bp.Network(bp.Dense(3), 5, device="cpu", dtype="float64")
        bp.Trainer(net, one, bp.SGD(0.5), batch_size=8).fit(X, y, epochs=5)
        trained.append(net.flat.copy())
    np.testing.assert_allclose(*trained, rtol=1e-12)


def test_an_own_loss_has_counts(rng: np.random.Generator) -> None:
    """A mean over the rows with a positive target, here of a pointwise loss."""

    class OfPositive(bp.MeanSquaredError):
        @property
        def has_counts(self) -> bool:
            return True

        def counts(self, ws: Any, t: Any) -> Any:
            return ws.be.apply(_is_positive, t.reshape(-1), out=ws.n)

        def plan(self, z: Any, t: Any) -> bp.Plan:
            return bp.Plan(output=z[:1], arrays={"e": z, "rows": z[:1], "dz": z, "n": z[:1], "m": z})

        def l(self, z: Any, t: Any) -> Any:  # noqa: E743
            return super().l(z, t) * (t > 0)

        def dl(self, z: Any, t: Any) -> Any:
            return super().dl(z, t) * (t > 0)

    x, t, w = rng.normal(size=(20, 1)), rng.normal(size=20), rng.uniform(0.5, 2, 20)
    some = t > 0
    for workers in (1, 2):
        own, plain = (gives_back((1,)) for _ in range(2))
        options: dict[str, Any] = {"batch_size": None, "metrics": "mae"}
        first = bp.Trainer(own, OfPositive(), bp.SGD(0.1), workers=workers, **options)
        second = bp.Trainer(plain, bp.MeanSquaredError(), bp.SGD(0.1), **options)
        found = first.fit(x, t, epochs=3, sample_weight=w)
        assert found["loss"] == pytest.approx(second.fit(x[some], t[some], epochs=3, sample_weight=w[some])["loss"])
        assert own.flat == pytest.approx(plain.flat)
        error = np.abs(np.asarray(gives_back((1,)).predict(x))[:, 0] - t)
        assert found["mean_absolute_error"][0] == pytest.approx(np.average(error, weights=w))


def _is_positive(t: Any) -> Any:
    return (t > 0) * 1.0


def test_pos_weight_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z, t = rng.normal(size=(5, 3)) * 30, rng.uniform(size=(5, 3))
    for a in (0.0, 2.5, (0.5, 1.0, 7.0)):
        theirs = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.tensor(z), torch.tensor(t), pos_weight=torch.tensor(a, dtype=torch.float64)
        )
        found = gives_back((3,)).loss_and_gradients(bp.BinaryCrossEntropy(a), z, t)[0]
        assert found == pytest.approx(theirs.item(), rel=1e-12)


@pytest.mark.parametrize(("z", "t", "expected"), [(1e4, 0, 1e4), (-1e4, 1, 3e4), (1e4, 1, 0.0), (-1e4, 0, 0.0)])
def test_pos_weight_does_not_overflow(z: float, t: int, expected: float) -> None:
    loss, gradients = gives_back((1,), dtype="float32").loss_and_gradients(bp.BinaryCrossEntropy(3.0), [[z]], [t])
    assert loss == expected and np.isfinite(gradients["W"]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CE(ignore_index=0.5), "needs ignore_index to be a whole number, or None, and got 0.5"),
        (lambda: CE(class_weight="balanced"), "a number for each class, or class -> number, and got 'balanced'"),
        (
            lambda: CE(class_weight=[1.0, -1.0]),
            "each class_weight to be a number, 0 or more, and got -1.0",
        ),
        (lambda: CE(class_weight={"a": 1.0}), "class_weight names each class once, by its index"),
        (lambda: CE(class_weight=[]), r"a number for each class, or class -> number, and got \[\]"),
        (lambda: CE(class_weight={}), "a number for each class, or class -> number, and got {}"),
        (lambda: CE(class_weight=[0, 0]), "class_weight leaves every class without weight"),
        (
            lambda: bp.BinaryCrossEntropy(float("nan")),
            "pos_weight to be a number, 0 or more, or a tuple of them",
        ),
        (
            lambda: bp.BinaryCrossEntropy("2"),
            "or a tuple of them, or None, and got '2'",
        ),
    ],
)
def test_arguments_that_can_not_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("loss", "y", "error", "words"),
    [
        (
            CE(class_weight=[1.0, 2.0]),
            [0, 1],
            bp.ShapeError,
            r"^Softmax.*\) has 2 numbers in class_weight, .* 3 outputs",
        ),
        (CE(class_weight={3: 2.0}), [0, 1], bp.ShapeError, r"^Softmax.* has the class 3 in class_weight, .* 3 outputs"),
        (CE(class_weight={0: 0, 1: 0, 2: 0}), [0, 1], ValueError, "class_weight leaves every class without weight"),
        (CE(), [0, -100], bp.DataError, "the class -100, .* ignore_index=-100 leaves out such positions"),
        (CE(ignore_index=-100), [0, -1], bp.DataError, "the class -1"),
        (CE(ignore_index=-100), np.eye(3)[:2], bp.DataError, "ignore_index=-100 goes with class indices"),
        (bp.BinaryCrossEntropy((1.0, 2.0)), np.eye(3)[:2], bp.ShapeError, "2 numbers in pos_weight, .* 3 outputs"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(loss: Any, y: Any, error: Any, words: str) -> None:
    trainer = bp.Trainer(gives_back((3,)), loss, bp.SGD())
    with pytest.raises(error, match=words):
        trainer.fit(np.eye(3)[:2], y)
    assert trainer.step_count == 0


def test_arguments_of_any_kind_are_kept_as_tuples() -> None:
    assert CE(class_weight=np.array([1, 2])) == CE(class_weight=[1.0, 2.0])
    assert repr(CE(class_weight={np.int64(1): 2})) == "SoftmaxCrossEntropy(class_weight=((1, 2.0),))"
    assert bp.BinaryCrossEntropy([2, 3]).pos_weight == (2.0, 3.0)


def test_a_checkpoint_from_before_these_options_is_resumed(tmp_path: Path, rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    made = lambda loss: bp.Trainer(gives_back((3,)), loss, bp.SGD(0.1), batch_size=4)  # noqa: E731
    first, again = made(CE(0.1)), made(CE(0.1))
    first.fit(z, y)
    config, arrays = first.snapshot()
    config["training"]["loss"] = {"class": "SoftmaxCrossEntropy", "label_smoothing": 0.1}
    model_file.write(tmp_path / "old.safetensors", config, arrays)
    again.resume(tmp_path / "old.safetensors")
    assert again.step_count == 5
    with pytest.raises(bp.ModelFileError, match="the loss: SoftmaxCrossEntropy"):
        made(CE(0.1, ignore_index=0)).resume(tmp_path / "old.safetensors")

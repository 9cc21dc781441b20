"""Losses of margins, quantiles, probabilities and distributions: PyTorch's and Keras's numbers, ends, and mistakes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp
from gpubp.backends import CPU

INF, NAN = float("inf"), float("nan")
LOG = np.log
SLOPE = 0.125 + 0.25 * LOG(2.0)  # u² (1 + 2 p L / u) (1 - p) at p = u = ½


def computed(be: Any, f: Any, *inputs: float, dtype: str = "float32") -> float:
    """A formula of single numbers, as a step computes it."""
    arrays = [be.to_device(np.array([a]), dtype) for a in inputs]
    with be.active():
        return float(be.to_host(be.apply(f, *arrays, out=be.zeros((1,), dtype)))[0])


@pytest.mark.parametrize(
    ("loss", "z", "t", "value", "slope"),
    [
        (bp.LogCosh(), INF, 0.0, INF, 1.0),
        (bp.LogCosh(), -1e30, 0.0, 1e30, -1.0),
        (bp.LogCosh(), 0.0, 0.0, 0.0, 0.0),
        (bp.Quantile(0.9), -INF, 0.0, INF, -0.9),
        (bp.Quantile(0.9), 2.0, 2.0, 0.0, 0.0),
        (bp.Poisson(log=False), INF, 0.0, INF, 1.0),
        (bp.Poisson(log=False), INF, 3.0, INF, 1.0),
        (bp.Poisson(log=False), 0.0, 0.0, 0.0, 1.0),
        (bp.Poisson(log=False), -1.0, 1.0, NAN, 2.0),
        (bp.MeanAbsolutePercentageError(), 1.0, 0.0, 1e9, 1e9),
        (bp.MeanSquaredLogarithmicError(), INF, 1.0, INF, 0.0),
        (bp.MeanSquaredLogarithmicError(), -INF, 1.0, LOG(2.0) ** 2, 0.0),
        (bp.SoftMargin(), INF, 1.0, 0.0, 0.0),
        (bp.SoftMargin(), INF, 0.0, INF, 1.0),
        (bp.SoftMargin(), -1e38, 1.0, 1e38, -1.0),
        (bp.Hinge(), INF, 1.0, 0.0, 0.0),
        (bp.Hinge(), INF, 0.0, INF, 1.0),
        (bp.Hinge(), 1.0, 1.0, 0.0, 0.0),
        (bp.SquaredHinge(), -INF, 0.0, 0.0, 0.0),
        (bp.SquaredHinge(), -INF, 1.0, INF, -INF),
        (bp.HingeEmbedding(2.0), INF, 0.0, 0.0, 0.0),
        (bp.HingeEmbedding(2.0), INF, 1.0, INF, 1.0),
        (bp.HingeEmbedding(2.0), -3.0, 1.0, -3.0, 1.0),
        (bp.HingeEmbedding(2.0), NAN, 0.0, NAN, 0.0),
        (bp.BinaryFocal(), INF, 1.0, 0.0, 0.0),
        (bp.BinaryFocal(), -INF, 1.0, INF, -1.0),
        (bp.BinaryFocal(), 1e30, 0.0, 1e30, 1.0),
        (bp.BinaryFocal(0.0), INF, 1.0, 0.0, 0.0),
        (bp.BinaryFocal(), NAN, 1.0, NAN, NAN),
        (bp.BinaryCrossEntropyOfProbabilities(), 0.0, 1.0, 100.0, -1e12),
        (bp.BinaryCrossEntropyOfProbabilities(), 1.0, 1.0, 0.0, 0.0),
        (bp.BinaryCrossEntropyOfProbabilities(), 1.5, 1.0, NAN, 5e11),
    ],
    ids=str,
)
def test_formulas_at_their_ends(loss: Any, z: float, t: float, value: float, slope: float) -> None:
    for be in (CPU(), device()):
        for dtype in ("float32", "float64"):
            assert computed(be, loss.l, z, t, dtype=dtype) == pytest.approx(value, rel=1e-5, nan_ok=True)
            assert computed(be, loss.dl, z, t, dtype=dtype) == pytest.approx(slope, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    ("loss", "z", "y", "value", "dz"),
    [
        (bp.NegativeLogLikelihood(), [-INF, -1.0], 1, 1.0, [0.0, -1.0]),
        (bp.NegativeLogLikelihood(), [-INF, -1.0], 0, INF, [-1.0, 0.0]),
        (bp.NegativeLogLikelihood(), [2.0, 5.0], 1, -5.0, [0.0, -1.0]),  # any z, as PyTorch
        (bp.KLDivergence(), [LOG(0.25), LOG(0.75)], [0.25, 0.75], 0.0, [-0.25, -0.75]),
        (bp.KLDivergence(), [0.0, -INF], [1.0, 0.0], 0.0, [-1.0, 0.0]),
        (bp.KLDivergence(), [-INF, 0.0], [0.5, 0.5], INF, [-0.5, -0.5]),
        (bp.CrossEntropyOfProbabilities(), [1.0, 0.0], 0, 0.0, [-1.0, 0.0]),
        (bp.CrossEntropyOfProbabilities(), [1.0, 0.0], 1, 100.0, [0.0, -1e12]),
        (bp.Focal(), [0.0, -INF, 0.0], 0, LOG(2.0) / 4, [-SLOPE, 0.0, SLOPE]),
        (bp.Focal(), [0.0, -INF], 1, INF, [1.0, -1.0]),
        (bp.Focal(), [1e4, 0.0], 0, 0.0, [0.0, 0.0]),
        (bp.Focal(), [-1e4, 0.0], 0, 1e4, [-1.0, 1.0]),
        (bp.Focal(0.0), [0.0, 0.0], 0, LOG(2.0), [-0.5, 0.5]),
        (bp.CategoricalHinge(), [1.0, -INF, 0.5], 0, 0.5, [-1.0, 0.0, 1.0]),
        (bp.CategoricalHinge(), [-1.0, -2.0], 0, 2.0, [-1.0, 0.0]),  # m is 0, from the class itself
        (bp.CategoricalHinge(), [3.0, 1.0], 0, 0.0, [0.0, 0.0]),
        (bp.CategoricalHinge(), [3.0, 1.0], [0.0, 0.0], 0.0, [0.0, 0.0]),
        (bp.CategoricalHinge(), [1.0, 2.0, 2.0], 0, 2.0, [-1.0, 0.5, 0.5]),
        (bp.MultiMargin(), [1.0, -INF, 0.5], 0, 1 / 6, [-1 / 3, 0.0, 1 / 3]),
        (bp.MultiMargin(2), [1.0, 0.5], 0, 0.125, [-0.5, 0.5]),
        (bp.CosineSimilarity(), [0.0, 0.0], [3.0, 4.0], 0.0, [-6e5, -8e5]),
        (bp.CosineSimilarity(), [3.0, 4.0], [0.0, 0.0], 0.0, [0.0, 0.0]),
        (bp.CosineSimilarity(), [2.0, 0.0], [0.0, 5.0], 0.0, [0.0, -0.5]),
        (bp.CosineSimilarity(), [-2.0], 3.0, 1.0, [0.0]),
        (bp.GaussianNLL(), [1.0, LOG(4.0)], [3.0], 0.5 * (LOG(4.0) + 1), [-0.5, 0.0]),
        (bp.GaussianNLL(), [1.0, INF], [3.0], INF, [0.0, 0.5]),
        (bp.GaussianNLL(), [1.0, -INF], [1.0], 0.5 * LOG(1e-6), [0.0, 0.0]),
        (bp.GaussianNLL(eps=0.25), [1.0, -9.0], [3.0], 0.5 * (LOG(0.25) + 16), [-8.0, 0.0]),
    ],
    ids=str,
)  # fmt: skip
def test_single_rows_by_hand(loss: bp.Loss, z: list[float], y: Any, value: float, dz: list[float]) -> None:
    for where in ("cpu", device()):
        for dtype in ("float32", "float64"):
            found, slope = loss.value_and_gradient(np.array([z], dtype), np.array([y]), device=where)
            assert found == pytest.approx(value, rel=1e-5, abs=1e-6)
            assert slope[0] == pytest.approx(dz, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "z", "y", "words"),
    [
        (bp.Quantile((0.1, 0.9)), (4, 3), np.zeros(4), r"has 2 quantiles.* 3 outputs; it needs one"),
        (bp.Quantile((0.1, 0.9)), (4, 2), np.zeros((4, 3)), r"rows of shape \(3,\), and the network gives rows of"),
        (bp.Poisson(log=False), (2, 1), [1, -1], "needs targets of 0 or more, counts or rates, and y goes down to -1"),
        (bp.MeanSquaredLogarithmicError(), (2, 1), [1, -3], "needs targets of 0 or more, .* and y goes down to -3"),
        (bp.Hinge(), (3, 1), [1, 0, -1], "Hinge needs targets of 0 and 1, or of -1 and 1, and y holds -1, 0 and 1"),
        (bp.SoftMargin(), (2, 1), [1, 2], "SoftMargin needs targets of 0 and 1, or of -1 and 1, and y holds 2"),
        (bp.HingeEmbedding(), (2, 1), [1.0, 0.5], "HingeEmbedding needs targets of 0 and 1, .* and y holds 0.5"),
        (bp.BinaryFocal(), (2, 1), [1.0, 0.5], "BinaryFocal needs targets of 0 and 1, and y holds 0.5"),
        (bp.BinaryCrossEntropyOfProbabilities(), (2, 1), [1, 2], "targets between 0 and 1, and y goes"),
        (bp.Focal(), (1, 2), [[0.5, 0.5]], "class indices or one-hot rows, and y holds the probability 0.5"),
        (bp.MultiMargin(class_weight=(1.0, 2.0)), (1, 3), [0], "has 2 numbers in class_weight, and the"),
        (bp.NegativeLogLikelihood(), (1, 3), [3], "y holds the class 3, and the network has 3 outputs"),
        (bp.NegativeLogLikelihood(), (1, 3), [[0, 1]], r"NegativeLogLikelihood needs class indices, rows of"),
        (bp.KLDivergence(), (1, 2), [[0.5, 0.9]], "they must be 0 or more and sum to 1, .* and one sums to 1.4"),
        (bp.CosineSimilarity(), (1, 2), [[1.0]], r"rows of shape \(1,\), and the network gives rows of shape \(2,\)"),
        (bp.CosineSimilarity(), (1, 1), [["a"]], r"y holds <U1, and CosineSimilarity\(\) needs numbers"),
        (bp.GaussianNLL(), (1, 3), [[1.0]], r"GaussianNLL\(\) needs an even number of outputs.* and the network has 3"),
        (bp.GaussianNLL(), (1, 4), [[1.0]], r"half of them means; rows of y must have the shape \(2,\) for"),
    ],
    ids=str,
)  # fmt: skip
def test_targets_that_do_not_fit_are_named(loss: bp.Loss, z: tuple[int, ...], y: Any, words: str) -> None:
    with pytest.raises((bp.DataError, bp.ShapeError), match=words):
        loss.value_and_gradient(np.zeros(z), y)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Quantile(1.0), "Quantile needs q to be"),
        (lambda: bp.Quantile((0.1, 0.0)), "Quantile needs q to be"),
        (lambda: bp.Quantile(()), r"Quantile needs a share for each output, and got \(\)"),
        (lambda: bp.BinaryCrossEntropy(weight=()), r"needs a number for each output in a weight, and got \(\)"),
        (lambda: bp.BinaryCrossEntropy(pos_weight=()), r"needs a number for each output in a weight, and got \(\)"),
        (lambda: bp.BinaryCrossEntropy(weight=(0, 0.0)), "leaves every output without weight"),
        (lambda: bp.MultiMargin(3), "MultiMargin needs p to be a whole number, from 1 to 2, and got 3"),
        (lambda: bp.Focal(-1.0), "Focal needs gamma to be a number, 0 or more, and got -1.0"),
        (lambda: bp.BinaryFocal(alpha=2), "BinaryFocal needs alpha to be"),
        (lambda: bp.Poisson(log=False, eps=0.0), "Poisson needs eps to be a number, above 0"),
        (lambda: bp.GaussianNLL(eps=0.0), "GaussianNLL needs eps to be a number, above 0"),
        (lambda: bp.HingeEmbedding(0.0), "HingeEmbedding needs margin to be a number, above 0"),
    ],
)
def test_arguments_that_cannot_be_are_named(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_cosh_keeps_all_digits(dtype: str) -> None:
    e = np.concatenate([10.0 ** np.arange(-12, 3), [0.3, 5, 19.9, 20, 20.1, 87, 710]]).astype(dtype)[:, None]
    found = bp.LogCosh().rows(e, np.zeros_like(e))
    by = [Decimal(float(x)) for x in e[:, 0]]
    with localcontext() as context:
        context.prec = 60
        truth = [float(((x.exp() + (-x).exp()) / 2).ln()) for x in by]
    np.testing.assert_allclose(found, truth, rtol=4 * np.finfo(dtype).eps)


def test_old_files_have_the_poisson_loss_of_logarithms() -> None:
    old = bp.config.from_config({"class": "Poisson"})
    assert old == bp.Poisson() and old.log and bp.Poisson(log=False).config() == {
        "class": "Poisson", "log": False, "eps": 1e-8,
    }  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "none", "sum"])
def test_pytorchs_losses_of_classes(reduction: str, rng: np.random.Generator) -> None:
    """Weighted, with positions left out, and its three reductions."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F = torch.nn.functional
    z, y, a = rng.normal(size=(6, 5, 4)), rng.integers(0, 4, (6, 5)), (1.0, 0.5, 3.0, 0.0)
    y[rng.uniform(size=y.shape) < 0.3] = -100
    given, t = torch.tensor(z).movedim(-1, 1), torch.tensor(y)
    for weight in (None, a):
        for ignored, labels in ((-100, t), (2, t.clamp(min=0))):
            loss = bp.NegativeLogLikelihood(ignored, weight)
            w = None if weight is None else torch.tensor(weight).double()
            theirs = F.nll_loss(given, labels, weight=w, ignore_index=ignored, reduction=reduction).numpy()
            ours: Any = loss.rows(z, labels.numpy(), each="position")
            if reduction == "mean":
                ours = loss.value_and_gradient(z, labels.numpy())[0]
            np.testing.assert_allclose(ours.sum() if reduction == "sum" else ours, theirs, rtol=1e-12)
    q = rng.dirichlet(np.ones(4), 6)
    log_p = np.log(rng.dirichlet(np.ones(4), 6))
    for log_target in (False, True):
        their_q = torch.tensor(np.log(q) if log_target else q)
        theirs = F.kl_div(torch.tensor(log_p), their_q, reduction="batchmean", log_target=log_target)
        ours = bp.KLDivergence(log_target).value_and_gradient(log_p, their_q.numpy())[0]
        assert ours == pytest.approx(theirs.item(), rel=1e-12)
    x, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    for p, weight in ((1, None), (2, a)):
        w = None if weight is None else torch.tensor(weight).double()
        theirs = F.multi_margin_loss(torch.tensor(x), torch.tensor(labels), p, 0.5, w, reduction=reduction).numpy()
        loss = bp.MultiMargin(p, 0.5, class_weight=weight)
        ours = loss.value_and_gradient(x, labels)[0] if reduction == "mean" else loss.rows(x, labels)
        np.testing.assert_allclose(ours.sum() if reduction == "sum" else ours, theirs, rtol=1e-12)


def test_labels_that_nobody_knows_are_left_out(rng: np.random.Generator) -> None:
    """The mean is over the others, whatever stands there; weights of outputs as PyTorch's."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z, y, g = rng.normal(size=(6, 3)), rng.integers(0, 2, (6, 3)), (1.0, 0.5, 3.0)
    known, p = rng.uniform(size=y.shape) < 0.6, 1 / (1 + np.exp(-z))
    given = np.where(known, y, -100)
    cross = torch.nn.functional.binary_cross_entropy(
        torch.tensor(p), torch.tensor(y + 0.0), weight=torch.tensor(g).double(), reduction="none"
    ).numpy()
    focal = np.where(y, 0.25, 0.75) * np.abs(p - y) ** 2 * cross / np.array(g)
    for loss, outputs, losses in (
        (bp.BinaryCrossEntropyOfProbabilities(g, -100), p, cross),
        (bp.BinaryFocal(alpha=0.25, ignore_index=-100), z, focal),
    ):
        value, dz = loss.value_and_gradient(outputs, given)
        assert value == pytest.approx(losses[known].mean(), rel=1e-12) and (dz[~known] == 0).all()
        assert bp.gradcheck(loss, (6, 3), given)


def test_what_the_docs_say_of_pytorch_and_keras(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F = torch.nn.functional
    z, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    zt, tt = torch.tensor(z), torch.tensor(t)
    assert bp.Huber(0.3).value_and_gradient(z, t)[0] / 0.3 == pytest.approx(F.smooth_l1_loss(zt, tt, beta=0.3).item())
    pairs = F.cosine_embedding_loss(zt, tt, torch.ones(5))
    assert bp.CosineSimilarity().value_and_gradient(z, t)[0] + 1 == pytest.approx(pairs.item())
    counts = rng.poisson(3.0, (5, 3)) + 0.0
    for log in (True, False):
        given = z if log else np.exp(z)
        their = F.poisson_nll_loss(torch.tensor(given), torch.tensor(counts), log_input=log)
        left_out = (np.where(counts > 0, counts * np.log(np.maximum(counts, 1)), 0.0) - counts).mean()
        assert bp.Poisson(log).value_and_gradient(given, counts)[0] == pytest.approx(their.item() + left_out)
    yes = rng.integers(0, 2, (5, 3))
    their = F.multilabel_soft_margin_loss(zt, torch.tensor(yes))
    assert bp.BinaryCrossEntropy().value_and_gradient(z, yes)[0] == pytest.approx(their.item())
    assert bp.SoftMargin().value_and_gradient(z, 2 * yes - 1)[0] == pytest.approx(their.item())
    variance = np.exp(rng.normal(size=(5, 3)))
    for full, eps in ((False, 1e-6), (True, 0.9)):  # above some of the variances
        their = F.gaussian_nll_loss(zt, tt, torch.tensor(variance), full=full, eps=eps)
        ours = bp.GaussianNLL(full, eps).value_and_gradient(np.concatenate([z, np.log(variance)], axis=1), t)[0]
        assert ours == pytest.approx(their.item())
    unit = lambda a: a / np.sqrt(np.maximum((a * a).sum(axis=-1, keepdims=True), 1e-12))  # noqa: E731  as Keras
    assert bp.CosineSimilarity().value_and_gradient(z, t)[0] == pytest.approx(-(unit(z) * unit(t)).sum(axis=-1).mean())


def test_losses_behind_their_last_layers_train_as_those_of_logits(rng: np.random.Generator) -> None:
    X, yes = rng.normal(size=(20, 4)), rng.integers(0, 2, (20, 3))
    body, classes, CE = bp.Dense(3), rng.integers(0, 3, 20), bp.SoftmaxCrossEntropy
    for plain, behind, last, y in (
        (bp.BinaryCrossEntropy(), bp.BinaryCrossEntropyOfProbabilities(), bp.Sigmoid(), yes),
        (CE(), bp.NegativeLogLikelihood(), bp.LogSoftmax(), classes),
        (CE(), bp.KLDivergence(), bp.LogSoftmax(), classes),
        (CE(), bp.CrossEntropyOfProbabilities(), bp.Softmax(), classes),
        (CE(0.0, 2, {0: 3.0}), bp.NegativeLogLikelihood(2, {0: 3.0}), bp.LogSoftmax(), classes),
        (CE(0.0, 2, {0: 3.0}), bp.CrossEntropyOfProbabilities(2, {0: 3.0}), bp.Softmax(), classes),
        (CE(0.0, 2, {0: 3.0}), bp.Focal(0.0, ignore_index=2, class_weight={0: 3.0}), bp.Reshape((3,)), classes),
    ):
        one = bp.Network(body, 4, device="cpu", dtype="float64")
        two = bp.Network(bp.Sequential(body, last), 4, device="cpu", dtype="float64")
        two.flat[...] = one.flat
        (a, g), (b, h) = (net.loss_and_gradients(loss, X, y) for net, loss in ((one, plain), (two, behind)))
        assert a == pytest.approx(b, rel=1e-12)
        np.testing.assert_allclose(g["W"], h["0.W"], rtol=1e-10, atol=1e-14)


def test_quantiles_are_those_of_the_targets(rng: np.random.Generator) -> None:
    """Of outputs that know nothing of their inputs: a bias each."""
    y = rng.exponential(size=999)
    net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), 1, device="cpu", dtype="float64")
    loss = bp.Quantile((0.1, 0.5, 0.9))
    bp.Trainer(net, loss, bp.SGD(bp.ExponentialDecay(1.0, 0.99)), batch_size=None).fit(
        np.zeros((999, 1)), y, epochs=900
    )
    np.testing.assert_allclose(net.parameters["b"], np.quantile(y, loss.q), atol=0.02)
    one = bp.Quantile(0.9).value_and_gradient(np.full((999, 1), 2.0), y)[0]
    same = bp.Quantile((0.9,)).value_and_gradient(np.full((999, 1), 2.0), y[:, None])[0]
    assert one == pytest.approx(same, rel=1e-12)


def test_metrics_know_probabilities_and_means(rng: np.random.Generator) -> None:
    """Of probabilities above ½ and of logits above 0 the same answers; of means and variances the means."""
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] + 0.5 * rng.normal(size=60) > 0).astype(int)
    metrics = ["accuracy", "f1", "roc_auc"]
    for backend in ("cpu", device()):
        plain = bp.Network(bp.Dense(1), 2, device=backend, seed=1)
        behind = bp.Network(bp.Sequential(bp.Dense(1), bp.Sigmoid()), 2, device=backend, seed=1)
        behind.backend.put(behind.flat, plain.backend.to_host(plain.flat))
        one = bp.Trainer(plain, bp.BinaryCrossEntropy(), bp.SGD(), metrics=metrics).evaluate(X, y)
        two = bp.Trainer(behind, bp.BinaryCrossEntropyOfProbabilities(), bp.SGD(), metrics=metrics).evaluate(X, y)
        assert two == pytest.approx(one, rel=1e-5) and one["accuracy"] != 0.5
        z = bp.Network(bp.Dense(4), 2, device=backend, seed=1)
        t = rng.normal(size=(60, 2))
        found = bp.Trainer(z, bp.GaussianNLL(), bp.SGD(), metrics=["mae", "r2"]).evaluate(X, t)
        means = z.predict(X)[:, :2]
        assert found["mean_absolute_error"] == pytest.approx(np.abs(means - t).mean(), rel=1e-5)
        r2 = 1 - ((means - t) ** 2).sum(axis=0) / ((t - t.mean(axis=0)) ** 2).sum(axis=0)
        assert found["r2"] == pytest.approx(r2.mean(), rel=1e-5)


def test_roc_auc_of_probabilities_of_classes(rng: np.random.Generator) -> None:
    """That of scikit-learn, by the probabilities themselves."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    p, y = rng.dirichlet(np.ones(3), 90), rng.integers(0, 3, 90)
    net = bp.Network(bp.Dense(3, use_bias=False), 3, device="cpu", dtype="float64")
    net.parameters["W"][...] = np.eye(3)
    trainer = bp.Trainer(net, bp.CrossEntropyOfProbabilities(), bp.SGD(), metrics=["roc_auc", "accuracy"])
    found = trainer.evaluate(p, y)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"), rel=1e-12)
    assert found["accuracy"] == (p.argmax(axis=1) == y).mean()


def test_metrics_judge_counts_and_not_their_logarithms_on_a_gpu_too(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(40, 3)), rng.poisson(3.0, 40)
    found = []
    for where in ("cpu", device()):
        net = bp.Network(bp.Dense(1), 3, device=where, seed=1)
        trainer = bp.Trainer(net, bp.Poisson(), bp.SGD(0.01), batch_size=8, metrics=["mse", "r2"])
        trainer.fit(X, y, epochs=2, verbose=False)
        predicted = np.exp(net.predict(X)[:, 0].astype(float))
        found.append(trainer.evaluate(X, y))
        assert found[-1]["mean_squared_error"] == pytest.approx(np.square(predicted - y).mean(), rel=1e-5)
        assert found[-1]["r2"] == pytest.approx(1 - np.square(predicted - y).mean() / y.var(), rel=1e-4)
    assert found[0] == pytest.approx(found[1], rel=1e-5)

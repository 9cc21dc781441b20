"""`Loss.rows` and `Loss.value_and_gradient`: losses on plain arrays, against PyTorch and slow NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from loss_cases import LOSSES
from strict import StrictProducts, strict_cupy

CE = bp.SoftmaxCrossEntropy


def mean(a: np.ndarray, axes: int) -> np.ndarray:
    """Over all but the first axes"""
    return a.reshape(*a.shape[:axes], -1).mean(axis=-1)


def test_losses_of_rows_positions_and_numbers_are_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for case in (case for case in LOSSES if case.torch is not None and case.last is None):
        z, y = rng.normal(size=case.shape), case.targets(rng, case.shape)
        zt = torch.tensor(z, requires_grad=True)
        single = case.torch(torch, zt, torch.tensor(y, dtype=torch.float64))  # of numbers, positions or rows
        theirs = single.detach().numpy()
        if theirs.shape == z.shape:
            np.testing.assert_allclose(case.loss.rows(z, y, each="number"), theirs, rtol=1e-12, err_msg=case.id)
        positions = mean(theirs, z.ndim - 1) if theirs.shape == z.shape else theirs
        np.testing.assert_allclose(case.loss.rows(z, y, each="position"), positions, rtol=1e-12, err_msg=case.id)
        np.testing.assert_allclose(case.loss.rows(z, y), mean(theirs, 1), rtol=1e-12, err_msg=case.id)
        value, dz = case.loss.value_and_gradient(z, y)
        single.mean().backward()
        assert value == pytest.approx(single.mean().item(), rel=1e-12), case.id
        np.testing.assert_allclose(dz, zt.grad.numpy(), rtol=1e-10, atol=1e-15, err_msg=case.id)


def test_cross_entropy_is_pytorchs_with_every_option(rng: np.random.Generator) -> None:
    """Of 2 to 5 axes, with weights of classes, smoothing, positions left out, and probabilities, some of them all 0."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    a = rng.uniform(0.2, 3.0, 4)
    options = [(e, w, soft, i) for e in (0.0, 0.3) for w in (None, a) for soft in (0, 1) for i in (None, -100, 2)]
    for axes, (smoothing, weights, soft, ignored) in itertools.product([(), (3,), (2, 3), (2, 1, 3)], options):
        if soft and ignored is not None:
            continue
        z, y = rng.normal(size=(5, *axes, 4)), rng.integers(0, 4, (5, *axes))
        if soft:
            y = rng.dirichlet(np.ones(4), size=(5, *axes))
            y[1] *= smoothing > 0  # all 0, but with smoothing, of which PyTorch keeps a part there
        elif ignored == -100:
            y[rng.uniform(size=y.shape) < 0.4] = -100
        zt, t = torch.tensor(np.moveaxis(z, -1, 1)), torch.tensor(np.moveaxis(y, -1, 1) if soft else y)
        zt.requires_grad_(True)
        given = {} if weights is None else {"weight": torch.tensor(weights)}
        given |= {"label_smoothing": smoothing} | ({} if ignored is None else {"ignore_index": ignored})
        loss = CE(smoothing, ignored, None if weights is None else tuple(weights))
        single = torch.nn.functional.cross_entropy(zt, t, reduction="none", **given)
        np.testing.assert_allclose(loss.rows(z, y, each="position"), single.detach().numpy(), rtol=1e-10, atol=1e-15)
        value, dz = loss.value_and_gradient(z, y)
        theirs = torch.nn.functional.cross_entropy(zt, t, **given)
        theirs.backward()
        assert value == pytest.approx(theirs.item(), rel=1e-12)
        np.testing.assert_allclose(dz, np.moveaxis(zt.grad.numpy(), 1, -1), rtol=1e-10, atol=1e-15)


def test_probabilities_that_are_all_0_count_in_the_mean_alone(rng: np.random.Generator) -> None:
    z, q = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), size=3) * [[1], [0], [1]]
    for loss in (CE(), CE(0.2), CE(0.2, class_weight={0: 2.0})):
        value, dz = loss.value_and_gradient(z, q)
        of_others, slope = loss.value_and_gradient(z[::2], q[::2])
        assert value == pytest.approx(of_others * 2 / 3) and dz[1].tolist() == [0.0] * 4
        np.testing.assert_allclose(dz[::2], slope * 2 / 3)


def test_means_are_those_of_rows_and_counts_and_of_a_network(rng: np.random.Generator) -> None:
    """With weights of rows, and of positions where outputs have some; dz by differences."""
    for case in LOSSES:
        z, y = rng.normal(size=case.shape), case.targets(rng, case.shape)
        z = z if case.last is None else 1 / (1 + np.exp(-z))  # which every loss takes
        w = rng.uniform(0.5, 2.0, len(z)) * (np.arange(len(z)) != 1)
        layer = bp.Dense(case.shape[-1], use_bias=False)
        net = bp.Network(layer, case.shape[1:], device="cpu", dtype="float64")
        net.parameters["W"][...] = np.eye(case.shape[-1])
        value, dz = case.loss.value_and_gradient(z, y, w)
        of_network, gradients = net.loss_and_gradients(case.loss, z, y, sample_weight=w)
        assert value == pytest.approx(of_network, rel=1e-12), case.id
        n = case.shape[-1]
        np.testing.assert_allclose(z.reshape(-1, n).T @ dz.reshape(-1, n), gradients["W"], atol=1e-12, err_msg=case.id)
        u = np.broadcast_to(w.reshape(-1, *[1] * (z.ndim - 2)), z.shape[:-1])  # every position with its row's weight
        again, same = case.loss.value_and_gradient(z, y, u)
        assert again == pytest.approx(value, rel=1e-12), case.id
        np.testing.assert_allclose(same, dz, rtol=1e-12, atol=1e-15, err_msg=case.id)
        bp.gradcheck(case.loss, case.shape, y)


def test_weights_of_positions_are_a_weighted_mean_of_their_losses(rng: np.random.Generator) -> None:
    z, u = rng.normal(size=(3, 4, 2, 5)), rng.uniform(0.0, 2.0, (3, 4, 2)) * (rng.uniform(size=(3, 4, 2)) < 0.7)
    classes, a = rng.integers(0, 5, (3, 4, 2)), np.array([1.0, 0.5, 0.0, 2.0, 3.0])
    classes[0, 1] = -100
    of_class = np.where(classes < 0, 0.0, a[np.maximum(classes, 0)])
    for loss, y, v in (
        (bp.Huber(0.5), rng.normal(size=z.shape), np.ones(u.shape)),
        (bp.BinaryCrossEntropy((1.0, 2.0, 3.0, 4.0, 5.0)), rng.integers(0, 2, z.shape), np.ones(u.shape)),
        (CE(0.1), np.where(classes < 0, 0, classes), np.ones(u.shape)),
        (CE(ignore_index=-100), classes, (classes >= 0) * 1.0),
        (CE(0.1, ignore_index=-100, class_weight=tuple(a)), classes, of_class),
    ):
        losses = loss.rows(z, y, each="position")
        value, dz = loss.value_and_gradient(z, y, u)
        assert value == pytest.approx((u * losses).sum() / (u * v).sum(), rel=1e-12)
        h = 1e-6 * rng.normal(size=z.shape)
        up, down = (loss.value_and_gradient(z + s * h, y, u)[0] for s in (1, -1))
        assert (up - down) / 2 == pytest.approx((dz * h).sum(), rel=1e-5)
        assert (dz[u == 0] == 0).all()


def test_a_position_of_weight_0_may_have_an_infinite_loss() -> None:
    z, y, u = np.array([[[np.inf, 0.0], [1.0, 0.0]]]), np.array([[1, 0]]), np.array([[0.0, 1.0]])
    value, dz = CE().value_and_gradient(z, y, u)
    expected, of_second = CE().value_and_gradient(z[:, 1], y[:, 1])
    assert value == pytest.approx(expected) and dz[0, 0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(dz[:, 1], of_second)
    w = CE().value_and_gradient(z[0], y[0], [0.0, 1.0])[0]
    assert w == pytest.approx(expected)


def test_the_type_of_z_is_kept(rng: np.random.Generator) -> None:
    z = rng.normal(size=(4, 3))
    assert bp.MeanSquaredError().rows(z.astype(np.float32), z).dtype == np.float32
    assert bp.MeanSquaredError().rows(z.round().astype(int), z).dtype == np.float64
    assert bp.MeanSquaredError().value_and_gradient(z.astype(np.float32), z)[1].dtype == np.float32


def test_on_a_gpu_the_numbers_are_those_of_a_cpu(rng: np.random.Generator) -> None:
    z, u = rng.normal(size=(3, 4, 2)), rng.uniform(size=(3, 4))
    for loss, y, each in (
        (CE(ignore_index=1), rng.integers(0, 2, (3, 4)), "position"),
        (bp.BinaryCrossEntropy(2.0, (1.0, 3.0), -100), np.where(z > 1, -100, z > 0), "number"),
    ):
        gpu = CUDA(strict_cupy(), products=StrictProducts)
        np.testing.assert_allclose(loss.rows(z, y, each=each, device=gpu), loss.rows(z, y, each=each), rtol=1e-12)
        for one, other in zip(
            loss.value_and_gradient(z, y, u, device=gpu), loss.value_and_gradient(z, y, u), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12)


class OwnRows(bp.Loss):
    """The largest error of a row, which is no mean of its positions."""

    predicts = "numbers"

    def targets(self, y: np.ndarray, z: Any) -> np.ndarray:
        return y

    def plan(self, z: Any, t: Any) -> bp.Plan:
        return bp.Plan(output=z[:1], arrays={"e": z, "rows": z[:1], "dz": z})

    def forward(self, ws: Any, z: Any, t: Any) -> Any:
        ws.xp.subtract(z, t, out=ws.e)
        return ws.xp.max(ws.e.reshape(len(z), -1), axis=1, out=ws.rows)

    def backward(self, ws: Any, z: Any, t: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z: bp.MeanSquaredError().rows(z, z[:2]), "z has 3 rows and y 2"),
        (lambda z: bp.MeanSquaredError().rows(z[0, 0], z[0, 0]), r"z has the shape \(2,\); outputs are \(rows, outp"),
        (lambda z: bp.MeanSquaredError().rows(z.astype(complex), z), "z holds complex128, and outputs are numbers"),
        (lambda z: bp.MeanSquaredError().rows(z, z, each="rows"), "each is 'row', 'position', 'number', and is 'rows'"),
        (lambda z: CE().rows(z, np.zeros((3, 4), int), each="number"), "one loss a position .* each='position'"),
        (
            lambda z: CE().rows(z, np.full((3, 4, 2), 0.4)),
            "sum to 1, or to 0 where a position is left out, and one sums",
        ),
        (lambda z: CE().rows(z, np.full((3, 4), 2)), "y holds the class 2, and the network has 2 outputs"),
        (lambda z: OwnRows().rows(z, z, each="position"), "does not say that positions have losses of their own"),
        (lambda z: OwnRows().value_and_gradient(z, z, np.ones((3, 4))), "sample_weight has one for each"),
        (lambda z: bp.Huber().value_and_gradient(z, z, np.ones((3, 2))), r"a row, \(3,\), or one a position, \(3, 4\)"),
        (lambda z: bp.Huber().value_and_gradient(z, z, -np.ones(3)), "finite weights of 0 or more"),
        (lambda z: bp.Huber().value_and_gradient(z, z, ["a", "b", "c"]), "sample_weight holds <U1"),
        (lambda z: bp.Huber().value_and_gradient(z, z, [[1], [1, 2], [1]]), "sample_weight has rows of different len"),
        (lambda z: bp.Huber().rows([[1.0], [1.0, 2.0]], [1, 2]), "z has rows of different lengths; every row needs as"),
        (lambda z: bp.Huber().rows(z, [[1.0], [1.0, 2.0], [3.0]]), "y has rows of different lengths"),
        (lambda z: bp.Huber().rows(z[:, 0, :1], np.array([1, None, 3])), "y holds object"),
        (lambda z: bp.Huber().rows(z[:, 0, :1].astype("f4"), [1, -1e300, 3]), r"y holds -1e\+300, which float32 can't"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, words: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=words):
        make(rng.normal(size=(3, 4, 2)))


def test_numbers_may_be_objects_as_for_fit() -> None:
    y = np.array([1, 0, 2], object)
    z = np.eye(3)
    assert (CE().rows(z, y) == CE().rows(z, [1, 0, 2])).all()
    assert (bp.Huber().rows(z[:, :1].astype(object), y) == bp.Huber().rows(z[:, :1], [1, 0, 2])).all()


def test_a_wrong_claim_of_position_losses_is_found() -> None:
    """`by_position`, of a loss that is a mean over positions by its own sum."""

    class Own(bp.MeanSquaredError):
        by_mask = by_position = True

        def forward(self, ws: Any, z: Any, t: Any) -> Any:
            ws.be.apply(self.l, z, t, out=ws.e)
            return ws.xp.mean(ws.e.reshape(len(z), -1), axis=1, out=ws.rows)

    with pytest.raises(bp.GradientMismatch, match="by_position says that the loss of a row is the mean"):
        bp.gradcheck(Own(), (3, 4, 2))


def test_classes_of_every_time_step_for_outputs_of_the_last_alone() -> None:
    with pytest.raises(bp.DataError, match="a recurrent layer gives every time step with return_sequences=True"):
        bp.SoftmaxCrossEntropy().rows(np.zeros((3, 4)), np.zeros((3, 7), int))

"""gradcheck of losses: gpubp's pass, and a wrong derivative, a forgotten weight or a changed argument is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LOSSES, LossCase
from gpubp.formula import log, sqrt


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss_passes(case: LossCase, training: bool, rng: np.random.Generator) -> None:
    for shape in (case.shape, (1, *case.shape[1:])):
        y = case.targets(rng, shape)
        report = bp.gradcheck(case.loss, shape, y, training=training)
        assert report and report.errors.keys() == {"z"} and report.errors["z"] < 1e-6
    weights = rng.uniform(0.0, 3.0, case.shape[0])
    assert bp.gradcheck(case.loss, case.shape, case.targets(rng, case.shape), sample_weight=weights)


@pytest.mark.parametrize(
    "loss",
    [
        bp.MeanSquaredError(), bp.Poisson(), bp.BinaryCrossEntropy(), bp.SoftmaxCrossEntropy(), bp.HingeEmbedding(),
        bp.GaussianNLL(), bp.BinaryCrossEntropyOfProbabilities(), bp.KLDivergence(),
    ],
    ids=repr,
)  # fmt: skip
def test_shape_and_targets_may_be_left_out(loss: bp.Loss) -> None:
    assert str(bp.gradcheck(loss)).startswith("dz ")
    assert bp.gradcheck(loss, (4, 2)) and bp.gradcheck(loss, (4, 3, 2)) and bp.gradcheck(loss, np.int64(4))


@pytest.mark.parametrize(
    "loss",
    [
        bp.BinaryCrossEntropy([1, 2]), bp.BinaryCrossEntropy([1, 2, 3, 4]), bp.BinaryCrossEntropy(2.0),
        bp.SoftmaxCrossEntropy(class_weight=[1, 2]), bp.SoftmaxCrossEntropy(class_weight=[1, 2, 3, 4, 5, 6]),
        bp.SoftmaxCrossEntropy(class_weight={0: 2.0}), bp.SoftmaxCrossEntropy(class_weight={7: 2.0, 1: 0.0}),
    ],
    ids=repr,
)  # fmt: skip
def test_a_loss_for_some_number_of_outputs_is_checked_on_as_many(loss: bp.Loss) -> None:
    assert bp.gradcheck(loss) and bp.gradcheck(loss, 4)


class Squares(bp.Loss):
    """(z - t)², summed over a row, written out; subclasses make one mistake each."""

    predicts = "numbers"

    def targets(self, y: Any, z: Any) -> Any:
        return y

    def plan(self, z: Any, t: Any) -> bp.Plan:
        return bp.Plan(output=(z[0],), arrays={"e": z, "square": z, "rows": (z[0],), "dz": z})

    def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        ws.xp.subtract(z, t, out=ws.e)
        ws.xp.multiply(ws.e, ws.e, out=ws.square)
        return ws.xp.sum(ws.square, axis=1, out=ws.rows)

    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        ws.xp.multiply(ws.e, ws.context.share.reshape(-1, 1), out=ws.dz)
        return ws.xp.multiply(ws.dz, 2.0, out=ws.dz)


class WithoutTwo(Squares):
    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        return ws.xp.multiply(ws.e, ws.context.share.reshape(-1, 1), out=ws.dz)


class WithoutWeights(Squares):
    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        return ws.xp.multiply(ws.e, 2.0 / len(z), out=ws.dz)


class ChangesZ(Squares):
    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        dz = super().backward(ws, z, t)
        ws.xp.copyto(z, 0.0)
        return dz


class ChangesT(Squares):
    def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        ws.xp.subtract(z, t, out=t)
        return super().forward(ws, z, t)


class NoReturn(Squares):
    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        super().backward(ws, z, t)


class NoTargets(Squares):
    def targets(self, y: Any, z: Any) -> Any:
        pass


class OneNumber(Squares):
    def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        return float(super().forward(ws, z, t).sum())


class ByOperator(Squares):
    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        return 2.0 * ws.e * ws.context.share.reshape(-1, 1)


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (WithoutTwo(), bp.GradientMismatch, r"WithoutTwo\(\): backward is not the derivative of forward for dz"),
        (WithoutWeights(), bp.GradientMismatch, "where rows have weights: dz needs the factor ws.context.share"),
        (ChangesZ(), bp.GradientMismatch, r"ChangesZ\(\): backward changes z, which others read too"),
        (ChangesT(), bp.GradientMismatch, r"ChangesT\(\): forward changes t"),
        (NoReturn(), TypeError, r"NoReturn.backward must return a float64 array of shape \(6, 3\) and returned None"),
        (NoTargets(), bp.ResultError, "NoTargets.targets must return .* numbers with 6 rows, and returned None; is a"),
        (OneNumber(), TypeError, r"OneNumber.forward must return a float64 array of shape \(6,\) and returned"),
        (ByOperator(), bp.RecordError, r"ByOperator\(\) computes what a recorded step would not repeat"),
    ],
)
def test_mistakes_are_named(loss: bp.Loss, error: type[Exception], words: str, rng: np.random.Generator) -> None:
    assert bp.gradcheck(Squares(), (6, 3), rng.normal(size=(6, 3)))
    with pytest.raises(error, match=words):
        bp.gradcheck(loss, (6, 3), rng.normal(size=(6, 3)))


@pytest.mark.parametrize("kind", [object, str, "datetime64[s]", complex])
def test_targets_that_fit_refuses_are_refused(kind: Any) -> None:
    class Own(Squares):
        def targets(self, y: Any, z: Any) -> Any:
            return np.ones(z).astype(kind)

    words = r"Own.targets must return a NumPy array of numbers with \d rows, and returned array"
    net = bp.Network(bp.Dense(3), 2, device="cpu")
    for look in (
        lambda: bp.gradcheck(Own()),
        lambda: bp.Trainer(net, Own(), bp.SGD()).fit(np.ones((4, 2)), np.ones((4, 3))),
    ):
        with pytest.raises(bp.ResultError, match=words):
            look()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.gradcheck(bp.SGD()), r"takes a layer and the shape of its input.*it got SGD\(\)"),
        (lambda: bp.gradcheck(bp.Accuracy(), (4, 3)), r"it got Accuracy\(\)"),
        (lambda: bp.gradcheck(bp.Dense, (4, 3)), r"write Dense\(...\)"),
        (lambda: bp.gradcheck(bp.MeanSquaredError), r"write MeanSquaredError\(...\)"),
        (lambda: bp.gradcheck(None), "it got None"),
        (lambda: bp.gradcheck(bp.Network(bp.Dense(2), 3, device="cpu")), r"gradcheck\(net.layers, \(4, 3\)\)"),
        (lambda: bp.gradcheck(bp.Dense(3)), r"the shape of an input and no targets, as gradcheck\(Dense\(3\)"),
        (lambda: bp.gradcheck(bp.Dense(3), (4, 5), [1.0] * 4), "and no targets"),
    ],
)  # fmt: skip
def test_anything_else_is_answered_with_what_gradcheck_takes(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 0)), "shape to be a whole number, 1 or more, or a tuple"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), "4"), "shape to be a whole number, 1 or more, or a tuple"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 3), directions=0), "directions to be a whole number"),
        (lambda: bp.gradcheck(bp.Tanh(), (4, 3), tolerance=-1.0), "tolerance to be a number, 0 or more"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 3), sample_weight=[1.0, 2.0]), r"one weight a row, \(4,\)"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 3), sample_weight=[0.0] * 4), "not all of them zero"),
        (lambda: bp.gradcheck(bp.SoftmaxCrossEntropy(), (4, 3), [0, 1, 2, 3]), "y holds the class 3"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 3), [[1.0] * 3] * 5), "gradcheck needs y with 4 rows"),
        (lambda: bp.gradcheck(bp.MeanSquaredError(), (4, 3), 1.0), r"y with 4 rows, for outputs of shape \(4, 3\)"),
    ],
)  # fmt: skip
def test_other_arguments_are_checked(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


class OfPositive(bp.PointwiseLoss):
    """Of numbers z above 0 alone: z - t log z, and 2 sqrt z."""

    def l(self, z: Any, t: Any) -> Any:  # noqa: E743
        return z - t * log(z) + 2.0 * sqrt(z)

    def dl(self, z: Any, t: Any) -> Any:
        return 1.0 - t / z + 1.0 / sqrt(z)


class OfPositiveWrong(OfPositive):
    def dl(self, z: Any, t: Any) -> Any:
        return 1.0 - t / z


class OfNothing(OfPositive):
    def l(self, z: Any, t: Any) -> Any:  # noqa: E743
        return log(-1.0 - z * z)


def test_losses_of_numbers_above_0_are_checked_there() -> None:
    assert bp.gradcheck(OfPositive()).errors["z"] < 1e-6
    assert bp.gradcheck(OfPositive(), (4, 2), np.ones((4, 2)), sample_weight=[1, 0, 2, 1])
    with pytest.raises(bp.GradientMismatch, match="backward is not the derivative of forward for dz"):
        bp.gradcheck(OfPositiveWrong())
    with pytest.raises(bp.GradientMismatch, match="the loss is not finite, neither for .* nor for z from 0.5 to 2.5"):
        bp.gradcheck(OfNothing())

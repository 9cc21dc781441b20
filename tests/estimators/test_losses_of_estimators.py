"""Losses of margins, quantiles and the like as the `loss` of estimators."""

import numpy as np
import pytest

import gpubp as bp

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.preprocessing import scale

from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIONS = dict(hidden_layer_sizes=(8,), random_state=0, device="cpu", max_iter=60, learning_rate_init=0.02, tol=0.0)


@pytest.mark.parametrize(
    "loss",
    [bp.Hinge(), bp.SquaredHinge(), bp.SoftMargin(), bp.BinaryFocal(), bp.CategoricalHinge(), bp.Focal()],
    ids=repr,
)
def test_classifiers_of_two_labels(loss):
    X, y = load_breast_cancer(return_X_y=True)
    y = np.array(["no", "yes"])[y]
    made = MLPClassifier(loss=loss, **OPTIONS).fit(scale(X), y)
    assert made.score(scale(X), y) > 0.97
    if bp.losses.outputs_are(loss) == "scores":
        assert not hasattr(made, "predict_proba") and not hasattr(made, "predict_log_proba")
        with pytest.raises(AttributeError) as error:
            made.predict_proba(X)
        assert "makes outputs scores, which are no probabilities; predict gives" in str(error.value.__cause__)
    else:
        p = made.predict_proba(scale(X))
        assert p.shape == (569, 2) and (made.classes_[p.argmax(axis=1)] == made.predict(scale(X))).all()


@pytest.mark.parametrize("loss", [bp.MultiMargin(2), bp.Focal(class_weight=(1, 1, 3)), bp.CategoricalHinge()], ids=repr)
def test_classifiers_of_three_classes(loss):
    X, y = load_wine(return_X_y=True)
    assert MLPClassifier(loss=loss, **OPTIONS).fit(scale(X), y).score(scale(X), y) > 0.98


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_regressors_of_quantiles(share):
    X, y = load_diabetes(return_X_y=True)
    made = MLPRegressor(loss=bp.Quantile(share), **OPTIONS | dict(max_iter=300)).fit(scale(X), scale(y))
    assert (scale(y) <= made.predict(scale(X))).mean() == pytest.approx(share, abs=0.05)
    three = MLPRegressor(loss=bp.Quantile((0.1, 0.5, 0.9)), **OPTIONS).fit(scale(X), np.repeat(scale(y)[:, None], 3, 1))
    assert three.predict(scale(X)).shape == (442, 3)


@pytest.mark.parametrize(
    ("make", "loss", "words"),
    [
        (MLPClassifier, bp.NegativeLogLikelihood(), "log-probabilities, and MLPClassifier ends in a Dense"),
        (MLPClassifier, bp.BinaryCrossEntropyOfProbabilities(), "are probabilities, .* use loss='log_loss'"),
        (MLPRegressor, bp.Poisson(log=False), r"outputs that are means, .* use Poisson\(\), which takes logarithms"),
        (MLPRegressor, bp.GaussianNLL(), "log-variances, .* use a gpubp.Network with two outputs"),
        (MLPRegressor, bp.Quantile((0.1, 0.9)), "has 2 quantiles, and the network has 1 output; it needs one for each"),
        (MLPClassifier, bp.MultiMargin(), None),
        (MLPRegressor, bp.Hinge(), None),
    ],
    ids=str,
)  # fmt: skip
def test_losses_that_do_not_fit_are_named(make, loss, words):
    X, y = np.eye(6), np.arange(6) % 2
    if words is None:
        make(loss=loss, max_iter=1, tol=1e9, n_iter_no_change=1, device="cpu").fit(X, y)
        return
    with pytest.raises(ValueError, match=words):
        make(loss=loss, device="cpu").fit(X, y)


def test_onnx_files_hold_no_probabilities_that_are_none(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    for loss, y, names in (
        (bp.Hinge(), (X[:, 0] > 0) * 1, ["output"]),
        (bp.Hinge(), (X[:, :3] > 0) * 1, ["output"]),
        (bp.MultiMargin(), np.arange(40) % 3, ["output"]),
        (bp.BinaryFocal(), (X[:, :3] > 0) * 1, ["label", "probabilities"]),
    ):
        made = MLPClassifier((4,), loss=loss, max_iter=2, device="cpu").fit(X, y)
        made.to_onnx(tmp_path / "m.onnx")
        file = runtime.InferenceSession(tmp_path / "m.onnx")
        assert [output.name for output in file.get_outputs()] == names
        (first, *_) = file.run(None, {"input": X})
        np.testing.assert_allclose(first, made.predict(X) if len(names) > 1 else made.network_.predict(X), rtol=1e-5)


def test_any_layers_end_in_a_dense_too():
    with pytest.raises(ValueError, match="NetworkRegressor ends in a Dense"):
        NetworkRegressor(bp.Sequential(bp.Dense(4), bp.Softplus()), bp.Poisson(log=False)).fit(np.eye(4), np.arange(4))

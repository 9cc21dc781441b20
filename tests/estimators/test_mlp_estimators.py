"""MLPClassifier and MLPRegressor train as scikit-learn's do, to the last few bits."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import sklearn.neural_network as sk
from sklearn.datasets import load_diabetes, load_digits

import gpubp as bp
import gpubp.estimators as gp
from gpubp.estimators.lbfgs import Objective
from gpubp.estimators.rules import SumOverOutputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:700] / 16, y[:700]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, (y - y.mean()) / y.std()


def both(name, X, y, weights=None, **options):
    pair = [getattr(module, name)(random_state=3, **options) for module in (sk, gp)]
    for estimator in pair:
        estimator.fit(X, y, **({} if weights is None else {"sample_weight": weights}))
    return pair


recent = pytest.mark.skipif(
    "loss" not in sk.MLPRegressor().get_params(),
    reason="scikit-learn before 1.7 has neither weights nor loss='poisson' in its MLP",
)


SETTINGS = [
    dict(),
    dict(hidden_layer_sizes=(20, 10), activation="tanh", batch_size=64),
    dict(hidden_layer_sizes=(), alpha=0.1),
    dict(activation="logistic", alpha=1.0),
    dict(activation="identity", shuffle=False),
    dict(solver="sgd", learning_rate_init=0.1),
    dict(solver="sgd", momentum=0.0),
    dict(solver="sgd", momentum=1.0, nesterovs_momentum=False, learning_rate_init=1e-4),
    dict(solver="sgd", learning_rate="invscaling", learning_rate_init=0.3),
    dict(solver="sgd", learning_rate="adaptive", learning_rate_init=0.5, n_iter_no_change=2, tol=0.05, max_iter=40),
    dict(solver="adam", beta_1=0.5, beta_2=0.9, epsilon=1e-3),
    pytest.param(
        dict(early_stopping=True, validation_fraction=0.2, n_iter_no_change=3, tol=0.01, max_iter=60),
        marks=pytest.mark.kernel,
    ),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
@pytest.mark.parametrize("task", ["classes", "two classes", "labels", "numbers"])
def test_training_matches_scikit_learn(task, settings, digits, diabetes):
    X, y = digits
    name = "MLPRegressor" if task == "numbers" else "MLPClassifier"
    match task:
        case "two classes":
            y = np.where(y > 4, 7, -7)
        case "labels":
            y = np.c_[y > 4, y % 2 == 0, y == 1].astype(int)
        case "numbers":
            X, y = diabetes
    options = dict(max_iter=6) | settings
    theirs, ours = both(name, X, y, **options)
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-9)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-9)
    if settings.get("early_stopping"):
        assert ours.validation_scores_ == pytest.approx(theirs.validation_scores_)
        # R² of numbers is rounded by the BLAS of two libraries, and so is equal to some bits only
        assert ours.best_loss_ is None
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-9)
    else:
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=1e-9) and ours.validation_scores_ is None
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.predict(X[:50]) == pytest.approx(theirs.predict(X[:50])) if task == "numbers" else (
        np.array_equal(ours.predict(X), theirs.predict(X)) and ours.classes_.tolist() == theirs.classes_.tolist()
    )  # fmt: skip
    if task != "numbers":
        assert ours.predict_proba(X[:50]) == pytest.approx(theirs.predict_proba(X[:50]), rel=1e-6, abs=1e-12)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y))


@recent
def test_lbfgs_matches_scikit_learn(digits, diabetes):
    for name, (X, y), options in (
        ("MLPClassifier", digits, dict(activation="tanh", max_iter=15)),
        ("MLPRegressor", diabetes, dict(max_iter=15, alpha=0.01)),
        ("MLPRegressor", (diabetes[0], np.exp(diabetes[1])), dict(loss="poisson", max_iter=10)),
    ):
        theirs, ours = both(name, X, y, solver="lbfgs", **options)
        assert ours.n_iter_ == theirs.n_iter_ and ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
        assert len(ours.loss_curve_) == ours.n_iter_ and ours.loss_curve_[-1] == pytest.approx(ours.loss_)


@recent
def test_first_weights_match_scikit_learn(digits):
    X, y = digits
    weights = np.linspace(0.1, 3.0, len(X))
    for solver in ("adam", "lbfgs"):
        theirs, ours = both("MLPClassifier", X, y, weights, solver=solver, alpha=0.5, max_iter=5)
        for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-8)


def test_partial_fit_matches_scikit_learn(digits):
    X, y = digits
    theirs, ours = (module.MLPClassifier((30,), random_state=1, alpha=0.1) for module in (sk, gp))
    for part in (slice(0, 300), slice(300, 350), slice(350, 351), slice(0, 700)):
        for estimator in (theirs, ours):
            estimator.partial_fit(X[part], y[part], classes=range(10))
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-9) and ours.t_ == theirs.t_ == 1051
    theirs.set_params(alpha=2.0)
    ours.set_params(alpha=2.0)  # the optimizer goes on with another penalty
    ours = pickle.loads(pickle.dumps(ours))
    for estimator in (theirs, ours):
        estimator.partial_fit(X, y)
    assert ours.coefs_[0] == pytest.approx(theirs.coefs_[0], rel=1e-7, abs=1e-10)


def test_several_outputs_match_scikit_learn_and_report_their_loss(diabetes):
    X, y = diabetes
    theirs, ours = both("MLPRegressor", X, np.c_[y, -y, 2 * y], alpha=0.0, max_iter=5, batch_size=442)
    assert ours.coefs_[0] == pytest.approx(theirs.coefs_[0], rel=1e-9)
    assert ours.loss_curve_ == pytest.approx([3 * loss for loss in theirs.loss_curve_], rel=1e-9)  # theirs is the mean
    assert ours.predict(X).shape == (442, 3)


@pytest.mark.parametrize("kind", ["U32", object, np.dtypes.StringDType(), "list"], ids=repr)
def test_text_that_spells_numbers_trains_as_numbers(kind, diabetes):
    X, y = (given[:60] for given in diabetes)
    text = X.astype("U32").tolist() if kind == "list" else X.astype("U32").astype(kind)
    plain, by_text = (gp.MLPRegressor(max_iter=2, random_state=0).fit(rows, y) for rows in (X, text))
    assert np.array_equal(by_text.predict(text), plain.predict(X))


def test_the_gradient_for_lbfgs_is_that_of_differences(digits):
    X, y = digits
    rng = np.random.default_rng(0)
    for loss, targets, outputs in (
        (bp.SoftmaxCrossEntropy(), y[:9], 10),
        (SumOverOutputs(bp.BinaryCrossEntropy(), 3), rng.integers(0, 2, (9, 3)), 3),
        (bp.HalfMeanSquaredError(), rng.normal(size=9), 1),
    ):
        layers = bp.Sequential(bp.Dense(7), bp.BatchNorm(), bp.Tanh(), bp.Dense(outputs))
        network = bp.Network(layers, 64, device="cpu", dtype="float64")
        f = Objective(network, loss, X[:9], targets, rng.uniform(0.5, 2, 9), alpha=0.3)
        theta = f.theta()
        _, gradient = f(theta)
        for _ in range(5):
            v = rng.normal(size=theta.shape)
            along = (f(theta + 1e-5 * v)[0] - f(theta - 1e-5 * v)[0]) / 2e-5
            assert gradient @ v == pytest.approx(along, rel=1e-6)
    network.freeze("0.*")
    assert len(Objective(network, loss, X[:9], targets, None, 0.3).theta()) < len(theta)

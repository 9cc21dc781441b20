"""Estimators pass scikit-learn's own checks and work in its tools, such as grid search."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gpubp as bp
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor

LAYERS = bp.Sequential(bp.Dense(100), bp.ReLU())


@parametrize_with_checks(
    [
        MLPClassifier(device="cpu", max_iter=100),
        MLPRegressor(device="cpu", max_iter=100),
        NetworkClassifier(LAYERS, device="cpu", max_iter=100),
        NetworkRegressor(LAYERS, device="cpu", max_iter=100),
        MLPClassifier(device="cpu", solver="lbfgs"),
        MLPRegressor(device="cpu", solver="lbfgs"),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X, np.array(["malignant", "benign"])[y]


def pipeline(**options):
    return make_pipeline(
        StandardScaler(),
        MLPClassifier(
            (16,), solver="lbfgs", alpha=1.0, tol=1e-3, random_state=0, max_iter=2000, device="cpu", **options
        ),
    )


def test_cross_validation(cancer):
    assert cross_val_score(pipeline(), *cancer, cv=3).min() > 0.95


def test_grid_search_in_two_processes(cancer):
    search = GridSearchCV(pipeline(), {"mlpclassifier__alpha": [0.01, 1.0]}, cv=2, n_jobs=2).fit(*cancer)
    assert search.best_score_ > 0.95 and search.best_estimator_[-1].device_ == "cpu"
    assert search.predict(cancer[0]).dtype.kind == "U"


def test_calibration(cancer):
    X, y = cancer
    calibrated = CalibratedClassifierCV(pipeline(), cv=2).fit(X[::2], y[::2])
    assert calibrated.score(X[1::2], y[1::2]) > 0.93
    assert calibrated.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(len(X)))


def test_permutation_importance():
    X, y = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", random_state=0, max_iter=2000, device="cpu"
    ).fit(X, y)  # fmt: skip
    found = permutation_importance(regressor, X, y, n_repeats=3, random_state=0).importances_mean
    assert found.argmax() in (2, 8)  # bmi, and serum triglycerides


def test_bagging_and_several_outputs_of_classes():
    X, y = load_iris(return_X_y=True)
    base = MLPClassifier((8,), solver="lbfgs", random_state=0, alpha=0.1, max_iter=2000, device="cpu")
    assert BaggingClassifier(base, n_estimators=3, random_state=0).fit(X, y).score(X, y) > 0.9
    both = MultiOutputClassifier(base).fit(X, np.c_[y, y == 1])
    assert both.predict(X).shape == (150, 2)


def test_one_warning_that_names_the_users_line(cancer):
    with pytest.warns(ConvergenceWarning, match="raise max_iter") as seen:
        MLPClassifier((4,), max_iter=2, device="cpu").fit(StandardScaler().fit_transform(cancer[0]), cancer[1])
    assert len(seen) == 1 and seen[0].filename == __file__

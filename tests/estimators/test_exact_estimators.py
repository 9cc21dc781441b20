"""Estimators in exact numerics: what they tell has the same bits everywhere, as what they learn has."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="estimators need scikit-learn")
pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from gpubp.estimators import MLPClassifier, MLPRegressor, kinds, outputs, targets
from gpubp.formula.elementary import into

RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.random((80, 3)), RNG.integers(0, 3, 80), RNG.integers(0, 2, (80, 2))
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "device": "cpu", "numerics": "exact"}


class WithoutFunctions:
    """NumPy without the functions whose last bits depend on the processor."""

    def __getattr__(self, name):
        assert name not in ("exp", "log"), f"NumPy's {name} is used"
        return getattr(np, name)


@pytest.fixture
def without_numpy_s_functions(monkeypatch):
    for module in (kinds, targets, outputs):
        monkeypatch.setattr(module, "np", WithoutFunctions())


@pytest.mark.parametrize("y", [Y, Y > 0, LABELS], ids=["classes", "yes or no", "labels"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_probabilities_are_computed_without_numpy_s_functions(without_numpy_s_functions, y, dtype):
    model = MLPClassifier(**SMALL, dtype=dtype).fit(X, y)
    p, log_p = model.predict_proba(X), model.predict_log_proba(X)
    assert p.dtype == dtype and np.array_equal(log_p, into("log", p, p.copy()))
    if y is not LABELS:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_goes_by_rates_that_are_computed_without_numpy_s_functions(without_numpy_s_functions):
    model = MLPRegressor(**SMALL, loss="poisson", early_stopping=True).fit(X, Y)
    z = model.network_.predict(X)[:, 0]
    assert np.array_equal(model.predict(X), into("exp", z, z.copy()))

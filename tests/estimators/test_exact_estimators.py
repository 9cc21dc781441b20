"""Estimators in exact numerics: what they tell has the same bits everywhere, as what they learn has."""

import importlib.util
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="estimators need scikit-learn")
pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from gpubp.errors import DeviceError
from gpubp.estimators import MLPClassifier, MLPRegressor, kinds, targets
from gpubp.formula.elementary import into
from gpubp.network import probabilities

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
    for module in (kinds, targets, probabilities):
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_numba_an_unpickled_estimator_predicts_and_does_not_go_on(monkeypatch):
    model, found = MLPClassifier(**SMALL, warm_start=True).fit(X, Y), importlib.util.find_spec
    pickled, p = pickle.dumps(model), model.predict_proba(X)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "numba" else found(name, *more)
    )
    with pytest.warns(UserWarning, match="goes on here with ordinary ones"):
        loaded = pickle.loads(pickled)
    np.testing.assert_allclose(loaded.predict_proba(X), p, rtol=1e-5)
    for go_on in (loaded.fit, loaded.partial_fit):
        with pytest.raises(DeviceError, match="exact numerics needs Numba"):
            go_on(X, Y)
    assert loaded.set_params(numerics="ordinary").partial_fit(X, Y).network_.numerics == "ordinary"

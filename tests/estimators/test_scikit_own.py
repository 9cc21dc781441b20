"""scikit-learn's own tests of its MLP, run on gpubp's classes.

The test module that is installed with scikit-learn is loaded once more, as a module of its own in which `MLPClassifier`
and `MLPRegressor` are gpubp's, and its tests are collected here, all but those of `ELSEWHERE`, which look into private
parts: each has its reason there, and the test of gpubp's that says the same.
"""

import importlib.util
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import sklearn.neural_network

from gpubp.estimators import MLPClassifier, MLPRegressor

ELSEWHERE = {
    "test_gradient": "calls scikit-learn's private _loss_grad_lbfgs with its private lists of arrays; here "
    "test_mlp_estimators.py::test_the_gradient_for_lbfgs_is_that_of_differences",
}

# These read scikit-learn's private _optimizer.learning_rate, which is gpubp's public learning_rate_.
READ_THE_RATE = {"test_learning_rate_warmstart", "test_adaptive_learning_rate"}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as scikit-learn runs them


def pointed_here() -> ModuleType:
    """scikit-learn's test module over gpubp's classes."""
    found = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    if found is None or found.loader is None:
        pytest.skip("scikit-learn was installed without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(found)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    theirs = {name: getattr(sklearn.neural_network, name) for name in ours}
    try:
        for name, cls in ours.items():
            setattr(sklearn.neural_network, name, cls)
        found.loader.exec_module(module)
    finally:
        for name, cls in theirs.items():
            setattr(sklearn.neural_network, name, cls)
    assert module.MLPClassifier is MLPClassifier and module.MLPRegressor is MLPRegressor
    return module


own = pointed_here()
TESTS = {name: test for name, test in vars(own).items() if name.startswith("test_") and callable(test)}
globals().update({name: test for name, test in TESTS.items() if name not in ELSEWHERE})


@pytest.fixture
def global_random_seed() -> int:
    """scikit-learn's, where its tests ask for it."""
    return 42


@pytest.fixture(autouse=True)
def rate_where_they_read_it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.originalname in READ_THE_RATE:
        rate = property(lambda self: SimpleNamespace(learning_rate=self.learning_rate_))
        monkeypatch.setattr(MLPClassifier, "_optimizer", rate, raising=False)


def test_listed_tests_are_in_scikit_learn() -> None:
    assert ELSEWHERE.keys() | READ_THE_RATE <= TESTS.keys() and all(ELSEWHERE.values())
    assert len(TESTS) - len(ELSEWHERE) >= 30

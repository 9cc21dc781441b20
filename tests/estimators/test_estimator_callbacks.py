"""Estimators with callbacks are pickled, copied, cloned and searched, as estimators without any."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import joblib
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_trainer_copies import Keeps, callbacks, each_callback, made, reachable

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier
from strict import StrictArray, StrictProducts, strict_cupy

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
X = np.random.default_rng(0).normal(size=(40, 4))
y = np.arange(40) % 3


def classifier(callbacks, **options):
    return MLPClassifier((4,), max_iter=3, callbacks=callbacks, random_state=0, device="cpu", **options)


@each_callback
def test_a_fitted_estimator_is_pickled_copied_and_cloned(name, tmp_path):
    fitted = classifier(made(name, tmp_path)).fit(X, y)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    copies = (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted), joblib.load(tmp_path / "fitted.joblib"))
    for other in copies:
        assert np.array_equal(other.predict_proba(X), fitted.predict_proba(X))
        assert type(other.callbacks) is type(fitted.callbacks) and other.callbacks is not fitted.callbacks
    for other in (copies[0], clone(fitted), clone(copies[1])):  # each one begins a fit of its own
        assert np.array_equal(other.fit(X, y).predict_proba(X), fitted.predict_proba(X))
    copies[1].partial_fit(X, y)


@each_callback
def test_a_grid_search_in_two_processes_is_saved(name, tmp_path):
    search = GridSearchCV(classifier([made(name, tmp_path)]), {"alpha": [1e-4, 1e-2]}, n_jobs=2, cv=2).fit(X, y)
    joblib.dump(search, tmp_path / "search.joblib")
    loaded = joblib.load(tmp_path / "search.joblib")
    assert np.array_equal(loaded.predict_proba(X), search.predict_proba(X))


def test_all_of_them_together(tmp_path):
    pytest.importorskip("tensorboardX")
    every = [make() for name, make in callbacks(tmp_path).items() if "Bar" not in name]
    fitted = NetworkClassifier(bp.Sequential(bp.Dense(4), bp.ReLU()), max_iter=3, callbacks=[*every, Keeps()]).fit(X, y)
    other = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(other.predict(X), fitted.predict(X))
    assert other.callbacks[-1].trainer.network is other.network_, "one network is pickled once"


def test_a_clone_shares_nothing_with_the_first(tmp_path):
    first = classifier([bp.GradientFlow(), bp.EarlyStopping(), bp.CSVLogger(tmp_path / "a.csv")]).fit(X, y)
    epochs, best = len(first.callbacks[0].gradients), first.callbacks[1].best
    second = clone(first).fit(X[::2], y[::2])
    assert len(first.callbacks[0].gradients) == epochs and first.callbacks[1].best == best
    assert len(second.callbacks[0].gradients) == epochs, "of its own fit alone"
    mutable = {id(a) for a in reachable(vars(first.callbacks[0])) if isinstance(a, list | dict)}
    assert not mutable & {id(a) for a in reachable(vars(second.callbacks[0])) if isinstance(a, list | dict)}


def test_a_lambda_is_cloned_and_searched_and_told_where_it_is_pickled():
    fitted = classifier(bp.LambdaCallback(on_epoch_end=lambda trainer, logs: None)).fit(X, y)
    clone(fitted).fit(X, y)
    GridSearchCV(clone(fitted), {"alpha": [1e-4, 1e-2]}, n_jobs=2, cv=2).fit(X, y)
    with pytest.raises(TypeError, match="LambdaCallback.*can't be pickled"):
        pickle.dumps(fitted)


def test_a_fit_that_fails_leaves_callbacks_that_are_pickled(tmp_path):
    def fail(trainer, logs):
        raise ZeroDivisionError

    early, log = bp.EarlyStopping(), bp.JSONLinesLogger(tmp_path / "a.jsonl")
    with pytest.raises(ZeroDivisionError):
        classifier([early, log, bp.LambdaCallback(fail)]).fit(X, y)
    other = pickle.loads(pickle.dumps(classifier([early, log]))).fit(X, y)
    assert np.array_equal(other.predict_proba(X), classifier(None).fit(X, y).predict_proba(X))


def test_early_stopping_keeps_no_network_on_the_device(monkeypatch):
    cupy, found = strict_cupy(), bp.backends.select.get_backend

    def get_backend(device, *options):
        return CUDA(cupy, products=StrictProducts) if device == "cuda" else found(device, *options)

    monkeypatch.setattr("gpubp.network.network.get_backend", get_backend)
    early = bp.EarlyStopping(patience=1)
    fitted = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, callbacks=early, device="cuda").fit(X, X[:, 0])
    assert not [a for a in reachable(vars(early)) if isinstance(a, StrictArray)]
    network = weakref.ref(fitted.network_)
    fitted.fit(X, X[:, 0])
    assert network() is None


def test_what_a_callback_keeps_of_a_step_is_named():
    class KeepsStep(bp.Callback):
        def on_step_end(self, trainer):
            self.step = trainer.last_step

    keeps = KeepsStep()
    classifier(keeps).fit(X, y)
    with pytest.raises(TypeError, match="a gpubp TrainingStep works on the memory of one process"):
        copy.deepcopy(keeps)


def test_the_watched_number_needs_held_out_rows():
    early = bp.EarlyStopping("val_loss")
    assert classifier(early, early_stopping=True).fit(X, y).n_iter_ and early.best_epoch
    model = classifier(early)
    with pytest.raises(ValueError, match="watches 'val_loss', and an epoch reports loss; "):
        model.fit(X, y)
    assert model.n_iter_ == 0

"""Exact numerics around a training: copies and files, evaluation and prediction, metrics, estimators."""

import copy
import importlib.util
import pickle
import warnings

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.order import exact_sum, groups, tree
from gpubp.data.feed import Feed
from gpubp.errors import DeviceError, ExactError
from gpubp.step.batch import Batch, TargetShape

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from exact_trainings import WEIGHTS, X, Y, mlp, trainer_of

# -- copies and files -----------------------------------------------------------------------------------------------


def test_copies_and_files_keep_the_numerics(tmp_path):
    network, path = mlp(), tmp_path / "a.safetensors"
    network.save(path)
    assert {n.numerics for n in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), bp.load(path))} == {
        "exact"
    }
    assert bp.load(path, device="cpu", numerics="ordinary").numerics == "ordinary"
    trainer_of(network).save(path)
    assert bp.Trainer.load(path, device="cpu").network.numerics == "exact"
    mlp("ordinary").save(path)
    assert bp.load(path, device="cpu").numerics == "ordinary"
    assert bp.load(path, device="cpu", numerics="exact").sha256() == mlp("ordinary").sha256()


def test_without_numba_an_exact_network_predicts_and_says_that_its_numerics_are_ordinary(tmp_path, monkeypatch):
    network, path, training = mlp(), tmp_path / "a.safetensors", tmp_path / "training.safetensors"
    network.save(path)
    trainer_of(network).save(training)
    pickled, before = pickle.dumps(network), network.predict(X)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "numba" else found(name, *more)
    )
    for load in (lambda: bp.load(path, device="cpu"), lambda: pickle.loads(pickled)):
        with pytest.warns(UserWarning, match="has exact numerics, and goes on here with ordinary ones.*needs Numba"):
            loaded = load()
        assert loaded.numerics == "ordinary"
        np.testing.assert_allclose(loaded.predict(X), before, atol=1e-6)
    with pytest.raises(DeviceError, match="needs Numba"):
        bp.load(path, device="cpu", numerics="exact")
    with pytest.raises(DeviceError, match="needs Numba"):  # whose bits would be other ones from there on
        bp.Trainer.load(training, device="cpu")


@pytest.mark.parametrize("given", ["8", "0x2x8", "axbxc", "6x2x8x1"])
def test_tiles_that_are_none_are_refused_in_words(given, monkeypatch):
    from gpubp.backends.cpu.exact.entries import tile

    monkeypatch.setenv("GPUBP_EXACT_TILE", given)
    with pytest.raises(DeviceError, match=rf"GPUBP_EXACT_TILE is rows, .* as 6x2x8, and not '{given}'"):
        tile("float32")


# -- evaluation and prediction --------------------------------------------------------------------------------------


def test_predictions_have_the_same_bits_in_any_company_and_with_any_threads(monkeypatch):
    network = bp.Network(bp.Sequential(bp.Dense(256), bp.Tanh(), bp.Dense(256)), 12, device="cpu", numerics="exact")
    whole = network.predict(X)
    for first, last in ((0, 1), (3, 60), (100, 700)):
        assert network.predict(X[first:last]).tobytes() == whole[first:last].tobytes()
    for threads in (1, 3):
        monkeypatch.setattr("gpubp.network.prediction.is_small", lambda flops, size: False)
        monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda threads=threads: threads)
        assert copy.deepcopy(network).predict(X).tobytes() == whole.tobytes()


def test_evaluation_does_not_depend_on_how_many_rows_a_device_takes_at_once(monkeypatch):
    loss, metrics = bp.SoftmaxCrossEntropy(), ["accuracy", "f1", "roc_auc", "recall", "top_k_accuracy"]
    here = trainer_of(mlp(), loss=loss, metrics=metrics).evaluate(X, Y, sample_weight=WEIGHTS)
    there = trainer_of(mlp(), loss=loss, metrics=metrics)
    monkeypatch.setattr(type(there.backend), "evaluated", 1 << 16)
    monkeypatch.setattr(type(there.backend), "piece", 1 << 24)
    assert there.evaluate(X, Y, sample_weight=WEIGHTS) == here
    assert there.step_cache.evaluations.rows_for(Feed(X, Y)) == 256


# -- sums and metrics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200, 777])
def test_sums_on_the_host_are_those_of_the_order(count):
    a = np.random.default_rng(count).normal(size=(count, 2)) * 1e3

    def block(part):
        s = np.zeros(2)
        for row in a[part]:
            s = s + row
        return s

    of_groups = [tree([block(part) for part in group], np.add) for group in groups(count)]
    wanted = (tree(of_groups, np.add) if count else np.zeros(2)).tolist()
    assert exact_sum(a, 0).tolist() == wanted
    assert exact_sum(a[:, 1]) == exact_sum(a.T, 1)[1] == wanted[1]


def test_results_of_exact_metrics_are_those_of_ordinary_ones_up_to_rounding():
    rng = np.random.default_rng(1)
    z, w, k = rng.normal(size=(3000, 4)), rng.random(3000), rng.integers(0, 4, 3000)
    t = z + rng.normal(size=z.shape)
    given = [
        (bp.R2(), z, t),
        (bp.ROCAUC(), z, k),
        (bp.ROCAUC(), np.round(z, 1), (t > 0) * 1.0),
        (bp.F1(), z > 0, t > 0),
    ]
    given += [(bp.F1(average), z.argmax(1), k) for average in ("macro", "micro", "weighted")]
    for metric, outputs, targets in given:
        assert metric.exact_result(outputs, targets, w) == pytest.approx(metric.result(outputs, targets, w), rel=1e-12)


class Median(bp.EpochMetric):
    name, kinds, higher_is_better = "median", ("classes",), False

    def result(self, outputs, targets, weights):
        return float(np.sort(outputs[:, 0])[len(outputs) // 2])


class ExactMedian(Median):
    exact = True


class OneMoreR2(bp.R2):
    exact = True

    def result(self, outputs, targets, weights):
        return 7.0


def test_metrics_of_ones_own():
    with pytest.raises(ExactError, match="Median.* computes its result by .*exact_sum"):
        trainer_of(mlp(), metrics=[Median()])
    assert "median" in trainer_of(mlp(), metrics=[ExactMedian()]).evaluate(X, Y)
    network = bp.Network(bp.Dense(1), 12, device="cpu", numerics="exact")
    assert trainer_of(network, loss=bp.MeanSquaredError(), metrics=[OneMoreR2()]).evaluate(X, X[:, 0])["r2"] == 7.0


def test_weights_of_a_batch_are_summed_on_the_host_in_the_order():
    batch, w = Batch(mlp(), 256, TargetShape((), "int32"), pieces=2), 1.0 / np.arange(1, 257)
    batch.load(X, Y.astype("int32"), np.arange(256), w)
    assert batch.weight == exact_sum(w) != w.sum()
    share = np.concatenate([part / exact_sum(part) for part in w.reshape(2, -1)])
    assert batch.piece_share.tobytes() == share.astype("float32").tobytes()


# -- estimators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"solver": "sgd", "learning_rate": "invscaling"}])
def test_estimators_have_the_same_bits_with_any_number_of_workers(options, tmp_path, monkeypatch):
    estimators = pytest.importorskip("gpubp.estimators", reason="scikit-learn is not installed")
    given = dict(random_state=0, max_iter=4, batch_size=128, device="cpu", numerics="exact", **options)
    for kind, y in ((estimators.MLPClassifier, Y), (estimators.MLPRegressor, X[:, 0] ** 2)):
        fitted = []
        for workers in (1, 2):
            monkeypatch.setattr("gpubp.training.step_cache.advised", lambda *given, workers=workers: workers)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they have not converged
                fitted.append(kind(hidden_layer_sizes=(16,), **given).fit(X, y))
        one, two = fitted
        assert one.network_.sha256() == two.network_.sha256() and one.loss_curve_ == two.loss_curve_
        one.save(tmp_path / "a.safetensors")
        assert kind.load(tmp_path / "a.safetensors", device="cpu").network_.numerics == "exact"


def test_lbfgs_has_no_exact_form():
    estimators = pytest.importorskip("gpubp.estimators", reason="scikit-learn is not installed")
    with pytest.raises(ValueError, match="numerics='exact' does not go with solver='lbfgs'"):
        estimators.MLPClassifier(solver="lbfgs", numerics="exact").fit(X, Y)


# -- the order of the rows ------------------------------------------------------------------------------------------


def test_numpy_shuffles_as_it_has_always_done():
    """Orders of rows are drawn by whole numbers alone, but a later NumPy may draw them otherwise: then exact numerics
    needs a shuffle of its own."""
    assert np.random.default_rng([3, 1]).permutation(10).tolist() == [4, 1, 2, 8, 5, 0, 7, 9, 6, 3]

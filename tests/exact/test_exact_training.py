"""Exact numerics in training: the same bits with any number of workers and threads, and in a resumed run."""

import copy
import importlib.util
import logging
import pickle
import warnings

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.order import exact_sum, groups, tree
from gpubp.data.feed import Feed
from gpubp.errors import DeviceError, ExactError, ModelFileError
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.workers import exact_workers

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

RNG = np.random.default_rng(0)
X, IMAGES = RNG.normal(size=(700, 12)).astype("float32"), RNG.normal(size=(600, 6, 6, 2)).astype("float32")
Y, Y_IMAGES, WEIGHTS = RNG.integers(0, 4, 700), RNG.integers(0, 4, 600), RNG.random(700)
LEFT_OUT = np.where(np.arange(700) % 7 == 0, -1, Y)


def mlp(numerics="exact"):
    layers = bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dropout(0.3), bp.Dense(4))
    return bp.Network(layers, 12, device="cpu", seed=1, numerics=numerics)


def cnn():
    layers = bp.Sequential(
        bp.RandomTranslation(0.2, 0.2), bp.Conv2D(4, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(),
        bp.Flatten(), bp.Dropout(0.2), bp.Dense(4),
    )  # fmt: skip
    return bp.Network(layers, (6, 6, 2), device="cpu", seed=1, numerics="exact")


def trainer_of(network, workers=1, optimizer=None, loss=None, batch_size=256, **settings):
    loss, optimizer = loss or bp.SoftmaxCrossEntropy(), optimizer or bp.Adam(0.01)
    settings.setdefault("metrics", ["accuracy", "f1"])
    return bp.Trainer(network, loss, optimizer, batch_size=batch_size, workers=workers, **settings)


def result(trainer, X=X, y=Y, epochs=2, **given):
    """(the hash of all numbers, the history) of a fit."""
    history = trainer.fit(X, y, epochs=epochs, verbose=False, **given)
    return trainer.network.sha256(), dict(history)


def workers_of(trainer):
    return {step.workers for step in trainer.step_cache.steps.values()}


CASES = {
    "a ragged last batch": ({}, {}),
    "sample weights": ({}, {"sample_weight": WEIGHTS}),
    "clipped by norm, l2": ({"clip_norm": 0.05, "l2": 1e-2}, {}),
    "l1, and steps skipped": ({"l1": 1e-3, "l2": 1e-2, "on_nonfinite": "skip"}, {"sample_weight": WEIGHTS}),
    "rates, rollback": (
        {
            "l2": 0.1,
            "penalty_per_weight": True,
            "learning_rate_factors": {"0.*": 0.1},
            "on_nonfinite": "rollback",
            "clip_norm": 0.1,
        },
        {},
    ),
    "accumulated": ({"accumulate": 2}, {}),
    "accumulated by 3": ({"accumulate": 3, "batch_size": 128, "clip_value": 0.01}, {}),
    "rows left out": ({"loss": bp.SoftmaxCrossEntropy(ignore_index=-1)}, {"y": LEFT_OUT, "sample_weight": WEIGHTS}),
    "rows left out, accumulated": (
        {"loss": bp.SoftmaxCrossEntropy(ignore_index=-1), "accumulate": 2},
        {"y": LEFT_OUT, "class_weight": "balanced"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_has_the_same_bits(case):
    settings, given = CASES[case]
    alone = result(trainer_of(mlp(), **settings), **given)
    for workers in (2, 4):
        trainer = trainer_of(mlp(), workers, **settings)
        assert result(trainer, **given) == alone
        assert workers_of(trainer) == {exact_workers(settings.get("batch_size", 256), workers)}


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "on_nonfinite": "raise"}])
def test_workers_of_a_convolutional_network_with_batch_normalization(settings):
    found = [result(trainer_of(cnn(), workers, **settings), IMAGES, Y_IMAGES) for workers in (1, 2, 4)]
    assert found[0] == found[1] == found[2]


def test_ordinary_numerics_have_other_bits_with_other_workers():  # so that the tests above can fail
    found = [result(trainer_of(mlp("ordinary"), workers))[0] for workers in (1, 2)]
    assert found[0] != found[1]


def test_pieces_of_a_batch_have_the_bits_of_the_whole():
    several = trainer_of(mlp(), batch_size=128, accumulate=4, l2=1e-3)
    assert result(several)[0] == result(trainer_of(mlp(), batch_size=512, l2=1e-3))[0]


def test_a_guard_changes_no_bits():
    assert result(trainer_of(mlp(), on_nonfinite="skip")) == result(trainer_of(mlp()))


@pytest.mark.parametrize(
    "optimizer",
    [
        bp.SGD(0.1),
        bp.SGD(bp.CosineDecay(0.1, steps=5), momentum=0.9, nesterov=True),
        bp.RMSprop(),
        bp.Adagrad(),
        bp.Adam(amsgrad=True),
        bp.AdamW(weight_decay=0.1),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_every_optimizer(optimizer):
    assert result(trainer_of(mlp(), 2, optimizer)) == result(trainer_of(mlp(), 1, optimizer))


class Halving(bp.Optimizer):
    """A rule of the user's own, which is a formula."""

    def __init__(self, learning_rate=0.1):
        self.learning_rate, self.weight_decay = learning_rate, 0.0

    def rule(self, theta, g, eta):
        return (theta - 0.5 * eta * g,)


class Fading(Halving):
    def step_scalars(self, t, eta):
        return {"eta": eta * np.exp(-t)}


def test_a_rule_of_ones_own_is_exact_and_numbers_of_ones_own_are_not():
    assert result(trainer_of(mlp(), 2, Halving())) == result(trainer_of(mlp(), 1, Halving()))
    with pytest.raises(ExactError, match="Fading.* computes its step_scalars by .*exact = True"):
        trainer_of(mlp(), 1, Fading())
    trainer_of(mlp("ordinary"), 1, Fading())


# -- the number of workers ----------------------------------------------------------------------------------------


def test_fewer_workers_where_the_rows_can_not_be_shared(caplog):
    caplog.set_level(logging.INFO, "gpubp")
    trainer = trainer_of(mlp(), 4, batch_size=192)
    result(trainer, epochs=1)
    assert workers_of(trainer) == {3}
    assert "exact numerics: 3 workers of 4: 192 rows can't be shared by 4" in caplog.text


def test_a_layer_that_sums_over_rows_in_its_own_way_has_one_worker(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gpubp")
    monkeypatch.setattr(bp.Tanh, "exact_workers", False)
    trainer = trainer_of(mlp(), 2)
    result(trainer, epochs=1)
    assert workers_of(trainer) == {1}
    assert '1 worker of 2: Tanh() at "1" sums over the rows' in caplog.text


# -- resumed runs ---------------------------------------------------------------------------------------------------


class Interrupt(bp.Callback):
    looks_at_steps = True

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("workers", "then"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "on_nonfinite": "rollback", "l2": 1e-3}])
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(tmp_path, workers, then, settings):
    def fit(trainer, *more):
        callbacks = [bp.EarlyStopping(patience=1), bp.ExponentialMovingAverage(0.9), *more]
        return result(trainer, IMAGES, Y_IMAGES, epochs=4, validation_fraction=0.2, callbacks=callbacks)

    settings = {"batch_size": 128, **settings}
    whole = fit(trainer_of(cnn(), **settings))
    fit(trainer_of(cnn(), workers, **settings), Interrupt(4), bp.Checkpoint(tmp_path, every_steps=1))
    resumed = trainer_of(cnn(), then, **settings)
    resumed.resume(tmp_path)
    assert resumed.step_count == 3
    assert fit(resumed, bp.Checkpoint(tmp_path)) == whole


@pytest.mark.parametrize(("there", "here"), [("exact", "ordinary"), ("ordinary", "exact")])
def test_a_checkpoint_of_other_numerics_is_refused(tmp_path, there, here):
    trainer_of(mlp(there)).save(tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match=f"the numerics: '{there}' there, '{here}' here"):
        trainer_of(mlp(here)).resume(tmp_path / "a.safetensors")


def test_early_stopping_stops_at_the_same_epoch_with_the_same_weights():
    def fit(workers):
        stopping = bp.EarlyStopping(patience=2)
        found = result(trainer_of(mlp(), workers), epochs=30, validation_fraction=0.2, callbacks=[stopping])
        return found, stopping.best, stopping.best_epoch

    alone = fit(1)
    assert alone == fit(2)
    assert 1 < alone[2] < 30


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
    network, path = mlp(), tmp_path / "a.safetensors"
    network.save(path)
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

"""What gpubp's estimators have beyond scikit-learn's, and their error messages."""

import copy
import gc
import signal
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

from sklearn.datasets import load_diabetes, load_digits, load_iris, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.utils.class_weight import compute_class_weight

import gpubp as bp
from gpubp.cli.defaults import ACTIVATIONS as ON_THE_COMMAND_LINE
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from gpubp.estimators.building import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:700] / 16, y[:700]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, (y - y.mean()) / y.std()


def classifier(**options):
    return MLPClassifier(**(dict(hidden_layer_sizes=(20,), random_state=0, max_iter=8, device="cpu") | options))


def regressor(**options):
    return MLPRegressor(**(dict(hidden_layer_sizes=(20,), random_state=0, max_iter=8, device="cpu") | options))


# -- parameters -------------------------------------------------------------------------------------------------------


def test_class_weights_are_sample_weights(digits):
    X, y = digits
    y = np.where(y == 3, "three", "other")
    of_class = {"three": 5.0, "other": 0.5}
    by_class = classifier(class_weight=of_class).fit(X, y)
    by_row = classifier().fit(X, y, sample_weight=[of_class[label] for label in y])
    assert np.array_equal(by_class.coefs_[0], by_row.coefs_[0])
    balanced = classifier(class_weight="balanced").fit(X, y)
    two = dict(zip(balanced.classes_, compute_class_weight("balanced", classes=balanced.classes_, y=y), strict=True))
    assert np.array_equal(balanced.coefs_[0], classifier(class_weight=two).fit(X, y).coefs_[0])
    parts = [classifier(class_weight=of_class), classifier()]
    parts[0].partial_fit(X[:90], y[:90], classes=["other", "three"])
    parts[1].partial_fit(X[:90], y[:90], [of_class[label] for label in y[:90]], ["other", "three"])
    assert np.array_equal(parts[0].coefs_[0], parts[1].coefs_[0])
    with pytest.raises(ValueError, match="partial_fit sees a part"):
        classifier(class_weight="balanced").partial_fit(X, y, classes=["other", "three"])


def test_balanced_weights_find_the_rare_class():
    X, y = make_classification(600, 8, weights=[0.95], random_state=0)
    made = [classifier(max_iter=50, class_weight=weight).fit(X, y) for weight in (None, "balanced")]
    recall = [one.predict(X)[y == 1].mean() for one in made]
    assert recall[1] > recall[0] + 0.2


def test_layers_by_parameters(digits):
    made = classifier(
        hidden_layer_sizes=(16, 8, 4), activation=["relu", bp.LeakyReLU(0.3), "identity"], dropout=0.1, batch_norm=True
    ).fit(*digits)
    assert repr(made.network_.layers) == (
        "Sequential(Dense(16), BatchNorm(), ReLU(), Dropout(0.1), Dense(8), BatchNorm(), LeakyReLU(0.3), Dropout(0.1), "
        "Dense(4), BatchNorm(), Dropout(0.1), Dense(10))"
    )
    assert [W.shape for W in made.coefs_] == [(64, 16), (16, 8), (8, 4), (4, 10)] and made.n_layers_ == 5
    assert made.score(*digits) > 0.3


def test_dropout_goes_by_the_random_state(digits):
    runs = [classifier(dropout=0.4, random_state=seed).fit(*digits).coefs_[0] for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    "solver",
    ["adamw", "adamax", "nadam", "lion", "rmsprop", "adagrad", bp.SGD(0.1, momentum=0.9), bp.AdamW(0.01)],
    ids=repr,
)
def test_every_solver_learns(solver, digits):
    assert classifier(solver=solver, learning_rate_init=0.01, max_iter=20).fit(*digits).score(*digits) > 0.85


@pytest.mark.parametrize(
    "loss", ["squared_error", "absolute_error", "huber", bp.Huber(0.5), bp.MeanSquaredError()], ids=repr
)
def test_every_loss_of_numbers_learns(loss, diabetes):
    made = regressor(loss=loss, learning_rate_init=0.01, max_iter=60).fit(*diabetes)
    assert made.score(*diabetes) > 0.4


def test_absolute_errors_are_less_affected_by_outliers(diabetes):
    X, y = diabetes
    wrong = y.copy()
    wrong[:8] = 100.0
    scores = [
        regressor(loss=loss, learning_rate_init=0.01, max_iter=60).fit(X, wrong).score(X[8:], y[8:])
        for loss in ("squared_error", "absolute_error", "huber")
    ]  # fmt: skip
    assert min(scores[1:]) > 0.2 > scores[0]


def test_losses_of_classes(digits):
    X, y = digits
    smooth = classifier(loss=bp.SoftmaxCrossEntropy(label_smoothing=0.2), max_iter=60).fit(X, y)
    assert smooth.predict_proba(X).max() < classifier(max_iter=60).fit(X, y).predict_proba(X).max()
    two = classifier(loss=bp.SoftmaxCrossEntropy()).fit(X, y > 4)
    assert two.coefs_[-1].shape == (20, 2) and two.out_activation_ == "softmax" and two.predict(X).dtype == bool
    assert two.predict_proba(X).sum(axis=1) == pytest.approx(1)
    for loss, target in ((bp.BinaryCrossEntropy(), y), (bp.SoftmaxCrossEntropy(), np.c_[y > 4, y > 5] * 1)):
        with pytest.raises(ValueError, match="is no loss for multi.* labels; use loss='log_loss'"):
            classifier(loss=loss).fit(X, target)


def test_validation_data(digits):
    X, y = digits
    made = classifier().fit(X[:500], y[:500], validation_data=(X[500:], y[500:]))
    assert len(made.validation_loss_curve_) == len(made.validation_scores_) == len(made.loss_curve_) == 8
    assert made.validation_scores_[-1] == made.score(X[500:], y[500:])
    assert made.best_validation_score_ == max(made.validation_scores_) and made.best_loss_ == min(made.loss_curve_)
    loss, _ = made.network_.loss_and_gradients(bp.SoftmaxCrossEntropy(), X[500:], y[500:])
    assert made.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-3)  # and the penalty
    stopped = classifier(max_iter=300, early_stopping=True, n_iter_no_change=2)
    stopped.fit(X[:500], y[:500], validation_data=(X[500:], y[500:], np.ones(200)))
    assert stopped.n_iter_ < 300 and stopped.score(X[500:], y[500:]) == max(stopped.validation_scores_)
    with pytest.raises(ValueError, match=r"validation_data has classes not in .*: \[10\]"):
        made.fit(X, y, validation_data=(X[:2], [10, 10]))
    with pytest.raises(ValueError, match=r"validation_data is \(X, y\)"):
        made.fit(X, y, validation_data=X)
    with pytest.raises(ValueError, match="63 features"):
        made.fit(X, y, validation_data=(X[:, 1:], y))


def test_callbacks_and_schedules(digits):
    X, y = digits
    rates = []
    note = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: rates.append(trainer.learning_rate))
    schedule = bp.CosineDecay(0.01, steps=32)
    made = classifier(callbacks=[note, bp.EarlyStopping("loss", patience=1, min_delta=10)], schedule=schedule).fit(X, y)
    assert made.n_iter_ == len(rates) == 2  # the callback ended it
    assert rates == [schedule(4), schedule(8)] and made.learning_rate_ == rates[-1]
    one = classifier(callbacks=note, max_iter=1).fit(X, y)
    assert one.n_iter_ == 1


def test_clipping(digits):
    X, y = digits
    first = classifier(solver="sgd", momentum=0.0, max_iter=1, batch_size=700, learning_rate_init=1.0)
    start = copy.deepcopy(first).set_params(learning_rate_init=1e-300).fit(X, y).network_.flat
    moved = first.set_params(clip_norm=0.01).fit(X, y).network_.flat - start
    assert np.sqrt((moved**2).sum()) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.dtype("float64")], ids=str)
def test_dtype(dtype, digits):
    X, y = digits
    made = classifier(dtype=dtype).fit(X, y)
    assert made.coefs_[0].dtype == made.predict_proba(X).dtype == np.dtype(dtype)


def test_warm_start_continues(digits):
    X, y = digits
    made = classifier(warm_start=True, max_iter=3).fit(X, y)
    network = made.network_
    made.fit(X, y)
    assert made.network_ is network and len(made.loss_curve_) == 6 and made.loss_curve_[3] < made.loss_curve_[2]
    made.set_params(warm_start=False).fit(X, y)
    assert made.network_ is not network and len(made.loss_curve_) == 3


def test_weights_may_be_given(digits):
    X, y = digits
    one, two = classifier().fit(X, y), classifier(random_state=5)
    with pytest.raises(AttributeError, match="before it is fitted"):
        two.coefs_  # noqa: B018
    two.fit(X, y)
    two.coefs_, two.intercepts_ = one.coefs_, one.intercepts_
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))
    one.coefs_[1] = np.zeros((20, 10))
    one.intercepts_[1][...] = np.arange(10)
    assert (one.predict(X) == 9).all()
    with pytest.raises(ValueError, match=r"shape \(64, 20\), and got \(2,\)"):
        one.coefs_[0] = [1, 2]
    with pytest.raises(ValueError, match="2 arrays, one a layer"):
        one.coefs_ = [np.zeros((64, 20))]


def test_verbose(digits, capsys):
    classifier(verbose=True, max_iter=2, early_stopping=True).fit(*digits)
    out = capsys.readouterr().out
    assert out.startswith("Iteration 1, loss = ") and "Validation score" in out
    classifier(verbose=1, tol=10.0, max_iter=200).fit(*digits)
    assert "Training loss did not improve by more than tol=10" in capsys.readouterr().out
    classifier(verbose=True, solver="lbfgs", max_iter=2).fit(*digits)
    assert "Iteration 2" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_learnt(digits):
    def press(trainer, logs):
        if trainer.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.warns(UserWarning, match="interrupted by user"):
            made = classifier(callbacks=bp.LambdaCallback(on_epoch_end=press)).fit(*digits)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 2 <= made.n_iter_ < 8 and made.predict(digits[0]).shape == (700,)


def test_a_single_class_has_probability_one():
    made = classifier().fit([[1.0], [2.0]], ["a", "a"])
    assert made.predict([[5.0]]).tolist() == ["a"] and made.predict_proba([[5.0]]).tolist() == [[1.0]]


# -- layers of one's own ----------------------------------------------------------------------------------------------


def test_a_convolutional_network(digits):
    X, y = digits
    layers = bp.Sequential(bp.Conv2D(8, 3, padding="same"), bp.ReLU(), bp.MaxPool2D(), bp.Flatten(), bp.Dropout(0.1))
    options = dict(learning_rate_init=0.01, random_state=0, max_iter=8, device="cpu")
    images = NetworkClassifier(layers, **options).fit(X.reshape(-1, 8, 8, 1), y)
    assert images.score(X.reshape(-1, 8, 8, 1), y) > 0.9 and repr(images.network_.layers).endswith("Dense(10))")
    rows = NetworkClassifier(bp.Sequential(bp.Reshape((8, 8, 1)), layers, bp.Dense(10)), **options).fit(X, y)
    assert rows.score(X, y) > 0.9
    with pytest.raises(ValueError, match=r"rows of shape \(8, 7, 1\)"):
        images.predict(np.zeros((2, 8, 7, 1)))


def test_output_layer_is_added_or_checked():
    X, y = load_iris(return_X_y=True)
    body = bp.Sequential(bp.Dense(8), bp.Tanh())
    make = lambda layers: NetworkClassifier(layers, max_iter=2, random_state=0, device="cpu")  # noqa: E731
    assert make(body).fit(X, y).network_.output_shape == (3,)
    assert make(body).fit(X, y > 0).network_.output_shape == (1,)
    assert make(bp.Tanh()).fit(X, y).network_.output_shape == (3,)
    two = make(bp.Sequential(body, bp.Dense(2))).fit(X, y > 0)
    assert two.out_activation_ == "softmax" and two.predict_proba(X).shape == (150, 2)
    with pytest.raises(bp.DataError, match=r"end in Dense\(4\), and y has 3 classes: end them in Dense\(3\)"):
        make(bp.Sequential(body, bp.Dense(4))).fit(X, y)
    with pytest.raises(ValueError, match="are gpubp layers"):
        make([bp.Dense(3)]).fit(X, y)
    with pytest.raises(bp.DataError, match="y has 2 columns"):
        NetworkRegressor(bp.Dense(1), device="cpu").fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="Dropout does not go with"):
        make(bp.Sequential(body, bp.Dropout(0.5))).set_params(solver="lbfgs").fit(X, y)
    for noise in (bp.SpatialDropout(0.5), bp.AlphaDropout(0.5), bp.GaussianNoise(0.5)):
        with pytest.raises(ValueError, match=f"{type(noise).__name__} does not go with solver='lbfgs'"):
            make(bp.Sequential(body, noise)).set_params(solver="lbfgs").fit(X, y)


def test_arrays_without_axes_count_as_numbers():
    X, y = np.eye(8), np.arange(8) % 2
    plain: dict = dict(
        hidden_layer_sizes=5, alpha=0.1, batch_size=4, learning_rate_init=0.01, max_iter=3, random_state=3, tol=0.01,
        momentum=0.5, power_t=0.25, validation_fraction=0.25, n_iter_no_change=2, dropout=0.5, clip_norm=1.0,
    )  # fmt: skip
    arrays = {name: np.array(value) for name, value in plain.items()}
    for solver in ("adam", "sgd"):
        one, two = (
            MLPClassifier(**given, solver=solver, early_stopping=True, device="cpu").fit(X, y)
            for given in (plain, arrays)
        )
        np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(hidden_layer_sizes=(0,)), "hidden_layer_sizes must be > 0"),
        (dict(hidden_layer_sizes=2.5), "hidden_layer_sizes must be > 0"),
        (dict(activation="relo"), "activation is one of identity, logistic"),
        (dict(activation=["relu", "tanh"]), "2 entries for 1 hidden layers"),
        (dict(solver="adams"), "solver of MLPClassifier is one of lbfgs, .* or a gpubp Optimizer, and got 'adams'"),
        (dict(alpha=-1), "alpha of MLPClassifier is a number of 0 or more"),
        (dict(alpha="1"), "alpha"),
        (dict(batch_size=0), "batch_size"),
        (dict(batch_size="all"), "batch_size"),
        (dict(learning_rate="fast"), "'constant', 'invscaling' or 'adaptive'"),
        (dict(learning_rate_init=0), "above 0"),
        (dict(max_iter=1.5), "whole number"),
        (dict(n_iter_no_change=0), "numpy.inf"),
        (dict(shuffle="no"), "True or False"),
        (dict(random_state="x"), "RandomState"),
        (dict(momentum=1.1), "from 0 to 1"),
        (dict(dropout=1.0), "below 1"),
        (dict(schedule=0.1), "CosineDecay"),
        (dict(dtype="float16"), "'float32' or 'float64'"),
        (dict(class_weight="even"), "balanced"),
        (dict(loss="hinge"), "loss of MLPClassifier is one of log_loss, or a gpubp Loss"),
        (dict(device="tpu"), "there is no device 'tpu'"),
        (dict(solver="lbfgs", dropout=0.5), "dropout does not go with solver='lbfgs'"),
        (dict(solver="lbfgs", clip_norm=0.5), "clip_norm does not go with"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_parameter(wrong, message):
    with pytest.raises((ValueError, bp.DeviceError), match=message):
        classifier(**wrong).fit([[0.0], [1.0]], [0, 1])


def test_wrong_callbacks_losses_and_weights_raise(digits, diabetes):
    X, y = digits
    with pytest.raises(TypeError, match="callbacks are gpubp Callbacks"):
        classifier(callbacks=[print]).fit(X, y)
    with pytest.raises(ValueError, match="loss of MLPRegressor is one of squared_error"):
        regressor(loss="log_loss").fit(*diabetes)
    with pytest.raises(ValueError, match="Poisson needs targets of 0 or more"):
        regressor(loss="poisson").fit(*diabetes)
    with pytest.raises(ValueError, match="validation_data does not go with solver='lbfgs'"):
        classifier(solver="lbfgs").fit(X, y, validation_data=(X, y))
    with pytest.raises(ValueError, match="sample_weight needs finite weights of 0 or more"):
        classifier().fit(X, y, sample_weight=-np.ones(700))
    with pytest.raises(AttributeError, match="partial_fit"):
        classifier(solver="lbfgs").partial_fit(X, y, classes=range(10))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="Multioutput target data"):
        classifier().fit(X, np.c_[y, y])
    with warnings.catch_warnings(), pytest.raises(ValueError, match="fit saw 2"):
        warnings.simplefilter("ignore")
        regressor().partial_fit(X, np.c_[y, y]).partial_fit(X, y)


def test_a_failed_fit_leaves_no_network(digits):
    X, y = digits
    made = regressor().fit(X, y)
    with pytest.raises(ValueError, match="Poisson needs targets of 0 or more"):
        made.set_params(loss="poisson").fit(X, y - 5.0)
    with pytest.raises(NotFittedError):
        made.predict(X)


def test_warnings_name_the_users_line(digits):
    X, y = digits
    for warn in (
        lambda: classifier(batch_size=1000, max_iter=1).fit(X, y),
        lambda: classifier(solver="lbfgs", max_iter=1).fit(X, y),
    ):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            warn()
        assert seen and {w.filename for w in seen} == {__file__}


def test_an_estimator_keeps_no_data(digits):
    X, y = digits
    made = classifier().fit(X, y)
    gc.collect()
    rows = [a for a in gc.get_objects() if type(a) is bp.Trainer and a.network is made.network_]
    assert not rows and classifier(batch_size=32).fit(X, y).partial_fit(X, y).n_iter_ == 1


def test_names_of_activations_are_those_of_the_command_line() -> None:
    there = {name.replace("-", "_"): layer for name, layer in ON_THE_COMMAND_LINE.items()}
    there["logistic"] = there.pop("sigmoid")  # scikit-learn's word
    assert {name: layer for name, layer in ACTIVATIONS.items() if layer is not None} == there
    for name, layer in ACTIVATIONS.items():
        regressor = MLPRegressor(hidden_layer_sizes=(4,), activation=name, max_iter=2, device="cpu", random_state=0)
        regressor.fit(np.eye(6), np.arange(6.0))
        assert regressor.network_.layers.children[1:-1] == (() if layer is None else (layer,))

"""Warm starts and `partial_fit` after parameters have changed: each is honoured, or an error names it."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from gpubp.estimators.building import ACTIVATIONS
from strict import StrictProducts, strict_cupy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)
LAYERS = bp.Sequential(bp.Dense(8), bp.ReLU())
ADAM = dict(max_iter=3, device="cpu", warm_start=True, random_state=0, batch_size=20)
SGD = dict(solver="sgd", learning_rate_init=0.05)

# name -> (parameters it needs to matter, its new value): the next fit trains differently
HONOURED = {
    "solver": ({}, "sgd"),
    "alpha": ({}, 5.0),
    "batch_size": ({}, 7),
    "learning_rate": (SGD | dict(max_iter=8, tol=1.0, n_iter_no_change=1), "adaptive"),
    "learning_rate_init": ({}, 0.1),
    "power_t": (SGD | dict(learning_rate="invscaling"), 0.9),
    "max_iter": ({}, 5),
    "shuffle": ({}, False),
    "random_state": ({}, 3),
    "tol": (dict(n_iter_no_change=1, max_iter=9), 5.0),
    "warm_start": ({}, False),
    "momentum": (SGD, 0.2),
    "nesterovs_momentum": (SGD, False),
    "early_stopping": ({}, True),
    "validation_fraction": (dict(early_stopping=True), 0.4),
    "beta_1": ({}, 0.5),
    "beta_2": ({}, 0.5),
    "epsilon": ({}, 0.1),
    "n_iter_no_change": (dict(tol=5.0, max_iter=9), 1),
    "max_fun": (dict(solver="lbfgs", max_iter=50), 3),
    "class_weight": ({}, {0: 5.0}),
    "clip_norm": (SGD, 0.01),
    "schedule": ({}, bp.CosineDecay(0.1, 9)),
    "activation": ({}, ["tanh"]),
    "dropout": ({}, 0.5),
    "dtype": ({}, "float32"),
}
REFUSED = {"hidden_layer_sizes": (9,), "batch_norm": True, "layers": bp.Sequential(bp.Dense(9), bp.ReLU())}
ELSEWHERE = {
    "loss": "test_losses_that_fit_the_network_are_honoured",
    "device": "test_another_device_is_honoured",
    "numerics": "test_other_numerics_are_honoured",
    "verbose": "test_verbose_and_callbacks_are_honoured",
    "callbacks": "test_verbose_and_callbacks_are_honoured",
}
STAY_IN_PARTIAL_FIT = {  # they have no effect on a single epoch
    "max_iter", "tol", "n_iter_no_change", "warm_start", "validation_fraction", "power_t", "learning_rate",
}  # fmt: skip


def made(kind, **options):
    first = dict(layers=LAYERS) if "Network" in kind.__name__ else dict(hidden_layer_sizes=(8,))
    return kind(**(first | ADAM | options))


def cases():
    for kind in (MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor):
        yield from ((kind, name) for name in made(kind).get_params() if name not in ELSEWHERE)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor])
def test_every_parameter_has_its_case(kind):
    assert made(kind).get_params().keys() <= HONOURED.keys() | REFUSED.keys() | ELSEWHERE.keys()
    assert all(name in globals() for name in ELSEWHERE.values())


@pytest.mark.parametrize(("kind", "name"), list(cases()))
def test_a_changed_parameter_is_honoured_or_refused_by_name(kind, name):
    options, value = HONOURED.get(name, ({}, REFUSED.get(name)))
    one = made(kind, **options).fit(X, Y)
    two, before = copy.deepcopy(one), np.array(one.network_.flat)
    one.set_params(**{name: value})
    if name in REFUSED:
        old = getattr(two, name)
        with pytest.raises(ValueError) as problem:
            one.fit(X, Y)
        for part in (name, repr(old), repr(value), "warm_start=False"):
            assert part in str(problem.value)
        assert np.array_equal(one.network_.flat, before)
        one.set_params(**{name: old}).fit(X, Y)
        assert np.array_equal(one.network_.flat, two.fit(X, Y).network_.flat)
        return
    one.fit(X, Y)
    two.fit(X, Y)
    assert not np.array_equal(one.network_.flat, two.network_.flat) or one.n_iter_ != two.n_iter_


@pytest.mark.parametrize("name", [name for name in (*HONOURED, *REFUSED) if name not in ("layers", "max_fun")])
def test_partial_fit_honours_or_refuses_too(name):
    options, value = HONOURED.get(name, ({}, REFUSED.get(name)))
    one = made(MLPClassifier, **(options | dict(early_stopping=False))).fit(X, Y).partial_fit(X, Y)
    two = copy.deepcopy(one)
    one.set_params(**{name: value})
    if name in REFUSED or name == "early_stopping":
        with pytest.raises(ValueError, match=name):
            one.partial_fit(X, Y)
        return
    one.partial_fit(X, Y)
    two.partial_fit(X, Y)
    assert np.array_equal(one.network_.flat, two.network_.flat) == (name in STAY_IN_PARTIAL_FIT)


@pytest.mark.parametrize(
    "changes",
    [dict(activation="tanh"), dict(activation="identity"), dict(dropout=0.5), dict(activation=bp.LeakyReLU(0.3))],
    ids=repr,
)
def test_other_layers_get_the_old_parameters(changes):
    one = made(MLPClassifier).fit(X, Y)
    W, b = [np.array(a) for a in one.coefs_], [np.array(a) for a in one.intercepts_]
    one.set_params(learning_rate_init=1e-300, **changes).fit(X, Y)
    assert all(np.array_equal(*pair) for pair in zip(one.coefs_ + one.intercepts_, W + b, strict=True))
    fresh = made(MLPClassifier, **changes).fit(X, Y)
    assert repr(one.network_.layers) == repr(fresh.network_.layers)
    fresh.coefs_, fresh.intercepts_ = W, b
    assert np.array_equal(one.predict_proba(X), fresh.predict_proba(X))


def test_an_activation_with_parameters_is_refused():
    one = made(MLPClassifier).fit(X, Y).set_params(activation=bp.LayerNorm())
    for fit in (one.fit, one.partial_fit):
        with pytest.raises(ValueError, match=r"activation of MLPClassifier was 'relu' in the last fit and is LayerN"):
            fit(X, Y)


def test_changes_before_a_fit_do_not_change_predictions():
    for one, changes in (
        (made(MLPRegressor), dict(loss="poisson", activation="tanh")),
        (made(MLPClassifier), dict(activation="tanh", dropout=0.5, loss=bp.SoftmaxCrossEntropy(0.1))),
    ):
        before = one.fit(X, Y).predict(X)
        assert np.array_equal(one.set_params(**changes).predict(X), before)


def test_layers_with_the_same_parameters_are_honoured():
    one = made(NetworkClassifier).fit(X, Y)
    one.set_params(layers=bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dropout(0.2))).fit(X, Y)
    assert repr(one.network_.layers) == "Sequential(Dense(8), Tanh(), Dropout(0.2), Dense(3))"
    one.set_params(layers=bp.Sequential(bp.Dense(8), bp.Dense(4)))
    with pytest.raises(ValueError, match=r"layers end in Dense\(4\), and y has 3 classes"):
        one.fit(X, Y)
    with pytest.raises(ValueError, match="layers of NetworkClassifier are gpubp layers"):
        one.set_params(layers=3).fit(X, Y)


@dataclass(frozen=True)
class Scaled(bp.Layer):
    by: Any = None

    def plan(self, x):
        return bp.Plan(output=x, arrays={"y": x, "dx": x}, constants={"k": np.asarray(self.by)})

    def forward(self, ws, x):
        return ws.xp.multiply(x, ws.k, out=ws.y)

    def backward(self, ws, dy):
        return ws.xp.multiply(dy, ws.k, out=ws.dx)


@dataclass(frozen=True)
class WeightedLoss(bp.MeanSquaredError):
    by: Any = None


def test_layers_and_losses_with_arrays_are_compared_by_their_numbers():
    def layers(by=2.0):
        return bp.Sequential(Scaled(np.full(4, by)), bp.Dense(1))

    first = made(NetworkRegressor, layers=layers(), loss=WeightedLoss(np.ones(2)), dtype="float64").fit(X, Y)
    found = []
    for one in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        net = one.network_
        one.set_params(layers=layers(), loss=WeightedLoss(np.ones(2))).fit(X, Y)
        trainer = one.partial_fit(X, Y)._trainer
        one.set_params(loss=WeightedLoss(np.ones(2)))
        assert one.partial_fit(X, Y)._trainer is trainer and one.network_ is net
        assert one.set_params(loss=WeightedLoss(np.zeros(2))).partial_fit(X, Y)._trainer is not trainer
        found.append(one.predict(X).tobytes())
    assert found[0] == found[1]
    one.set_params(layers=layers(3.0)).fit(X, Y)
    assert one.network_ is not net and one.network_.layers.layers[0].by[0] == 3.0


def test_running_statistics_and_frozen_parameters_are_carried():
    one = made(MLPClassifier, batch_norm=True).fit(X, Y)
    one.network_.freeze("0.*")
    frozen, states = one.coefs_[0].copy(), one.network_.states.flat.copy()
    one.set_params(activation="identity", learning_rate_init=1e-300).fit(X, Y)
    assert one.network_.frozen == {"0.W", "0.b"} and np.array_equal(one.coefs_[0], frozen)
    assert not np.array_equal(one.network_.states.flat, 0) and one.network_.states.flat.shape == states.shape


def test_losses_that_fit_the_network_are_honoured():
    smooth = bp.SoftmaxCrossEntropy(label_smoothing=0.3)
    one = made(MLPClassifier).fit(X, Y)
    two = copy.deepcopy(one).fit(X, Y)
    assert not np.array_equal(one.set_params(loss=smooth).fit(X, Y).coefs_[0], two.coefs_[0])
    for kind in (MLPRegressor, NetworkRegressor):
        one = made(kind).fit(X, Y)
        for loss, out, f in (("poisson", "exp", np.exp), ("huber", "identity", np.array)):
            one.set_params(loss=loss).fit(X, Y)
            assert one.out_activation_ == out and np.array_equal(one.predict(X), f(one.network_.predict(X)[:, 0]))
    two_outputs = made(MLPClassifier, loss=smooth).fit(X, Y > 0)
    two_outputs.set_params(loss="log_loss").fit(X, Y > 0)  # of which softmax is the other form
    assert two_outputs.predict_proba(X).shape == (60, 2)
    one_output = made(MLPClassifier).fit(X, Y > 0)
    for fit in (one_output.fit, one_output.partial_fit):
        one_output.set_params(loss=smooth)
        with pytest.raises(ValueError, match="loss of MLPClassifier was 'log_loss' in the last fit and is Softmax"):
            fit(X, Y > 0)
    assert one_output.set_params(loss="log_loss").fit(X, Y > 0).predict(X).dtype == bool


def test_another_device_is_honoured(monkeypatch):
    library, found = strict_cupy(), bp.backends.select.get_backend

    def here(device, *options):
        return CUDA(library, products=StrictProducts) if device[:4] == "cuda" else found(device)

    monkeypatch.setattr("gpubp.network.network.get_backend", here)
    one = made(MLPClassifier).fit(X, Y)
    W = np.array(one.coefs_[0])
    one.set_params(device="cuda", learning_rate_init=1e-300)
    for fit in (one.fit, one.partial_fit):
        assert fit(X, Y).device_ == "cuda:0" and np.array_equal(one.coefs_[0], W)
    assert one.set_params(device="cpu").partial_fit(X, Y).device_ == "cpu" and np.array_equal(one.coefs_[0], W)


def test_other_numerics_are_honoured():
    pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
    one = made(MLPClassifier, device="cpu").fit(X, Y)
    W = np.array(one.coefs_[0])
    one.set_params(numerics="exact", learning_rate_init=1e-300)
    for fit in (one.fit, one.partial_fit):
        assert fit(X, Y).network_.numerics == "exact" and np.array_equal(one.coefs_[0], W)
    one.set_params(numerics="ordinary")
    assert one.partial_fit(X, Y).network_.numerics == "ordinary" and np.array_equal(one.coefs_[0], W)


def test_a_device_that_is_none_is_refused():
    one = made(MLPClassifier).fit(X, Y).set_params(device="tpu")
    with pytest.raises(bp.DeviceError, match="there is no device 'tpu'"):
        one.fit(X, Y)


def test_verbose_and_callbacks_are_honoured(capsys):
    one, rates = made(MLPClassifier).fit(X, Y), []
    note = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: rates.append(trainer.learning_rate))
    one.set_params(verbose=True, callbacks=[note]).fit(X, Y)
    assert len(rates) == 3 and "Iteration 1" in capsys.readouterr().out
    one.partial_fit(X, Y)
    assert len(rates) == 4 and "Iteration 1" in capsys.readouterr().out


def test_types_of_numbers_are_converted():
    one = made(MLPClassifier).fit(X, Y)
    assert one.fit(X.astype("float32"), Y).network_.dtype == "float64"  # "auto" took it from the first X
    W = np.array(one.coefs_[0])
    one.set_params(dtype="float32", learning_rate_init=1e-300).fit(X, Y)
    assert one.network_.dtype == "float32" and np.array_equal(one.coefs_[0], W.astype("float32"))
    assert one.set_params(dtype="auto").partial_fit(X, Y).network_.dtype == "float64"


def test_moments_are_carried_to_a_changed_network():
    """The optimizer goes on in partial_fit, where its kind stays, whatever layers and numbers become."""
    for changes in (dict(dtype="float32"), dict(activation="identity"), dict(alpha=0.5), dict(learning_rate_init=0.01)):
        one = made(MLPClassifier).fit(X, Y)
        for k in range(2):
            one.set_params(**changes).partial_fit(X, Y)
            update = one._trainer.update
            assert update.t == 9 + 3 * (k + 1) and all(np.abs(m.flat).max() > 0 for m in update.moments.values())
    other = made(MLPClassifier).fit(X, Y).set_params(solver="rmsprop").partial_fit(X, Y)
    assert other._trainer.update.t == 3  # another optimizer begins anew


def test_partial_fit_goes_on_with_parts_frozen_since():
    one = made(MLPClassifier).fit(X, Y)
    one.network_.freeze("0.*")
    W = np.array(one.coefs_[0])
    assert np.array_equal(one.partial_fit(X, Y).coefs_[0], W)
    one.network_.unfreeze()
    assert not np.array_equal(one.partial_fit(X, Y).coefs_[0], W)


def test_pickled_and_loaded_estimators_know_their_network(tmp_path):
    one = made(MLPClassifier).fit(X, Y)
    one.save(tmp_path / "one.safetensors")
    for other in (pickle.loads(pickle.dumps(one)), MLPClassifier.load(tmp_path / "one.safetensors", device="cpu")):
        with pytest.raises(
            ValueError, match=r"hidden_layer_sizes of MLPClassifier was \(8,\) in the last fit and is 9"
        ):
            other.set_params(hidden_layer_sizes=9).fit(X, Y)
        assert (
            other.set_params(hidden_layer_sizes=8, activation="tanh").fit(X, Y).network_.layers.children[1] == bp.Tanh()
        )
    one.set_params(hidden_layer_sizes=[8])  # the same, spelled otherwise
    network = one.network_
    assert one.fit(X, Y).network_ is network


def test_other_features_classes_and_columns_are_refused_as_in_scikit_learn():
    one = made(MLPClassifier).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4 features as input"):
        one.fit(X[:, :3], Y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes as in"):
        one.fit(X, Y > 0)
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`: \[3\]"):
        one.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="y has 2 columns, and fit saw 1"):
        made(MLPRegressor).fit(X, Y).fit(X, np.c_[Y, Y])
    images = NetworkClassifier(bp.Sequential(bp.Flatten()), **ADAM).fit(X.reshape(60, 2, 2, 1), Y)
    with pytest.raises(ValueError, match=r"rows of shape \(2, 1, 1\), and the network takes rows of shape \(2, 2, 1\)"):
        images.fit(X[:, :2].reshape(60, 2, 1, 1), Y)


def test_layers_with_other_outputs_are_refused_by_name():
    X, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    made = NetworkClassifier(layers=bp.Sequential(bp.Dense(3), bp.ReLU()), max_iter=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="layers of NetworkClassifier was Sequential"):
        made.set_params(layers=bp.Dense(2)).fit(X, y)


def test_a_network_whose_gelu_was_the_form_by_tanh_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gpubp had it before "gelu" was the exact form, until the activation is another one."""
    monkeypatch.setitem(ACTIVATIONS, "gelu", bp.GELU("tanh"))
    old = pickle.dumps(MLPClassifier(8, activation=["gelu"], **ADAM).fit(X, Y))
    monkeypatch.undo()
    loaded = pickle.loads(old)
    assert loaded.fit(X, Y).network_.layers.children[1] == bp.GELU("tanh")
    assert loaded.set_params(dropout=0.5).fit(X, Y).network_.layers.children[1] == bp.GELU("tanh")
    assert loaded.set_params(activation="gelu").fit(X, Y).network_.layers.children[1] == bp.GELU()
    fresh = MLPClassifier(8, activation="gelu", **ADAM).fit(X, Y)
    assert fresh.network_.layers.children[1] == bp.GELU()
    assert fresh.set_params(activation="gelu_tanh").fit(X, Y).network_.layers.children[1] == bp.GELU("tanh")
    assert fresh.set_params(activation="gelu").fit(X, Y).network_.layers.children[1] == bp.GELU()

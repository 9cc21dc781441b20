"""Estimators with several kinds of data, in pickles and files, and with arrays on a GPU."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from traced import traced

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import joblib
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor
from strict import StrictArray, StrictProducts, strict_cupy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def classifier(**options):
    return MLPClassifier(**(dict(hidden_layer_sizes=(12,), random_state=0, max_iter=4, device="cpu") | options))


# -- kinds of data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array])
def test_sparse_rows(kind, solver, digits):
    X, y = digits
    dense = classifier(solver=solver).fit(X, y)
    early = classifier(early_stopping=True).fit(kind(X), y)
    sparse = classifier(solver=solver).fit(kind(X), y, validation_data=None)
    assert np.array_equal(dense.coefs_[0], sparse.coefs_[0]) and early.validation_scores_
    assert np.array_equal(dense.predict_proba(X), sparse.predict_proba(kind(X)))


def test_wide_sparse_rows_are_never_made_dense():
    X = scipy.sparse.random_array((3000, 20_000), density=1e-3, rng=np.random.default_rng(0), format="csr")
    y = np.arange(3000) % 2
    with traced() as peak:
        classifier(hidden_layer_sizes=(2,), max_iter=1, batch_size=20).fit(X, y).predict(X[:5])
        assert peak() < 3000 * 20_000 * 8 / 4


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables(library, digits):
    module = pytest.importorskip(library)
    X, y = digits
    names = [f"p{i}" for i in range(64)]
    frame = module.DataFrame(dict(zip(names, X.T.copy(), strict=True)))
    made, plain = classifier().fit(frame, y, validation_data=(frame, y)), classifier().fit(X, y)
    assert np.array_equal(made.predict_proba(frame), plain.predict_proba(X))
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        pytest.skip(f"this scikit-learn reads no names from {library}")
    assert made.feature_names_in_.tolist() == names
    with pytest.warns(UserWarning, match="valid feature names"):
        made.predict(X)


def test_memory_maps(digits, tmp_path):
    X, y = digits
    np.save(tmp_path / "X.npy", X.astype("float32"))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.array_equal(classifier().fit(mapped, y).predict(mapped), classifier().fit(np.array(mapped), y).predict(X))


def test_several_labels_of_a_row_sparse_or_dense():
    X, Y = make_multilabel_classification(200, 8, n_classes=4, random_state=0)
    made = classifier(solver="lbfgs", max_iter=300).fit(X, Y)
    assert np.array_equal(made.predict(X), classifier(solver="lbfgs", max_iter=300).fit(X, Y.tolist()).predict(X))
    assert made.predict(X).shape == made.predict_proba(X).shape == (200, 4) and made.score(X, Y) > 0.5
    assert made.classes_.tolist() == [0, 1, 2, 3]
    weighted = classifier(class_weight="balanced").fit(X, Y)
    assert weighted.out_activation_ == "logistic"


# -- pickles, copies, files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_pickle_predicts_and_trains_on(solver, digits, tmp_path):
    X, y = digits
    made = classifier(solver=solver).fit(X, y)
    joblib.dump(made, tmp_path / "made.joblib")
    for other in (pickle.loads(pickle.dumps(made)), joblib.load(tmp_path / "made.joblib"), copy.deepcopy(made)):
        assert np.array_equal(other.predict_proba(X), made.predict_proba(X)) and other.device_ == "cpu"
        if solver != "lbfgs":
            one, two = copy.deepcopy(made).partial_fit(X, y), other.partial_fit(X, y)
            assert np.array_equal(one.coefs_[0], two.coefs_[0]) and one.t_ == two.t_ == 1500
    assert not np.array_equal(made.network_.flat, 0)
    fresh = clone(made)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_a_pickle_is_small_and_loads_in_another_process(digits, tmp_path):
    X, y = digits
    made = classifier().fit(X, y)
    content = pickle.dumps(made)
    assert len(content) < 3 * made.network_.flat.nbytes + 12_000  # parameters, two moments; no batch, no workspace
    (tmp_path / "made.pkl").write_bytes(content)
    np.save(tmp_path / "X.npy", X)
    code = "import pickle, json, numpy as np; m = pickle.load(open('made.pkl', 'rb'));"
    code += "print(json.dumps(m.predict(np.load('X.npy')).tolist()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == made.predict(X).tolist()


def estimators(digits):
    X, y = digits
    names = np.array([f"digit {i}" for i in range(10)])
    layers = bp.Sequential(bp.Reshape((8, 8, 1)), bp.Conv2D(4, 3), bp.BatchNorm(), bp.ReLU(), bp.Flatten())
    options = dict(random_state=0, max_iter=3, device="cpu")
    return [
        classifier(n_iter_no_change=np.inf, activation=["silu"], schedule=bp.CosineDecay(0.01, 9)).fit(X, names[y]),
        classifier(hidden_layer_sizes=(4, 4), class_weight={0: 2.0}, dtype=np.float32, early_stopping=True).fit(
            X, y > 4
        ),
        classifier(loss=bp.SoftmaxCrossEntropy(0.1), solver=bp.RMSprop(0.01), random_state=None).fit(X, y > 4),
        classifier(random_state=np.random.RandomState(0)).fit(X, np.c_[y > 3, y > 5].astype(int)),
        classifier().fit(X, np.array([*"ab"] * 150, dtype=object)),
        MLPRegressor("huber", (5,), **options).fit(X, y),
        MLPRegressor(loss=bp.Huber(2.0), solver="lbfgs", **options).fit(X, np.c_[y, -y]),
        NetworkClassifier(layers, **options).fit(X, y),
        NetworkRegressor(layers, "poisson", **options).fit(X, y),
    ]


def test_files(digits, tmp_path):
    X, _ = digits
    path = tmp_path / "made.safetensors"
    for made in estimators(digits):
        made.save(path)
        other = type(made).load(path, device="cpu")
        assert np.array_equal(other.predict(X), made.predict(X))
        assert other.predict(X).dtype == made.predict(X).dtype
        if hasattr(made, "predict_proba"):
            assert np.array_equal(other.predict_proba(X), made.predict_proba(X))
        skipped = ("layers", "random_state", "dtype")
        one, two = ({k: v for k, v in e.get_params().items() if k not in skipped} for e in (made, other))
        assert repr(one) == repr(two)
        assert other.loss_curve_ == pytest.approx(made.loss_curve_) and other.n_features_in_ == 64
        assert np.array_equal(bp.load(path, device="cpu").predict(X), made.network_.predict(X))
        assert not {"estimator", "classes", "names"} & made.network_.metadata.keys()
    with pytest.raises(bp.ModelFileError, match="holds no MLPRegressor but a NetworkRegressor"):
        MLPRegressor.load(path)
    made.network_.save(path)
    with pytest.raises(bp.ModelFileError, match="a network alone; use gpubp.load"):
        NetworkRegressor.load(path)
    with pytest.raises(NotFittedError):
        MLPRegressor().save(path)


def test_a_loaded_estimator_trains_on(digits, tmp_path):
    X, y = digits
    made = classifier().fit(X, y)
    made.save(tmp_path / "made.safetensors")
    other = MLPClassifier.load(tmp_path / "made.safetensors").partial_fit(X, y)
    assert (
        other.n_iter_ == 1 and other.loss_ < made.loss_curve_[0] and not np.array_equal(other.coefs_[0], made.coefs_[0])
    )


# -- on a GPU, as the strict stand-in for CuPy has it -----------------------------------------------------------------


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in, in place of a GPU that `device="cuda"` finds."""
    library = strict_cupy()
    found = bp.backends.select.get_backend

    def here(device, *options):
        return CUDA(library, products=StrictProducts) if device[:4] == "cuda" else found(device)

    monkeypatch.setattr("gpubp.network.network.get_backend", here)
    return library


def test_gpu_arrays_as_inputs_and_outputs(cupy, digits):
    X, y = digits
    X = X.astype("float32")
    plain = classifier().fit(X, y)
    for labels in (y, cupy.asarray(y)):
        made = classifier(device="cuda").fit(cupy.asarray(X), labels)
        assert made.device_ == "cuda:0" and made.n_features_in_ == 64
        proba, given = made.predict_proba(cupy.asarray(X)), made.predict(cupy.asarray(X))
        assert isinstance(proba, StrictArray) and isinstance(given, StrictArray)
        assert proba.get() == pytest.approx(plain.predict_proba(X), abs=1e-4)
        assert (given.get() == plain.predict(X)).mean() > 0.99
        assert isinstance(made.predict(X), np.ndarray) and isinstance(made.predict_proba(X), np.ndarray)
        assert made.score(cupy.asarray(X), labels) == made.score(X, y)
    assert isinstance(made.predict_log_proba(cupy.asarray(X)), StrictArray)
    named = classifier(device="cuda").fit(cupy.asarray(X), np.array(["a", "b"])[y % 2])
    assert named.predict(cupy.asarray(X)).dtype.kind == "U"  # letters have no place on a GPU
    regressor = MLPRegressor(max_iter=2, device="cuda", loss="poisson").fit(cupy.asarray(X), cupy.asarray(y))
    assert isinstance(regressor.predict(cupy.asarray(X)), StrictArray)
    early = classifier(device="cuda", early_stopping=True).fit(cupy.asarray(X), y)
    assert len(early.validation_scores_) == early.n_iter_
    for wrong, text in ((X[0], "Expected 2D array"), (X[:, 1:], "63 features")):
        with pytest.raises(ValueError, match=text):
            made.predict(cupy.asarray(wrong))


def test_a_gpu_estimator_is_loaded_without_a_gpu(cupy, digits, monkeypatch, tmp_path):
    X, y = digits
    made = classifier(device="cuda").fit(X, y)
    content = pickle.dumps(made)
    assert b"StrictArray" not in content and b"CUDA" not in content
    assert pickle.loads(content).device_ == "cuda:0"
    made.save(tmp_path / "made.safetensors")

    def none(device):
        raise bp.DeviceError("there is no GPU")

    found = bp.backends.select.get_backend
    monkeypatch.setattr(
        "gpubp.network.network.get_backend", lambda device, *_: found(device) if device == "cpu" else none(device)
    )
    with pytest.warns(UserWarning, match="fitted on cuda:0, goes on here on the CPU: there is no GPU"):
        other = pickle.loads(content)
    assert other.device_ == "cpu" and other.predict_proba(X) == pytest.approx(made.predict_proba(X), abs=1e-6)
    other.partial_fit(X, y)
    assert MLPClassifier.load(tmp_path / "made.safetensors", device="cpu").device_ == "cpu"


def test_lbfgs_on_the_gpu(cupy, digits):
    X, y = digits
    plain, made = (classifier(solver="lbfgs", max_iter=5, device=device).fit(X, y) for device in ("cpu", "cuda"))
    assert made.loss_ == pytest.approx(plain.loss_, rel=1e-6) and made.n_iter_ == plain.n_iter_
    made.coefs_[0] = plain.coefs_[0]
    assert np.array_equal(made.coefs_[0], plain.coefs_[0])


def test_a_pickle_that_has_its_arrays_by_name_is_loaded():
    """As pickles were before a network could be pickled."""
    X, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    fitted = MLPClassifier((4,), random_state=0).partial_fit(X, y, classes=[0, 1])
    net = fitted.network_
    arrays = {name: np.array(a) for name, a in (*net.parameters.items(), *net.states.items())}
    old = {"layers": net.layers, "input_shape": net.input_shape, "dtype": str(net.dtype), "seed": net.seed}
    old |= {"device": "cpu", "frozen": [], "metadata": {}, "arrays": arrays}
    state = {k: v for k, v in fitted.__getstate__().items() if k != "_as_fitted"}
    state |= {"network_": old, "_settings": (1e-4, None)}
    made = MLPClassifier.__new__(MLPClassifier)
    made.__setstate__(state)
    assert np.array_equal(made.predict_proba(X), fitted.predict_proba(X))
    assert np.array_equal(made.partial_fit(X, y).coefs_[0], fitted.partial_fit(X, y).coefs_[0])

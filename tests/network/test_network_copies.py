"""Pickles and copies of networks, of what belongs to them, and processes that get them."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
import pickletools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import INITIALIZERS, LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES
from gpubp import model_file
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.driver import why_not
from strict import StrictArray, StrictProducts, strict_cupy

X = np.random.default_rng(0).normal(size=(20, 4))


def carried(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


COPIES: list[Callable[[Any], Any]] = [carried, copy.deepcopy, copy.copy]
each_copy = pytest.mark.parametrize("copied", COPIES, ids=["pickle", "deepcopy", "copy"])


def network(**options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(6), bp.BatchNorm(), bp.ReLU(), bp.Dense(3))
    return bp.Network(layers, 4, **({"device": "cpu", "seed": 5} | options))


@each_copy
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_has_all_that_a_network_has(copied: Any, dtype: str) -> None:
    net = network(dtype=dtype)
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam()).fit(X, np.arange(20) % 3, epochs=2, verbose=False)
    net.freeze("0.*")
    net.metadata = {"classes": ["a", "b", "c"], "own": {1, 2}}
    net.note = [1, 2]  # type: ignore[attr-defined]  # of the user's own
    made = copied(net)
    assert np.array_equal(made.flat, net.flat) and np.array_equal(made.states.flat, net.states.flat)
    assert np.array_equal(made.predict(X), net.predict(X))
    for name in ("layers", "input_shape", "output_shape", "dtype", "seed", "device", "frozen", "metadata", "note"):
        assert getattr(made, name) == getattr(net, name), name
    assert list(made.parameters) == list(net.parameters) and made.trainable == net.trainable


@each_copy
def test_a_copy_shares_no_memory(copied: Any) -> None:
    net = network()
    made = copied(net)
    before = net.flat.copy()
    bp.Trainer(made, bp.SoftmaxCrossEntropy(), bp.SGD(0.1)).fit(X, np.arange(20) % 3, verbose=False)
    made.freeze("*")
    made.metadata["a"] = 1
    assert np.array_equal(net.flat, before) and not np.array_equal(made.flat, before)
    assert not net.frozen and not net.metadata and made.backend is not net.backend
    assert np.array_equal(made.parameters["0.W"], made.flat[: made.parameters["0.W"].size].reshape(4, 6))


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer(case: Any, rng: np.random.Generator) -> None:
    rows = case.x(rng, rows=4)
    net = bp.Network(case.network_layers(), rows.shape[1:], device="cpu")
    for copied in COPIES:
        assert np.array_equal(copied(net).predict(rows), net.predict(rows))


PLAIN = [*(case.loss for case in LOSSES), *(case.optimizer for case in OPTIMIZERS), *METRICS, *SCHEDULES, *INITIALIZERS]


@pytest.mark.parametrize("thing", PLAIN, ids=str)
def test_every_loss_optimizer_metric_schedule_and_initializer(thing: Any) -> None:
    assert all(repr(copied(thing)) == repr(thing) for copied in COPIES)


def test_a_copied_class_takes_no_arguments_of_its_own() -> None:
    for copied in COPIES:
        made = copied(Named("a"))
        assert type(made) is Named and made.name == "a" and np.array_equal(made.flat, Named("a").flat)


class Named(bp.Network):
    """A network of the user's own, with another constructor."""

    def __init__(self, name: str) -> None:
        super().__init__(bp.Dense(2), 3, device="cpu")
        self.name = name


def test_a_copy_of_a_network_that_refers_to_itself() -> None:
    net = network()
    net.own = {"net": net}  # type: ignore[attr-defined]
    for copied in (carried, copy.deepcopy):
        made = copied(net)
        assert made.own["net"] is made


def test_a_pickle_has_the_arrays_as_safetensors_and_no_owner_of_arrays() -> None:
    content = pickle.dumps(network())
    names = {argument for code, argument, _ in pickletools.genops(content) if isinstance(argument, str)}
    assert not any("numpy" in name or "FlatArray" in name or "CPU" in name for name in names)
    arrays = model_file.from_bytes(network().__getstate__()["arrays"])[1]
    assert np.array_equal(arrays["0.W"], network().parameters["0.W"])


def test_damaged_bytes_are_refused() -> None:
    content = bytearray(model_file.to_bytes({}, {"a": np.arange(3.0)}))
    content[-1] ^= 1
    with pytest.raises(bp.ModelFileError, match="checksum"):
        model_file.from_bytes(bytes(content))
    for cut in (b"", bytes(content[:4]), bytes(content[:40]), b"\xff" * 64):
        with pytest.raises(bp.ModelFileError, match="damaged"):
            model_file.from_bytes(cut)


# -- a GPU -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_on_a_gpu_a_copy_stays_there_and_a_pickle_goes_on_where_it_can(precision: str) -> None:
    net = network(device=CUDA(strict_cupy(), precision=precision, products=StrictProducts))
    net.freeze("0.*")
    for copied in (copy.deepcopy, copy.copy):
        made = copied(net)
        assert type(made.backend) is CUDA and made.backend is not net.backend and isinstance(made.flat, StrictArray)
        assert made.backend.precision == precision and made.frozen == net.frozen
        assert np.array_equal(made.predict(X), net.predict(X))
    with pytest.warns(UserWarning, match='fitted on cuda:0, goes on here on the CPU: device "cuda" can\'t be used'):
        made = carried(net)
    assert made.device == "cpu" and np.array_equal(made.flat, net.backend.to_host(net.flat)) and made.frozen


def test_a_pickle_goes_back_to_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = strict_cupy(devices=2)
    net = network(device=CUDA(cupy, 1, "tf32", autotune=True, products=lambda cupy, **options: StrictProducts(cupy)))
    content = pickle.dumps(net)
    monkeypatch.setattr("gpubp.backends.cuda.driver.find_cupy", lambda: cupy)
    made = pickle.loads(content)
    assert made.device == "cuda:1" and made.backend.precision == "tf32" and made.backend.autotune
    assert np.array_equal(made.backend.to_host(made.flat), net.backend.to_host(net.flat))


def test_parameters_alone() -> None:
    """`copy.deepcopy(net.parameters)` keeps the best weights, and names still show what `flat` holds."""
    for net in (network(), network(device=CUDA(strict_cupy(), products=StrictProducts))):
        best = copy.deepcopy(net.parameters)
        here = {name: np.array(net.backend.to_host(a)) for name, a in net.parameters.items()}
        with net.backend.active():
            net.flat[...] = net.backend.zeros(net.flat.shape, net.dtype)
        assert type(best.flat) is type(net.flat)
        assert all(np.array_equal(net.backend.to_host(best[name]), here[name]) for name in here)
        for copied in (carried(best), copy.copy(carried(best)), copy.deepcopy(carried(best))):
            assert np.array_equal(copied["3.W"], here["3.W"])
            copied.flat[...] = 7.0
            assert (copied["3.W"] == 7.0).all()


# -- other objects -----------------------------------------------------------------------------------------------------


def results() -> list[Any]:
    trainer = bp.Trainer(network(), bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.1, 9)), metrics=["accuracy"])
    y = np.arange(20) % 3
    history = trainer.fit(X, y, epochs=2, verbose=False)
    rates = bp.find_learning_rate(trainer, X, y, steps=12)
    compared = bp.compare_backends(
        trainer.network.layers, X, y, loss=bp.SoftmaxCrossEntropy(), backends=("cpu", "cpu-float64"), steps=2
    )
    return [history, rates, compared, trainer.profile(X, y, steps=2), bp.gradcheck(bp.Dense(2), (3, 4))]


def test_results() -> None:
    for result in results():
        for copied in COPIES:
            assert str(copied(result)) == str(result), type(result)
    history = results()[0]
    made = copy.deepcopy(history)
    made.append({"loss": 1.0})
    assert history.epochs == 2 and dict(carried(history)) == dict(history)


def test_backends() -> None:
    be = bp.get_backend("cpu")
    assert all(type(copied(be)) is type(be) and copied(be) is not be for copied in COPIES)
    cuda = CUDA(strict_cupy(), precision="tf32", products=StrictProducts)
    assert copy.deepcopy(cuda).precision == "tf32"
    if reason := why_not():  # on a copy's machine, which may have CuPy and no GPU
        with pytest.raises(bp.DeviceError, match=re.escape(reason)):
            carried(cuda)
    else:
        assert carried(cuda).precision == "tf32"


def test_what_belongs_to_one_process_says_so() -> None:
    trainer = bp.Trainer(network(), bp.SoftmaxCrossEntropy(), bp.Adam())
    trainer.step(X, np.arange(20) % 3)
    step = trainer.last_step
    assert step is not None
    for thing in (step, step.passes[0], step.ws, trainer.record, trainer.update, trainer.step_cache):
        for copied in COPIES:
            with pytest.raises(TypeError, match=rf"a gpubp {type(thing).__name__} works on .* net\.save\(path\)"):
                copied(thing)


# -- processes ---------------------------------------------------------------------------------------------------------

MINE = """
import gpubp as bp

class Twice(bp.Activation):
    def f(self, x):
        return x + x
    def df(self, x, y, dy):
        return dy + dy
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_pools_get_a_network_with_layers_of_the_users_own(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    (tmp_path / f"my_layers_{method}.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    __import__(f"my_layers_{method}")
    layers = bp.Sequential(bp.Dense(6), sys.modules[f"my_layers_{method}"].Twice(), bp.Dense(3))
    net = bp.Network(layers, 4, device="cpu")
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(net.predict, np.split(X, 4)).get(120)
    assert np.array_equal(np.concatenate(found), net.predict(X))


def test_futures_and_joblib() -> None:
    net = network()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(net.predict, X).result(120), net.predict(X))
    joblib = pytest.importorskip("joblib")
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(net.predict)(part) for part in np.split(X, 2))
    assert np.array_equal(np.concatenate(found), net.predict(X))


def test_joblib_files(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    net = network()
    joblib.dump(net, tmp_path / "net.joblib", compress=3)
    assert np.array_equal(joblib.load(tmp_path / "net.joblib").predict(X), net.predict(X))


def test_classes_are_where_pickles_of_before_look_for_them() -> None:
    """Their files have been divided since."""
    before = {
        "layers.activations": "Sigmoid Tanh ReLU LeakyReLU ELU Softplus SiLU GELU",
        "layers.pooling": "MaxPool2D AvgPool2D GlobalAvgPool2D",
        "layers.normalization": "BatchNorm LayerNorm",
        "losses.classification": "BinaryCrossEntropy SoftmaxCrossEntropy",
        "losses.regression": "MeanSquaredError HalfMeanSquaredError MeanAbsoluteError Huber Poisson",
        "optimizers": "SGD RMSprop Adagrad Adam AdamW",
        "schedules": "ConstantRate StepDecay ExponentialDecay InverseTimeDecay CosineDecay Warmup OneCycle",
    }
    for module, names in before.items():
        for name in names.split():
            assert pickle.loads(f"cgpubp.{module}\n{name}\n.".encode()) is getattr(bp, name)

"""What all backends share: one interface, one spelling of devices, and functions that NumPy and CuPy spell alike."""

import importlib.util
import inspect
import logging
import re
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, METRICS, OPTIMIZERS
from gpubp.backends import CPU, Backend, get_backend, select
from gpubp.backends.arrays import may_share
from gpubp.backends.cuda import driver
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.driver import find_cupy, unusable
from gpubp.errors import DeviceError
from strict import StrictArray, StrictCupy, strict_cupy
from strict_streams import Event, Graph, Stream

PACKAGE = Path(bp.__file__).parent


# -- one interface ----------------------------------------------------------------------------------------------------


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize("cls", [CPU, CUDA])
def test_every_backend_has_the_same_methods_with_the_same_arguments(cls):
    assert public(cls) - {"name", "warmup", "block", "piece", "outputs", "join"} == public(Backend)
    for name in public(Backend):
        if not callable(getattr(Backend, name)):
            assert type(getattr(cls, name)) is type(getattr(Backend, name))
            continue
        wanted, got = (
            [(p.name, p.kind, p.default) for p in inspect.signature(getattr(c, name)).parameters.values()]
            for c in (Backend, cls)
        )
        assert got == wanted, f"{cls.__name__}.{name}"
        assert inspect.getdoc(getattr(cls, name)), f"{cls.__name__}.{name} has no docstring"


def test_every_backend_of_the_package_is_tested_here():
    ours = {c for c in Backend.__subclasses__() if c.__module__.startswith("gpubp.")}
    assert ours == {CPU, CUDA}


@pytest.mark.parametrize("make", [CPU, lambda: CUDA(strict_cupy())], ids=["cpu", "cuda"])
def test_another_is_a_stream_of_its_own_on_the_same_device(make):
    be = make()
    other = be.another()
    assert type(other) is type(be) and other.name == be.name and other is not be
    assert get_backend(be).name == be.name and get_backend(be) is not be
    a = be.zeros((3,), "float32")
    assert be.owns(a) and other.owns(a) and be.to_host(a).tolist() == [0.0] * 3
    be.synchronize()
    free, total = be.memory()
    assert 0 < free <= total


def test_overlap_is_found_by_the_bytes_that_arrays_span():
    cupy = strict_cupy()
    whole = cupy.zeros((4, 6), "float32")
    left, right, row = whole[:, :3], whole[:, 3:], whole[2]
    assert may_share(whole, row) and may_share(left, row) and may_share(row, row)
    assert may_share(left, right), "their bytes interleave"
    assert not may_share(whole[0], row) and not may_share(whole, cupy.zeros((4, 6)))
    assert not may_share(whole, np.float32(1.0)) and not may_share(cupy.zeros((0,)), whole)
    a = np.zeros((4, 6))
    assert may_share(a, a[1]) and not may_share(a[0], a[1])


# -- from a name to a backend -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:0", "", None, 0])
def test_a_device_of_another_name_is_refused(name):
    with pytest.raises(DeviceError, match=re.escape(f'there is no device {name!r}; use "cpu", "cuda", "cuda:N"')):
        get_backend(name)


def broken(message):
    cupy = strict_cupy()

    def fail(*args, **kwargs):
        raise RuntimeError(f"{message}\nand more")

    cupy.zeros = fail
    return cupy


def without_libraries():
    cupy = strict_cupy()

    def fail():
        raise ImportError("libcudart.so.12: cannot open shared object file")

    cupy.cuda.runtime.runtimeGetVersion = fail
    return cupy


REASONS = {
    "no driver": (lambda: strict_cupy(driver=0), "no NVIDIA driver .* nvidia-smi"),
    "old driver": (
        lambda: strict_cupy(driver=11040),
        r"driver knows CUDA up to 11\.4, and this CuPy is for CUDA 12.* pip",
    ),
    "no device": (lambda: strict_cupy(devices=0), "shows no GPU: check with nvidia-smi, .* CUDA_VISIBLE_DEVICES"),
    "no libraries": (without_libraries, "don't load .*libcudart.* pip install 'gpubp"),
    "no compiler": (
        lambda: broken("libnvrtc.so.12 is missing"),
        r"first sum .*libnvrtc.so.12 is missing\): pip install",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_gpu_that_cant_be_used_is_named_with_what_mends_it(name, monkeypatch):
    make, reason = REASONS[name]
    cupy = make()
    assert re.search(reason, unusable(cupy))
    monkeypatch.setattr(driver, "why_not", lambda: unusable(cupy))
    for device in ("cuda", "cuda:1"):
        with pytest.raises(DeviceError, match=f'^device "cuda" can\'t be used: .*{reason}.*device="cpu" works'):
            get_backend(device)


def test_without_cupy_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"CuPy is not installed: pip install 'gpubp\[cuda12\]'.*\[cuda13\]"):
        bp.Network(bp.Dense(1), 2, device="cuda")


def test_a_usable_gpu_gives_no_reason(monkeypatch):
    cupy = strict_cupy(devices=2)
    assert unusable(cupy) == ""
    monkeypatch.setattr(driver, "why_not", lambda: "")
    monkeypatch.setattr(driver, "find_cupy", lambda: cupy)
    select._say_once.cache_clear()
    assert [get_backend(d).name for d in ("cuda", "cuda:0", "cuda:1", "auto")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]
    with pytest.raises(DeviceError, match='no device "cuda:7"; this machine has "cuda:0", "cuda:1"'):
        get_backend("cuda:7")


@pytest.mark.parametrize(("cupy_installed", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_auto_falls_back_to_the_cpu_and_says_so_once(cupy_installed, level, monkeypatch, caplog):
    monkeypatch.setattr(driver, "why_not", lambda: "there is no NVIDIA driver on this machine")
    monkeypatch.setattr(select.importlib.util, "find_spec", lambda name: object() if cupy_installed else None)
    select._say_once.cache_clear()
    with caplog.at_level(logging.INFO, "gpubp"):
        assert get_backend("auto").name == get_backend("auto").name == "cpu"
    select._say_once.cache_clear()
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (level, "device: cpu (there is no NVIDIA driver on this machine)")
    ]


def test_with_the_real_cupy_and_no_driver_everything_but_cuda_works():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        assert get_backend("cuda").name == "cuda:0"
        return
    with pytest.raises(DeviceError, match='device "cuda" can\'t be used: .*driver|GPU'):
        find_cupy()
    net = bp.Network(bp.Dense(1), 2, device="auto")
    assert net.device == "cpu" and type(net.predict(np.zeros((1, 2)))) is np.ndarray


# -- NumPy and CuPy spell it alike ------------------------------------------------------------------------------------


class Watch:
    """An array module that notes how its functions are called."""

    def __init__(self, xp, seen):
        self._xp, self._seen = xp, seen

    def __getattr__(self, name):
        found = getattr(self._xp, name)
        if not callable(found) or isinstance(found, type):
            self._seen.add((name, None, ()))
            return found

        def call(*args, **kwargs):
            self._seen.add((name, len(args), tuple(sorted(kwargs))))
            return found(*args, **kwargs)

        return call


class Watched(CPU):
    """The CPU, noting every call that layers, losses, metrics, optimizers and step make of NumPy."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen
        self.xp = Watch(self.xp, seen)

    def run(self, function, *args, **kwargs):
        if isinstance(function, np.ufunc):  # a formula's
            self.seen.add((function.__name__, len(args), tuple(sorted(kwargs))))
        return super().run(function, *args, **kwargs)

    def another(self):
        return Watched(self.seen)


@pytest.fixture(scope="module")
def calls():
    """(function, how many positional arguments, names of the others) of all that the cases call."""
    seen, rng = set(), np.random.default_rng(0)

    def train(layers, loss, optimizer, X, y, **options):
        net = bp.Network(layers, X.shape[1:], device=Watched(seen))
        trainer = bp.Trainer(net, loss, optimizer, batch_size=4, **options)
        trainer.fit(X, y, epochs=2)
        trainer.evaluate(X, y)
        net.predict(X)

    mse, sgd = bp.MeanSquaredError(), bp.SGD(momentum=0.5)
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 3))
    for case in LAYERS:
        train(case.network_layers(), mse, sgd, case.x(rng, rows=10), y)
    for case in LOSSES:
        shape = (9, *case.shape[1:])
        metrics = [m for m in METRICS if case.loss.predicts in m.kinds]
        X_case, y_case = rng.normal(size=(*shape[:-1], 4)), case.targets(rng, shape)
        train(case.layers(), case.loss, sgd, X_case, y_case, metrics=metrics)
    for case in OPTIMIZERS:
        train(bp.Dense(3), mse, case.optimizer, X, y, clip_norm=1.0, clip_value=1.0, l1=0.1, l2=0.1)
    return seen


def names_in_the_source():
    """Every xp.name that stands in the code, called by a case or not."""
    return {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"\bxp\.([a-z_0-9]+)", re.sub(r'"""[\s\S]*?"""', "", path.read_text(encoding="utf-8")))
        if name not in ("name", "out")
    }


def test_the_cases_call_what_a_network_needs(calls):
    assert {"add", "multiply", "exp", "sum", "max", "argmax", "copyto", "sqrt"} <= {name for name, *_ in calls}


def test_the_real_cupy_has_every_function_with_the_arguments_used(calls):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    missing = []
    for name, count, keywords in sorted(calls, key=str):
        function = getattr(cupy, name, None)
        if function is None:
            missing.append(f"cupy.{name}")
        elif isinstance(function, cupy.ufunc):
            if not (function.nin <= count <= function.nargs and set(keywords) <= {"out", "casting", "dtype"}):
                missing.append(f"cupy.{name} with {count} arguments and {keywords}")
        elif count is not None:
            try:
                inspect.signature(function).bind(*[None] * count, **dict.fromkeys(keywords))
            except TypeError as problem:
                missing.append(f"cupy.{name} with {count} arguments and {keywords}: {problem}")
    own = {"cuda", "ndarray", "get_default_memory_pool"}
    missing += [f"cupy.{name}" for name in names_in_the_source() - own if not hasattr(cupy, name)]
    assert not missing


def parameters(function):
    """Names of a function's parameters, also of a compiled one that shows them in its docstring alone."""
    try:
        return set(inspect.signature(function).parameters)
    except ValueError:
        first = (function.__doc__ or "").split("\n")[0]
        return set(re.findall(r"(\w+)(?==|,|\))", first.split("(", 1)[1]))


def test_the_stand_in_has_nothing_that_the_real_cupy_lacks():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    stand_in = strict_cupy()
    pairs = [
        (stand_in.cuda.runtime, cupy.cuda.runtime, set(vars(stand_in.cuda.runtime))),
        (stand_in.cuda, cupy.cuda, set(vars(stand_in.cuda))),
        (StrictCupy, cupy, public(StrictCupy)),
        (StrictArray, cupy.ndarray, public(StrictArray)),
        (Stream, cupy.cuda.Stream, public(Stream)),
        (Event, cupy.cuda.Event, public(Event)),
        (Graph, cupy.cuda.graph.Graph, public(Graph)),
    ]
    for ours, theirs, names in pairs:
        lacking = {name for name in names if not hasattr(theirs, name)}
        assert not lacking, f"{theirs} lacks {lacking}"
        for name in names:
            method = getattr(ours, name)
            if inspect.isfunction(method) and "<lambda>" not in method.__qualname__:
                try:
                    real = parameters(getattr(theirs, name))
                except IndexError:
                    continue  # shown nowhere
                if real & {"args", "shape", "axes"}:  # any positional arguments
                    real |= {"a", "b", "shape", "axes"}
                extra = parameters(method) - real - {"self"}
                assert not extra, f"{theirs}.{name} has no {extra}, it has {real}"

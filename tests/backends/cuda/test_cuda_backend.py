"""The CUDA backend itself, on the strict stand-in for CuPy: what a machine without a GPU can prove of it."""

import gc
import importlib.util
import re
import threading
import warnings
from functools import partial

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS
from gpubp.backends.cuda import launches
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable
from gpubp.backends.cuda.graphs import CapturedStep
from gpubp.backends.cuda.staging import SMALLEST
from gpubp.errors import DeviceError
from strict import StrictArray, StrictProducts, strict_cupy


def device(cupy=None, products=StrictProducts):
    return CUDA(cupy or strict_cupy(), products=products)


class NoEpilogues(StrictProducts):
    """A library that multiplies and does nothing else in the same kernel."""

    epilogues = ()


@pytest.fixture
def cupy():
    return strict_cupy()


@pytest.fixture(autouse=True)
def first_warning():
    launches._warned.clear()


# -- training: the same numbers ---------------------------------------------------------------------------------------


def train(backend, layers, loss, optimizer, X, y, dtype="float32", epochs=4, weights=None, fit=None, **options):
    """A fit with ragged last batches and row weights, and all that came of it."""
    net = bp.Network(layers, X.shape[1:], device=backend, dtype=dtype, seed=3)
    trainer = bp.Trainer(net, loss, optimizer, batch_size=4, seed=5, **options)
    history = trainer.fit(X, y, epochs=epochs, sample_weight=weights, **(fit or {}))
    return net, trainer, dict(history)


def outcome(net, trainer, history, X):
    return {
        "parameters": net.backend.to_host(net.flat),
        "history": np.array([history[name] for name in sorted(history)]),
        "moments": np.array([net.backend.to_host(m.flat) for m in trainer.update.moments.values()]),
        "predictions": net.predict(X),
    }


TOLERANCES = {"float32": dict(rtol=2e-4, atol=2e-5), "float64": dict(rtol=1e-7, atol=1e-9)}  # after 12 steps


def assert_close(got, want, dtype="float32"):
    assert got.keys() == want.keys()
    for name in got:
        np.testing.assert_allclose(got[name], want[name], err_msg=name, **TOLERANCES[dtype])


def assert_alike(layers, loss, optimizer, X, y, **options):
    """The numbers of the CPU, whose sums are in another order; in float64, with or without epilogues."""
    for dtype, products in (("float32", StrictProducts), ("float64", StrictProducts), ("float64", NoEpilogues)):
        got = outcome(*train(device(products=products), layers, loss, optimizer, X, y, dtype=dtype, **options), X)
        assert_close(got, outcome(*train("cpu", layers, loss, optimizer, X, y, dtype=dtype, **options), X), dtype)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_trains_as_on_the_cpu(case, rng):
    X, y = case.x(rng, rows=10), rng.normal(size=(10, 3))
    assert_alike(case.network_layers(), bp.MeanSquaredError(), bp.SGD(0.05), X, y)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss_trains_as_on_the_cpu(case, rng):
    shape = (10, *case.shape[1:])
    X, y = rng.normal(size=(*shape[:-1], 4)), case.targets(rng, shape)
    weights = rng.uniform(0.1, 2.0, 10)
    assert_alike(bp.Dense(shape[-1]), case.loss, bp.SGD(0.05), X, y, weights=weights)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer_trains_as_on_the_cpu(case, rng):
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    assert_alike(layers, bp.MeanSquaredError(), case.optimizer, rng.normal(size=(10, 4)), rng.normal(size=(10, 2)))


@pytest.mark.parametrize(
    "options",
    [
        dict(clip_norm=0.3),
        dict(clip_value=0.05),
        dict(l1=0.01),
        dict(l2=0.1),
        dict(l1=0.01, l2=0.1, penalty_per_weight=True),
        dict(l1=0.01, l2=0.1, clip_norm=0.5, clip_value=0.1),
        dict(metrics=("accuracy",)),
        dict(metrics=("accuracy",), fit=dict(class_weight="balanced", validation_fraction=0.3)),
        dict(fit=dict(shuffle=False)),
    ],
    ids=repr,
)
def test_every_option_trains_as_on_the_cpu(options, rng):
    layers = bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(3))
    X, y = rng.normal(size=(11, 4)), rng.integers(0, 3, 11)
    assert_alike(layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), X, y, **options)


def test_validation_and_early_stopping_are_those_of_the_cpu(rng):
    X, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    Xv, yv = rng.normal(size=(700, 4)), rng.integers(0, 3, 700)  # evaluated in tiles, the last of them captured
    results = []
    for backend in (device(), "cpu"):
        stop = bp.EarlyStopping(patience=2, restore_best=True)
        fit = dict(validation_data=(Xv, yv), callbacks=[stop, bp.ReduceOnPlateau(patience=1)])
        layers = bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(3))
        net, trainer, history = train(
            backend, layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), X, y, epochs=12, fit=fit, metrics=("accuracy",)
        )
        results.append((net.predict(X), history, stop.best_epoch, trainer.evaluate(X, y), trainer.loss))
    (one, history, best, evaluated, loss), (other, *rest) = results
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert best == rest[1] and len(history["loss"]) == len(rest[0]["loss"]) and 1 < len(history["loss"]) < 12
    for name in history:
        np.testing.assert_allclose(history[name], rest[0][name], rtol=1e-3, err_msg=name)
    assert evaluated == pytest.approx(rest[2], rel=1e-3) and loss == pytest.approx(rest[3], rel=1e-3)


def test_gradients_are_those_of_the_cpu(rng):
    X, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    got, want = (
        bp.Network(layers, 4, device=backend, seed=1).loss_and_gradients(bp.Huber(), X, y)
        for backend in (device(), "cpu")
    )
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    for name, gradient in want[1].items():
        assert type(got[1][name]) is np.ndarray
        np.testing.assert_allclose(got[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_a_saved_network_goes_from_device_to_device(tmp_path, rng):
    X, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    net, _, _ = train(device(), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y)
    net.save(tmp_path / "a")
    on_cpu, back = bp.load(tmp_path / "a", device="cpu"), bp.load(tmp_path / "a", device=device())
    assert on_cpu.device == "cpu" and back.device == "cuda:0"
    np.testing.assert_array_equal(back.predict(X), net.predict(X))
    np.testing.assert_allclose(on_cpu.predict(X), net.predict(X), rtol=1e-6, atol=1e-7)


def test_gradcheck_runs_on_the_device():
    assert bp.gradcheck(bp.Sequential(bp.Dense(3), bp.GELU()), (4, 5), device=device())


# -- precision --------------------------------------------------------------------------------------------------------


def test_casts_to_bfloat16_are_to_the_nearest(cupy, rng):
    """Against the textbook: the two neighbours of a number, and the even one of them where it lies in the middle."""
    be = device(cupy)
    a = np.concatenate([rng.normal(size=1000), [0, -0.0, 1.00390625, 1.01171875, np.inf, -np.inf, np.nan, 3e38]])
    a = a.astype("float32")
    with be.active():
        bits = be.zeros(a.shape, np.uint16)
        be._launches.halve(be.to_device(a), out=bits)
    got = (be.to_host(bits).astype(np.uint32) << 16).view(np.float32)
    low = (a.view(np.uint32) & 0xFFFF0000).view(np.float32)
    high = ((a.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    with np.errstate(all="ignore"):
        middle = np.abs(a - low) == np.abs(high - a)
        even = np.where((low.view(np.uint32) >> 16) % 2 == 0, low, high)
        nearest = np.where(middle, even, np.where(np.abs(a - low) < np.abs(high - a), low, high))
    plain = np.isfinite(a)
    np.testing.assert_array_equal(got[plain], nearest[plain])
    np.testing.assert_array_equal(got[~plain], a[~plain])


@pytest.mark.parametrize("products", [StrictProducts, NoEpilogues], ids=["epilogues", "plain"])
@pytest.mark.parametrize(("precision", "near"), [("tf32", 3e-3), ("bfloat16", 3e-2)])
def test_products_of_less_precision(precision, near, products, cupy, rng):
    X, y = rng.normal(size=(40, 20)), rng.integers(0, 3, 40)
    layers = bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(8, use_bias=False), bp.BatchNorm(), bp.Tanh(), bp.Dense(3))
    results = []
    for backend in (CUDA(cupy, 0, precision, products=products), "cpu"):
        net = bp.Network(layers, 20, device=backend, seed=1)
        loss, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.05), batch_size=8)
        results.append((loss, gradients, trainer.fit(X, y, epochs=3)["loss"], net.predict(X)))
    (loss, gradients, losses, predicted), (loss_, gradients_, losses_, predicted_) = results
    assert loss == pytest.approx(loss_, rel=near) and loss != loss_
    for name, gradient in gradients.items():
        assert gradient.dtype == "float32"
        assert np.abs(gradient - gradients_[name]).max() <= near * np.abs(gradients_[name]).max(), name
    np.testing.assert_allclose(losses, losses_, rtol=near)
    assert np.abs(predicted - predicted_).max() <= 3 * near * np.abs(predicted_).max()


def test_a_matrix_is_cast_once_a_step(cupy, rng):
    net = bp.Network(bp.mlp(10, (32, 16)), 20, device=CUDA(cupy, 0, "bfloat16", products=StrictProducts))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8)
    for _ in range(3):
        trainer.step(rng.normal(size=(8, 20)), rng.integers(0, 10, 8))
    assert np.isfinite(trainer.loss) and cupy.graphs[0].names.count("drelu_bgrad") == 2
    casts = cupy.graphs[0].names.count("to_bfloat16")
    assert casts == 3 + 3 + 3, "three inputs, three weights, three gradients of outputs; each is read two times"


def test_precision_that_is_none():
    with pytest.raises(DeviceError, match="no precision 'half'; there are float32, tf32, bfloat16"):
        bp.Network(bp.Dense(1), 1, device="cpu", precision="half")
    with pytest.raises(DeviceError, match='precision "tf32" is for GPUs'):
        bp.Network(bp.Dense(1), 1, device="cpu", precision="tf32")


def test_another_stream_has_the_same_precision(cupy):
    assert CUDA(cupy, 0, "tf32").another().precision == "tf32"


def test_autotune_goes_from_the_network_to_the_library_of_products(cupy):
    made = []

    def products(cupy, **options):
        made.append(options)
        return StrictProducts(cupy)

    for on in (False, True):
        backend = CUDA(cupy, products=products)
        net = bp.Network(bp.Dense(2), 3, device=backend, autotune=on)
        net.predict(np.zeros((4, 3)))
        assert net.backend.autotune is net.backend.another().autotune is on
        assert bp.Network(bp.Dense(2), 3, device=net.backend).backend.autotune is on
        assert net.backend.arithmetic().get("autotune") == ("on" if on else None)
    assert made == [{}, {"autotune": True}]
    with pytest.raises(DeviceError, match="autotune is for GPUs"):
        bp.Network(bp.Dense(2), 3, device="cpu", autotune=True)


# -- what a recorded step costs ---------------------------------------------------------------------------------------


def mlp_step(cupy, optimizer=None):
    net = bp.Network(
        bp.Sequential(bp.Dense(32), bp.ReLU(), bp.Dense(16), bp.ReLU(), bp.Dense(10)), 20, device=device(cupy)
    )
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), optimizer or bp.Adam(), batch_size=8, metrics=("accuracy",))


def test_a_recorded_step_is_one_launch_and_touches_nothing_else(cupy, rng):
    trainer = mlp_step(cupy)
    X, y = rng.normal(size=(64, 20)).astype("float32"), rng.integers(0, 10, 64)
    trainer.fit(X, y, epochs=1)
    kernels = len(cupy.graphs[0].names)
    before = cupy.counts.copy()
    trainer.fit(X, y, epochs=3)
    counts = cupy.counts - before
    assert (counts.graph_launches, counts.graph_kernels) == (24, 24 * kernels)
    assert (counts.launches, counts.allocations, counts.operators, counts.null_stream) == (0, 0, 0, 0)
    assert counts.host_reads == 3, "loss and metrics are read once an epoch"
    assert counts.host_copies == 2 + 3 * 2 + 3, "the data; row numbers and steps' numbers, new totals every epoch"
    assert kernels == 1 + 11 + 3, "1 takes the batch, 3 are the accuracy's; docs/architecture.md tells of the others"


def test_the_kernels_of_a_step(cupy, rng):
    """A three-layer perceptron with Adam: one product a layer and direction, one kernel each for loss and update."""
    net = bp.Network(bp.mlp(10, (32, 16)), 20, device=device(cupy))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8)
    for _ in range(3):
        trainer.step(rng.normal(size=(8, 20)), rng.integers(0, 10, 8))
    assert cupy.graphs[0].names == [
        "relu_aux_bias", "relu_aux_bias", "bias", "SoftmaxCrossEntropy_l_and_dz_kernel", "dot",
        "bgrada", "drelu_bgrad", "gemm", "drelu_bgrad", "gemm", "AdamRule_rule_kernel",
    ]  # fmt: skip


def test_steps_before_the_record_need_no_default_stream_and_no_operators(cupy, rng):
    trainer = mlp_step(cupy)
    before = cupy.counts.copy()
    for _ in range(4):
        trainer.step(rng.normal(size=(8, 20)), rng.integers(0, 10, 8))
    counts = cupy.counts - before
    assert (counts.null_stream, counts.operators, counts.host_reads) == (0, 0, 0)
    assert counts.graph_launches == 2  # the third step and the fourth


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_is_captured(case, rng, cupy):
    X, y = case.x(rng, rows=12), rng.normal(size=(12, 3))
    train(device(cupy), case.network_layers(), bp.MeanSquaredError(), bp.SGD(0.05), X, y)
    assert cupy.counts.graph_launches == 4 * 3 - 2 and cupy.counts.operators == 0


# -- capture ----------------------------------------------------------------------------------------------------------


def counter(be):
    """A step that adds 1, and how often it has run."""
    a = be.zeros((1,), "float32")

    def step():
        be.xp.add(a, 1.0, out=a)

    return step, lambda: be.to_host(a).item()


def test_capture_runs_the_step_once(cupy):
    be = device(cupy)
    step, done = counter(be)
    with be.active():
        step()
        replay = be.capture(step)
        assert isinstance(replay, CapturedStep) and done() == 2
        replay()
        replay()
    assert done() == 4 and "add" in str(replay)


def test_a_step_that_cant_be_captured_runs_on_and_one_warning_says_why(cupy):
    be = device(cupy)
    step, done = counter(be)
    step()

    def reads():
        step()
        done()

    with pytest.warns(RuntimeWarning, match="cuda:0 run call by call .* RuntimeError: .* D2H") as caught, be.active():
        replay = be.capture(reads)
        assert done() == 2
        replay()
        again = be.capture(reads)
        again()
    assert done() == 5 and len(caught) == 1


def test_an_error_in_a_step_is_raised_and_leaves_the_stream_in_order(cupy):
    be = device(cupy)
    step, done = counter(be)

    def wrong():
        step()
        raise ValueError("a formula of mine")

    step()
    with pytest.warns(RuntimeWarning, match="a formula of mine"), pytest.raises(ValueError, match="of mine"):
        be.capture(wrong)
    assert not be._stream.is_capturing() and done() == 2


def test_ctrl_c_ends_a_capture(cupy):
    be = device(cupy)
    step, done = counter(be)

    def interrupted():
        step()
        raise KeyboardInterrupt

    step()
    with pytest.raises(KeyboardInterrupt):
        be.capture(interrupted)
    assert not be._stream.is_capturing() and done() == 1, "what was noted has not run"
    with be.active():
        assert isinstance(be.capture(step), CapturedStep)


class Careless(bp.Activation):
    """A user's layer that reads a number on the host."""

    def f(self, x):
        return 2.0 * x

    def df(self, x, y, dy):
        return 2.0 * dy

    def forward(self, ws, x):
        y = super().forward(ws, x)
        if float(ws.be.to_host(y).max()) > 1e9:
            raise ValueError("too large")
        return y


def test_a_careless_layer_trains_call_by_call(rng):
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    layers = bp.Sequential(bp.Dense(5), Careless(), bp.Dense(2))
    with pytest.warns(RuntimeWarning, match="D2H") as caught:
        got = outcome(*train(device(), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y), X)
    assert_close(got, outcome(*train("cpu", layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y), X))
    assert len(caught) == 1


class Mixing(Careless):
    """A user's layer that brings a NumPy array to the device."""

    def forward(self, ws, x):
        return ws.xp.multiply(x, np.full(x.shape[-1], 2.0), out=ws.y)


def test_host_and_device_dont_mix(rng):
    layers = bp.Sequential(bp.Dense(5), Mixing())
    net = bp.Network(layers, 4, device=device())
    with pytest.raises(TypeError, match="NumPy array"):
        net.predict(rng.normal(size=(3, 4)))


def no_products(cupy):
    raise CublasLtUnavailable("there is no libcublasLt for CUDA 12")


class Choosy(StrictProducts):
    """Has no kernel for one kind of product."""

    def gemm(self, a, b, out, *, stream, **finish):
        if a.strides[0] < a.strides[1]:
            raise CublasLtUnavailable("cublasLt has no kernel for this product")
        return super().gemm(a, b, out, stream=stream, **finish)


@pytest.mark.parametrize(
    ("products", "cause"),
    [(no_products, "no libcublasLt"), (Choosy, "no kernel for this")],
    ids=["no library", "no kernel"],
)
def test_without_cublaslt_training_goes_on_and_one_warning_says_why(products, cause, cupy, rng):
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    options = dict(dtype="float64")
    with pytest.warns(RuntimeWarning, match=f"CuPy's own, which can't be captured, because .*{cause}") as caught:
        net, trainer, history = train(
            device(cupy, products), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, **options
        )
        assert not cupy.graphs
        predicted = net.predict(X)
    want = outcome(*train("cpu", layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, **options), X)
    np.testing.assert_allclose(net.backend.to_host(net.flat), want["parameters"], rtol=1e-12)
    np.testing.assert_allclose(predicted, want["predictions"], rtol=1e-12)
    assert len(caught) == 1


def test_a_graph_keeps_the_scratch_memory_it_writes_to(cupy):
    """A later, larger formula gets larger scratch memory; the graph's must then not be given to anybody else."""
    be = device(cupy)
    small, large = be.zeros((4,), "float32"), be.zeros((4096,), "float32")

    def f(x):
        return (x * 2.0 + 1.0) * (x * 3.0 + 1.0) + (x + 1.0) * (x - 1.0)

    step = lambda: be.apply(f, small, out=small)  # noqa: E731
    with be.active():
        step()
        be.synchronize()
        replay = be.capture(step)
        be.apply(f, large, out=large)
        be.synchronize()
        gc.collect()
        replay()
    expected = np.zeros(4, "float32")
    for _ in range(3):
        expected = f(expected)
    np.testing.assert_array_equal(be.to_host(small), expected)


# -- streams and staging ----------------------------------------------------------------------------------------------


def test_work_waits_for_the_user_and_the_user_for_it(cupy, rng):
    """Nobody synchronizes by hand; the stand-in does work as late as can be."""
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    host = bp.Network(layers, 4, device="cpu")
    x = rng.normal(size=(300, 4)).astype("float32")
    users = cupy.cuda.Stream(non_blocking=True)
    with users:
        net = bp.Network(layers, 4, device=device(cupy))
        X = cupy.multiply(cupy.asarray(x), 3.0)
        net.parameters["0.W"][...] = cupy.multiply(net.parameters["0.W"], 2.0)
        out = net.predict(X)
        assert isinstance(out, StrictArray)
        out = cupy.multiply(out, 2.0)
    host.parameters["0.W"][...] *= 2.0
    want = host.predict(x * np.float32(3.0)) * np.float32(2.0)
    np.testing.assert_allclose(out.get(stream=users), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_data_on_the_device_trains_as_data_on_the_host(cupy, rng, dtype):
    X, y = (rng.normal(size=(300, 4)) * 3).astype(dtype), rng.integers(0, 3, 300)
    results = []
    for data in (X, cupy.asarray(X)):
        layers, fit = bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(3)), dict(validation_fraction=0.2)
        net, _, history = train(
            device(cupy),
            layers,
            bp.SoftmaxCrossEntropy(),
            bp.Adam(),
            data,
            y,
            epochs=2,
            fit=fit,
            weights=np.arange(1, 301),
        )
        results.append((net.predict(X), history))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("size", [7, SMALLEST // 16, SMALLEST // 2, SMALLEST])
def test_staged_batches_arrive_whole_however_far_the_host_is_ahead(cupy, rng, size):
    be = device(cupy)
    sources = [rng.normal(size=(2, size)) for _ in range(5)]
    x, y = be.zeros((2, size), "float32"), be.zeros((5, 2, size), "float32")
    with be.active():
        for i, source in enumerate(sources):
            be.stage(x, source, np.array([1, 0]))
            be.put(y[i, :1], -1.0)
            be.xp.add(x, 1.0, out=y[i])
            source[...] = np.nan  # the caller may do with it what he likes
            sources[i] = None
    assert np.isfinite(be.to_host(y)).all()


def test_staged_batches_are_right(cupy, rng):
    be = device(cupy)
    batches = rng.normal(size=(50, 40, 700)).astype("float32")  # 112 KB each: halves are filled many times
    out, sums = be.zeros((40, 700), "float32"), be.zeros((50, 40), "float32")
    with be.active():
        for i, batch in enumerate(batches):
            be.stage(out, batch)
            be.xp.max(out, axis=1, out=sums[i])
    np.testing.assert_array_equal(be.to_host(sums), batches.max(axis=2))
    assert cupy.counts.waits < 20, "the host waits once a half, not once a batch"


def test_pinned_memory_grows_only_when_nothing_is_fetched_from_it(cupy):
    be = device(cupy)
    small, large = be.zeros((3,), "float32"), be.zeros((2, SMALLEST // 4), "float32")
    with be.active():
        be.put(small, 1.0)
        be.put(large, 2.0)
    assert be.to_host(small).tolist() == [1.0] * 3 and (be.to_host(large) == 2.0).all()


def test_values_are_put_whatever_their_shape_and_type(cupy):
    be = device(cupy)
    number, table = be.zeros((), "float32"), be.zeros((2, 3), "float64")
    with be.active():
        be.put(number, 2.5)
        be.put(table, [1, 2, 3])
    assert be.to_host(number) == 2.5 and be.to_host(table).tolist() == [[1.0, 2.0, 3.0]] * 2


def test_arrays_of_any_kind_come_to_the_device(cupy):
    be = device(cupy)
    a = be.to_device([[1, 2], [3, 4]], "float32")
    assert be.owns(a) and not be.owns(np.zeros(1)) and a.dtype == "float32"
    assert be.to_device(a) is a
    assert be.to_device(a.T).flags.c_contiguous and be.to_host(be.to_device(a.T)).tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert be.to_device(a, "float64").dtype == "float64"
    assert be.to_device(np.float64(3.0)).shape == ()
    assert be.to_host(be.to_device(np.arange(6).reshape(2, 3).T)).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_constants_keep_the_networks_type(cupy):
    be = device(cupy)
    half = be.constant(0.5, "float32")
    assert not isinstance(half, np.ndarray)
    assert cupy.multiply(be.zeros((2,), "float32"), half).dtype == "float32"
    assert be.constant(0.5, "float32") is half and be.constant(0.5, "float64").dtype == "float64"


def test_threads_predict_at_once_on_streams_of_their_own(cupy, rng):
    net = bp.Network(bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(3)), 8, device=device(cupy))
    inputs = [rng.normal(size=(n, 8)) for n in (1, 130, 300, 500)]
    want = [net.predict(X) for X in inputs]
    wrong = []

    def work(i):
        for _ in range(5):
            if not (net.predict(inputs[i]) == want[i]).all():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_second_gpu_is_used_alone(rng):
    cupy = strict_cupy(devices=2)
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    be = CUDA(cupy, 1, products=StrictProducts)
    net, trainer, _ = train(be, bp.Dense(2), bp.MeanSquaredError(), bp.Adam(), X, y)
    assert net.device == be.name == "cuda:1" and net.flat.device.id == 1
    assert all(m.flat.device.id == 1 for m in trainer.update.moments.values())
    assert net.predict(X).shape == (10, 2) and cupy.cuda.runtime.getDevice() == 0
    with pytest.raises(DeviceError, match='no device "cuda:2"; this machine has "cuda:0", "cuda:1"'):
        CUDA(cupy, 2)


def test_out_of_memory_says_which_batch_would_fit(cupy, rng):
    cupy.room = 1 << 20
    net = bp.Network(bp.mlp(2, (64, 64)), 4, device=device(cupy))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam())
    X, y = rng.normal(size=(2000, 4)), rng.integers(0, 2, 2000)
    with pytest.raises(bp.DeviceMemoryError, match="no room .* free. A step on 2000 rows needs 4.0 MB") as caught:
        trainer.step(X, y)
    fits = int(re.search(r"batch_size of about (\d+) fits", str(caught.value))[1])
    assert 200 < fits < 600
    trainer.step(X[:fits], y[:fits])
    assert trainer.step_count == 1 and np.isfinite(trainer.loss)


def test_out_of_memory_with_pieces_says_which_batch_would_fit(cupy, rng, monkeypatch):
    """A step on one row more than these is no larger, since the pieces of its convolutions are smaller."""
    layers = bp.Sequential(bp.Conv2D(8, 3, padding="same"), bp.Conv2D(8, 3, padding="same"), bp.GlobalAvgPool2D())
    monkeypatch.setattr(CUDA, "piece", 2**20)
    net = bp.Network(layers, (8, 8, 4), device=device(cupy))
    rows = next(n for n in range(300, 1000) if net.step_memory(n + 1) <= net.step_memory(n))
    cupy.room = net.step_memory(rows) // 2
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD())
    X, y = rng.normal(size=(rows, 8, 8, 4)), rng.integers(0, 8, rows)
    with pytest.raises(bp.DeviceMemoryError, match="batch_size of about") as caught:
        trainer.step(X, y)
    fits = int(re.search(r"batch_size of about (\d+) fits", str(caught.value))[1])
    assert rows / 4 < fits < rows
    trainer.step(X[:fits], y[:fits])
    assert np.isfinite(trainer.loss)


def test_memory_counts_what_the_pool_holds_free(cupy):
    free, total = device(cupy).memory()
    assert 0 < free <= total


# -- cublasLt itself --------------------------------------------------------------------------------------------------


@pytest.fixture
def model(request):
    """The module with the model of the library, which lies among the tests of kernels."""
    spec = importlib.util.spec_from_file_location("model", request.path.parent / "kernels" / "cublaslt_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("keeps_nan", [True, False])
def test_a_nan_before_a_relu_reaches_the_guard(cupy, rng, model, keeps_nan):
    """Whether cuBLAS's ReLU keeps it or not."""
    library = model.Queued(cupy, model.Model(kernels=[model.Kernel(keeps_nan=keeps_nan)]))
    products = partial(CublasLt, workspace_bytes=1 << 16, library=library)
    net = bp.Network(bp.Sequential(bp.Dense(4), bp.ReLU(), bp.Dense(2)), 3, device=device(cupy, products))
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), on_nonfinite="raise")
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    for _ in range(4):
        trainer.step(X, y)
    assert cupy.graphs[-1].names.count("cublasLtMatmul") == 5 and np.isfinite(trainer.loss)
    net.parameters["0.b"][1] = np.nan
    with pytest.raises(bp.NonFiniteError, match="step 5"):
        trainer.step(X, y)


def test_a_step_with_cublaslt_is_captured_whole(cupy, rng, model):
    products = partial(CublasLt, workspace_bytes=1 << 16, library=model.Queued(cupy, model.Model()))
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(4), bp.ReLU(), bp.Dense(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = train(device(cupy, products), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, dtype="float64")
        got = outcome(*got, X)
    want = outcome(*train("cpu", layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, dtype="float64"), X)
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-10, err_msg=name)
    assert cupy.graphs[0].names.count("cublasLtMatmul") == 8 and "sum_rows" not in cupy.graphs[0].names


# -- bad days ---------------------------------------------------------------------------------------------------------


class TestBadDays:
    """Checkpoints and numbers that go wrong, as on the CPU."""

    LAYERS = bp.Sequential(bp.Dense(6, use_bias=False), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))

    def trainer(self, backend, choice=None):
        net = bp.Network(self.LAYERS, 5, device=backend, seed=3)
        return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=4, seed=5, on_nonfinite=choice)

    def bits(self, trainer):
        host, net = trainer.backend.to_host, trainer.network
        arrays = (net.flat, net.states.flat, *(m.flat for m in trainer.update.moments.values()))
        return [host(a).tobytes() for a in arrays], trainer.step_count, dict(trainer.history)

    def test_from_every_step_it_ends_with_the_same_bits(self, rng, tmp_path):
        X, y = rng.normal(size=(10, 5)), rng.integers(0, 3, 10)
        fit = {"epochs": 3, "callbacks": [bp.EarlyStopping(patience=2), bp.Checkpoint(tmp_path, every_steps=1, keep=9)]}
        whole = self.trainer(device())
        whole.fit(X, y, **fit)
        for path in sorted(tmp_path.glob("step-*")):
            again = self.trainer(device())
            again.resume(path)
            again.fit(X, y, epochs=3, callbacks=[bp.EarlyStopping(patience=2)])
            assert self.bits(again) == self.bits(whole)

    @pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
    def test_good_numbers_are_left_alone(self, choice, rng):
        X, y = rng.normal(size=(10, 5)), rng.integers(0, 3, 10)
        watched, plain = self.trainer(device(), choice), self.trainer(device())
        for trainer in (watched, plain):
            trainer.fit(X, y, epochs=4)
        assert self.bits(watched) == self.bits(plain)

    def test_a_bad_step_changes_nothing_and_is_raised(self, rng):
        X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
        X[17] = 3e38
        trainer, plain = self.trainer(device(), "raise"), self.trainer(device())
        with pytest.raises(bp.NonFiniteError, match='step 5: the output of layer "0"') as raised:
            trainer.fit(X, y, shuffle=False)
        assert raised.value.step == 5 and trainer.step_count == 4
        plain.fit(X[:16], y[:16], shuffle=False)
        assert self.bits(trainer)[:2] == self.bits(plain)[:2]

    def test_a_bad_step_is_skipped(self, rng):
        """Within the graph, and no other step with it."""
        X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
        X[17] = 3e38
        skipped = self.trainer(device(), "skip")
        with pytest.warns(RuntimeWarning, match="1 step of epoch 1 had"):
            skipped.fit(X, y, shuffle=False)
        cpu = self.trainer("cpu", "skip")
        with pytest.warns(RuntimeWarning, match="1 step of epoch 1 had"):
            cpu.fit(X, y, shuffle=False)
        host = skipped.backend.to_host
        np.testing.assert_allclose(host(skipped.network.flat), cpu.network.flat, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(host(skipped.network.states.flat), cpu.network.states.flat, rtol=2e-4, atol=2e-5)
        assert skipped.history["loss"] == pytest.approx(cpu.history["loss"], rel=1e-4)

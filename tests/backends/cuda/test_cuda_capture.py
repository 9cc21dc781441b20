"""Steps that the CUDA backend captures, on the strict stand-in for CuPy: their kernels, and what cannot be captured."""

import gc
import warnings
from functools import partial

import numpy as np
import pytest
from cublaslt_model import Kernel, Model, Queued
from device_training import assert_close, device, outcome, train

import gpubp as bp
from cases import LAYERS
from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable
from gpubp.backends.cuda.graphs import CapturedStep
from strict import StrictProducts

# -- what a recorded step costs ----------------------------------------------------------------------------------------


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


# -- capture -----------------------------------------------------------------------------------------------------------


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


def test_ctrl_c_at_the_beginning_of_a_capture_ends_it(cupy, monkeypatch):
    """Python raises it when begin_capture has returned."""
    be = device(cupy)
    step, done = counter(be)
    begin = be._stream.begin_capture

    def interrupted():
        begin()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(be._stream, "begin_capture", interrupted)
        with pytest.raises(KeyboardInterrupt):
            be.capture(step)
    assert not be._stream.is_capturing() and done() == 0
    be.synchronize()
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


def test_a_layer_that_computes_by_operators_trains_call_by_call(rng):
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


class Fickle(StrictProducts):
    """Makes no product in a graph."""

    def gemm(self, a, b, out, *, stream, **finish):
        if stream.is_capturing():
            raise CublasLtUnavailable("cublasLtMatmul answered status (13)")
        return super().gemm(a, b, out, stream=stream, **finish)


@pytest.mark.parametrize(
    ("products", "cause"),
    [(no_products, "no libcublasLt"), (Choosy, "no kernel for this"), (Fickle, r"cublasLtMatmul answered .*\(13\)")],
    ids=["no library", "no kernel", "not in a graph"],
)
def test_without_cublaslt_training_goes_on_and_one_warning_says_why(products, cause, cupy, rng):
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    options = dict(dtype="float64")
    with pytest.warns(RuntimeWarning, match=f"CuPy's own, which can't be captured, because .*{cause}") as caught:
        net, trainer, history = train(
            device(cupy, products), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, **options
        )
        assert trainer.record.graph is None
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


# -- cublasLt itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_nan", [True, False])
def test_a_nan_before_a_relu_reaches_the_guard(cupy, rng, keeps_nan):
    """Whether cuBLAS's ReLU keeps it or not."""
    library = Queued(cupy, Model(kernels=[Kernel(keeps_nan=keeps_nan)]))
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


def assert_captured_whole(cupy, layers, X, y, **kernel):
    """With cublasLt's own wrapper, on the model of the library; the names of the kernels."""
    library = Queued(cupy, Model(kernels=[Kernel(**kernel)]))
    products = partial(CublasLt, workspace_bytes=1 << 16, library=library)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = train(device(cupy, products), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, dtype="float64")
        got = outcome(*got, X)
    want = outcome(*train("cpu", layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y, dtype="float64"), X)
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-10, err_msg=name)
    return cupy.graphs[0].names


def test_a_step_with_cublaslt_is_captured_whole(cupy, rng):
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(4), bp.ReLU(), bp.Dense(2))
    names = assert_captured_whole(cupy, layers, rng.normal(size=(10, 4)), rng.normal(size=(10, 2)))
    assert names.count("cublasLtMatmul") == 8 and "sum_rows" not in names


@pytest.mark.parametrize(
    "kernel, own",
    [
        ({}, {}),
        ({"masks_0": True}, {"rectify": 2}),
        ({"keeps_nan": False}, {"rectify": 2}),
        ({"keeps_nan": False, "bits": "big"}, {"ReLU_f_kernel": 2, "ReLU_df_kernel": 2}),
        ({"keeps_nan": False, "bits": "words"}, {"ReLU_f_kernel": 2, "ReLU_df_kernel": 2}),
    ],
    ids=str,
)
def test_a_relu_has_the_slope_0_at_0_on_a_gpu_too(cupy, rng, kernel, own):
    """Rows of zeros, and biases that are 0 at first, as in the first step on pictures with a black background."""
    X, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 2))
    X[3:7] = 0.0
    layers = bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(4), bp.ReLU(), bp.Dense(2))
    names = assert_captured_whole(cupy, layers, X, y, **kernel)
    found = {name: names.count(name) for name in ("rectify", "ReLU_f_kernel", "ReLU_df_kernel") if name in names}
    assert found == own and names.count("cublasLtMatmul") == 8


def test_attention_multiplies_all_rows_of_a_head_in_one_call(cupy, rng):
    """2 heads: 2 and 6 Dense products, and of the 6 stacks 2 calls each, for 4 rows."""
    layers = bp.Sequential(bp.MultiHeadAttention(2, causal=True), bp.Flatten(), bp.Dense(2))
    names = assert_captured_whole(cupy, layers, rng.normal(size=(10, 3, 4)), rng.normal(size=(10, 2)))
    assert names.count("cublasLtMatmul") == 3 + 5 + 6 * 2
    assert names.count("masked_softmax_kernel") == names.count("softmax_gradient_kernel") == 1

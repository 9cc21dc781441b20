"""The cublasLt wrapper on a GPU: every product and epilogue against NumPy in float64, and capture."""

import numpy as np
import pytest
from cublaslt_model import SHAPES, gelu, gelu_slope

from gpubp.backends.cuda.bfloat16 import Bfloat16
from gpubp.backends.cuda.cublaslt import CublasLt
from gpubp.backends.cuda.cublaslt_choice import RELUS
from gpubp.backends.cuda.cublaslt_layouts import EPILOGUES, CublasLtUnavailable, aux_shape
from gpubp.backends.cuda.kernels import Kernels
from gpubp.backends.cuda.own_masks import rectify_arguments, rectify_source
from gpubp.backends.cuda.stacks import at_equal_distances

pytestmark = pytest.mark.gpu


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture(scope="module")
def device_lt(gpu):
    return CublasLt(gpu)


@pytest.fixture
def stream(gpu):
    with gpu.cuda.Stream(non_blocking=True) as stream:
        yield stream
        stream.synchronize()


NEAR = {"float32": 1e-5, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}  # of the largest number
GELU = 2e-3  # its tanh may be a quick one
KINDS = {  # types of a and b, and of all else
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "float16": ("float16", "float16"),
    "bfloat16": ("bfloat16", "bfloat16"),
    "bfloat16 into float32": ("bfloat16", "float32"),  # as the backend asks for them
}


def device_numbers(gpu, rng, *shape, dtype="float32"):
    numbers = rng.standard_normal(shape)
    if dtype == "bfloat16":  # the upper half of a float32
        return Bfloat16(gpu.asarray((numbers.astype("float32").view("uint32") >> 16).astype("uint16")))
    return gpu.asarray(numbers.astype(dtype))


def blank(gpu, shape, dtype):
    """An array of NaN, or for a mask of 0."""
    if str(dtype) == "bfloat16":
        return Bfloat16(gpu.asarray(np.full(shape, 0x7FC0, "uint16")))
    return gpu.asarray(np.full(shape, 0 if str(dtype) == "uint8" else np.nan, dtype))


def host(x):
    """In float64."""
    if isinstance(x, Bfloat16):
        return (x.bits.get(order="A").astype("uint32") << 16).view("float32").astype("float64")
    return x.get(order="A").astype("float64")


def assert_near(got, wanted, tolerance):
    error = np.abs(host(got) - wanted).max() / max(1.0, np.abs(wanted).max())
    assert error <= tolerance, error


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("shape", [*SHAPES, (128, 784, 512), (1000, 257, 10)], ids=str)
def test_products(gpu, device_lt, stream, rng, shape, dtype):
    batch, inputs, units = shape
    x, W = (device_numbers(gpu, rng, *s, dtype=dtype) for s in ((batch, inputs), (inputs, units)))
    dy = device_numbers(gpu, rng, batch, units, dtype=dtype)
    for a, b in ((x, W), (x.T, dy), (dy, W.T)):
        for out_dtype in {dtype, "float64" if dtype == "float64" else "float32"}:
            out = blank(gpu, (a.shape[0], b.shape[1]), out_dtype)
            device_lt.gemm(a, b, out, stream=stream)
            assert_near(out, host(a) @ host(b), NEAR[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7, 3, 4), (2, 64, 8, 16), (3, 33, 2, 1), (1, 1, 1, 1)], ids=str)
def test_the_stacks_of_attention(gpu, device_lt, stream, rng, shape, dtype):
    """Q Kᵀ, P V and Pᵀ V, whose heads are views of (B, T, H, d), in the parts that the backend makes of them."""
    q, k, v, o = (device_numbers(gpu, rng, *shape, dtype=dtype).transpose(0, 2, 1, 3) for _ in range(4))
    B, T, H, _ = shape
    p = gpu.empty((B, H, T, T), dtype)
    for a, b, out in ((q, k.swapaxes(-1, -2), p), (p, v, o), (p.swapaxes(-1, -2), v, o)):
        for part in at_equal_distances(a, b, out):
            device_lt.gemm(*part, stream=stream)
        assert_near(out, np.matmul(host(a), host(b)), NEAR[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(128, 784, 512), (100, 30, 130), (7, 5, 8), (9, 6, 1)], ids=str)
@pytest.mark.parametrize("forward, backward", [("relu_aux_bias", "drelu"), ("gelu_aux_bias", "dgelu")])
def test_epilogues_of_an_activation(gpu, device_lt, stream, rng, shape, kind, forward, backward):
    m, k, n = shape
    inner, outer = KINDS[kind]
    a, b = (device_numbers(gpu, rng, *s, dtype=inner) for s in ((m, k), (k, n)))
    bias = device_numbers(gpu, rng, n, dtype=outer)
    dy, W = device_numbers(gpu, rng, m, k, dtype=inner), device_numbers(gpu, rng, n, k, dtype=inner).T
    out, db = blank(gpu, (m, n), outer), blank(gpu, (n,), outer)
    aux = blank(gpu, *aux_shape(forward, (m, n), outer))
    z = host(a) @ host(b) + host(bias)
    relu = backward == "drelu"
    near = max(NEAR[outer], 0 if relu else GELU)
    try:
        device_lt.gemm(a, b, out, stream=stream, epilogue=forward, bias=bias, aux=aux)
        assert_near(out, np.maximum(z, 0) if relu else gelu(z), near)
        slope = (host(out) > 0) if relu else gelu_slope(host(aux)[:, :n])
        for epilogue, gradient in ((backward, None), (backward + "_bgrad", db)):
            device_lt.gemm(dy, W, out, stream=stream, epilogue=epilogue, aux=aux, bias_gradient=gradient)
            dz = host(dy) @ host(W) * slope
            assert_near(out, dz, near)
        assert_near(db, dz.sum(axis=0), near)
    except CublasLtUnavailable as cause:
        pytest.skip(f"no {forward} or {backward} in {kind} here: {cause}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(100, 64, 136), (512, 128, 10), (33, 100, 1)], ids=str)
@pytest.mark.parametrize("epilogue", ["bias", "relu_bias", "gelu_bias", "bgrada", "bgradb"])
def test_other_epilogues(gpu, device_lt, stream, rng, epilogue, shape, kind):
    m, k, n = shape
    inner, outer = KINDS[kind]
    a, b = (device_numbers(gpu, rng, *s, dtype=inner) for s in ((k, m), (k, n)))
    bias = device_numbers(gpu, rng, n, dtype=outer)
    a = a.T  # as in dW = xᵀ dy
    out = blank(gpu, (m, n), outer)
    e, z = EPILOGUES[epilogue], host(a) @ host(b)
    gradient = blank(gpu, (n if e.gradient == "N" else m,), outer) if e.gradient else None
    try:
        device_lt.gemm(
            a, b, out, stream=stream, epilogue=epilogue, bias=bias if e.bias else None, bias_gradient=gradient
        )
    except CublasLtUnavailable as cause:
        assert (epilogue, kind) != ("bias", "float32"), cause
        pytest.skip(f"no {epilogue} in {kind} here: {cause}")
    finishes = {"bias": lambda v: v, "relu_bias": lambda v: np.maximum(v, 0), "gelu_bias": gelu}
    wanted = finishes[epilogue](z + host(bias)) if e.bias else z
    assert_near(out, wanted, max(NEAR[outer], GELU if epilogue == "gelu_bias" else 0))
    if gradient is not None:
        sums = host(b).sum(axis=0) if e.gradient == "N" else host(a).sum(axis=1)
        assert_near(gradient, sums, NEAR[outer])


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("epilogue", RELUS)
def test_a_relu_keeps_nan_or_is_refused(gpu, device_lt, stream, rng, epilogue, dtype):
    a, b, bias = (device_numbers(gpu, rng, *s, dtype=dtype) for s in ((64, 40), (40, 136), (136,)))
    out = gpu.empty((64, 136), a.dtype)
    finish = {"epilogue": epilogue, "bias": bias}
    if epilogue == "relu_aux_bias":
        finish["aux"] = gpu.zeros(*aux_shape(epilogue, out.shape, a.dtype))
    reason = device_lt.why_not(a, b, out, stream=stream, **finish)
    if reason:
        pytest.skip(f"no {epilogue} in {dtype} here: {reason}")
    device_lt.gemm(a, b, out, stream=stream, **finish)
    assert_near(out, np.maximum(host(a) @ host(b) + host(bias), 0), NEAR[dtype])
    a[3, 5] = np.nan
    device_lt.gemm(a, b, out, stream=stream, **finish)
    assert np.isnan(host(out)[3]).all() and np.isnan(host(out)).sum() == 136
    if "aux" in finish:  # where the derivative of exactly 0 is 0
        for zero in (a, bias):
            zero[...] = 0
        device_lt.gemm(a, b, out, stream=stream, **finish)
        assert not finish["aux"].get()[:, : 136 // 8].any()


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16 into float32"])
@pytest.mark.parametrize("shape", [(128, 784, 512), (100, 30, 130), (7, 5, 8), (9, 6, 1)], ids=str)
def test_a_mask_of_gpubps_own_kernel(gpu, device_lt, stream, rng, shape, kind):
    (m, k, n), (inner, outer) = shape, KINDS[kind]
    z = device_numbers(gpu, rng, m, n, dtype=outer)
    z[0, 0], z[m - 1, n - 1] = np.nan, 0.0
    y, db = blank(gpu, (m, n), outer), blank(gpu, (n,), outer)
    mask = gpu.asarray(np.full(aux_shape("drelu", (m, n), outer)[0], 255, "uint8"))
    wide, arguments = rectify_arguments(z, y, mask)
    Kernels(gpu).launch("rectify", rectify_source(wide), outer, mask.size, arguments)
    np.testing.assert_array_equal(host(y), np.maximum(host(z), 0))
    bits = np.unpackbits(mask.get(), axis=1, bitorder="little")
    np.testing.assert_array_equal(bits[:, :n], host(z) > 0)
    assert not bits[:, n:].any()
    dy, W = device_numbers(gpu, rng, m, k, dtype=inner), device_numbers(gpu, rng, n, k, dtype=inner).T
    out, dz = blank(gpu, (m, n), outer), host(dy) @ host(W) * bits[:, :n]
    for epilogue, gradient in (("drelu", None), ("drelu_bgrad", db)):
        finish = {"epilogue": epilogue, "bias_gradient": gradient, "stream": stream}
        tried = gpu.zeros(mask.shape, "uint8")
        if reason := device_lt.why_not(dy, W, out, aux=tried, own_mask=True, **finish):
            pytest.skip(f"no {epilogue} by a mask of gpubp's own in {kind} here: {reason}")
        device_lt.gemm(dy, W, out, aux=mask, **finish)
        assert_near(out, dz, NEAR[outer])
    assert_near(db, dz.sum(axis=0), NEAR[outer])


@pytest.mark.parametrize("compute", ["float32", "tf32"])
def test_the_fastest_kernel_is_right_and_keeps_its_bits(gpu, stream, rng, compute):
    tuned = CublasLt(gpu, autotune=True)
    a, b, bias = (device_numbers(gpu, rng, *s) for s in ((128, 784), (784, 512), (512,)))
    bits = gpu.zeros(*aux_shape("relu_aux_bias", (128, 512), "float32"))
    z, near = host(a) @ host(b), 5e-3 if compute == "tf32" else NEAR["float32"]
    for finish in ({}, {"epilogue": "bias", "bias": bias}, {"epilogue": "relu_aux_bias", "bias": bias, "aux": bits}):
        wanted = z + host(bias) if finish else z
        wanted = np.maximum(wanted, 0) if "aux" in finish else wanted
        first = None
        for _ in range(5):
            out = gpu.empty((128, 512), "float32")
            if reason := tuned.why_not(a, b, out, stream=stream, compute=compute, **finish):
                assert "aux" in finish, reason
                break
            tuned.gemm(a, b, out, stream=stream, compute=compute, **finish)
            assert_near(out, wanted, near)
            first = out.get() if first is None else first
            np.testing.assert_array_equal(out.get(), first)
    stream.begin_capture()
    tuned.gemm(a, b, out, stream=stream, compute=compute)
    graph = stream.end_capture()
    graph.launch(stream)
    assert_near(out, z, near)


def test_products_of_two_streams_at_once(gpu, device_lt, rng):
    x, W, dy = (device_numbers(gpu, rng, *s) for s in ((8192, 256), (256, 256), (8192, 256)))
    y, dW = gpu.empty((8192, 256), "float32"), gpu.empty((256, 256), "float32")
    gpu.cuda.get_current_stream().synchronize()
    streams = [gpu.cuda.Stream(non_blocking=True) for _ in range(2)]
    first = None
    for _ in range(10):
        device_lt.gemm(x, W, y, stream=streams[0])
        device_lt.gemm(x.T, dy, dW, stream=streams[1].ptr)  # a long K, which cuBLAS may split, with its workspace
        for stream in streams:
            stream.synchronize()
        found = y.get(), dW.get()
        first = first or found
        for one, other in zip(found, first, strict=True):
            np.testing.assert_array_equal(one, other)
    assert_near(y, host(x) @ host(W), NEAR["float32"])
    assert_near(dW, host(x).T @ host(dy), NEAR["float32"])


def test_accumulate_and_views_at_any_address(gpu, device_lt, stream, rng):
    frame = device_numbers(gpu, rng, 70, 53)
    a, b = frame[1:34, 3:20], device_numbers(gpu, rng, 17 * 9 + 1)[1:].reshape(17, 9)
    out = gpu.ones((33 * 9 + 1,), "float32")[1:].reshape(33, 9)
    device_lt.gemm(a, b, out, stream=stream, accumulate=True)
    assert_near(out, 1 + host(a) @ host(b), NEAR["float32"])


def test_float32_is_not_tf32_unless_asked_for(gpu, device_lt, stream, rng):
    a, b = device_numbers(gpu, rng, 256, 512), device_numbers(gpu, rng, 512, 256)
    out, wanted = gpu.empty((256, 256), "float32"), host(a) @ host(b)
    device_lt.gemm(a, b, out, stream=stream)
    exact = np.abs(host(out) - wanted).max() / np.abs(wanted).max()
    device_lt.gemm(a, b, out, stream=stream, compute="tf32")
    rounded = np.abs(host(out) - wanted).max() / np.abs(wanted).max()
    assert exact < 3e-6
    assert rounded < 5e-3


def test_sums_beside_a_tf32_product_are_float32_all_the_same(gpu, device_lt, stream, rng):
    """As `Network` says of sums over rows: the operands may be rounded for the product, and not for db."""
    x, dy, out, db = (device_numbers(gpu, rng, *s) for s in ((512, 256), (512, 128), (256, 128), (128,)))
    finish = {"epilogue": "bgrada", "bias_gradient": db, "compute": "tf32"}
    try:
        device_lt.gemm(x.T, dy, out, stream=stream, **finish)
    except CublasLtUnavailable as cause:
        pytest.skip(f"no bgrada in TF32 here: {cause}")
    assert_near(out, host(x).T @ host(dy), 5e-3)
    assert_near(db, host(dy).sum(axis=0), NEAR["float32"])


@pytest.mark.parametrize("shape", [(128, 784, 512), (784, 8192, 16)], ids=str)
def test_the_same_call_gives_the_same_bits(gpu, device_lt, stream, rng, shape):
    m, k, n = shape
    x, dy = device_numbers(gpu, rng, k, m), device_numbers(gpu, rng, k, n)
    first = None
    for _ in range(20):
        out = gpu.empty((m, n), "float32")
        device_lt.gemm(x.T, dy, out, stream=stream)
        first = out.get() if first is None else first
        np.testing.assert_array_equal(out.get(), first)


def test_a_captured_product_replays_on_new_numbers(gpu, device_lt, stream, rng):
    x, W, bias = (
        device_numbers(gpu, rng, 64, 100),
        device_numbers(gpu, rng, 100, 32),
        device_numbers(gpu, rng, 32),
    )
    y, dW, dx = (
        gpu.empty((64, 32), "float32"),
        gpu.empty((100, 32), "float32"),
        gpu.empty((64, 100), "float32"),
    )

    def step():
        device_lt.gemm(x, W, y, stream=stream, epilogue="bias", bias=bias)
        device_lt.gemm(x.T, y, dW, stream=stream)
        device_lt.gemm(y, W.T, dx, stream=stream)

    step()
    stream.synchronize()
    stream.begin_capture()
    step()
    graph = stream.end_capture()
    for _ in range(3):
        x[...] = device_numbers(gpu, rng, 64, 100)
        graph.launch(stream)
        stream.synchronize()
        replayed = [r.get() for r in (y, dW, dx)]
        step()
        stream.synchronize()
        for one, other in zip(replayed, (y, dW, dx), strict=True):
            np.testing.assert_array_equal(one, other.get())


def test_a_refusal_leaves_the_device_usable(gpu, device_lt, stream):
    a = gpu.ones((4, 4), "float32")
    with pytest.raises(CublasLtUnavailable, match="shares memory"):
        device_lt.gemm(a, a, a, stream=stream)
    out = gpu.empty((4, 4), "float32")
    device_lt.gemm(a, a, out, stream=stream)
    np.testing.assert_array_equal(out.get(), np.full((4, 4), 4.0))

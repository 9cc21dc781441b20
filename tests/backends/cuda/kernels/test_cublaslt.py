"""The cublasLt wrapper without a GPU: its view of memory against a column-major model, and all it refuses."""

import ctypes
import gc
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cublaslt_model import (
    ALLOC_FAILED,
    INTERNAL_ERROR,
    NOT_INITIALIZED,
    NOT_SUPPORTED,
    DeviceArray,
    HostCupy,
    HostStream,
    Kernel,
    Model,
    RealDescriptors,
    aligned,
    gelu,
    gelu_slope,
)
from numpy.lib.stride_tricks import as_strided

from gpubp.backends.cuda import cublaslt, cublaslt_library
from gpubp.backends.cuda.cublaslt import EPILOGUES, CublasLt, CublasLtUnavailable, aux_shape, load_library
from gpubp.backends.cuda.cublaslt_choice import LOSES_NAN, RELUS

SHAPES = [
    (1, 1, 1),
    (1, 5, 3),
    (4, 1, 3),
    (4, 5, 1),
    (1, 1, 6),
    (1, 6, 1),
    (6, 1, 1),
    (7, 3, 2),
    (65, 33, 130),
]
STREAM = HostStream(77)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def installed():
    """Where pip has put cuBLAS, and for which CUDA; skips if nowhere."""
    for name, cuda in (("nvidia.cublas", 12), ("nvidia.cu13", 13)):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        for folder in spec.submodule_search_locations if spec else ():
            if (Path(folder) / "include/cublasLt.h").exists():
                return Path(folder), cuda
    pytest.skip("cuBLAS is not installed (pip install nvidia-cublas-cu12): no real descriptors, no header")


def real_library():
    return load_library(installed()[1])


@pytest.fixture(params=["own", "real"])
def model(request):
    """The NumPy model, on its own descriptors and on those that the real library makes."""
    return Model() if request.param == "own" else Model(RealDescriptors(real_library()))


@pytest.fixture
def lt(model):
    return CublasLt(HostCupy(), 1 << 16, library=model)


def whole(rng, *shape, dtype="f4", offset=0):
    """Small whole numbers, of which every sum is exact in any order and dtype."""
    array = aligned(shape, dtype, offset)
    array[...] = rng.integers(-3, 4, shape)
    return array


def on_device(*arrays):
    return [DeviceArray(a) for a in arrays]


def call(lt, a, b, out, **kw):
    extras = {k: DeviceArray(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()}
    lt.gemm(*on_device(a, b, out), stream=STREAM, **extras)
    return out


# -- rows and columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_three_products_of_a_dense_layer(lt, rng, shape, dtype):
    batch, inputs, units = shape
    x, W = whole(rng, batch, inputs, dtype=dtype), whole(rng, inputs, units, dtype=dtype)
    y, dW, dx = (aligned(s, dtype) for s in ((batch, units), (inputs, units), (batch, inputs)))
    np.testing.assert_array_equal(call(lt, x, W, y), x @ W)
    dy = np.clip(y, -3, 3)
    np.testing.assert_array_equal(call(lt, x.T, dy, dW), x.T @ dy)
    np.testing.assert_array_equal(call(lt, dy, W.T, dx), dy @ W.T)


@pytest.mark.parametrize("flip_a, flip_b", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_views_of_larger_matrices_are_read_and_written_in_place(lt, rng, shape, flip_a, flip_b):
    m, k, n = shape
    a = whole(rng, k + 2, m + 5)[1:-1, 2 : m + 2].T if flip_a else whole(rng, m + 2, k + 5)[1:-1, 2 : k + 2]
    b = whole(rng, n + 1, k + 3)[1:, 3:].T if flip_b else whole(rng, k + 1, n + 3)[1:, 3:]
    frame = whole(rng, m + 2, n + 7)
    before = frame.copy()
    out = frame[1 : m + 1, 4 : n + 4]
    call(lt, a, b, out)
    np.testing.assert_array_equal(out, a @ b)
    out[...] = before[1 : m + 1, 4 : n + 4]
    np.testing.assert_array_equal(frame, before)  # nothing beside out was touched


def test_accumulate_adds_to_out(lt, rng):
    a, b, out, bias = whole(rng, 5, 4), whole(rng, 4, 3), whole(rng, 5, 3), whole(rng, 3)
    before = out.copy()
    np.testing.assert_array_equal(call(lt, a, b, out, accumulate=True), before + a @ b)
    before = out.copy()
    call(lt, a, b, out, accumulate=True, epilogue="bias", bias=bias)
    np.testing.assert_array_equal(out, before + a @ b + bias)


def test_sixteen_bit_inputs_may_have_a_float32_output(lt, rng):
    a, b = whole(rng, 5, 40, dtype="f2"), whole(rng, 40, 3, dtype="f2")
    np.testing.assert_array_equal(call(lt, a, b, aligned((5, 3), "f4")), a.astype("f4") @ b.astype("f4"))
    assert (lt._lib.desc.COMPUTE_TYPE, lt._lib.desc.SCALE_TYPE) == (68, 0)


class BFloat16:
    """A dtype by its name and size, as ml_dtypes registers one."""

    itemsize = 2

    def __str__(self):
        return "bfloat16"


def test_bfloat16(lt, rng):
    a, b = whole(rng, 5, 4), whole(rng, 4, 3)
    bf16 = BFloat16()
    halves = [DeviceArray((x.view("u4") >> 16).astype("u2"), dtype=bf16) for x in (a, b)]
    wide, narrow = DeviceArray(aligned((5, 3), "f4")), DeviceArray(aligned((5, 3), "u2"), dtype=bf16)
    lt.gemm(*halves, wide, stream=STREAM)
    np.testing.assert_array_equal(wide.memory, a @ b)
    lt.gemm(*halves, narrow, stream=STREAM)
    np.testing.assert_array_equal((narrow.memory.astype("u4") << 16).view("f4"), a @ b)
    assert [layout.TYPE for layout in lt._lib.layouts] == [14, 14, 14]
    assert lt._lib.desc.COMPUTE_TYPE == 68


# -- epilogues -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2, 1), (7, 3, 2), (5, 4, 128), (33, 20, 130)], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_epilogues(lt, rng, shape, dtype):
    m, k, n = shape
    a, b, bias = whole(rng, m, k, dtype=dtype), whole(rng, k, n, dtype=dtype), whole(rng, n, dtype=dtype)
    out, by_row, by_column = aligned((m, n), dtype), aligned((m,), dtype), aligned((n,), dtype)
    z = a @ b + bias
    tolerance = 1e-6 if dtype == "f4" else 1e-14

    def close(got, wanted):
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)

    def aux_for(epilogue):
        return aligned(*aux_shape(epilogue, (m, n), dtype))

    close(call(lt, a, b, out, epilogue="bias", bias=bias), z)  # (6)
    close(call(lt, a, b, out, epilogue="relu_bias", bias=bias), np.maximum(z, 0))  # (7)
    bits = aux_for("relu_aux_bias")
    close(call(lt, a, b, out, epilogue="relu_aux_bias", bias=bias, aux=bits), np.maximum(z, 0))  # (8)
    close(call(lt, a, b, out, epilogue="gelu_bias", bias=bias), gelu(z))  # (9)
    kept = aux_for("gelu_aux_bias")
    close(call(lt, a, b, out, epilogue="gelu_aux_bias", bias=bias, aux=kept), gelu(z))  # (10)
    close(kept[:, :n], z)

    dy, W = whole(rng, m, k, dtype=dtype), whole(rng, n, k, dtype=dtype).T
    dz = dy @ W * (z > 0)
    close(call(lt, dy, W, out, epilogue="drelu", aux=bits), dz)  # (11)
    call(lt, dy, W, out, epilogue="drelu_bgrad", aux=bits, bias_gradient=by_column)  # (12)
    close(out, dz)
    close(by_column, dz.sum(axis=0))
    dz = dy @ W * gelu_slope(z)
    close(call(lt, dy, W, out, epilogue="dgelu", aux=kept), dz)  # (13)
    call(lt, dy, W, out, epilogue="dgelu_bgrad", aux=kept, bias_gradient=by_column)  # (14)
    close(out, dz)
    close(by_column, dz.sum(axis=0))
    call(lt, a, b, out, epilogue="bgrada", bias_gradient=by_column)  # (15)
    close(out, a @ b)
    close(by_column, b.sum(axis=0))
    call(lt, a, b, out, epilogue="bgradb", bias_gradient=by_row)  # (16)
    close(out, a @ b)
    close(by_row, a.sum(axis=1))


def test_dW_and_db_come_from_one_call(lt, rng):
    x, dy = whole(rng, 9, 4), whole(rng, 9, 3)
    dW, db = aligned((4, 3), "f4"), aligned((3,), "f4")
    call(lt, x.T, dy, dW, epilogue="bgrada", bias_gradient=db)
    np.testing.assert_array_equal(dW, x.T @ dy)
    np.testing.assert_array_equal(db, dy.sum(axis=0))


# -- what the library is told --------------------------------------------------------------------------------


def test_the_descriptors_say_what_the_request_was(lt, rng):
    x, dy, dW, db = whole(rng, 32, 10), whole(rng, 32, 6), aligned((10, 6), "f4"), aligned((6,), "f4")
    call(lt, x.T, dy, dW, epilogue="bgrada", bias_gradient=db, compute="tf32")
    desc, (A, B, D) = lt._lib.desc, lt._lib.layouts
    assert (A.ROWS, A.COLS, A.LD) == (6, 32, 6)  # the memory of dy
    assert (B.ROWS, B.COLS, B.LD) == (10, 32, 10)  # the memory of x
    assert (D.ROWS, D.COLS, D.LD) == (6, 10, 6)
    assert (desc.TRANSA, desc.TRANSB, desc.EPILOGUE) == (0, 1, 256)
    assert (desc.COMPUTE_TYPE, desc.SCALE_TYPE) == (77, 0)
    assert desc.BIAS_POINTER == db.ctypes.data
    assert lt._lib.stream == STREAM.ptr


def test_the_kernel_is_chosen_by_workspace_alignment_and_a_deterministic_split_of_k(lt, rng):
    a, b, out, bias = (
        whole(rng, 4, 8, offset=4),
        whole(rng, 8, 4, offset=2),
        aligned((4, 4), "f4"),
        whole(rng, 4),
    )
    call(lt, a, b, out, epilogue="bias", bias=bias)
    asked = lt._lib.preference
    assert asked.MAX_WORKSPACE_BYTES == 1 << 16
    assert asked.REDUCTION_SCHEME_MASK == 2  # in the computing dtype, in a second pass; never in place
    assert (asked.MIN_ALIGNMENT_A_BYTES, asked.MIN_ALIGNMENT_B_BYTES) == (8, 16)  # A is b
    assert (asked.MIN_ALIGNMENT_C_BYTES, asked.MIN_ALIGNMENT_D_BYTES) == (256, 256)
    assert lt._lib.desc_at_choice.BIAS_POINTER == bias.ctypes.data  # cuBLAS takes its alignment from there


def test_tf32_is_for_float32_alone(lt, rng):
    for dtype, compute_type in (("f8", 70), ("f2", 68), ("f4", 77)):
        out = aligned((4, 3), dtype)
        call(lt, whole(rng, 4, 5, dtype=dtype), whole(rng, 5, 3, dtype=dtype), out, compute="tf32")
        assert lt._lib.desc.COMPUTE_TYPE == compute_type


def test_enum_values_are_the_headers():
    headers = installed()[0] / "include"
    text = (headers / "cublasLt.h").read_text() + (headers / "cublas_api.h").read_text()

    def value(name):
        found = re.search(rf"\b{name} = \(?([^,\n]*?)\)?,", text)
        terms = [t.strip() for t in found[1].split("|")]
        return sum(int(t, 0) if t[0].isdigit() else value(t) for t in terms)

    for name, e in EPILOGUES.items():
        assert e.value == value("CUBLASLT_EPILOGUE_" + (name or "default").upper()), name
    for ours, theirs in {
        "_TRANSA": "MATMUL_DESC_TRANSA",
        "_TRANSB": "MATMUL_DESC_TRANSB",
        "_EPILOGUE": "MATMUL_DESC_EPILOGUE",
        "_BIAS_POINTER": "MATMUL_DESC_BIAS_POINTER",
        "_AUX_POINTER": "MATMUL_DESC_EPILOGUE_AUX_POINTER",
        "_AUX_LD": "MATMUL_DESC_EPILOGUE_AUX_LD",
        "_WORKSPACE_BYTES": "MATMUL_PREF_MAX_WORKSPACE_BYTES",
        "_REDUCTION_SCHEMES": "MATMUL_PREF_REDUCTION_SCHEME_MASK",
        "_REDUCTION_SCHEME_COMPUTE_TYPE": "REDUCTION_SCHEME_COMPUTE_TYPE",
    }.items():
        assert getattr(cublaslt, ours) == value("CUBLASLT_" + theirs), theirs
    for operand, ours in zip("ABCD", cublaslt._ALIGNMENTS, strict=True):
        assert ours == value(f"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{operand}_BYTES")
    for name in ("COMPUTE_32F", "COMPUTE_32F_FAST_TF32", "COMPUTE_64F"):
        assert getattr(cublaslt, "_" + name) == value("CUBLAS_" + name)
    lasting = ("INVALID_VALUE", "ARCH_MISMATCH", "NOT_SUPPORTED")
    assert cublaslt_library.LASTING == tuple(value("CUBLAS_STATUS_" + s) for s in lasting)


# -- plans are made once -------------------------------------------------------------------------------------


def test_a_repeated_call_is_one_call_of_the_library(lt, model, rng):
    a, b, out, bias = whole(rng, 4, 5), whole(rng, 5, 3), aligned((4, 3), "f4"), whole(rng, 3)
    call(lt, a, b, out, epilogue="bias", bias=bias)
    model.log.clear()
    a[...] = 1
    call(lt, a, b, out, epilogue="bias", bias=bias)
    assert model.log == ["cublasLtMatmul"]
    np.testing.assert_array_equal(out, a @ b + bias)


def test_other_addresses_use_the_same_plan(lt, model, rng):
    out = aligned((4, 3), "f4")
    made = None
    for _ in range(3):
        a, b, bias = whole(rng, 4, 5), whole(rng, 5, 3), whole(rng, 3)
        call(lt, a, b, out, epilogue="bias", bias=bias)
        np.testing.assert_array_equal(out, a @ b + bias)
        made = made or model.descriptors.made
        assert model.descriptors.made == made
    a = whole(rng, 4, 5, offset=1)  # less aligned: another kernel may be needed
    call(lt, a, b, out, epilogue="bias", bias=bias)
    np.testing.assert_array_equal(out, a @ b + bias)
    assert model.descriptors.made > made
    assert model.preference.MIN_ALIGNMENT_B_BYTES == 4


def test_nothing_is_allocated_on_the_device_after_the_start(model, rng):
    cupy = HostCupy()
    lt = CublasLt(cupy, 1 << 16, library=model)
    for n in (1, 2, 3, 2, 1):
        call(lt, whole(rng, 4, 5), whole(rng, 5, n), aligned((4, n), "f4"))
    assert cupy.allocations == 1


def test_the_plans_are_bounded_and_everything_is_destroyed_but_the_handle(monkeypatch, model, rng):
    monkeypatch.setattr(cublaslt, "_MOST_PLANS", 4)
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    a = whole(rng, 4, 5)
    for n in range(1, 12):
        b = whole(rng, 5, n)
        np.testing.assert_array_equal(call(lt, a, b, aligned((4, n), "f4")), a @ b)
        assert len(lt._plans) <= 4 and len(model.descriptors.alive) <= 4 * 4
    assert model.open_handles == 1
    del lt
    gc.collect()
    assert not model.descriptors.alive and model.destroyed_handles == 0  # that would break captures
    first, second = (CublasLt(HostCupy(), 1 << 16, library=model) for _ in range(2))
    assert model.open_handles == 2 and first is not second


# -- refusals ------------------------------------------------------------------------------------------------


def request_with(rng, **changes):
    """A good request for relu_aux_bias, and with `changes` a bad one."""
    good = {
        "a": whole(rng, 4, 5),
        "b": whole(rng, 5, 3),
        "out": aligned((4, 3), "f4"),
        "bias": whole(rng, 3),
        "aux": aligned((4, 16), "u1"),
        "epilogue": "relu_aux_bias",
        "stream": STREAM,
    }
    request = good | {k: v(good) if callable(v) else v for k, v in changes.items()}
    return {k: DeviceArray(v) if isinstance(v, np.ndarray) else v for k, v in request.items()}


PLAIN = {"epilogue": None, "bias": None, "aux": None}
BAD = {
    "numpy array": ({"a": lambda g: SimpleNamespace(ndarray=g["a"])}, "takes CuPy arrays"),
    "no stream": ({"stream": None}, "a CuPy stream"),
    "no b": ({"b": None}, "all of a, b and out"),
    "no memory": ({"b": lambda g: with_pointer(g["b"], 0)}, "address is 0"),
    "other device": ({"b": lambda g: DeviceArray(g["b"], device=1)}, "b is on device 1"),
    "3-D": ({"a": lambda g: aligned((4, 5, 1), "f4")}, "a must be a matrix"),
    "no rows": ({"a": aligned((0, 5), "f4")}, "a must be a matrix"),
    "inner sizes": ({"b": aligned((6, 3), "f4")}, r"a \(4, 5\) times b \(6, 3\)"),
    "outer sizes": ({"out": aligned((4, 2), "f4")}, r"into out \(4, 2\)"),
    "two dtypes": ({"b": aligned((5, 3), "f8")}, "b float64"),
    "integers": ({"a": aligned((4, 5), "i4"), "b": aligned((5, 3), "i4")}, "must be both float32"),
    "narrow output": ({"out": aligned((4, 3), "f2")}, "out float16"),
    "every other column": ({"a": aligned((4, 10), "f4")[:, ::2]}, "a .* must lie row by row"),
    "backward": ({"b": aligned((5, 3), "f4")[::-1]}, "b .* must lie row by row"),
    "broadcast": ({"b": np.broadcast_to(aligned((3,), "f4"), (5, 3))}, "b .* must lie row by row"),
    "overlapping rows": ({"a": as_strided(aligned((9,), "f4"), (4, 5), (4, 4))}, "a .* must lie row by row"),
    "stride of half a number": ({"a": as_strided(aligned((99,), "f4"), (4, 5), (22, 4))}, "a .* must lie"),
    "transposed output": ({"out": aligned((3, 4), "f4").T}, "out .* is a transposed view"),
    "odd address": ({"a": lambda g: with_pointer(g["a"], g["a"].ctypes.data + 2)}, "must start at multiples"),
    "unknown epilogue": ({"epilogue": "softmax"}, "no epilogue 'softmax', but None, bias"),
    "unknown compute": ({"compute": "bfloat16"}, "'float32' or 'tf32', not 'bfloat16'"),
    "accumulate": ({"accumulate": True}, "not with 'relu_aux_bias'"),
    "bias missing": ({"bias": None}, "needs bias"),
    "bias too many": ({"epilogue": None, "aux": None}, "has no bias"),
    "aux missing": ({"aux": None}, "needs aux"),
    "gradient too many": ({"bias_gradient": aligned((3,), "f4")}, "has no bias_gradient"),
    "bias length": ({"bias": aligned((4,), "f4")}, r"bias must be float32 \(3,\); it is float32 \(4,\)"),
    "bias dtype": ({"bias": aligned((3,), "f8")}, r"bias must be float32 \(3,\); it is float64"),
    "bias strided": ({"bias": aligned((6,), "f4")[::2]}, "bias .* must be contiguous"),
    "bias alignment": ({"bias": aligned((3,), "f4", offset=2)}, "bias must start at .* 16 divides; 8"),
    "aux shape": ({"aux": aligned((4, 15), "u1")}, r"aux must be uint8 \(4, 16\)"),
    "aux transposed": ({"aux": aligned((16, 4), "u1").T}, "aux .* must be contiguous"),
    "K = 1": (
        PLAIN
        | {"a": aligned((4, 1), "f4"), "b": aligned((1, 3), "f4")}
        | {"epilogue": "bgrada", "bias_gradient": aligned((3,), "f4")},
        "no 'bgrada' for an inner size of 1",
    ),
    "out over a": (PLAIN | {"a": lambda g: g["out"][:, :2], "b": aligned((2, 3), "f4")}, "out shares memory"),
    "out into b": ({"out": lambda g: with_pointer(g["out"], g["b"].ctypes.data + 56)}, "out shares memory"),
    "gradient over a": (
        PLAIN | {"epilogue": "bgrada", "bias_gradient": lambda g: g["a"].reshape(-1)[4:7]},
        "bias_gradient shares memory with a",
    ),
    "out over bias": ({"bias": lambda g: g["out"][0]}, "out shares memory with bias"),
    "aux over b": ({"aux": lambda g: as_bytes(g["b"])}, "aux shares memory with b"),
    "2³¹ numbers": (
        PLAIN | {"a": lambda g: as_large(2**16, 2**15), "b": lambda g: as_large(2**15, 3)},
        "spans 2³¹ numbers",
    ),
}  # fmt: skip


def with_pointer(array, pointer):
    shown = DeviceArray(array)
    shown.data.ptr = pointer
    return shown


def as_bytes(array):
    shown = DeviceArray(aligned((4, 16), "u1"))
    shown.data.ptr = array.ctypes.data
    return shown


def as_large(rows, cols):
    shown = DeviceArray(aligned((1, 1), "f4"))
    shown.shape, shown.strides = (rows, cols), (4 * cols, 4)
    return shown


def test_the_request_that_the_refusals_change_is_a_good_one(lt, rng):
    lt.gemm(**request_with(rng))


@pytest.mark.parametrize("case", BAD)
def test_refusals(rng, case):
    changes, message = BAD[case]
    model = Model()
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    for _ in range(2):  # the second time from what was kept
        with pytest.raises(CublasLtUnavailable, match=message):
            lt.gemm(**request_with(rng, **changes))
    assert "cublasLtMatmul" not in model.log
    assert not model.descriptors.alive  # a refusal leaves nothing behind


def test_memory_is_checked_for_new_addresses_of_an_old_plan(lt, model, rng):
    a, b, out = whole(rng, 4, 4), whole(rng, 4, 4), aligned((4, 4), "f4")
    call(lt, a, b, out)
    with pytest.raises(CublasLtUnavailable, match="out shares memory with b"):
        call(lt, a, b, b)
    np.testing.assert_array_equal(call(lt, a, b, out), a @ b)


def test_neighbours_in_one_flat_array_do_not_overlap(lt, rng):
    flat = whole(rng, 4 * 64)
    a, b, out, bias = (flat[i * 64 : i * 64 + 16].reshape(4, 4) for i in range(4))
    call(lt, a, b, out, epilogue="bias", bias=bias[0])
    np.testing.assert_array_equal(out, a @ b + bias[0])


@pytest.mark.parametrize("function", ["cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"])
def test_what_is_not_supported_is_not_asked_for_again(rng, function):
    model = Model()
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    model.fail[function] = NOT_SUPPORTED
    for _ in range(3):
        with pytest.raises(CublasLtUnavailable, match=f"{function}.*CUBLAS_STATUS_NOT_SUPPORTED \\(15\\)"):
            lt.gemm(**request_with(rng))
    assert model.log.count(function) == 1
    model.fail.clear()
    lt.gemm(**request_with(rng, **PLAIN))  # another request is another question


@pytest.mark.parametrize("status", [INTERNAL_ERROR, ALLOC_FAILED])
@pytest.mark.parametrize("function", ["cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"])
def test_a_passing_failure_is_tried_again(rng, function, status):
    model = Model()
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    model.fail[function] = status
    for _ in range(2):
        with pytest.raises(CublasLtUnavailable, match=rf"{function}.*\({status}\)"):
            lt.gemm(**request_with(rng))
    if function == "cublasLtMatmulAlgoGetHeuristic":
        assert not model.descriptors.alive
    model.fail.clear()
    lt.gemm(**request_with(rng))


def test_no_kernel_and_no_room_are_refusals(rng):
    model = Model()
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    model.kernels = []
    with pytest.raises(CublasLtUnavailable, match="has no kernel"):
        lt.gemm(**request_with(rng))
    model.kernels = [Kernel(workspace_bytes=(1 << 16) + 1)]
    with pytest.raises(CublasLtUnavailable, match="workspace of 65537 bytes"):
        lt.gemm(**request_with(rng, **PLAIN))


def test_another_current_device_is_refused(rng):
    cupy = HostCupy()
    lt = CublasLt(cupy, 1 << 16, library=Model())
    cupy.cuda.runtime.getDevice = lambda: 1
    with pytest.raises(CublasLtUnavailable, match="device 0, which is not the current one"):
        lt.gemm(**request_with(rng))


# -- whether a ReLU keeps NaN --------------------------------------------------------------------------------


LOSES = {"number": 7, "keeps_nan": False}


def relu_request(rng, epilogue, dtype="f4", **changes):
    """A product with a ReLU, on memory of its own: the arguments, and what must come out."""
    a, b, bias = (whole(rng, *shape, dtype=dtype) for shape in ((4, 5), (5, 3), (3,)))
    out = aligned((4, 3), dtype)
    aux = {"aux": DeviceArray(aligned((4, 16), "u1"))} if epilogue == "relu_aux_bias" else {}
    arrays = dict(zip(("a", "b", "out", "bias"), on_device(a, b, out, bias), strict=True))
    return arrays | aux | {"epilogue": epilogue, "stream": STREAM} | changes, np.maximum(a @ b + bias, 0)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("epilogue", RELUS)
def test_a_relu_is_tried_with_nan_once(lt, model, rng, epilogue, dtype):
    for tries in (2, 1, 1):  # the trial and the product; and then products alone, at other addresses too
        model.made.clear()
        request, wanted = relu_request(rng, epilogue, dtype)
        lt.gemm(**request)
        np.testing.assert_array_equal(request["out"].memory, wanted)
        assert model.made == [99] * tries
        assert model.desc.BIAS_POINTER == request["bias"].data.ptr
        if epilogue == "relu_aux_bias":
            mask = np.unpackbits(request["aux"].memory, axis=1, bitorder="little")[:, :3]
            np.testing.assert_array_equal(mask, wanted > 0)


@pytest.mark.parametrize("epilogue", RELUS)
def test_a_relu_that_loses_nan_is_refused(rng, epilogue):
    model = Model(kernels=[Kernel(**LOSES)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    for _ in range(2):
        request, _ = relu_request(rng, epilogue)
        with pytest.raises(CublasLtUnavailable, match="ReLU gives 0 for NaN here"):
            lt.gemm(**request)
        assert lt.why_not(**request) == LOSES_NAN
    assert model.made == [7] and not model.descriptors.alive  # tried once, and kept
    lt.gemm(**request_with(rng, epilogue="bias", aux=None))


def test_the_first_kernel_that_keeps_nan_makes_the_product(rng):
    broken = Kernel(4, status=NOT_SUPPORTED)
    model = Model(kernels=[Kernel(5, state=NOT_SUPPORTED), broken, Kernel(**LOSES), Kernel(8), Kernel(9)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    request, wanted = relu_request(rng, "relu_aux_bias")
    for _ in range(2):
        lt.gemm(**request)
        np.testing.assert_array_equal(request["out"].memory, wanted)
    assert model.made == [7, 8, 8, 8]


def test_where_no_kernel_makes_the_product_at_all_the_refusal_says_so(rng):
    model = Model(kernels=[Kernel(status=NOT_SUPPORTED)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    request, _ = relu_request(rng, "relu_bias")
    assert "cublasLtMatmul answered CUBLAS_STATUS_NOT_SUPPORTED" in lt.why_not(**request)
    model.kernels = [Kernel(status=INTERNAL_ERROR)]  # which may pass
    request, wanted = relu_request(rng, "relu_aux_bias")
    assert "cublasLtMatmul answered status (14)" in lt.why_not(**request)
    model.kernels = [Kernel()]
    lt.gemm(**request)
    np.testing.assert_array_equal(request["out"].memory, wanted)


def test_no_other_epilogue_is_tried(rng):
    model = Model(kernels=[Kernel(**LOSES)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    for epilogue in ("bias", "gelu_bias"):
        assert lt.why_not(**request_with(rng, epilogue=epilogue, aux=None)) == ""
    assert lt.why_not(**request_with(rng, **PLAIN)) == ""
    assert lt.why_not(**request_with(rng, epilogue="drelu", bias=None)) == ""
    assert model.made == []


def test_a_relu_in_bfloat16(rng):
    bf16 = BFloat16()

    def half(array):
        return DeviceArray((np.ascontiguousarray(array).view("u4") >> 16).astype("u2"), dtype=bf16)

    for keeps in (True, False):
        model = Model(kernels=[Kernel(keeps_nan=keeps)])
        lt = CublasLt(HostCupy(), 1 << 16, library=model)
        bias = DeviceArray(aligned((8,), "u2"), dtype=bf16)
        a, b, out = half(whole(rng, 4, 5)), half(whole(rng, 5, 8)), DeviceArray(aligned((4, 8), "u2"), dtype=bf16)
        refusal = lt.why_not(a, b, out, epilogue="relu_bias", bias=bias, stream=STREAM)
        assert refusal == ("" if keeps else LOSES_NAN)


def test_nothing_is_tried_while_capturing(rng):
    model, cupy = Model(), HostCupy()
    lt = CublasLt(cupy, 1 << 16, library=model)
    request, wanted = relu_request(rng, "relu_bias", stream=cupy.streams[0])
    cupy.streams[0].capturing = True
    for _ in range(2):
        assert "run the step once before capturing it" in lt.why_not(**request)
        with pytest.raises(CublasLtUnavailable, match="run the step once before capturing it"):
            lt.gemm(**request)
    assert model.made == []
    cupy.streams[0].capturing = False
    assert lt.why_not(**request) == ""
    cupy.streams[0].capturing = True
    lt.gemm(**request)
    np.testing.assert_array_equal(request["out"].memory, wanted)


@pytest.mark.parametrize("as_address", [False, True], ids=["stream", "address"])
def test_a_trial_on_another_stream_waits_for_both(rng, as_address):
    other = HostStream(88)
    cupy = HostCupy(other)
    model = Model()
    lt = CublasLt(cupy, 1 << 16, library=model)
    request, wanted = relu_request(rng, "relu_bias", stream=88 if as_address else other)
    lt.reserve(88)
    before = [stream.waits for stream in cupy.streams]
    lt.gemm(**request)
    assert [stream.waits for stream in cupy.streams] == [n + 1 for n in before]
    np.testing.assert_array_equal(request["out"].memory, wanted)
    assert model.stream == 88
    lt.gemm(**request)
    assert [stream.waits for stream in cupy.streams] == [n + 1 for n in before]


# -- a workspace for each stream -----------------------------------------------------------------------------


def test_each_stream_has_a_workspace_of_its_own(model, rng):
    cupy = HostCupy(HostStream(88))
    lt = CublasLt(cupy, 1 << 16, library=model)
    request, used = request_with(rng, **PLAIN), {}
    for _ in range(2):
        for stream in (cupy.streams[0], 88):
            lt.gemm(**request | {"stream": stream})
            used.setdefault(model.stream, set()).add(model.workspace)
    assert [len(workspaces) for workspaces in used.values()] == [1, 1] and used[77] != used[88]
    assert cupy.allocations == 2


def test_a_stream_that_is_captured_must_have_one_already(rng):
    other = HostStream(88)
    cupy, model = HostCupy(other), Model()
    lt = CublasLt(cupy, 1 << 16, library=model)
    request = request_with(rng, **PLAIN | {"stream": other})
    other.capturing = True
    assert "has no workspace for cublasLt yet" in lt.why_not(**request)
    with pytest.raises(CublasLtUnavailable, match="has no workspace for cublasLt yet"):
        lt.gemm(**request)
    assert cupy.allocations == 1
    other.capturing = False
    lt.reserve(other)
    other.capturing = True
    lt.gemm(**request)
    assert cupy.allocations == 2 and model.stream == 88


def test_no_room_for_another_workspace_may_pass(rng):
    cupy = HostCupy(HostStream(88))
    lt = CublasLt(cupy, 1 << 16, library=Model())
    request, make = request_with(rng, **PLAIN | {"stream": 88}), cupy.empty

    def full(shape, dtype):
        raise MemoryError("out of memory")

    cupy.empty = full
    assert lt.why_not(**request) == "there is no room for cublasLt's workspace: out of memory"
    cupy.empty = make
    assert lt.why_not(**request) == ""


def test_no_room_for_a_trial_may_pass(rng):
    cupy, model = HostCupy(), Model()
    lt = CublasLt(cupy, 1 << 16, library=model)
    (request, wanted), make = relu_request(rng, "relu_bias"), cupy.empty

    def full(shape, dtype):
        raise MemoryError("out of memory")

    cupy.empty = full
    assert lt.why_not(**request) == "there is no room to try cublasLt's kernels: out of memory"
    assert not model.descriptors.alive
    cupy.empty = make
    lt.gemm(**request)
    np.testing.assert_array_equal(request["out"].memory, wanted)


# -- why not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BAD)
def test_why_not_is_what_gemm_would_raise(rng, case):
    changes, message = BAD[case]
    lt = CublasLt(HostCupy(), 1 << 16, library=Model())
    assert re.search(message, lt.why_not(**request_with(rng, **changes)))


def test_why_not_makes_the_plan_and_no_product(lt, model, rng):
    a, b, out = whole(rng, 4, 4), whole(rng, 4, 4), aligned((4, 4), "f4")
    assert lt.why_not(*on_device(a, b, out), stream=STREAM) == ""
    assert "shares memory" in lt.why_not(*on_device(a, b, b), stream=STREAM)  # of an old plan's new addresses
    assert model.made == [] and not out.any()
    model.log.clear()
    np.testing.assert_array_equal(call(lt, a, b, out), a @ b)
    assert model.log == ["cublasLtMatmul"]


# -- setting up ----------------------------------------------------------------------------------------------


def test_the_version_is_told():
    assert CublasLt(HostCupy(), 1 << 16, library=Model()).version == "12.9.3"


def test_no_driver():
    model = Model()
    model.fail["cublasLtCreate"] = NOT_INITIALIZED
    with pytest.raises(CublasLtUnavailable, match=r"no driver or no GPU\?.*NOT_INITIALIZED"):
        CublasLt(HostCupy(), library=model)


def test_no_memory_for_the_workspace():
    class Full(HostCupy):
        def empty(self, count, dtype):
            raise MemoryError(f"out of memory allocating {count} bytes")

    model = Model()
    with pytest.raises(
        CublasLtUnavailable, match="no room for cublasLt's workspace: out of memory allocating 4096 bytes"
    ):
        CublasLt(Full(), 4096, library=model)
    gc.collect()
    CublasLt(HostCupy(), 4096, library=model)
    assert model.open_handles == 1


def test_an_unaligned_workspace():
    class Crooked(HostCupy):
        def empty(self, count, dtype):
            return DeviceArray(aligned((count,), dtype, offset=16))

    with pytest.raises(CublasLtUnavailable, match="256 divides"):
        CublasLt(Crooked(), 4096, library=Model())


def test_a_library_that_is_not_there():
    with pytest.raises(CublasLtUnavailable, match=r"no libcublasLt for CUDA 99: .*libcublasLt\.so\.99"):
        load_library(99)


def test_the_real_library_without_a_gpu_says_so():
    library = real_library()
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(CublasLtUnavailable, match="driver"):
        CublasLt(cupy, library=library)


def test_the_real_library_is_declared():
    library = real_library()
    assert library.cublasLtGetVersion() // 10000 == installed()[1]
    assert library.cublasLtGetStatusName(15) == b"CUBLAS_STATUS_NOT_SUPPORTED"
    out = ctypes.c_void_p()
    assert library.cublasLtMatrixLayoutCreate(ctypes.byref(out), 0, 2**40, 3, 2**41) == 0  # 64 bits go through
    made = RealDescriptors(library)
    assert (made.read("MatrixLayout", out.value).ROWS, made.read("MatrixLayout", out.value).LD) == (
        2**40,
        2**41,
    )
    assert library.cublasLtMatrixLayoutDestroy(out) == 0

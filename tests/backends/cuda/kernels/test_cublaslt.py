"""The cublasLt wrapper without a GPU: its view of memory, against a column-major model."""

import gc
import re

import numpy as np
import pytest
from cublaslt_calls import STREAM, BFloat16, call, installed, whole
from cublaslt_host import DeviceArray, HostCupy, aligned
from cublaslt_model import SHAPES, gelu, gelu_slope

from gpubp.backends.cuda import cublaslt, cublaslt_library
from gpubp.backends.cuda.cublaslt import CublasLt
from gpubp.backends.cuda.cublaslt_layouts import EPILOGUES, aux_shape

# -- rows and columns -------------------------------------------------------------------------------------------


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


# -- epilogues --------------------------------------------------------------------------------------------------


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


# -- what the library is told -----------------------------------------------------------------------------------


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
        "_BATCH_COUNT": "MATRIX_LAYOUT_BATCH_COUNT",
        "_BATCH_OFFSET": "MATRIX_LAYOUT_STRIDED_BATCH_OFFSET",
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


# -- plans are made once ----------------------------------------------------------------------------------------


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

"""What the cublasLt wrapper refuses, what it says then, and what it needs when it is made."""

import ctypes
import gc
import re

import numpy as np
import pytest
from cublaslt_calls import BAD, PLAIN, STREAM, call, installed, on_device, real_library, request_with, whole
from cublaslt_host import DeviceArray, HostCupy, aligned
from cublaslt_model import (
    ALLOC_FAILED,
    INTERNAL_ERROR,
    NOT_INITIALIZED,
    NOT_SUPPORTED,
    Kernel,
    Model,
    RealDescriptors,
)

from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable, load_library


# -- refusals ---------------------------------------------------------------------------------------------------
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
def test_an_unsupported_request_is_tried_once(rng, function):
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
def test_a_temporary_failure_is_tried_again(rng, function, status):
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


# -- why not ----------------------------------------------------------------------------------------------------


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


# -- setting up -------------------------------------------------------------------------------------------------


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

"""What the cublasLt wrapper tries out once: whether a ReLU keeps NaN, and has the slope 0 at 0; and its workspaces, one
for each stream."""

import numpy as np
import pytest
from cublaslt_calls import PLAIN, STREAM, BFloat16, on_device, request_with, whole
from cublaslt_host import DeviceArray, HostCupy, HostStream, aligned
from cublaslt_model import INTERNAL_ERROR, NOT_SUPPORTED, Kernel, Model

from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable
from gpubp.backends.cuda.cublaslt_choice import LOSES_NAN, MASKS_0, MISREADS, RELUS
from gpubp.backends.cuda.cublaslt_layouts import aux_shape

# -- whether a ReLU keeps NaN -----------------------------------------------------------------------------------


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
    trials = 2 if epilogue == "relu_aux_bias" else 1  # with 0 too, where there is a mask
    for tries in (trials + 1, 1, 1):  # and then products alone, at other addresses too
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
    assert model.made == [7, 8, 8, 8, 8]


def test_the_first_kernel_whose_mask_has_no_bit_for_0_makes_the_product(rng):
    """Of those that keep NaN: `!(z < 0)`, as CUTLASS has it, is not the derivative of a ReLU here."""
    model = Model(kernels=[Kernel(5, masks_0=True), Kernel(**LOSES), Kernel(8), Kernel(9)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    for made in ([5, 5, 7, 8, 8, 8], [8]):
        model.made.clear()
        request, wanted = relu_request(rng, "relu_aux_bias")
        lt.gemm(**request)
        np.testing.assert_array_equal(request["out"].memory, wanted)
        mask = np.unpackbits(request["aux"].memory, axis=1, bitorder="little")[:, :3]
        np.testing.assert_array_equal(mask, wanted > 0)
        assert model.made == made


@pytest.mark.parametrize("columns", [1, 8, 13, 130])
def test_a_mask_with_bits_for_0_is_refused_and_a_relu_without_one_is_not(rng, columns):
    model = Model(kernels=[Kernel(masks_0=True)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    a, b, out, bias = on_device(
        whole(rng, 4, 5), whole(rng, 5, columns), aligned((4, columns), "f4"), whole(rng, columns)
    )
    aux = DeviceArray(aligned(*aux_shape("relu_aux_bias", (4, columns), "f4")))
    asked = {"a": a, "b": b, "out": out, "bias": bias, "stream": STREAM}
    for _ in range(2):
        assert lt.why_not(**asked, aux=aux, epilogue="relu_aux_bias") == MASKS_0
    assert len(model.made) == 2 and not model.descriptors.alive  # tried once, and kept
    assert lt.why_not(**asked, epilogue="relu_bias") == ""
    model.kernels = [Kernel()]
    assert CublasLt(HostCupy(), 1 << 16, library=model).why_not(**asked, aux=aux, epilogue="relu_aux_bias") == ""


@pytest.mark.parametrize("epilogue", [None, "bias"])
def test_a_kernel_that_cublas_proposes_and_cannot_launch_gives_way_to_the_next(rng, epilogue):
    """Else one product without a kernel would keep its whole step from being a graph."""
    model = Model(kernels=[Kernel(4, status=NOT_SUPPORTED), Kernel(5, status=NOT_SUPPORTED), Kernel(8), Kernel(9)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    changes = {"epilogue": epilogue, "aux": None} | ({} if epilogue else {"bias": None})
    for calls in (3, 1):
        model.log.clear()
        lt.gemm(**request_with(rng, **changes))
        assert model.log.count("cublasLtMatmul") == calls
    assert model.made == [8, 8]
    model.kernels = [Kernel(4, status=NOT_SUPPORTED), Kernel(5, status=INTERNAL_ERROR)]
    for status in (14, 14):  # which may pass
        with pytest.raises(CublasLtUnavailable, match=rf"\({status}\)"):
            CublasLt(HostCupy(), 1 << 16, library=model).gemm(**request_with(rng, **changes))


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


# -- whether it reads a mask of gpubp's own -------------------------------------------------------------------------


def slope_request(rng, rows, columns, dtype="f4", epilogue="drelu_bgrad", **changes):
    """A product behind which a ReLU's derivative comes."""
    arrays = {"a": whole(rng, rows, 5, dtype=dtype), "b": whole(rng, 5, columns, dtype=dtype)}
    arrays |= {"out": aligned((rows, columns), dtype), "aux": aligned(*aux_shape("drelu", (rows, columns), dtype))}
    if epilogue == "drelu_bgrad":
        arrays["bias_gradient"] = aligned((columns,), dtype)
        arrays["bias_gradient"].fill(7)
    made = dict(zip(arrays, on_device(*arrays.values()), strict=True))
    return made | {"epilogue": epilogue, "stream": STREAM} | changes


SIZES = [(1, 1), (1, 8), (4, 3), (3, 13), (5, 130), (7, 300)]


@pytest.mark.parametrize("rows, columns", SIZES)
@pytest.mark.parametrize("epilogue, dtype", [("drelu", "f4"), ("drelu_bgrad", "f4"), ("drelu_bgrad", "f8")])
def test_a_mask_of_ones_own_is_tried_once(lt, model, rng, rows, columns, epilogue, dtype):
    for made in ([99], [], []):
        model.made.clear()
        request = slope_request(rng, rows, columns, dtype, epilogue)
        assert lt.why_not(**request, own_mask=True) == ""
        assert model.made == made
        if epilogue == "drelu_bgrad":
            assert (request["bias_gradient"].memory == 7).all()
        mask = rng.integers(0, 2, (rows, columns), "u1")
        bits = np.packbits(mask, axis=1, bitorder="little")
        request["aux"].memory[...] = 0
        request["aux"].memory[:, : bits.shape[1]] = bits
        lt.gemm(**request)
        wanted = request["a"].memory @ request["b"].memory * mask
        np.testing.assert_array_equal(request["out"].memory, wanted)
        if epilogue == "drelu_bgrad":
            np.testing.assert_array_equal(request["bias_gradient"].memory, wanted.sum(axis=0))


@pytest.mark.parametrize("rows, columns", SIZES)
@pytest.mark.parametrize("order", ["big", "words"])
def test_a_mask_that_is_read_in_another_order_is_refused(rng, order, rows, columns):
    model = Model(kernels=[Kernel(bits=order)])
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    for _ in range(2):
        request = slope_request(rng, rows, columns)
        assert lt.why_not(**request, own_mask=True) == MISREADS
        assert lt.why_not(**request) == ""  # cublasLt's own mask is in its own order
    assert model.made == [99]


def test_a_mask_of_ones_own_for_products_of_bfloat16(rng):
    half = BFloat16()
    a, b = (DeviceArray(aligned(shape, "u2"), dtype=half) for shape in ((4, 5), (5, 130)))
    for order, reason in (("little", ""), ("big", MISREADS)):
        lt = CublasLt(HostCupy(), 1 << 16, library=Model(kernels=[Kernel(bits=order)]))
        request = slope_request(rng, 4, 130, a=a, b=b)
        assert lt.why_not(**request, own_mask=True) == reason


def test_a_mask_of_ones_own_is_not_tried_while_capturing(rng):
    model, cupy = Model(), HostCupy()
    lt = CublasLt(cupy, 1 << 16, library=model)
    request = slope_request(rng, 4, 3, stream=cupy.streams[0])
    cupy.streams[0].capturing = True
    assert "run the step once before capturing it" in lt.why_not(**request, own_mask=True)
    assert model.made == []
    cupy.streams[0].capturing = False
    assert lt.why_not(**request, own_mask=True) == "" and model.made == [99]
    cupy.streams[0].capturing = True
    assert lt.why_not(**request, own_mask=True) == "" and model.made == [99]


def test_no_room_for_a_mask_of_ones_own_may_pass(rng):
    cupy = HostCupy()
    lt = CublasLt(cupy, 1 << 16, library=Model(kernels=[Kernel(4, status=NOT_SUPPORTED), Kernel(8)]))
    request, make = slope_request(rng, 4, 3), cupy.empty

    def full(shape, dtype):
        raise MemoryError("out of memory")

    cupy.empty = full
    assert lt.why_not(**request, own_mask=True) == "there is no room to try cublasLt's kernels: out of memory"
    cupy.empty = make
    assert lt.why_not(**request, own_mask=True) == ""


# -- captures and streams -------------------------------------------------------------------------------------------


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


# -- a workspace for each stream --------------------------------------------------------------------------------


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


def test_workspace_is_tried_again_after_out_of_memory(rng):
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

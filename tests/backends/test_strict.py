"""Each rule of the strict stand-in for CuPy: breaking it raises an error."""

import gc

import numpy as np
import pytest

from strict import CUDARuntimeError, StrictArray, StrictError, strict_cupy


@pytest.fixture
def cupy():
    return strict_cupy()


@pytest.fixture
def a(cupy):
    return cupy.asarray(np.arange(6.0).reshape(2, 3))


def test_it_computes_what_numpy_computes(cupy, a):
    b = cupy.multiply(a, np.float64(2.0))
    assert cupy.sum(b, axis=0).get().tolist() == [6.0, 10.0, 14.0]
    assert a.T.shape == (3, 2) and a.T.reshape(-1).tolist() == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    assert float(cupy.max(a[1])) == 5.0 and cupy.argmax(a, axis=-1).tolist() == [2, 2]
    assert cupy.take(a, cupy.asarray([1, 1]), axis=0).tolist() == [[3.0, 4.0, 5.0]] * 2
    assert (a - 1.0)[0, 0].item() == -1.0 and np.isfinite(a).all().item()


def test_types_are_promoted_as_by_numpy_2(cupy):
    a = cupy.zeros((2,), "float32")
    assert cupy.add(a, 1.0).dtype == "float32"
    assert cupy.add(a, np.float32(1.0)).dtype == "float32"
    assert cupy.add(a, np.float64(1.0)).dtype == "float64"
    assert cupy.add(a, cupy.zeros((), "float64")).dtype == "float64"
    with pytest.raises(TypeError, match="same_kind"):
        cupy.add(a, 1.0, out=cupy.zeros((2,), "int32"))


@pytest.mark.parametrize("host", [np.ones((2, 3)), np.array(1.0)], ids=["array", "0-d"])
def test_host_arrays_are_refused(cupy, a, host):
    for mix in (
        lambda: cupy.add(a, host),
        lambda: cupy.add(a, 1.0, out=host),
        lambda: a + host,
        lambda: host + a,
        lambda: cupy.copyto(a, host),
        lambda: cupy.matmul(a.T, host),
        lambda: cupy.take(host, cupy.asarray([0]), axis=0),
        lambda: np.add(host, a),
        lambda: np.copyto(host, a),
    ):
        with pytest.raises((TypeError, AttributeError)):
            mix()
    if host.ndim:
        with pytest.raises(ValueError, match="non-scalar"):
            a[...] = host


def test_implicit_conversion_to_numpy_raises(a):
    for convert in (
        np.asarray,
        np.array,
        lambda x: np.concatenate([x]),
        lambda x: np.empty((2, 3)).__setitem__(..., x),
    ):
        with pytest.raises(TypeError, match="Implicit conversion"):
            convert(a)
    assert not isinstance(a, np.ndarray) and not hasattr(a, "__array_interface__")


def test_a_stream_that_does_not_wait_reads_old_numbers(cupy):
    one, two = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    a = cupy.zeros((1,))
    cupy.cuda.get_current_stream().synchronize()
    with one:
        cupy.add(a, 1.0, out=a)
    with two:
        early = cupy.multiply(a, 1.0)
        two.wait_event(one.record())
        late = cupy.multiply(a, 1.0)
    assert early.get(stream=two).item() == 0.0, "a stream that has not waited reads old numbers"
    assert late.get(stream=two).item() == 1.0


def test_pinned_memory_is_fetched_late_and_ordinary_memory_at_once(cupy):
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(64), np.float64, 2)
    ordinary = np.zeros(2)
    a, b = cupy.zeros((2,)), cupy.zeros((2,))
    a.set(pinned)
    b.set(ordinary)
    pinned[...] = ordinary[...] = 7.0
    assert a.tolist() == [7.0, 7.0] and b.tolist() == [0.0, 0.0]


def test_capture_runs_nothing_and_launch_runs_the_graph(cupy):
    a = cupy.zeros((1,))
    stream = cupy.cuda.Stream(non_blocking=True)
    stream.wait_event(cupy.cuda.get_current_stream().record())
    with stream:
        cupy.add(a, 1.0, out=a)
        stream.begin_capture()
        cupy.add(a, 1.0, out=a)
        graph = stream.end_capture()
        assert a.tolist() == [1.0]
        before = cupy.counts.copy()
        graph.launch(stream)
        graph.launch()
        assert a.tolist() == [3.0]
    counts = cupy.counts - before
    assert (counts.graph_launches, counts.graph_kernels, counts.launches, counts.null_stream) == (2, 2, 0, 0)


FORBIDDEN = {
    "host read": (lambda cupy, a: a.get(), RuntimeError, "D2H"),
    "float()": (lambda cupy, a: float(a[0, 0]), RuntimeError, "D2H"),
    "if": (lambda cupy, a: bool(a[0, 0]), RuntimeError, "D2H"),
    "host copy": (lambda cupy, a: a.set(np.zeros((2, 3))), RuntimeError, "H2D"),
    "asarray": (lambda cupy, a: cupy.asarray([1.0]), RuntimeError, "H2D"),
    "host indices": (lambda cupy, a: a[np.array([0])], RuntimeError, "H2D"),
    "matmul": (lambda cupy, a: cupy.matmul(a, a.T), NotImplementedError, "cuBLAS"),
    "dot": (lambda cupy, a: cupy.dot(a, a.T), NotImplementedError, "cuBLAS"),
    "allocation": (lambda cupy, a: cupy.empty((2,)), StrictError, "allocated"),
    "no out": (lambda cupy, a: cupy.add(a, 1.0), StrictError, "allocates"),
    "copy of a view": (lambda cupy, a: a.T.reshape(-1), StrictError, "copy"),
    "overlap": (lambda cupy, a: cupy.add(a[:], 1.0, out=a), StrictError, "copy"),
    "operator": (lambda cupy, a: a * 2.0, StrictError, "operator"),
    "in place": (lambda cupy, a: a.__iadd__(1.0), StrictError, "operator"),
    "assignment": (lambda cupy, a: a.__setitem__(..., 0.0), StrictError, "assignment"),
    "new kernel": (lambda cupy, a: cupy.exp(a, out=a), StrictError, "no run before"),
    "new shape": (lambda cupy, a: cupy.add(part := a[:1], 1.0, out=part), StrictError, "no run before"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_calls_during_capture_raise(cupy, a, name):
    act, error, match = FORBIDDEN[name]
    cupy.add(a, 1.0, out=a)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(error, match=match):
            act(cupy, a)
        stream.end_capture()


@pytest.mark.parametrize("wait", [lambda s: s.synchronize(), lambda s: s.done], ids=["synchronize", "done"])
def test_waiting_breaks_a_capture(cupy, wait):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported"):
            wait(stream)
        with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()
    assert not stream.is_capturing()
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.get_current_stream().begin_capture()


def test_a_graph_does_not_keep_its_memory(cupy):
    a = cupy.zeros((2,))
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        cupy.add(a, 1.0, out=a)
        stream.synchronize()
        stream.begin_capture()
        cupy.add(a, 1.0, out=a)
        graph = stream.end_capture()
        del a
        gc.collect()
        with pytest.raises(StrictError, match="freed"):
            graph.launch()


def test_a_graph_launched_before_its_input_is_freed_reads_it(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        a, out = cupy.zeros((2,)), cupy.zeros((2,))
        cupy.add(a, 1.0, out=out)
        stream.synchronize()
        stream.begin_capture()
        cupy.add(a, 1.0, out=out)
        graph = stream.end_capture()
        graph.launch()
        del a
        assert out.tolist() == [1.0, 1.0]


def test_freed_memory_is_given_out_again_on_the_stream_that_it_was_made_on(cupy):
    one, two = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    with one:
        a = cupy.zeros((2,))
        place = a.data.ptr
        one.synchronize()
    with two:
        result = cupy.add(a, 1.0)  # queued, and a is freed before it runs
        del a
        assert cupy.zeros((2,)).data.ptr != place
    with one:
        b = cupy.zeros((2,))
        assert b.data.ptr == place
        cupy.add(b, 41.0, out=b)
        one.synchronize()
    assert result.get(stream=two).tolist() == [42.0, 42.0], "nobody made one stream wait for the other"


def test_devices_are_apart():
    cupy = strict_cupy(devices=2)
    a = cupy.zeros((2,))
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream()
        with pytest.raises(ValueError, match="current device"):
            cupy.add(a, 1.0)
        assert cupy.zeros((2,)).device.id == 1
    with pytest.raises(RuntimeError, match="does not match"), stream:
        pass
    with pytest.raises(ValueError, match="current device"):
        strict_cupy().add(a, 1.0)


def test_each_device_has_its_own_current_stream_and_events():
    cupy = strict_cupy(devices=2)
    with cupy.cuda.Stream() as first:
        mark = cupy.cuda.Event()
        with cupy.cuda.Device(1):
            assert cupy.cuda.get_current_stream().null and cupy.cuda.get_current_stream(0) == first
            with cupy.cuda.Stream() as second:
                assert cupy.cuda.get_current_stream() == second
                with pytest.raises(CUDARuntimeError, match="InvalidResourceHandle"):
                    mark.record(second)
                with pytest.raises(CUDARuntimeError, match="InvalidResourceHandle"):
                    mark.record(cupy._null)
        assert cupy.cuda.get_current_stream() == first
        mark.record()


def test_events_of_a_capture_are_of_no_use_outside(cupy):
    stream, mark = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
    with stream:
        stream.begin_capture()
        mark.record()
        for use in (mark.synchronize, lambda: mark.done):
            with pytest.raises(CUDARuntimeError, match="CapturedEvent"):
                use()
        stream.end_capture()
        with pytest.raises(CUDARuntimeError, match="CapturedEvent"):
            stream.wait_event(mark)
        mark.record()
        stream.wait_event(mark)


def test_only_what_was_timed_has_a_time(cupy):
    stream = cupy.cuda.Stream()
    with stream:
        before, after, plain = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Event(disable_timing=True)
        for mark in (before, after, plain):
            mark.record()
        with pytest.raises(CUDARuntimeError, match="NotReady"):
            cupy.cuda.get_elapsed_time(before, after)
        stream.synchronize()
        assert cupy.cuda.get_elapsed_time(before, after) >= 0.0
        for wrong in (plain, cupy.cuda.Event()):
            with pytest.raises(CUDARuntimeError, match="InvalidResourceHandle"):
                cupy.cuda.get_elapsed_time(before, wrong)


def test_where_cupy_differs_from_numpy_raises(cupy, a):
    single = cupy.zeros((2, 3), "float32")
    assert cupy.ascontiguousarray(cupy.zeros(())).shape == (1,)
    cupy.max(single, axis=1, out=cupy.zeros((2,), "float32"))
    with pytest.raises(StrictError, match="in the type of out"):
        cupy.sum(single, axis=1, out=cupy.zeros((2,), "float64"))
    with pytest.raises(TypeError, match="out= fails"):
        cupy.min(a, axis=1, out=cupy.zeros((2,)))
    with pytest.raises(TypeError, match="Unsupported type <class 'list'>"):
        cupy.add(a, [1.0, 2.0, 3.0])
    for assign in (lambda: a.fill([1.0]), lambda: a.__setitem__(..., [1.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match="non-scalar"):
            assign()
    with pytest.raises(StrictError, match="by row numbers or a mask"):
        a[[0, 0]] = 1.0
    assert a.flags.c_contiguous and a.T.flags.fnc and not hasattr(a.flags, "writeable")


def test_what_cupy_copies_unasked_is_counted(cupy, a):
    cupy.add(a, 1.0, out=a)
    before = cupy.counts.copy()
    cupy.add(a, 1.0, out=a)
    assert (cupy.counts - before).allocations == 0
    cupy.add(a[:], 1.0, out=a)
    assert (cupy.counts - before).allocations == 1


def test_functions_unknown_to_cupy_raise(cupy):
    with pytest.raises(AttributeError, match="ascontiguous_nothing"):
        _ = cupy.ascontiguous_nothing
    assert isinstance(cupy.zeros((1,)), StrictArray)

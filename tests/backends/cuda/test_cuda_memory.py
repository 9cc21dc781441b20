"""Memory of the CUDA backend: when it is freed and reused, and how data are copied to the device."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.cublaslt import CublasLtUnavailable
from gpubp.backends.cuda.graphs import CallByCall, launches_in
from gpubp.errors import DeviceMemoryError
from strict import StrictProducts


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "not waiting"])
def test_steps_that_are_dropped_are_done_before_their_memory_is_used_again(cupy, rng, waits):
    """Their graphs may still be queued when the next step is noted, whose arrays come to lie in the same places."""
    layers = bp.Sequential(bp.Conv2D(3, 3, padding="same"), bp.ReLU(), bp.Flatten(), bp.Dense(4))
    net = bp.Network(layers, (5, 5, 2), device=CUDA(cupy, products=StrictProducts), seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=6)
    host = bp.Trainer(bp.Network(layers, (5, 5, 2), device="cpu", seed=1), bp.SoftmaxCrossEntropy(), bp.SGD(0.1))
    for _ in range(3):
        for t in (trainer, host):
            rows = np.random.default_rng(5)
            for _ in range(5):
                t.step(rows.normal(size=(6, 5, 5, 2)), rows.integers(0, 4, 6))
            t.step_cache.reset()
        gc.collect()
        if waits:
            net.backend.synchronize()
    np.testing.assert_allclose(net.backend.to_host(net.flat), host.network.flat, rtol=1e-4, atol=1e-5)


def trainer_of(cupy, precision="float32", batch=8, **options):
    net = bp.Network(bp.mlp(3, (16, 16)), 6, device=CUDA(cupy, 0, precision, products=StrictProducts), seed=1)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=batch, **options)


def in_use(cupy):
    gc.collect()
    return cupy.room - cupy._free()


def test_a_dropped_step_gives_back_what_it_used(cupy, rng):
    """Casts to bfloat16 among it, and the pool of its graph."""
    trainer = trainer_of(cupy, "bfloat16")
    X, y = rng.normal(size=(64, 6)).astype("float32"), rng.integers(0, 3, 64)

    def steps(rows):
        for _ in range(4):
            trainer.step(X[:rows], y[:rows])
        trainer.step_cache.steps.clear()
        trainer.step_cache.last_step = None

    steps(40)  # scratch memory stays, of the largest step
    before = in_use(cupy)
    for rows in range(20, 40):
        steps(rows)
    gc.collect()
    trainer.backend.synchronize()
    assert in_use(cupy) <= before + 1024
    assert not cupy.pools


def test_a_graph_that_is_dropped_during_a_capture_is_freed_later(cupy):
    be = CUDA(cupy, products=StrictProducts)
    a = be.zeros((2,), "float32")
    steps = []

    def step():
        be.xp.add(a, 1.0, out=a)

    with be.active():
        for _ in range(2):
            steps.append(be.capture(step))
            for _ in range(3):
                steps[-1]()
        assert len(cupy.pools) == 2

        def drops_another():
            step()
            steps.pop()
            gc.collect()

        again = be.capture(drops_another)
        assert len(cupy.pools) == 2, "the stream could not be waited for then"
        again()
    be.synchronize()
    assert len(cupy.pools) == 1 and be.to_host(a).tolist() == [10.0, 10.0]


def test_graphs_that_go_with_their_backend_are_freed_by_another(cupy, rng):
    X, y = rng.normal(size=(8, 6)).astype("float32"), rng.integers(0, 3, 8)
    trainer = trainer_of(cupy)
    for _ in range(4):
        trainer.step(X, y)
    assert len(cupy.pools) == 1
    del trainer
    gc.collect()
    CUDA(cupy, products=StrictProducts).synchronize()
    assert not cupy.pools


def test_large_data_pass_through_little_pinned_memory(cupy, rng, monkeypatch):
    monkeypatch.setattr("gpubp.backends.cuda.staging.PIECE", 1 << 12)
    monkeypatch.setattr("gpubp.backends.cuda.staging.SMALLEST", 1 << 13)
    be = CUDA(cupy, products=StrictProducts)
    sizes, alloc = [], cupy.cuda.alloc_pinned_memory
    cupy.cuda.alloc_pinned_memory = lambda size: (sizes.append(size), alloc(size))[1]
    source = rng.normal(size=(3001, 7))
    out, picked = be.zeros(source.shape, "float32"), be.zeros((5000, 7), "float32")
    rows = rng.integers(0, len(source), 5000)
    with be.active():
        be.stage(out, source)
        be.stage(picked, source, rows)
        source = source.copy()
    np.testing.assert_array_equal(be.to_host(out), source.astype("float32"))
    np.testing.assert_array_equal(be.to_host(picked), source[rows].astype("float32"))
    assert sum(sizes) <= 2 * (1 << 13)


def test_nothing_can_be_put_in_place(cupy):
    be = CUDA(cupy, products=StrictProducts)
    be.put(be.zeros((0, 3), "float32"), 1.0)
    be.stage(be.zeros((0, 3), "float32"), np.zeros((0, 3)))
    assert be.to_host(be.zeros((0, 3), "float32")).shape == (0, 3)


def test_pinned_memory_is_kept_until_it_was_copied_from(cupy):
    """Though the backend that has asked for the copy is gone by then."""
    be = CUDA(cupy, products=StrictProducts)
    a, stream = be.zeros((3,), "float32"), be._stream
    with be.active():
        be.put(a, [1.0, 2.0, 3.0])
    del be
    gc.collect()
    assert a.get(stream=stream).tolist() == [1.0, 2.0, 3.0]


# -- one refusal is one record's --------------------------------------------------------------------------------------


class Choosy(StrictProducts):
    """Has no kernel for products of fewer than 8 rows."""

    def gemm(self, a, b, out, **finish):
        if len(a) < 8 and a.strides[0] > a.strides[1]:
            raise CublasLtUnavailable("cublasLt has no kernel for few rows")
        return super().gemm(a, b, out, **finish)


def test_one_batch_shape_without_a_graph_does_not_affect_others(cupy, rng):
    net = bp.Network(bp.Dense(20), 16, device=CUDA(cupy, products=Choosy), seed=1)
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
    X, y = rng.normal(size=(20, 16)), rng.normal(size=(20, 20))
    with pytest.warns(RuntimeWarning, match="no kernel for few rows"):
        for _ in range(4):
            trainer.step(X[:4], y[:4])
    assert trainer.record.graph is None and "few rows" in trainer.record.refusal
    for _ in range(4):
        trainer.step(X, y)
    assert trainer.record.graph is not None and trainer.record.refusal == ""


def test_unrecorded_launches_are_noticed(cupy):
    be = CUDA(cupy, products=StrictProducts)
    a = be.zeros((1,), "float32")
    double = cupy.RawKernel('extern "C" __global__ void twice(float* a) { a[0] = a[0] + a[0]; }', "twice")

    def step():
        be.xp.add(a, 1.0, out=a)
        double((1,), (1,), (a,))

    with be.active():
        step()
        with pytest.warns(RuntimeWarning, match="launches 1 kernels that a record does not see"):
            again = be.capture(step)
        for _ in range(3):
            again()
    assert isinstance(again, CallByCall) and "does not see" in again.refusal
    assert be.to_host(a).item() == 62.0  # ((((1 · 2 + 1) · 2 + 1) · 2 ...


def test_a_graph_is_counted_by_the_driver_where_there_is_one(monkeypatch):
    """And needs no file for a drawing, nor a driver that draws a graph in which there is nothing."""

    def count_of(graph, nodes, count):
        count._obj.value = graph.value - 4000
        return nodes is not None

    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(cuGraphGetNodes=count_of))
    assert launches_in(SimpleNamespace(graph=4000)) == 0 and launches_in(SimpleNamespace(graph=4003)) == 3
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    assert launches_in(SimpleNamespace(graph=4003, debug_dot_str=lambda: "graph_1_node_0, graph_1_node_1")) == 2


def test_out_of_memory_while_recording_raises_with_a_dropped_graph(cupy):
    be = CUDA(cupy, products=StrictProducts)
    a = be.zeros((2,), "float32")

    def step():
        be.xp.add(a, 1.0, out=a)

    with be.active():
        again = be.capture(step)
        for _ in range(3):
            again()
        del again
        gc.collect()

        def too_large():
            step()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cupy, "room", 0)
                be.zeros((2,), "float32")

        assert be.graphs._dropped
        with pytest.raises(DeviceMemoryError, match="has no room for another array"):
            be._recorded(too_large)


# -- few waits --------------------------------------------------------------------------------------------------------


def test_data_that_are_on_the_device_need_no_room_again(cupy, rng):
    """Nor do others in their place, nor those that the caller has put there."""
    net = bp.Network(bp.mlp(3, (4,)), 500, device=CUDA(cupy, products=StrictProducts))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=40)
    X, y = rng.normal(size=(400, 500)).astype("float32"), rng.integers(0, 3, 400)
    cupy.room = int(3 * X.nbytes)

    def taken_from_the_device(X):
        trainer.fit(X, y[: len(X)])
        return trainer.last_step.batch.upcoming is not None

    assert all(taken_from_the_device(X[:n]) for n in (400, 400, 399, 399, 400))
    cupy.room += X.nbytes // 2
    mine = cupy.asarray(X)
    assert taken_from_the_device(mine) and taken_from_the_device(mine)


def test_predictions_are_read_once(cupy, rng):
    net = bp.Network(bp.mlp(3, (16,)), 6, device=CUDA(cupy, products=StrictProducts))
    X = rng.normal(size=(1000, 6))
    first = net.predict(X)
    before = cupy.counts.copy()
    np.testing.assert_array_equal(net.predict(X), first)
    counts = cupy.counts - before
    assert counts.host_reads == 1 and counts.graph_launches == 8
    np.testing.assert_array_equal(net.predict(X[300:301]), first[300:301])


def test_predictions_that_have_no_room_together_are_read_tile_by_tile(cupy, rng):
    net = bp.Network(bp.mlp(300, (4,)), 6, device=CUDA(cupy, products=StrictProducts))
    X = rng.normal(size=(1000, 6))
    together, on_device = net.predict(X), net.backend.to_device(X, "float32")
    cupy.room -= cupy._free() - together.nbytes // 2
    np.testing.assert_array_equal(net.predict(X), together)
    with pytest.raises(bp.DeviceMemoryError, match="no room"):  # where they are to stay
        net.predict(on_device)


def test_many_rows_are_evaluated_at_once_where_they_have_room(cupy, rng, monkeypatch):
    trainer = trainer_of(cupy, metrics=("accuracy",))
    X, y = rng.normal(size=(1500, 6)), rng.integers(0, 3, 1500)
    host = bp.Network(bp.mlp(3, (16, 16)), 6, device="cpu", seed=1)
    wanted = bp.Trainer(host, bp.SoftmaxCrossEntropy(), bp.Adam(), metrics=("accuracy",)).evaluate(X, y)
    for limit, times in ((2**28, 2), (0, 6)):  # of 1024 rows, or of 256
        monkeypatch.setattr("gpubp.training.evaluations.EVALUATION_BYTES", limit)
        for _ in range(4):
            before = cupy.counts.copy()
            assert trainer.evaluate(X, y) == pytest.approx(wanted, rel=1e-5)
        assert (cupy.counts - before).graph_launches == times


def test_where_many_rows_have_no_room_few_are_evaluated_at_once(cupy, rng):
    trainer, (X, y) = trainer_of(cupy), (rng.normal(size=(1500, 6)), rng.integers(0, 3, 1500))
    wanted = trainer.evaluate(X, y)
    trainer.step_cache.evaluations.passes.clear()
    gc.collect()
    cupy.room -= cupy._free() - trainer.network.step_memory(300)
    assert trainer.evaluate(X, y) == pytest.approx(wanted, rel=1e-6)
    assert [shape.rows for _, shape in trainer.step_cache.evaluations.passes] == [256]
    cupy.room -= cupy._free() - 1000
    trainer.step_cache.evaluations.passes.clear()
    with pytest.raises(bp.DeviceMemoryError, match="no room"):
        trainer_of(cupy).evaluate(X, y)

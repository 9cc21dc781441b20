"""Streams, batches on their way to the device, and memory of the CUDA backend, on the strict stand-in for CuPy."""

import copy
import re
import threading

import numpy as np
import pytest
from device_training import device, train

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.staging import SMALLEST
from gpubp.errors import DeviceError
from strict import StrictArray, StrictProducts, strict_cupy


def test_the_streams_of_gpubp_and_the_user_wait_for_each_other(cupy, rng):
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
    assert be.to_device(a[0, 0]).shape == be.to_device(np.float32(1.0)).shape == ()
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


def test_all_is_done_on_the_gpu_of_the_network(rng, tmp_path):
    """Whatever the caller's own GPU is, and where X lies on the network's."""
    cupy = strict_cupy(devices=2)
    X, y = rng.normal(size=(22, 6)).astype("float32"), rng.integers(0, 3, 22)
    with cupy.cuda.Device(1):
        there = cupy.asarray(X)
    layers = bp.Sequential(bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    for options in (dict(on_nonfinite="rollback"), dict(clip_norm=1.0, l1=1e-3, metrics=["accuracy", "f1"])):
        net = bp.Network(layers, 6, device=CUDA(cupy, 1, products=StrictProducts))
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=4, **options)
        callbacks = [
            bp.EarlyStopping(patience=1),
            bp.WeightAverage(),
            bp.Checkpoint(tmp_path, every_steps=5, overwrite=True),
        ]
        trainer.fit(X, y, epochs=3, validation_data=(there, y), callbacks=callbacks)
        trainer.fit(there, y, epochs=2)
        trainer.step(there[:5], y[:5])
        trainer.evaluate(there, y)
        bp.find_learning_rate(trainer, X, y, steps=10)
        np.testing.assert_array_equal(net.predict_classes(there).get(), net.predict_classes(X))
        trainer.resume(tmp_path)
        copied = copy.deepcopy(net)
        np.testing.assert_array_equal(copied.backend.to_host(copied.flat), net.backend.to_host(net.flat))
    assert cupy.cuda.runtime.getDevice() == 0 and cupy.cuda.get_current_stream().null


def test_out_of_memory_says_which_batch_would_fit(cupy, rng):
    cupy.room = 1 << 20
    net = bp.Network(bp.mlp(2, (64, 64)), 4, device=device(cupy))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam())
    X, y = rng.normal(size=(2000, 4)), rng.integers(0, 2, 2000)
    with pytest.raises(bp.DeviceMemoryError, match="no room .* free. A step on 2000 rows needs 2.6 MB") as caught:
        trainer.step(X, y)
    fits = int(re.search(r"batch_size of about (\d+) fits", str(caught.value))[1])
    assert 400 < fits < 900
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

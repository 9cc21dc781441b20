"""Predictions: bitwise identical in every batch and with any number of threads, from any kind of array."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cpu import row_products
from gpubp.layers.plan import Buffer, Plan
from gpubp.network.prediction import Predictor, tiles


def network(**options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Residual(bp.Sequential(bp.Dense(8), bp.Tanh())), bp.Dense(3))
    return bp.Network(layers, 4, **{"device": "cpu", "seed": 0} | options)


def dense(*widths: int, **options: Any) -> bp.Network:
    layers = bp.Sequential(*[x for w in widths[1:] for x in (bp.Dense(w), bp.Tanh())])
    return bp.Network(layers, widths[0], device="cpu", **options)


class OwnProduct(bp.Layer):
    """y = x Q, by NumPy's own dot."""

    def plan(self, x: Any) -> Any:
        Q = np.random.default_rng(0).normal(size=(x[1], 20)).astype("float32")
        y = (x[0], 20)
        return Plan(
            output=y,
            arrays={"y": y, "z": y, "exact": Buffer(y, "float64")},
            constants={"Q": Q, "Q64": Q.astype("float64")},
        )

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.matmul(x, ws.Q, out=ws.z, casting="same_kind")
        ws.xp.matmul(x, ws.Q64, out=ws.exact)
        assert np.array_equal(ws.z, x @ ws.Q) and np.allclose(
            ws.exact, x.astype("float64") @ ws.Q, rtol=1e-12, atol=1e-12
        )
        return ws.xp.dot(x, ws.Q, out=ws.y)

    def backward(self, ws: Any, dy: Any) -> Any:
        raise NotImplementedError


IMAGES = bp.Sequential(
    bp.Conv2D(20, 3), bp.LayerNorm(), bp.ReLU(), bp.Conv2D(16, 3, padding="same", groups=2), bp.MaxPool2D(2),
    bp.Conv2D(24, 1), bp.BatchNorm(), bp.Conv2D(8, 2, stride=2), bp.Flatten(), bp.Dense(5),
)  # fmt: skip
ALIKE = {
    **{str(widths): lambda widths=widths, **options: dense(*widths, **options) for widths in (
        (16, 10), (9, 52), (9, 48), (11, 110), (300, 7),
        (784, 512, 10), (50, 33, 3), (128, 100, 26), (9, 5), (9, 1), (300, 100, 1), (1, 1, 1)
    )},
    "float64": lambda: dense(128, 100, 26, dtype="float64"),
    "grey images": lambda: bp.Network(bp.Conv2D(52, 3), (10, 10, 1), device="cpu"),
    "images": lambda: bp.Network(IMAGES, (11, 12, 1), device="cpu"),
    "norm": lambda: bp.Network(
        bp.Sequential(bp.Dense(99), bp.LayerNorm(), bp.Residual(bp.Sequential(bp.Dense(99), bp.GELU()))),
        *(30, "cpu"),
    ),
    "sequences": lambda: bp.Network(bp.Sequential(bp.Dense(20), bp.LayerNorm()), (7, 13), device="cpu"),
    "a layer of one's own": lambda: bp.Network(bp.Sequential(OwnProduct(), bp.Tanh()), 40, device="cpu"),
}  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("name", ALIKE)
def test_predictions_are_bitwise_independent_of_the_batch(name: str, rng: np.random.Generator) -> None:
    net = ALIKE[name]()
    n = 1000
    X = rng.normal(size=(n, *net.input_shape)).astype(net.dtype)
    whole = net.predict(X)
    assert whole.shape == (n, *net.output_shape)
    for rows in (1, 7, 48, 49, 127, 128, 129, 144, 145):
        for start in (0, 3, n // 2, n - rows):
            assert np.array_equal(net.predict(X[start : start + rows]), whole[start : start + rows]), (rows, start)
    order = rng.permutation(n)
    assert np.array_equal(net.predict(X[order]), whole[order])


@pytest.mark.kernel
def test_predictions_of_images_are_bitwise_independent_of_the_block_size(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Blocks of less rows of pixels than a piece of a product has, too."""
    monkeypatch.setattr("gpubp.backends.CPU.piece", 2000)
    net = ALIKE["images"]()
    X = rng.normal(size=(150, *net.input_shape)).astype("float32")
    whole = net.predict(X)
    for rows, start in ((1, 0), (1, 149), (20, 3), (49, 50), (145, 2)):
        assert np.array_equal(net.predict(X[start : start + rows]), whole[start : start + rows]), (rows, start)


@pytest.mark.kernel
def test_predictions_do_not_depend_on_the_thread_that_makes_them(rng: np.random.Generator) -> None:
    """Also where another thread has set a limit through threadpoolctl and lives on."""
    net = dense(1100, 1000)
    X = rng.normal(size=(300, 1100)).astype("float32")
    whole, found = net.predict(X), []
    with ThreadPoolExecutor(3) as pool:
        for start in range(0, 60, 3):
            found.append((start, pool.submit(net.predict, X[start : start + 5])))
    for start, future in found:
        assert np.array_equal(future.result(), whole[start : start + 5])


def test_predict_works_while_the_interpreter_exits() -> None:
    code = """
import atexit, numpy as np, gpubp as bp
net = bp.Network(bp.Sequential(bp.Dense(1100), bp.Dense(1000)), 784, device="cpu")
X = np.ones((1500, 784), "float32")
net.predict(X)
atexit.register(lambda: print(net.predict(X).shape, net.predict(X[:3]).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("(1500, 1000) (3, 1000)\n", "", 0)


@pytest.mark.kernel
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_predictions_do_not_depend_on_the_threads_of_blas(threads: int, rng: np.random.Generator) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    net = dense(784, 512, 100)
    X = rng.normal(size=(700, 784)).astype("float32")
    want = net.predict(X)
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        assert np.array_equal(dense(784, 512, 100).predict(X), want)


@pytest.mark.kernel
def test_large_products_shared_among_threads_are_bitwise_identical(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr("gpubp.backends.cpu.row_products.SHARED", 1000)
    monkeypatch.setattr("gpubp.backends.cpu.row_products.BLOCK", 40)
    monkeypatch.setattr("gpubp.network.prediction.SHARED", 1000)
    monkeypatch.setattr("gpubp.network.prediction.is_small", lambda flops, size: False)
    seen, call, together = set(), itertools.count(), threading.Barrier(2)
    silently = row_products._silently

    def noted(part: Any) -> None:
        seen.add(threading.current_thread().name)
        if next(call) < 2:
            together.wait(30)  # however busy the machine is, two threads must take part
        silently(part)

    monkeypatch.setattr(row_products, "_silently", noted)
    net = dense(70, 100, 90, 3)
    X = rng.normal(size=(1000, 70)).astype("float32")
    monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda: 1)
    whole = net.predict(X)
    assert not seen, "no other thread"
    for threads in (1, 2, 3):
        monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda threads=threads: threads)
        for rows in (1, 48, 100, 500):
            assert np.array_equal(net.predict(X[5 : 5 + rows]), whole[5 : 5 + rows]), (threads, rows)
    assert len(seen) > 1 and all(name.startswith("gpubp-predict") for name in seen)


def test_tiles_cover_all_rows() -> None:
    for n in (1, 47, 48, 49, 144, 145, 192, 193, 1000):
        cut = list(tiles(n, (48, 144)))
        assert [start for start, _ in cut] == list(range(0, n, 144)) and sum(cut[-1]) >= n
        assert all(rows == 144 for _, rows in cut[:-1]) and sum(cut[-1]) - n < (48 if cut[-1][1] == 48 else 96)


def test_large_tiles_are_shared_among_threads(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    seen, call, together = set(), itertools.count(), threading.Barrier(2)
    forward = Predictor.forward

    def noted(self: Predictor, out: Any, pool: Any = None) -> None:
        name = threading.current_thread().name
        seen.add(name)
        if name.startswith("gpubp-predict") and next(call) < 2:
            together.wait(30)  # however busy the machine is, two threads must take part
        forward(self, out, pool)

    monkeypatch.setattr(Predictor, "forward", noted)
    monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda: 3)
    dense(784, 512, 10).predict(rng.normal(size=(1500, 784)).astype("float32"))
    assert sum(name.startswith("gpubp-predict") for name in seen) > 1
    seen.clear()
    dense(16, 10).predict(rng.normal(size=(1500, 16)).astype("float32"))
    assert seen == {threading.current_thread().name}


def test_an_error_in_a_prediction_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X = dense(784, 512, 10), np.zeros((1500, 784), "float32")
    net.predict(X)
    monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda: 2)

    def fails(self: Predictor, out: Any, pool: Any = None) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "forward", fails)
        with pytest.raises(MemoryError, match="no room"):
            net.predict(X)
    assert net.predict(X).shape == (1500, 10)


def test_several_threads_predict_with_one_network(rng: np.random.Generator) -> None:
    net = network()
    batches = [rng.normal(size=(n, 4)).astype("float32") for n in (5, 300, 77, 128)]
    expected = [net.predict(X) for X in batches]
    wrong: list[int] = []

    def use(k: int) -> None:
        for _ in range(40):
            if not np.array_equal(net.predict(batches[k]), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_predictions_after_training_use_the_new_parameters(rng: np.random.Generator) -> None:
    """A prediction after training sees the new parameters; the old result stays as it was."""
    net = network()
    X = rng.normal(size=(10, 4))
    before = net.predict(X)
    kept = before.copy()
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(1.0)).step(X, [0] * 10)
    after = net.predict(X)
    assert np.array_equal(before, kept) and not np.array_equal(before, after)


class Wrapped:
    """An array of another library, known by `__array__` or by DLPack alone."""

    def __init__(self, a: np.ndarray, by: str) -> None:
        if by == "array":
            self.__class__ = type("ByArray", (), {"__array__": lambda s, dtype=None, copy=None: a})
        else:
            self.__class__ = type(
                "ByDLPack",
                (),
                {"__dlpack__": lambda s, **k: a.__dlpack__(**k), "__dlpack_device__": lambda s: a.__dlpack_device__()},
            )


def test_predict_takes_any_kind_of_array(tmp_path: Path, rng: np.random.Generator) -> None:
    net = network()
    X = rng.integers(0, 5, (20, 4))
    expected = net.predict(X.astype("float32"))
    np.save(tmp_path / "x.npy", X.astype("float32"))
    kinds = [X, X.astype("uint8"), X.astype("float64"), X.tolist(), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]]
    kinds += [np.load(tmp_path / "x.npy", mmap_mode="r"), Wrapped(X, "array"), Wrapped(X.astype("float32"), "dlpack")]
    for kind in kinds:
        assert np.array_equal(net.predict(kind), expected), type(kind)
    assert net.predict(X > 2).shape == (20, 3)


def test_training_from_a_memory_map_equals_training_from_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    X, y = rng.integers(0, 255, (60, 4)).astype("uint8"), rng.integers(0, 3, 60)
    np.save(tmp_path / "x.npy", X)
    one, two = network(), network()
    for net, data in ((one, X), (two, np.load(tmp_path / "x.npy", mmap_mode="r"))):
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=16).fit(data, y, epochs=2)
    assert np.array_equal(one.flat, two.flat)


def test_predict_takes_torch_tensors(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    X = torch.tensor(rng.normal(size=(5, 4)))
    assert np.array_equal(network().predict(X), network().predict(X.numpy()))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((2, 5)), "rows of shape"),
        (np.zeros((0, 4)), "no rows"),
        (np.full((2, 4), np.nan), "X holds nan in row 0"),
        ([["a"] * 4], "needs numbers"),
    ],
)
def test_predict_refuses_rows_that_do_not_fit(X: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        network().predict(X)

"""Networks: names, shapes, predictions with the same bits, kinds of arrays, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp import model_file
from gpubp.backends.cpu import row_products
from gpubp.layers.base import Buffer, Plan
from gpubp.network.prediction import Predictor, tiles


def network(**options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Residual(bp.Sequential(bp.Dense(8), bp.Tanh())), bp.Dense(3))
    return bp.Network(layers, 4, **{"device": "cpu", "seed": 0} | options)


def test_names_follow_the_place() -> None:
    assert list(network().parameters) == ["0.W", "0.b", "2.0.0.W", "2.0.0.b", "3.W", "3.b"]
    assert list(bp.Network(bp.Dense(2), 3, device="cpu").parameters) == ["W", "b"]


def test_parameters_can_be_assigned() -> None:
    net = network()
    net.parameters["0.W"][...] = 1.0
    assert (net.parameters["0.W"] == 1.0).all() and net.flat.sum() > 31


def test_first_weights_depend_on_seed_and_name_alone() -> None:
    one, two = network(), bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(5)), 4, device="cpu", seed=0)
    assert np.array_equal(one.parameters["0.W"], two.parameters["0.W"])
    assert not np.array_equal(one.parameters["0.W"], network(seed=1).parameters["0.W"])
    exact = network(dtype="float64").parameters["0.W"]
    assert np.array_equal(one.parameters["0.W"], exact.astype("float32"))


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
def test_pixels_of_large_images_are_alike_in_blocks_of_any_size(
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


def test_predictions_go_on_while_the_interpreter_ends() -> None:
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
def test_large_products_are_shared_by_columns_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr("gpubp.backends.cpu.row_products.SHARED", 1000)
    monkeypatch.setattr("gpubp.backends.cpu.row_products.BLOCK", 40)
    monkeypatch.setattr("gpubp.network.prediction.SHARED", 1000)
    monkeypatch.setattr("gpubp.network.prediction.is_small", lambda flops, size: False)
    seen: set[str] = set()
    silently = row_products._silently

    def noted(part: Any) -> None:
        seen.add(threading.current_thread().name)
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
    assert len({name for name in seen if name.startswith("gpubp-predict")}) > 1


def test_tiles_cover_all_rows() -> None:
    for n in (1, 47, 48, 49, 144, 145, 192, 193, 1000):
        cut = list(tiles(n, (48, 144)))
        assert [start for start, _ in cut] == list(range(0, n, 144)) and sum(cut[-1]) >= n
        assert all(rows == 144 for _, rows in cut[:-1]) and sum(cut[-1]) - n < (48 if cut[-1][1] == 48 else 96)


def test_large_tiles_are_shared_out_among_threads(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    seen: set[str] = set()
    forward = Predictor.forward

    def noted(self: Predictor, out: Any, pool: Any = None) -> None:
        seen.add(threading.current_thread().name)
        forward(self, out, pool)

    monkeypatch.setattr(Predictor, "forward", noted)
    monkeypatch.setattr("gpubp.network.prediction.blas_threads", lambda: 3)
    dense(784, 512, 10).predict(rng.normal(size=(1500, 784)).astype("float32"))
    assert sum(name.startswith("gpubp-predict") for name in seen) > 1
    seen.clear()
    dense(16, 10).predict(rng.normal(size=(1500, 16)).astype("float32"))
    assert seen == {threading.current_thread().name}


def test_an_error_in_a_thread_that_predicts_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_threads_share_a_network(rng: np.random.Generator) -> None:
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


def test_predicting_is_not_training(rng: np.random.Generator) -> None:
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


def test_any_kind_of_array_goes_in(tmp_path: Path, rng: np.random.Generator) -> None:
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


def test_torch_tensors_go_in(rng: np.random.Generator) -> None:
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
def test_rows_that_do_not_fit(X: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        network().predict(X)


def test_shapes_that_do_not_fit_name_the_layer_and_the_one_before() -> None:
    with pytest.raises(bp.ShapeError) as problem:
        bp.Network(bp.Sequential(bp.Dense(6), bp.Sequential(bp.Dense(5), bp.Residual(bp.Dense(4)))), 4, device="cpu")
    text = str(problem.value)
    assert text.startswith('Residual(Dense(4)) at "1.1" expects its two ways to give one shape')
    assert text.endswith('; the layer before it, Dense(5) at "1.0", gives rows of shape (5,)')


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Network(bp.Dense, 3, device="cpu"), "is made of a layer"),
        (lambda: bp.Network(bp.Dense(3), 3, device="cpu", dtype="int32"), '"float32" or "float64"'),
        (lambda: bp.Network(bp.Dense(3), 3, device="gpu"), "there is no device 'gpu'"),
        (lambda: bp.Dense(0), "whole number of units"),
        (lambda: bp.Dense(2.5), "whole number of units"),
        (lambda: bp.Sequential(), "at least one layer"),
        (lambda: bp.Sequential(bp.Dense(3), bp.ReLU), r"write ReLU\(\.\.\.\)"),
        (lambda: bp.Parallel(bp.Dense(3), merge="mean"), '"concatenate" or "add"'),
        (lambda: bp.Network(bp.Parallel(bp.Dense(3), bp.Dense(2), merge="add"), 3, device="cpu"), "can't add outputs"),
        (lambda: bp.GELU(approximate="none"), "no error function"),
        (lambda: bp.Huber(0.0), "delta above 0"),
        (lambda: bp.SoftmaxCrossEntropy(1.0), "below 1"),
        (lambda: bp.SGD(-1.0), "learning_rate of 0 or more"),
        (lambda: bp.SGD(nesterov=True), "needs a momentum"),
        (lambda: bp.Adam(beta_1=1.0), "beta_1 from 0 to below 1"),
    ],
)
def test_what_can_not_be_made(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError, bp.DeviceError), match=words):
        make()


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    network().summary(rows=16)
    text = capsys.readouterr().out
    assert "2.0.0  Dense(8)  (16, 8)          72" in text and "139 parameters" in text


def test_a_file_gives_the_same_network(tmp_path: Path, rng: np.random.Generator) -> None:
    net = network(dtype="float64")
    net.freeze("0.*")
    net.metadata = {"names": ["a", "ß"], "n": 1}
    X = rng.normal(size=(9, 4))
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    assert again.layers == net.layers and again.metadata == net.metadata and again.frozen == net.frozen
    assert again.dtype == net.dtype and np.array_equal(again.flat, net.flat)
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    network().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        network(seed=1).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network().save(path)
    whole = path.read_bytes()
    for cut in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(bp.ModelFileError, match="no whole safetensors file"):
            bp.load(path, device="cpu")
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(bp.ModelFileError, match="no whole safetensors file"):
        bp.load(path, device="cpu")
    with pytest.raises(bp.ModelFileError, match="is a folder"):
        bp.load(tmp_path, device="cpu")
    from safetensors.numpy import save_file

    save_file({"W": np.zeros(3)}, path)
    with pytest.raises(bp.ModelFileError, match="not one that gpubp wrote"):
        bp.load(path, device="cpu")


def config(**changes: Any) -> dict[str, Any]:
    layers = {"class": "Dense", "units": 2, "use_bias": False}
    return {"layers": layers, "input_shape": [3], "dtype": "float32", "seed": 0} | changes


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (config(layers={"class": "Dence"}), "no class named 'Dence'"),
        (config(layers={"class": "Dense", "units": -1}), "no Dense can be made"),
        (config(layers={"class": "Adam"}), "is no layer"),
        (config(layers=[1, 2]), "is no layer"),
        (config(dtype="complex64"), "does not describe a network"),
        (config(input_shape="wide"), "does not describe a network"),
        ({"seed": 0}, "does not describe a network"),
    ],
)
def test_descriptions_that_are_none(described: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model_file.write(path, described, {"W": np.zeros((3, 2), "float32")})
    with pytest.raises(bp.ModelFileError, match=words):
        bp.load(path, device="cpu")


def test_all_differences_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    layers = bp.Sequential(bp.Dense(2), bp.Dense(2)).config()
    arrays = {"0.W": np.zeros((3, 2)), "0.b": np.zeros(5, "float32"), "2.W": np.zeros(1, "float32")}
    model_file.write(path, config(layers=layers), arrays)
    with pytest.raises(bp.ModelFileError) as problem:
        bp.load(path, device="cpu")
    text = str(problem.value)
    assert "0.W holds float64" in text and "0.b has the shape (5,)" in text
    assert "1.W is missing" in text and "2.W is not of this network" in text


def test_a_new_head_on_a_trained_body(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    net = network(seed=5)
    net.metadata = {"names": ["old"]}
    net.save(path)
    new = bp.load(path, device="cpu", head=bp.Dense(7))
    assert new.output_shape == (7,) and new.metadata == {}
    for name, a in net.parameters.items():
        assert name.startswith("3.") or np.array_equal(a, new.parameters[name])
    bp.Network(bp.Dense(2), 3, device="cpu").save(path)
    with pytest.raises(bp.ModelFileError, match="last layer of a Sequential"):
        bp.load(path, device="cpu", head=bp.Dense(7))


def test_weights_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(seed=5).save(path)
    other = bp.Network(bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(8), bp.Dense(2)), 4, device="cpu")
    report = other.load_weights(path)
    assert report.taken == ("0.W", "0.b") and set(report.other_shape) == {"3.W", "3.b"}
    assert report.missing == ("2.W", "2.b") and set(report.unused) == {"2.0.0.W", "2.0.0.b"}
    assert np.array_equal(other.parameters["0.W"], network(seed=5).parameters["0.W"])
    with pytest.raises(bp.ModelFileError, match="nothing in"):
        bp.Network(bp.Dense(2), 3, device="cpu").load_weights(path)


def test_no_file_holds_code(tmp_path: Path) -> None:
    """The header is JSON and the rest numbers."""
    path = tmp_path / "m.safetensors"
    network().save(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert set(header) == {"__metadata__", *network().parameters}
    assert json.loads(header["__metadata__"]["config"])["layers"]["class"] == "Sequential"


def test_a_layer_that_computes_without_out_is_told() -> None:
    class Careless(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x})

        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            return ws.xp.multiply(x, 2.0)

        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            return dy

    net = bp.Network(bp.Sequential(bp.Dense(2), Careless()), 3, device="cpu")
    with pytest.raises(bp.RecordError, match="xp.multiply was called without out="):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).step(np.ones((2, 3)), np.ones((2, 2)))


class Doubled(bp.Layer):
    """2 x by an operator, which no recorder sees."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return x * 2.0

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return dy * 2.0


class InPlace(Doubled):
    """2 x, added up in place behind the recorder's back."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        y = ws.xp.multiply(x, 1.0, out=ws.y)
        y += x
        return y


class Noisy(Doubled):
    """x and a new random number, of which no record knows."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.add(x, float(np.random.default_rng().normal()), out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return dy


class Recordable(Doubled):
    """2 x as it should be."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, 2.0, out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, 2.0, out=ws.y)


@pytest.mark.parametrize("careless", [Doubled(), InPlace(), Noisy()], ids=repr)
def test_what_the_recorder_can_not_see_is_told_before_training(careless: bp.Layer) -> None:
    for layers, place in (
        (bp.Sequential(bp.Dense(2), careless), "1"),
        (bp.Sequential(careless, bp.Dense(2)), "0"),
        (bp.Residual(bp.Sequential(bp.Dense(3), careless)), "0.1"),
    ):
        net = bp.Network(layers, 3, device="cpu")
        before = net.flat.copy()
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        X, y = np.arange(12.0).reshape(4, 3), np.ones((4, *net.output_shape))
        with pytest.raises(
            bp.RecordError, match=rf'{type(careless).__name__} at "{place}" .*ws.xp.multiply\(a, b, out='
        ):
            trainer.fit(X, y)
        assert np.array_equal(before, net.flat)
    if not isinstance(careless, Noisy):  # whose differences say already that something is wrong
        with pytest.raises(bp.RecordError, match="would not repeat"):
            bp.gradcheck(careless, (4, 3))


def test_a_loss_of_ones_own_that_the_recorder_can_not_see_is_told() -> None:
    class Careless(bp.HalfMeanSquaredError):
        def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
            return super().forward(ws, z, t) * 1.0

    net = bp.Network(bp.Dense(2), 3, device="cpu")
    with pytest.raises(bp.RecordError, match="Careless computes"):
        bp.Trainer(net, Careless(), bp.SGD()).step(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_own_layers_that_keep_the_rules_train(rows: int) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), Recordable(), bp.BatchNorm()), 3, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=2)
    trainer.fit(np.ones((rows, 3)), np.ones((rows, 2)))
    assert trainer.step_count == -(-rows // 2)
    assert bp.gradcheck(Recordable(), (4, 3))


def test_an_array_that_was_not_planned_is_told() -> None:
    class Forgetful(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x})

        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            return ws.xp.multiply(x, x, out=ws.square)

        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            return dy

    with pytest.raises(AttributeError, match=r'Forgetful\(\) at "1" uses ws.square'):
        bp.Network(bp.Sequential(bp.Dense(2), Forgetful()), 3, device="cpu").predict(np.ones((2, 3)))

"""Training on rows on disk: bitwise identical to training in memory, in bounded memory, with clear errors."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda import backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.data.reader import THREAD, Reader
from gpubp.data.row_groups import ORDER_BYTES
from strict import StrictProducts, strict_cupy
from traced import traced

N, WIDTH = 500, 5
ROW = 4 * WIDTH + ORDER_BYTES


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD and thread not in before]


class Source:
    """Rows in uneven groups, one of them empty, that counts what is read."""

    def __init__(self, rows: int = N, window: int = 100, dtype: str = "float32") -> None:
        rng = np.random.default_rng(0)
        self.X = rng.normal(size=(rows, WIDTH)).astype(dtype)
        self.y = (self.X[:, 0] + self.X[:, 1] ** 2 > 0.5).astype(np.int64) + (self.X[:, 2] > 1)
        ends = [*range(0, rows, 37), rows]
        self.starts = np.array(sorted([*ends, ends[3]]))
        self.reads: list[int] = []
        memory = 2 * window * (np.dtype(dtype).itemsize * WIDTH + ORDER_BYTES)
        self.rows = bp.RowGroups(np.diff(self.starts), self.read, (WIDTH,), dtype, memory=memory)

    def read(self, k: int) -> np.ndarray:
        self.reads.append(k)
        return self.X[self.starts[k] : self.starts[k + 1]]

    def order(self, seed: int) -> Any:
        """For `fit` to go through the same rows in memory."""
        return lambda epoch, n: np.asarray(self.rows.order(seed, epoch))


def trainer(device: Any = "cpu", dtype: str = "float32", **settings: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    net = bp.Network(layers, WIDTH, device=device, dtype=dtype, seed=3)
    settings = {"batch_size": 16, "seed": 5, "metrics": "accuracy"} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.AdamW(0.01), **settings)


def bits(t: bp.Trainer) -> list[Any]:
    arrays = [t.network.flat, t.network.states.flat, *(m.flat for m in t.update.moments.values())]
    return [*(t.backend.to_host(a).tobytes() for a in arrays), dict(t.history)]


# -- the order --------------------------------------------------------------------------------------------------------


def test_an_order_has_every_row_once_and_is_local() -> None:
    X = Source().rows
    seen = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        order = X.order(seed, epoch)
        rows = np.asarray(order)
        assert sorted(rows) == list(range(N)) and len(order) == N
        seen.add(tuple(rows))
        end = 0
        for window in order.windows:
            size = int(X.sizes[list(window)].sum())
            assert size * ROW <= X.memory // 2
            here = rows[end : end + size]
            assert set(X.group_of(here)) == {k for k in window if X.sizes[k]} and list(here) != sorted(here)
            end += size
        assert end == N and len(order.windows) > 4
    assert len(seen) == 3
    assert tuple(np.asarray(X.order(1, 0))) in seen and np.asarray(X.order(7, 7, shuffle=False)).tolist() == [*range(N)]


def test_a_slice_of_the_order_equals_the_whole_order() -> None:
    X = Source().rows
    whole = np.asarray(X.order(2, 3))
    for start in (0, 90, 130, 491, 499):
        assert X.order(2, 3)[start : start + 150].tolist() == whole[start : start + 150].tolist()
    assert len(X.order(2, 3)[10:10]) == 0 and len(X.order(2, 3)[600:700]) == 0


def test_a_group_may_be_larger_than_the_memory() -> None:
    X = np.arange(60.0).reshape(20, 3)
    rows = bp.RowGroups([12, 8], lambda k: X[12 * k : 12 + 8 * k], (3,), "float64", memory=1)
    assert [len(w) for w in rows.order(0, 0).windows] == [1, 1]
    with Reader(rows) as reader:
        assert np.array_equal(reader[[0, 19, 11, 12]], X[[0, 19, 11, 12]])


def test_indexing_is_that_of_an_array() -> None:
    source = Source()
    assert source.rows.shape == (N, WIDTH) and source.rows.nbytes == source.X.nbytes and source.rows.ndim == 2
    mask = np.arange(N) % 7 == 0
    with Reader(source.rows) as reader:
        for rows in (source.rows, reader):
            for at in ([3, 499, 111, 3], np.array([], np.int64), slice(30, 200, 3), slice(None), mask, 40):
                assert np.array_equal(rows[at], source.X[at])
            out = np.empty((2, WIDTH), "float32")
            assert np.take(rows, [400, 2], axis=0, out=out, mode="clip") is out
            assert np.array_equal(out, source.X[[400, 2]])
    assert np.array_equal(np.asarray(source.rows), source.X)


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fit"),
    [
        ({}, {}),
        ({"batch_size": None}, {}),
        ({"batch_size": 3}, {"sample_weight": np.linspace(0.5, 2, N), "class_weight": "balanced"}),
        ({"dtype": "float64"}, {}),
        ({"workers": 2}, {}),
        ({"on_nonfinite": "raise"}, {}),
        ({"batch_size": 300}, {}),
    ],
    ids=["plain", "all rows", "weights", "float64", "workers", "guarded", "more than a window"],
)
def test_training_on_disk_equals_training_in_memory_bitwise(settings: dict[str, Any], fit: dict[str, Any]) -> None:
    source = Source()
    one, two = trainer(**settings), trainer(**settings)
    one.fit(source.rows, source.y, epochs=3, **fit)
    two.fit(source.X, source.y, epochs=3, shuffle=source.order(5), **fit)
    assert bits(one) == bits(two)


def test_rows_of_another_type_are_cast_batch_by_batch() -> None:
    source = Source(dtype="float64")
    one, two = trainer(), trainer()
    one.fit(source.rows, source.y, epochs=2)
    two.fit(source.X, source.y, epochs=2, shuffle=source.order(5))
    assert bits(one) == bits(two)


@pytest.mark.parametrize("shuffle", [False, lambda epoch, n: np.arange(n)[::-3]])
def test_shuffle_false_and_an_own_order(shuffle: Any) -> None:
    source = Source()
    one, two = trainer(), trainer()
    one.fit(source.rows, source.y, epochs=2, shuffle=shuffle)
    two.fit(source.X, source.y, epochs=2, shuffle=shuffle)
    assert bits(one) == bits(two)


def test_each_group_is_read_once_an_epoch() -> None:
    source = Source()
    trainer().fit(source.rows, source.y, epochs=4)
    counts = np.bincount(source.reads, minlength=source.rows.groups)
    most = 4 + 1  # the first window of a fifth epoch may have been begun with
    assert ((counts >= 4) & (counts <= most) | (source.rows.sizes == 0)).all() and counts.sum() < 4.3 * len(counts)


def test_groups_that_fit_into_memory_are_read_once() -> None:
    source = Source(window=N)
    trainer().fit(source.rows, source.y, epochs=4)
    assert sorted(source.reads) == [k for k in range(source.rows.groups) if source.rows.sizes[k]]


def test_a_share_of_every_group_is_held_out() -> None:
    source = Source()
    training, held, mask = source.rows.split(0.2, seed=5)
    assert len(held) == mask.sum() == 100 and len(training) == 400
    assert np.array_equal(np.asarray(held), source.X[mask]) and np.array_equal(np.asarray(training), source.X[~mask])
    shares = held.sizes / np.maximum(1, source.rows.sizes)
    assert (np.abs(shares[source.rows.sizes > 20] - 0.2) < 0.05).all()
    assert not np.array_equal(source.rows.split(0.2, seed=6)[2], mask)
    one, two = trainer(), trainer()
    one.fit(source.rows, source.y, epochs=3, validation_fraction=0.2)
    order = lambda epoch, n: np.asarray(training.order(5, epoch))  # noqa: E731
    validation = (source.X[mask], source.y[mask])
    two.fit(source.X[~mask], source.y[~mask], epochs=3, shuffle=order, validation_data=validation)
    assert bits(one) == bits(two) and "val_accuracy" in one.history


def test_several_readers_at_once() -> None:
    """Trained on, validated with after every epoch, and predicted in the middle of one."""
    source, results = Source(), []
    for X, shuffle in ((source.rows, True), (source.X, source.order(5))):
        t, seen = trainer(), []
        look = bp.LambdaCallback(on_step_end=lambda t, X=X, seen=seen: seen.append(t.network.predict(X).tobytes()))
        fit = {"shuffle": shuffle, "validation_data": (X, source.y, np.linspace(1, 2, N))}
        t.fit(X, source.y, epochs=2, callbacks=[look], **fit)
        results.append((bits(t), seen))
    assert results[0] == results[1]


@pytest.mark.parametrize(("sizes", "fraction", "held"), [([1, 1], 0.01, 1), ([1, 1], 0.99, 1), ([3, 0, 5], 0.5, 4)])
def test_either_side_of_a_split_has_a_row(sizes: list[int], fraction: float, held: int) -> None:
    rows = bp.RowGroups(sizes, lambda k: np.zeros(sizes[k]), ())
    parts = rows.split(fraction, seed=0)
    assert [len(p) for p in parts] == [sum(sizes) - held, held, sum(sizes)]


def test_predictions_and_evaluations_equal_those_in_memory() -> None:
    source = Source()
    t = trainer()
    assert t.network.predict(source.rows).tobytes() == t.network.predict(source.X).tobytes()
    assert len(source.reads) == np.count_nonzero(source.rows.sizes)
    assert t.evaluate(source.rows, source.y) == t.evaluate(source.X, source.y)


def test_learning_rate_finder_and_profile_on_disk() -> None:
    source = Source()
    found = bp.find_learning_rate(trainer(), source.rows, source.y, steps=60)
    assert len(source.reads) < 4 * source.rows.groups  # two epochs
    assert 1e-6 < found.suggestion < 10
    assert trainer().profile(source.rows, source.y, steps=3).parts


def test_targets_may_lie_on_disk_too(tmp_path: Path) -> None:
    source = Source()
    np.save(tmp_path / "y.npy", source.y)
    one, two = trainer(), trainer()
    one.fit(source.X, bp.open_rows(tmp_path / "y.npy", memory=512), epochs=1)
    two.fit(source.X, source.y, epochs=1)
    assert bits(one) == bits(two)


# -- going on ---------------------------------------------------------------------------------------------------------


def test_training_on_disk_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    source = Source(rows=150, window=40)
    whole = trainer()
    whole.fit(source.rows, source.y, epochs=3, validation_fraction=0.2)
    every = bp.LambdaCallback(on_step_end=lambda t: t.save(tmp_path / f"{t.step_count}.safetensors"))
    trainer().fit(source.rows, source.y, epochs=3, validation_fraction=0.2, callbacks=[every])
    paths = list(tmp_path.glob("*.safetensors"))
    assert len(paths) == 3 * 8
    for path in paths:
        again = trainer()
        again.resume(path)
        again.fit(source.rows, source.y, epochs=3, validation_fraction=0.2)
        assert bits(again) == bits(whole), path.name


def test_other_rows_or_another_memory_are_refused(tmp_path: Path) -> None:
    source = Source()
    trainer().fit(source.rows, source.y, epochs=1, callbacks=[bp.Checkpoint(tmp_path)])
    other = Source(window=50)
    for X in (other.rows, source.X):
        again = trainer()
        again.resume(tmp_path)
        with pytest.raises(bp.DataError, match="was trained with other data: X differs"):
            again.fit(X, source.y, epochs=2)


def test_a_rollback_reads_rows_again() -> None:
    source = Source()
    sparse = np.zeros(N)
    sparse[np.asarray(source.rows.order(5, 0))[-40:]] = 1.0  # late in the epoch
    once = []

    def spoil(t: bp.Trainer) -> None:
        if t.step_count == 29 and not once:
            once.append(1)
            t.network.flat[...] = np.nan

    results = []
    for X, shuffle in ((source.rows, True), (source.X, source.order(5))):
        once.clear()
        t = trainer(on_nonfinite="rollback")
        with pytest.warns(RuntimeWarning, match="back to step 0"):
            t.fit(X, source.y, epochs=2, shuffle=shuffle, callbacks=[bp.LambdaCallback(on_step_end=spoil)])
        results.append(bits(t))
    assert results[0] == results[1]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_value_that_is_not_finite_is_named_by_its_row() -> None:
    source = Source()
    source.X[321, 2] = np.nan
    for act in (
        lambda: trainer().fit(source.rows, source.y),
        lambda: trainer().fit(source.rows, source.y, validation_fraction=0.5),
        lambda: trainer().evaluate(source.rows, source.y),
        lambda: trainer().network.predict(source.rows),
    ):
        with pytest.raises(bp.DataError, match="X holds nan in row 321; drop such rows"):
            act()


def test_values_that_a_layer_refuses_are_refused_when_read() -> None:
    rows = bp.RowGroups([4, 4], lambda k: np.full((4, 3), 9 * k), (3,), "int32")
    layers = bp.Sequential(bp.Embedding(8, 2), bp.Flatten(), bp.Dense(1))
    with pytest.raises(bp.DataError, match="X holds 9, and Embedding.* 0 to 7"):
        bp.Network(layers, 3, device="cpu").predict(rows)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (OSError("the disk is gone"), r"X can't be read from row 185 to 221 \(the disk is gone\)"),
        (bp.DataError("row 200 holds the unseen category 'x'"), "row 200 holds the unseen category 'x'"),
        (MemoryError("no room"), "no room"),
    ],
)
def test_an_error_in_the_reading_thread_is_raised(problem: Exception, words: str) -> None:
    source = Source()

    def read(k: int) -> np.ndarray:
        if k == 6:
            raise problem
        return source.read(k)

    rows = bp.RowGroups(source.rows.sizes, read, (WIDTH,), memory=source.rows.memory)
    t = trainer()
    with pytest.raises((bp.DataError, MemoryError), match=words):
        t.fit(rows, source.y, epochs=2, shuffle=False)
    assert 0 < t.step_count < 20


def test_a_group_of_another_shape() -> None:
    rows = bp.RowGroups([4, 4], lambda k: np.zeros((4 - k, 2)), (2,), name="my rows")
    with pytest.raises(
        bp.DataError, match=r"my rows gave float64 of shape \(3, 2\) for the rows from 4 to 7, and float32"
    ):
        np.asarray(rows)
    with pytest.raises(bp.DataError, match="X has rows of shape"):
        trainer().network.predict(rows)
    with pytest.raises(bp.DataError, match="X has no rows"):
        trainer().network.predict(bp.RowGroups([], lambda k: None, (WIDTH,)))
    with pytest.raises(ValueError, match="needs memory to be a whole number, 1 or more, and got"):
        bp.RowGroups([1], lambda k: None, (), memory=0)


def test_stopping_leaves_no_thread_and_reads_no_further() -> None:
    source = Source()

    def stop(t: bp.Trainer) -> None:
        raise KeyboardInterrupt

    t = trainer()
    t.fit(source.rows, source.y, epochs=50, callbacks=[bp.LambdaCallback(on_step_end=stop)])
    assert t.history.interrupted and len(source.reads) < source.rows.groups


# -- memory -----------------------------------------------------------------------------------------------------------


def test_memory_stays_bounded_however_large_the_file_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160_000, 50)).astype("float32")  # 32 MB
    y = (X[:, 0] > 0).astype(np.int64)
    np.save(tmp_path / "X.npy", X)
    size = X.nbytes
    del X
    rows = bp.open_rows(tmp_path / "X.npy", memory=4 << 20)
    net = bp.Network(bp.Dense(2), 50, device="cpu")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=512, metrics="accuracy")
    t.fit(rows, y, epochs=1, validation_fraction=0.1)  # what is made once is made
    with traced() as peak:
        t.fit(rows, y, epochs=2, validation_fraction=0.1)
        trained = peak()
        tracemalloc.reset_peak()
        t.evaluate(rows, y)
        judged = peak()
    assert t.history["val_accuracy"][-1] > 0.95
    targets = 12 * y.nbytes // 8  # int32, then a part to train with and one to validate with, and masks
    assert trained < 2 * rows.memory + targets + (2 << 20) < size / 2
    assert judged < rows.memory + targets + (2 << 20)


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_a_gpu_keeps_the_rows_or_gets_them_batch_by_batch(keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "KEPT", 0.5 if keeps else 0.0)
    source, results = Source(), []
    for on_disk in (True, False):
        be = CUDA(strict_cupy(), products=StrictProducts)
        t = trainer(be)
        fit = {} if on_disk else {"shuffle": source.order(5)}
        t.fit(source.rows if on_disk else source.X, source.y, epochs=3, **fit)
        results.append(bits(t))
        if on_disk:
            predicted = t.network.predict(source.rows)
            counts = np.bincount(source.reads, minlength=source.rows.groups)[source.rows.sizes > 0]
            assert (counts == 2).all() if keeps else (counts >= 4).all()
        else:
            assert np.array_equal(predicted, t.network.predict(source.X))
    assert results[0] == results[1]

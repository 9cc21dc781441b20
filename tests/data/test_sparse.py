"""Sparse rows: formats, what stays sparse, and errors that name the row and the column."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.data.checks import as_inputs, as_targets
from gpubp.data.feed import Feed
from gpubp.data.row_groups import SomeRows
from gpubp.data.sparse import SparseRows
from gpubp.data.weights import row_weights
from strict import StrictProducts, strict_cupy

sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed: pip install 'gpubp[sklearn]'")

DENSE = np.array([[0, 0, 0, 2.0], [0, 0, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0], [0, 4, 0, 5], [0, 0, 0, 0]])


def inputs(X: Any, dtype: str = "float32") -> Any:
    return as_inputs(X, (4,), bp.get_backend("cpu"), dtype)


def formats(a: np.ndarray) -> list[Any]:
    names = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
    return [getattr(sparse, f"{name}_{kind}")(a) for name in names for kind in ("array", "matrix")]


def test_every_format_gives_the_same_rows() -> None:
    for matrix in formats(DENSE):
        rows = inputs(matrix)
        assert isinstance(rows, SparseRows) and len(rows) == 6, matrix.format
        assert np.array_equal(rows[[4, 0]], DENSE[[4, 0]]) and np.array_equal(np.asarray(rows), DENSE)


@pytest.mark.parametrize("kind", ["int8", "int64", "bool", "uint8", "float32", "float64"])
def test_every_type_of_number_is_taken(kind: str) -> None:
    assert np.array_equal(inputs(sparse.csr_array(DENSE.astype(kind)))[:], DENSE.astype(kind))


def test_duplicates_are_summed_and_the_matrix_stays() -> None:
    """Entries of one place that are given twice, unsorted columns, zeros that are stored, and indices of 64 bits."""
    data, columns = np.array([1.0, 3.0, 0.0, 2.0, 5.0]), np.array([3, 1, 0, 3, 2])
    for index in (np.int32, np.int64):
        matrix = sparse.csr_array((data.copy(), columns.astype(index), np.array([0, 4, 5], index)), shape=(2, 4))
        rows = inputs(matrix)
        assert rows[:].tolist() == [[0, 3, 0, 3], [0, 0, 5, 0]]
        assert matrix.data.tolist() == data.tolist() and matrix.nnz == 5
    coo = sparse.coo_array((data, (np.array([0, 0, 0, 0, 1]), columns)), shape=(2, 4))
    assert inputs(coo)[:].tolist() == [[0, 3, 0, 3], [0, 0, 5, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_errors_name_the_row_and_the_column(value: float) -> None:
    wrong = DENSE.copy()
    wrong[4, 1] = value
    for matrix in formats(wrong):
        with pytest.raises(bp.DataError, match=f"X holds {value} in row 4, column 1; drop such rows"):
            inputs(matrix)


def test_numbers_that_are_too_large_are_named() -> None:
    wrong = DENSE.copy()
    wrong[4, 3] = 1e39
    for matrix in formats(wrong):
        with pytest.raises(bp.DataError, match=r"X holds 1e\+39 in row 4, column 3; more than float32 can hold"):
            inputs(matrix)
        assert inputs(matrix, "float64")[4].max() == 1e39
    twice = sparse.csr_array((np.array([3e38, 3e38]), np.array([1, 1]), np.array([0, 0, 2])), shape=(2, 4))
    with pytest.raises(bp.DataError, match=r"X holds 6e\+38 in row 1, column 1; more than float32 can hold"):
        inputs(twice)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (sparse.csr_array((0, 4)), "X has no rows"),
        (sparse.csr_array((3, 5)), r"X has rows of shape \(5,\), and the network takes rows of shape \(4,\)"),
        (sparse.coo_array(np.arange(4.0)), r"for a single row write X.toarray\(\)\[None\]"),
        (sparse.csr_array(DENSE * 1j), "X holds complex128, and gpubp computes with real numbers: give real and"),
        (sparse.coo_array(np.ones((2, 2, 4))), r"X is a sparse array of shape \(2, 2, 4\), and it needs two axes"),
    ],
)
def test_sparse_matrices_that_do_not_fit(X: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        inputs(X)


def test_sparse_rows_for_images_are_reshaped_as_arrays() -> None:
    X = sparse.csr_matrix(np.eye(3, 40))
    with pytest.raises(bp.DataError, match=r"shape \(8, 5\): X.toarray\(\).reshape\(-1, 8, 5\) would make"):
        as_inputs(X, (8, 5), bp.get_backend("cpu"), "float32")
    assert as_inputs(X.toarray().reshape(-1, 8, 5), (8, 5), bp.get_backend("cpu"), "float32").shape == (3, 8, 5)


def test_targets_and_weights_are_never_sparse() -> None:
    column = sparse.csr_array(np.ones((2, 1)))
    with pytest.raises(bp.DataError, match=r"y is a sparse matrix, and only X may be one; give y.toarray\(\)"):
        as_targets(column, bp.MeanSquaredError(), (1,), 2, "float32")
    with pytest.raises(bp.DataError, match="sample_weight is a sparse matrix"):
        row_weights(2, column)


def test_sparse_columns_of_pandas_stay_sparse() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({f"c{k}": pd.arrays.SparseArray(DENSE[:, k], fill_value=0.0) for k in range(4)})
    rows = inputs(table)
    assert isinstance(rows, SparseRows) and np.array_equal(rows[:], DENSE)
    mixed = table.assign(c0=pd.arrays.SparseArray(DENSE[:, 0] > 0, fill_value=False))
    assert isinstance(inputs(mixed), SparseRows) and np.array_equal(inputs(mixed)[:], DENSE)
    dense = table.assign(c0=DENSE[:, 0])
    assert isinstance(inputs(dense), np.ndarray) and np.array_equal(inputs(dense), DENSE)
    wrong = table.assign(c1=pd.arrays.SparseArray([0, 0, 0, np.inf, 0, 0], fill_value=0.0))
    with pytest.raises(bp.DataError, match="X: column 'c1' holds inf in row 3; drop such rows"):
        inputs(wrong)


def test_rows_that_are_held_out_stay_sparse_and_have_the_bits_of_dense_ones() -> None:
    feed = Feed(inputs(sparse.csr_array(DENSE)), np.arange(6))
    dense = Feed(DENSE, np.arange(6))
    for part, of_dense in zip(feed.split(0.4, seed=1), dense.split(0.4, seed=1), strict=True):
        assert isinstance(part.X, SparseRows)
        assert np.array_equal(part.X[:], of_dense.X) and np.array_equal(part.t, of_dense.t)


def test_dense_errors_name_the_row_of_images_maps_and_validation_data(tmp_path: Path) -> None:
    images = np.zeros((5, 3, 3, 2), "float32")
    images[3, 2, 1, 1] = np.nan
    net = bp.Network(bp.Sequential(bp.Flatten(), bp.Dense(2)), (3, 3, 2), device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD())
    y = np.zeros(5, int)
    np.save(tmp_path / "X.npy", images)
    for given in (images, np.load(tmp_path / "X.npy", mmap_mode="r")):
        with pytest.raises(bp.DataError, match="X holds nan in row 3; drop such rows"):
            trainer.fit(given, y)
        with pytest.raises(bp.DataError, match="in validation_data, X holds nan in row 3; drop such rows"):
            trainer.fit(images[:3], y[:3], validation_data=(given, y))
    flat = bp.Trainer(bp.Network(bp.Dense(2), 18, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD())
    matrix = sparse.csr_array(images.reshape(5, 18))
    with pytest.raises(bp.DataError, match="in validation_data, X holds nan in row 3, column 15; drop such rows"):
        flat.fit(np.zeros((2, 18)), [0, 1], validation_data=(matrix, y))


def test_rows_held_out_of_a_large_memory_map_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And training has the bits of training in memory."""
    X, y = np.random.default_rng(0).normal(size=(50, 4)).astype("float32"), np.arange(50) % 2
    np.save(tmp_path / "X.npy", X)

    def trained(given: Any) -> tuple[Any, ...]:
        trainer = bp.Trainer(bp.Network(bp.Dense(2), 4, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=8)
        checkpoints = bp.Checkpoint(tmp_path / "run", overwrite=True)
        history = trainer.fit(given, y, epochs=2, validation_fraction=0.3, callbacks=[checkpoints])
        return dict(history), trainer.network.flat.tolist()

    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = trained(X)
    assert trained(mapped) == expected
    monkeypatch.setattr("gpubp.data.feed.MEMORY", 100)
    for part in Feed(mapped, y).split(0.3, seed=0):
        assert isinstance(part.X, SomeRows) and np.array_equal(np.asarray(part.X), X[part.X.numbers])
    assert trained(mapped) == expected and trained(np.load(tmp_path / "X.npy", mmap_mode="r")) == expected
    for other in ("float64", "int16"):
        np.save(tmp_path / "X.npy", X.astype(other))
        assert trained(np.load(tmp_path / "X.npy", mmap_mode="r")) == trained(X.astype(other))


def test_sparse_rows_train_on_a_gpu_as_dense_ones_do() -> None:
    few = np.where(np.random.default_rng(0).random((60, 4)) > 0.6, 1.5, 0.0)
    y = np.arange(60) % 2

    def trained(X: Any) -> tuple[Any, ...]:
        net = bp.Network(bp.Dense(2), 4, device=CUDA(strict_cupy(), products=StrictProducts))
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=8)
        history = trainer.fit(X, y, epochs=2, validation_fraction=0.3, class_weight="balanced")
        return dict(history), net.predict(X).tolist(), trainer.evaluate(X, y)

    assert trained(sparse.csr_array(few)) == trained(few)


# -- memory -----------------------------------------------------------------------------------------------------------

ROWS, WIDE = 6000, 6000  # 288 MB if they were filled in, in float64


@pytest.fixture(scope="module")
def wide() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(0)
    return sparse.random_array((ROWS, WIDE), density=1e-3, rng=rng, format="csr"), rng.integers(0, 2, ROWS)


def made(**options: Any) -> bp.Trainer:
    net = bp.Network(bp.Dense(2), WIDE, device="cpu")
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=16, **options)


def peak(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


USES: dict[str, Callable[[Any, Any], Any]] = {
    "fraction": lambda X, y: made().fit(X, y, validation_fraction=0.2),
    "class weights": lambda X, y: made().fit(X, y, validation_fraction=0.2, class_weight="balanced"),
    "validation data": lambda X, y: made().fit(X, y, validation_data=(X, y)),
    "evaluation": lambda X, y: made().evaluate(X, y),
    "prediction": lambda X, y: made().network.predict(X),
    "profile": lambda X, y: made().profile(X, y, steps=2),
    "learning rates": lambda X, y: bp.find_learning_rate(made(), X, y, steps=10),
    "gradient flow": lambda X, y: made().fit(X, y, callbacks=[bp.GradientFlow()]),
    "comparison": lambda X, y: bp.compare_backends(
        bp.Dense(2), X, y, loss=bp.SoftmaxCrossEntropy(), backends=("cpu", "cpu-float64"), steps=2, batch_size=16
    ),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_sparse_rows_are_never_filled_in(use: str, wide: tuple[Any, np.ndarray]) -> None:
    assert peak(lambda: USES[use](*wide)) < ROWS * WIDE * 8 / 4, use


def test_a_checkpoint_of_sparse_rows_is_never_filled_in(wide: tuple[Any, np.ndarray], tmp_path: Path) -> None:
    def fit() -> None:
        made().fit(*wide, epochs=1, validation_fraction=0.2, callbacks=[bp.Checkpoint(tmp_path)])

    assert peak(fit) < ROWS * WIDE * 8 / 4
    trainer = made()
    trainer.resume(tmp_path)
    assert trainer.fit(*wide, epochs=2, validation_fraction=0.2).epochs == 2


def test_gradients_of_sparse_rows_equal_those_of_dense_ones() -> None:
    net = bp.Network(bp.Dense(2), 4, device="cpu")
    y = np.array([0, 1, 0, 1, 0, 1])
    one, two = (net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y) for X in (DENSE, sparse.csc_array(DENSE)))
    assert one[0] == two[0] and np.array_equal(one[1]["W"], two[1]["W"])

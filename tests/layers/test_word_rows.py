"""Errors of words that layers compute name the row as the user gave it, whatever holds the rows, and if some are held
out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data import feed

N = 40
LAYERS = bp.Sequential(bp.ReLU(), bp.Embedding(10, 3), bp.Flatten(), bp.Dense(2))
KINDS = ["array", "sparse", "memory map", "large memory map", "npy file", "npy file in windows", "parquet file"]


def given(kind: str, X: np.ndarray[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """X in something else that holds rows."""
    if kind == "array":
        return X
    if kind == "sparse":
        return pytest.importorskip("scipy.sparse", reason="SciPy is not installed").csr_array(X)
    if kind == "parquet file":
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1]}), folder / "X.parquet", row_group_size=7)
        return bp.open_rows(folder / "X.parquet")
    np.save(folder / "X.npy", X)
    if "file" in kind:
        return bp.open_rows(folder / "X.npy", **({"memory": 500} if "windows" in kind else {}))
    if "large" in kind:
        monkeypatch.setattr(feed, "MEMORY", 8)
    return np.load(folder / "X.npy", mmap_mode="r")


def data(row: int, value: float = 15) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(X, y) with a wrong number in one row."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 10, (N, 2)).astype("float32"), rng.integers(0, 2, N)
    X[row, 1] = value
    return X, y


@pytest.mark.parametrize("shuffle", [True, False, "function"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_the_training_data_is_named(
    kind: str, shuffle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data(row=27)
    rows = given(kind, X, tmp_path, monkeypatch)
    order = (lambda epoch, n: np.arange(n)[::-1]) if shuffle == "function" else shuffle
    trainer = bp.Trainer(bp.Network(LAYERS, 2, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=6)
    with pytest.raises(bp.DataError, match="got 15 .* in row 27 of the training data"):
        trainer.fit(rows, y, shuffle=order, verbose=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_x_is_named_if_rows_are_held_out(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data(row=0, value=0)
    started = set()
    for row in range(20, 28):
        wrong = X.copy()
        wrong[row, 1] = 15
        rows = given(kind, wrong, tmp_path, monkeypatch)
        trainer = bp.Trainer(bp.Network(LAYERS, 2, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=6)
        with pytest.raises(bp.DataError, match=f"got 15 .* in row {row} of X") as caught:
            trainer.fit(rows, y, validation_fraction=0.5, verbose=False)
        started.add(str(caught.value).startswith("in the validation data, "))
        del rows
    assert started == {True, False}, "rows of both parts"


def test_the_row_of_x_is_named_by_find_learning_rate() -> None:
    X, y = data(row=27)
    trainer = bp.Trainer(bp.Network(LAYERS, 2, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=6)
    with pytest.raises(bp.DataError, match="got 15 .* in row 27 of the training data"):
        bp.find_learning_rate(trainer, X, y, steps=20)


@pytest.mark.parametrize("below", [True, False], ids=["computed", "of X"])
@pytest.mark.parametrize("sparse", [False, True])
def test_early_stopping_of_an_estimator_names_the_row_of_x(below: bool, sparse: bool) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from scipy.sparse import csr_matrix

    from gpubp.estimators import NetworkClassifier

    layers = LAYERS if below else bp.Sequential(*LAYERS.layers[1:])
    for row in range(20, 28):
        X, y = data(row)
        rows = csr_matrix(X) if sparse else X
        words = f"got 15 .* in row {row} of X" if below else f"^X holds 15, .* in row {row}$"
        options: dict[str, Any] = dict(early_stopping=True, validation_fraction=0.5, random_state=0, device="cpu")
        with pytest.raises(bp.DataError, match=words):
            NetworkClassifier(layers, max_iter=2, **options).fit(rows, y)


def test_validation_data_of_an_estimator_keep_their_own_rows() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from gpubp.estimators import NetworkClassifier

    (X, y), (wrong, _) = data(row=0, value=0), data(row=5)
    for layers, words in (
        (LAYERS, "in the validation data, .* in row 5 of X"),
        (bp.Sequential(*LAYERS.layers[1:]), "in validation_data, X holds 15, .* in row 5"),
    ):
        estimator = NetworkClassifier(layers, max_iter=2, random_state=0, device="cpu")
        with pytest.raises(bp.DataError, match=words):
            estimator.fit(X, y, validation_data=(wrong, y))


def test_early_stopping_names_the_row_of_y_as_it_was_given() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from gpubp.estimators import MLPRegressor

    X, _ = data(row=0, value=0)
    y = np.ones(N)
    for row in (30, 31, 32, 33):
        y[row] = 1e300
        with pytest.raises(bp.DataError, match=f"y holds 1e\\+300 in row {row}; more than float32"):
            MLPRegressor(
                hidden_layer_sizes=(2,), dtype="float32", early_stopping=True, random_state=0, device="cpu"
            ).fit(X, y)
        y[row] = 1

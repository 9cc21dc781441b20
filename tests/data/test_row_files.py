"""Files as row groups: their numbers are read exactly, and damaged files are refused."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data.reader import THREAD

X = np.random.default_rng(0).normal(size=(300, 4)).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "uint8", "int64", "bool"])
@pytest.mark.parametrize("row", [(), (4,), (2, 2)], ids=str)
def test_an_npy_file_is_read_unchanged(dtype: str, row: tuple[int, ...], tmp_path: Path) -> None:
    a = (10 * X).astype(dtype).reshape(-1, *row)
    np.save(tmp_path / "a.npy", a)
    rows = bp.open_rows(tmp_path / "a.npy", memory=4096)
    assert rows.shape == a.shape and rows.dtype == a.dtype.newbyteorder("=") and rows.groups > 10
    np.testing.assert_array_equal(np.asarray(rows), a)
    np.testing.assert_array_equal(rows[[299, 0, 150]], a[[299, 0, 150]])


def test_a_row_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    rows = bp.open_rows(tmp_path / "a.npy", memory=1)
    assert rows.groups == 300 and np.array_equal(rows[7:9], X[7:9])


def damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a,b\n1,2\n")
        case "short":
            path.write_bytes(whole[: len(whole) // 2])
        case "header":
            path.write_bytes(whole[:7])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "is not an .npy file: it begins with b''"),
        ("text", "is not an .npy file: it begins with b'a,b"),
        ("short", "is cut short or damaged"),
        ("header", "is cut short or damaged"),
    ],
)
def test_a_file_that_is_not_npy(how: str, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    damaged(tmp_path / "a.npy", how)
    with pytest.raises(bp.DataError, match=f"a.npy {words}"):
        bp.open_rows(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("a", "words"),
    [
        (np.asfortranarray(X), "is stored column by column"),
        (np.array([["a", "b"]]), "holds <U1, and the network needs numbers"),
        (np.array([[None, 1]], object), "holds Python objects"),
        (np.zeros((0, 3)), "has no rows|is cut short"),
        (np.array(3.0), "has no rows"),
        (np.zeros((2, 2), complex), "holds complex128"),
    ],
    ids=["fortran", "text", "objects", "empty", "number", "complex"],
)
def test_an_npy_file_of_something_else(a: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", a, allow_pickle=True)
    with pytest.raises(bp.DataError, match=words):
        bp.open_rows(tmp_path / "a.npy")


def test_an_npy_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    rows = bp.open_rows(tmp_path / "a.npy", memory=2048)
    damaged(tmp_path / "a.npy", "short")
    net = bp.Network(bp.Dense(1), 4, device="cpu")
    with pytest.raises(bp.DataError, match=r"a.npy can't be read from row \d+ to \d+ \(it has become shorter\)"):
        net.predict(rows)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(bp.DataError, match=r"a.npy can't be read from row 0 to \d+ \(.*No such file"):
        net.predict(rows)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.DataError, match="there is no file nowhere.npy"):
        bp.open_rows("nowhere.npy")
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(bp.DataError, match="a.csv is neither .npy nor .parquet"):
        bp.open_rows(tmp_path / "a.csv")
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(ValueError, match="are for Parquet files"):
        bp.open_rows(tmp_path / "a.npy", columns=["a"])
    with pytest.raises(ValueError, match="needs memory to be a whole number, 1 or more, and got"):
        bp.open_rows(tmp_path / "a.npy", memory=0)


# -- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four columns of numbers, of several types, in groups of 40 rows, beside one of text."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    columns: dict[str, Any] = {f"x{k}": X[:, k] for k in range(4)}
    columns["x3"] = (X[:, 3] > 0).tolist()
    columns["town"] = np.where(X[:, 0] > 0, "Ulm", "Hof")
    columns["count"] = np.arange(300) % 3
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=40)
    return tmp_path / "t.parquet"


NAMES = ["x0", "x1", "x2", "x3", "count"]


def test_columns_become_one_row(table: Path) -> None:
    rows = bp.open_rows(table, columns=["count", "x3", "x1"])
    want = np.stack([np.arange(300) % 3, X[:, 3] > 0, X[:, 1]], axis=1).astype("float32")
    assert rows.shape == (300, 3) and rows.groups == 8
    assert np.array_equal(np.asarray(rows), want)


def test_a_transform_makes_numbers_of_text(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.data.row_files.BATCH", 16)
    seen = []

    def transform(batch: Any) -> np.ndarray:
        seen.append(batch.num_rows)
        return np.stack([batch["x0"].to_numpy(), [town == "Ulm" for town in batch["town"].to_pylist()]], axis=1)

    want = np.stack([X[:, 0], X[:, 0] > 0], axis=1).astype("float32")
    for width in (None, 2):
        rows = bp.open_rows(table, columns=["town", "x0"], transform=transform, width=width)
        assert np.array_equal(np.asarray(rows), want) and max(seen) == 16


def test_training_on_a_parquet_file_equals_training_in_memory(table: Path) -> None:
    rows = bp.open_rows(table, columns=NAMES, memory=80 * (4 * 5 + 16) * 2)
    y, trainers = (X[:, 0] > 0).astype(int), []
    for given, shuffle in ((rows, True), (np.asarray(rows), lambda epoch, n: np.asarray(rows.order(0, epoch)))):
        net = bp.Network(bp.Sequential(bp.Dense(6), bp.Tanh(), bp.Dense(2)), 5, device="cpu")
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=32)
        t.fit(given, y, epochs=3, shuffle=shuffle)
        trainers.append(t)
    assert trainers[0].network.flat.tobytes() == trainers[1].network.flat.tobytes()
    assert trainers[0].history == trainers[1].history


def doubled(batch: Any) -> np.ndarray:
    return 2 * np.stack([column.to_numpy() for column in batch.columns], axis=1)


@pytest.mark.parametrize("kind", ["npy", "parquet", "parquet with a transform", "some rows"])
@pytest.mark.parametrize(
    "again", [lambda rows: pickle.loads(pickle.dumps(rows)), copy.deepcopy], ids=["pickle", "copy"]
)
def test_rows_of_a_file_can_be_pickled_and_are_read_from_another_folder(
    kind: str, again: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", X)
    if "parquet" in kind:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        columns = {f"x{k}": X[:, k] for k in range(4)}
        pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), "a.parquet", row_group_size=80)
    rows = bp.open_rows(f"a.{kind[:7] if 'parquet' in kind else 'npy'}", transform=doubled if "with" in kind else None)
    expected = 2 * X if "with" in kind else X
    if kind == "some rows":
        kept = np.arange(300) % 3 > 0
        rows, expected = rows.where(kept), X[kept]
    assert len(pickle.dumps(rows)) < 4000 or kind == "some rows"
    other = again(rows)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (repr(other), other.memory) == (repr(rows), rows.memory)
    np.testing.assert_array_equal(np.asarray(other), expected)
    net = bp.Network(bp.Dense(2), 4, device="cpu")
    np.testing.assert_array_equal(net.predict(other), net.predict(rows))


def test_a_missing_number_is_named_by_its_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [1, 2, None, 4]}), tmp_path / "t.parquet", row_group_size=2)
    with pytest.raises(bp.DataError, match="X holds nan in row 2; drop such rows"):
        bp.Network(bp.Dense(1), 1, device="cpu").predict(bp.open_rows(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the column town of .* holds string, and the network needs numbers"),
        ({"columns": ["x0", "x9"]}, "t.parquet has no column x9; it has x0, x1, x2, x3, town, count"),
    ],
)
def test_invalid_columns(given: dict[str, Any], words: str, table: Path) -> None:
    with pytest.raises(bp.DataError, match=words):
        bp.open_rows(table, **given)


def test_a_transform_that_gives_something_else(table: Path) -> None:
    rows = bp.open_rows(table, transform=lambda batch: np.zeros((batch.num_rows, 3)), width=2)
    with pytest.raises(bp.DataError, match=r"transform gave an array of shape \(40, 3\), and 2 numbers a row"):
        np.asarray(rows)
    rows = bp.open_rows(table, transform=lambda batch: np.zeros((7, 2)), width=2)
    with pytest.raises(bp.DataError, match="it gave 7 of 40 rows"):
        np.asarray(rows)


@pytest.mark.parametrize("how", ["empty", "text", "short"])
def test_a_file_that_is_not_parquet(how: str, table: Path) -> None:
    damaged(table, how)
    with pytest.raises(bp.DataError, match="t.parquet is no Parquet file, or is cut short or damaged"):
        bp.open_rows(table, columns=NAMES)


def test_a_parquet_file_damaged_in_its_middle(table: Path) -> None:
    """The footer is whole, so that it shows only when the group is read, in the background."""
    before = set(threading.enumerate())
    rows = bp.open_rows(table, columns=NAMES, memory=80 * (4 * 5 + 16) * 2)
    whole = bytearray(table.read_bytes())
    middle = len(whole) // 2
    whole[middle - 300 : middle + 300] = b"\xff" * 600
    table.write_bytes(whole)
    t = bp.Trainer(bp.Network(bp.Dense(1), 5, device="cpu"), bp.MeanSquaredError(), bp.SGD(), batch_size=8)
    with pytest.raises(
        bp.DataError, match=r"t.parquet can't be read from row \d+ to \d+ \(.*\): it is cut short, damaged"
    ):
        t.fit(rows, X[:, 0], epochs=2)
    damaged(table, "short")
    with pytest.raises(bp.DataError, match=r"t.parquet can't be read from row \d+ to \d+"):
        t.fit(rows, X[:, 0], epochs=2)
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD and thread not in before]

"""Reading tables: every damaged file gives a one-line error with its name and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gpubp.errors import DataError
from gpubp.tables import CellError, Table, fit, is_table

pyarrow = pytest.importorskip("pyarrow")


def rows_of(source: object) -> list[dict[str, object]]:
    return [row for _, batch in Table(source).batches() for row in batch.to_pylist()]


def written(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_same_rows_from_every_kind_of_file(tmp_path: Path) -> None:
    from pyarrow import parquet

    plain = written(tmp_path, "a,b\n1,x\n2,y\n")
    rows = rows_of(plain)
    assert rows == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    others = [
        written(tmp_path, "﻿a;b\r\n1;x\r\n\r\n2;y", "s.csv"),
        written(tmp_path, "a\tb\n1\tx\n2\ty\n", "t.tsv"),
        written(tmp_path, gzip.compress(plain.read_bytes()), "g.csv.gz"),
        pyarrow.table({"a": ["1", "2"], "b": ["x", "y"]}),
    ]
    parquet.write_table(others[-1], tmp_path / "p.parquet", row_group_size=1)
    for other in (*others, tmp_path / "p.parquet"):
        assert rows_of(other) == rows, other
    batches = list(Table(tmp_path / "p.parquet").batches(["b", "a"]))
    assert [(first, batch.schema.names) for first, batch in batches][0] == (0, ["b", "a"])
    assert batches[0][1].column(0).to_pylist()[0] == "x"


def test_a_frame_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    assert rows_of(pandas.DataFrame({"a": [1, 2]})) == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="a table is a file, a DataFrame or a pyarrow Table, and not 3"):
        Table(3)


def test_a_frame_of_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": ["x", "y"] * 9, "b": [1.5, None] * 9, "y": [0.5 * i * i for i in range(18)]})
    assert rows_of(frame)[1] == {"a": "y", "b": None, "y": 0.5}
    assert fit(frame, "y").outputs == ["a = x", "a = y", "b", "b is missing"]


def test_an_index_without_a_name_gets_one(tmp_path: Path) -> None:
    """As pandas writes it."""
    assert Table(written(tmp_path, ",a\n0,5\n")).columns == ["column 1", "a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty; the first line of a CSV file names its columns"),
        ("\n\n", "is empty"),
        ("a,b,a\n1,2,3\n", "more than one column called a"),
        ("a,b\n1,2\n3\n", "line 3: 1 value, and the header names 2 columns"),
        ("a,b\n\n1,2\n4,5,6\n", "line 4: 3 values, and the header names 2"),
        (b"a,b\n1,\xff\n", "line 2, b: not UTF-8 text"),
        (b"a,\xff\n1,2\n", "line 1: not UTF-8 text; say what it is, as --encoding cp1252"),
        (b"a\0b\n1\n", "zero byte"),
        (b"PK\x03\x04\0\0\0\n", "is no text, but a .zip or .xlsx file"),
    ],
)
def test_csv_that_can_not_be_read(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows_of(written(tmp_path, content))


def test_other_files_that_can_not_be_read(tmp_path: Path) -> None:
    for name, content in (("p.parquet", b"PAR1 nothing"), ("g.csv.gz", b"nothing"), ("e.parquet", b"")):
        with pytest.raises(DataError, match=f"{name} can't be read"):
            rows_of(written(tmp_path, content, name))
    with pytest.raises(DataError, match="there is no file"):
        Table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is no table by its name; tables end in .csv, "):
        Table(tmp_path / "x.xls")
    assert is_table("A.CSV") and not is_table("a.npz")


def test_a_damaged_part_in_the_middle(tmp_path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": list(range(50_000))}), tmp_path / "p.parquet", row_group_size=10_000)
    content = bytearray((tmp_path / "p.parquet").read_bytes())
    content[len(content) // 2 - 2000 : len(content) // 2 + 2000] = b"\xff" * 4000
    with pytest.raises(DataError, match="can't be read"):
        rows_of(written(tmp_path, bytes(content), "q.parquet"))


def test_an_open_quotation_mark_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 12)
    with pytest.raises(DataError, match="a row longer than 4,096 bytes: is a quotation mark left open"):
        rows_of(written(tmp_path, 'a,b\n1,2\n3,"' + "x,\n" * 5000))


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    """Blank lines and line ends between quotation marks included."""
    path = written(tmp_path, 'a,b\n1,"x\ny"\n\n2,z\nthree,w\n')
    table = Table(path)
    assert [table.place(i) for i in range(4)] == ["line 2", "line 5", "line 6", "row 4"]
    assert "line 6: a is odd" in str(table.located(CellError(2, "a", "is odd")))


def test_blocks_and_batches_make_no_difference(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(table)
    whole = fit(table, "price")
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 11)
    assert len(list(Table(table).batches())) > 10 and rows_of(table) == rows
    parts = fit(table, "price")
    X, t, _ = whole.arrays(table)
    Y, u, _ = parts.arrays(table)
    assert [c.name for c in whole.columns] == [c.name for c in parts.columns] and whole.outputs == parts.outputs
    assert abs(X - Y).max() < 1e-6 and t is not None and u is not None and abs(t - u).max() < 1e-6


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from gpubp.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gpubp\[tables\]'"):
        Table(tmp_path / "t.csv")

"""Every kind of file gives the same rows, with the names of their lines; what can't be read says what can."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gpubp.errors import DataError, MissingDependencyError
from gpubp.tables import ENDINGS, CellError, Table, is_table

pyarrow = pytest.importorskip("pyarrow")

ROWS = [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
TEXT = "a,b\n1,x\n2,y\n"


def rows_of(source: Any, **options: Any) -> list[dict[str, object]]:
    return [row for _, batch in Table(source, **options).batches() for row in batch.to_pylist()]


def written(tmp_path: Path, content: str | bytes, name: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def packed(content: bytes, how: str) -> bytes:
    stream = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(stream, how) as target:
        target.write(content)
    return bytes(stream.getvalue().to_pybytes())


def workbook(path: Path, *sheets: list[list[Any]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet(f"more {number}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.zst", packed(TEXT.encode(), "zstd")),
        ("t.csv.bz2", bz2.compress(TEXT.encode())),
        ("t.tsv.gz", gzip.compress(TEXT.replace(",", "\t").encode())),
        ("t.csv.lz4", packed(TEXT.encode(), "lz4")),
        ("t.tab", TEXT.replace(",", "\t")),
        ("t.data", TEXT),
        ("t.txt", TEXT.replace(",", "|")),
        ("t.dat", "  a    b\n1.  x\n  2.   y  \n".replace("1.", "1").replace("2.", "2")),
        ("t.txt.gz", gzip.compress(b"a  \t b\r\n1 x\r\n2   y")),
        ("t.jsonl", '{"a": 1, "b": "x"}\n\n{"b": "y", "a": 2}'),
        ("t.ndjson.gz", gzip.compress(b'{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n')),
        ("utf16.csv", TEXT.encode("utf-16")),
        ("names.csv", " a , b\n1,x\n2,y\n"),
        ("mac.csv", "a,b\r1,x\r2,y\r"),
        ("excel.csv", "sep=;\r\na;b\r\n1;x\r\n2;y\r\n"),
    ],
    ids=lambda given: given if isinstance(given, str) and "." in given and " " not in given else "",
)
def test_text_of_every_kind(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert rows_of(written(tmp_path, content, name)) == ROWS


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("1.5,2,3\n2.5,3,4\n", ","),
        ("11,5;12,3;4,2\n1,5;2,25;3,0\n", ";"),  # decimal commas
        ("5.1 3.5 setosa\n4.9 3.0 setosa\n", " "),
        ('18.0   8   307.0\t"chevrolet, chevelle"\n15.0   8   350.0\t"buick skylark"\n', " "),
        ("1,5 2,5\n3,5 4,5\n", " "),
        ("2024-12-31 18:30,5,7\n2024-12-31 18:40,6,7\n", ","),
        ("a;b\n1;x,y\n2;z\n", ";"),
        ("name\nJohn Smith\nAnn\n", ","),
    ],
)
def test_the_separator_is_found(tmp_path: Path, text: str, separator: str) -> None:
    from gpubp.tables.sources.delimited import find_separator

    assert find_separator(text, True) == separator
    rows = rows_of(written(tmp_path, text, "t.data"), header=False)
    assert len(rows) == text.count("\n") and not any("\t" in str(value) for value in rows[0].values())


def test_spaces_in_small_parts_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'  {i}  {i * 7 % 5}.5   "w {i}"  \n' for i in range(400)]
    path = written(tmp_path, "a b c\n" + "".join(lines), "t.txt")
    whole = rows_of(path)
    assert whole[399] == {"a": "399", "b": "3.5", "c": "w 399"}
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 8)
    assert rows_of(path) == whole and Table(path).place(7) == "line 9"


def test_lines_after_the_one_that_names_the_separator(tmp_path: Path) -> None:
    path = written(tmp_path, "SEP=;\n\na;b\n1;x\n2;y;z\n", "t.csv")
    assert [Table(path).place(i) for i in range(2)] == ["line 4", "line 5"]
    with pytest.raises(DataError, match="t.csv, line 5: 3 values, and the header names 2 columns; .* a semicolon"):
        rows_of(path)
    assert Table(path, header=False).place(0) == "line 3"
    with pytest.raises(DataError, match="t.csv, line 3, b: not UTF-8 text"):
        rows_of(written(tmp_path, b"sep=;\na;b\n1;\xff\n", "t.csv"))


def test_encodings(tmp_path: Path) -> None:
    text = "Größe,Ort\n1,Köln\n"
    for encoding in ("latin-1", "cp1252", "utf-16-le", "utf-16", "utf-8-sig", "utf-32"):
        path = written(tmp_path, text.encode(encoding), "t.csv")
        assert rows_of(path, encoding=encoding) == [{"Größe": "1", "Ort": "Köln"}], encoding
    path = written(tmp_path, '{"Ort": "Köln"}'.encode("cp1252"), "t.jsonl")
    assert rows_of(path, encoding="cp1252") == [{"Ort": "Köln"}]
    with pytest.raises(DataError, match="t.jsonl, line 1: not UTF-8 text; say what it is, as --encoding cp1252"):
        Table(path)
    path = written(tmp_path, text.encode("latin-1"), "t.csv")
    with pytest.raises(DataError, match="t.csv, line 1: not UTF-8 text; say what it is, as --encoding cp1252"):
        Table(path)
    with pytest.raises(DataError, match="t.csv: not utf-16 text; --encoding names the encoding"):
        rows_of(written(tmp_path, b"a,b\n1,2\n3", "t.csv"), encoding="utf-16")
    with pytest.raises(ValueError, match="'klingon' is no text encoding; names are utf-8, utf-16, latin-1"):
        Table(path, encoding="klingon")
    with pytest.raises(ValueError, match="'hex' is no text encoding"):
        Table(path, encoding="hex")
    with pytest.raises(DataError, match="has no encoding that could be chosen"):
        Table(pyarrow.table({"a": [1]}), encoding="latin-1")


def test_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "\n1.5,x\n\n2.5,y\n3,z,4\n", "t.csv")
    table = Table(path, header=False)
    assert table.columns == ["column 1", "column 2"] and not table.header
    assert [table.place(i) for i in range(3)] == ["line 2", "line 4", "line 5"]
    with pytest.raises(DataError, match="line 5: 3 values, and the first line has 2 columns"):
        list(table.batches())
    assert rows_of(written(tmp_path, "1.5,x\n2.5,y", "u.csv"), header=False)[0] == {"column 1": "1.5", "column 2": "x"}
    with pytest.raises(DataError, match="u.csv, line 2, column 2: not UTF-8 text"):
        rows_of(written(tmp_path, b"1,x\n2,\xff\n", "u.csv"), header=False)
    with pytest.raises(DataError, match="names of its columns in itself; leave out --no-header"):
        Table(pyarrow.table({"a": [1]}), header=False)
    assert Table.like(pyarrow.table({"a": [1]}), header=False).columns == ["a"]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("5.1,3.5,1.4,0.2,Iris-setosa", True),
        ("39, State-gov, 77516, Bachelors, 13, Never-married", True),
        ("2024-12-31,Rome,12", True),
        ("$1,x,y", False),
        ("sepal length,sepal width,species", False),
        ("0,1,2,3,target", False),  # as pandas names columns
        ("town,2019,2020,2021", False),
        ("q1,q2,q3,price", False),
        ("yes,no,yes,no,yes", True),
    ],
)
def test_names_that_look_like_values(tmp_path: Path, line: str, values: bool) -> None:
    path = written(tmp_path, f"{line}\n{line}\n", "t.csv")
    if line.startswith("yes"):
        with pytest.raises(DataError, match="called no, yes: its first line looks like values .* --no-header says"):
            Table(path)
    else:
        assert Table(path).values_as_names == values
    assert not Table(path, header=False).values_as_names


# -- JSON lines -------------------------------------------------------------------------------------------------------


def test_keys_of_json_may_differ(tmp_path: Path) -> None:
    lines = [{"a": 1, "b": True}, {"c ": "é", "a": 2.5}, {"b": None, "d": [1]}, {"d": {"x": 1}, "a": "007"}]
    path = written(tmp_path, "\n".join(json.dumps(line) for line in lines), "t.jsonl")
    table = Table(path)
    assert table.columns == ["a", "b", "c", "d"]
    assert rows_of(path) == [
        {"a": "1", "b": "true", "c": None, "d": None},
        {"a": "2.5", "b": None, "c": "é", "d": None},
        {"a": None, "b": None, "c": None, "d": None},
        {"a": "007", "b": None, "c": None, "d": None},
    ]
    assert str(next(table.batches())[1].schema.field("d").type).startswith("list<")
    assert table.place(2) == "line 3"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "t.jsonl is empty; each line of a .jsonl file is an object"),
        ('{"a": 1}\n{"a": \n', "t.jsonl, line 2: no JSON .Expecting value.; each line is an object"),
        ('[{"a": 1}, {"a": 2}]', "t.jsonl, line 1: .* is no object, such as .*orient='records', lines=True"),
        ('{"a": ' + "[" * 100_000, "line 1: no JSON"),
        ('{"a": 1, " a": 2}', "more than one column called a"),
        (b'{"a": "\xff"}', "line 1: not UTF-8 text"),
        ('{"a": "\\ud800"}', "can't be read"),
    ],
)
def test_json_that_can_not_be_read(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows_of(written(tmp_path, content, "t.jsonl"))


# -- binary files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".ipc", ".arrows", ".orc", ".pq"])
def test_binary_files(tmp_path: Path, ending: str) -> None:
    from pyarrow import feather, orc, parquet

    table, path = pyarrow.table({" a": ["1", "2"], "b": ["x", "y"]}), tmp_path / f"t{ending}"
    if ending == ".orc":
        orc.write_table(table, path)
    elif ending == ".pq":
        parquet.write_table(table, path)
    elif ending == ".feather":
        feather.write_feather(table, path, compression="zstd")
    else:
        make = pyarrow.ipc.new_stream if ending == ".arrows" else pyarrow.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
    assert rows_of(path) == ROWS and Table(path).place(1) == "row 2" and Table(path).about_rows() == 2
    batches = list(Table(path).batches(["b", "a"]))
    assert batches[0][1].schema.names == ["b", "a"] and batches[0][1].column(0).to_pylist()[0] == "x"
    whole = path.read_bytes()
    for size in (0, 3, 40, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"t\{ending} (can't be read|is empty)"):
            rows_of(path)


def test_an_old_feather_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is Feather of version 1; write it anew by pyarrow.feather.write_feather"):
        Table(written(tmp_path, b"FEA1 and so on", "t.feather"))


def test_a_workbook(tmp_path: Path) -> None:
    day, moment = datetime.date(2024, 12, 31), datetime.datetime(2024, 12, 31, 18, 30)
    path = workbook(
        tmp_path / "t.xlsx",
        [
            [" n ", "word", "day", "when", "yes", None],
            [1, "x", day, moment, True, "z"],
            [None] * 6,
            [2.5, "", None, day],
        ],
        [["other"], [1]],
    )
    table = Table(path)
    assert table.columns == ["n", "word", "day", "when", "yes", "column 6"]
    assert rows_of(path) == [
        {"n": "1", "word": "x", "day": "2024-12-31", "when": "2024-12-31 18:30:00", "yes": "true", "column 6": "z"},
        {"n": "2.5", "word": None, "day": None, "when": "2024-12-31", "yes": None, "column 6": None},
    ]
    assert table.notes == (f"{path}: the sheet Sheet is read, and not more 1",)
    assert [table.place(i) for i in range(3)] == ["row 2", "row 4", "row 3"]
    assert "row 4: n is odd" in str(table.located(CellError(1, "n", "is odd")))
    without = Table(path, header=False)
    assert without.columns[0] == "column 1" and without.place(0) == "row 1"


def test_workbooks_that_can_not_be_read(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["a", "b"], [1, "=A2*2"]])
    with pytest.raises(DataError, match="row 2: b is the formula =A2.2, whose value is not in the file: open it"):
        Table(path)
    whole = workbook(path, [["a", "b"], *([i, i] for i in range(50))]).read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        with pytest.raises(DataError, match="is no .xlsx workbook, or is damaged or cut short"):
            Table(written(tmp_path, whole[:size], "u.xlsx"))
    with pytest.raises(DataError, match="the first sheet, Sheet, is empty; its data are in more 1: move that sheet"):
        Table(workbook(path, [], [["a"], [1]]))
    with pytest.raises(DataError, match="row 200: 2 values, and the first rows have 1 columns"):
        rows_of(workbook(path, [["a"], *([1] for _ in range(198)), [1, 2]]))
    with pytest.raises(DataError, match="looks like values"):
        Table(workbook(path, [[1.5, 1.5, "x"], [2.5, 3, "y"]]))


def test_a_workbook_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingDependencyError, match=r"Reading .xlsx needs openpyxl: pip install 'gpubp\[excel\]'"):
        Table(written(tmp_path, b"", "t.xlsx"))


# -- folders and pipes ------------------------------------------------------------------------------------------------


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    from pyarrow import parquet

    folder = tmp_path / "sales"
    for name, columns in {
        "zip=01234/part-1.parquet": {"a": pyarrow.array([3], pyarrow.int64()), "c": [True]},
        "zip=01234/part-0.parquet": {"c": [False, None], "a": pyarrow.array([1, 2], pyarrow.int32())},
        "zip=99999/part-0.parquet": {"a": [4]},
        "_temporary/part-9.parquet": {"other": [1]},
        ".hidden.parquet": {"other": [1]},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(columns), folder / name)
    (folder / "_SUCCESS").write_text("")
    (folder / "zip=01234" / ".part-0.parquet.crc").write_bytes(b"crc")
    assert is_table(folder) and Table(folder).about_rows() == 4 and Table(folder).place(3) == "row 4"
    rows = sorted(Table(folder).columns)
    assert rows == ["a", "c", "zip"]
    assert [(row["a"], row["c"], row["zip"]) for row in rows_of(folder)] == [
        (1, False, "01234"), (2, None, "01234"), (3, True, "01234"), (4, None, "99999")
    ]  # fmt: skip
    parquet.write_table(pyarrow.table({"a": ["text"]}), folder / "zip=99999" / "part-1.parquet")
    with pytest.raises(DataError, match="the files in .*sales have a column of two types"):
        Table(folder)
    (folder / "zip=99999" / "part-1.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="part-1.parquet can't be read .*: it is damaged or cut short"):
        Table(folder)
    (tmp_path / "empty").mkdir()
    assert not is_table(tmp_path / "empty")
    with pytest.raises(DataError, match="empty is a folder without a Parquet file"):
        Table(tmp_path / "empty")


def test_standard_input_is_read_several_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(TEXT.encode())

        def isatty(self) -> bool:
            return False

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("sys.stdin", Input())
    table = Table("-")
    assert [rows_of(table), rows_of(table)] == [ROWS, ROWS] and table.name == "standard input" and table.path is None
    assert table.place(1) == "line 3" and not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="standard input is empty"):
        Table("-")
    Input.buffer = io.BytesIO(gzip.compress(TEXT.encode()))
    with pytest.raises(DataError, match="standard input is no text, but compressed by gzip"):
        Table("-")
    Input.isatty = lambda self: True  # type: ignore[method-assign]
    with pytest.raises(DataError, match="nothing comes from standard input"):
        Table("-")


def test_a_pipe_is_read_as_standard_input_is(tmp_path: Path) -> None:
    import os
    import threading

    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(TEXT))
    feeder.start()
    table = Table(tmp_path / "pipe")
    feeder.join()
    assert rows_of(table) == ROWS and rows_of(table) == ROWS


def test_the_endings() -> None:
    assert {".csv", ".csv.zst", ".jsonl", ".ndjson.bz2", ".parquet", ".feather", ".arrow", ".xlsx", ".data"} <= set(
        ENDINGS
    )
    assert is_table("A.CSV.ZST") and is_table("-") and not is_table("a.npz") and not is_table("a.parquet.gz")

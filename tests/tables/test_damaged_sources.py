"""Damaged files of every kind, and files that are no tables: one line that says what is wrong and what to do."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from houses import houses
from test_sources import TEXT, packed, rows_of, written

from gpubp.errors import DataError
from gpubp.tables import Notes, Table, fit

pa = pytest.importorskip("pyarrow")


def intact(folder: Path, ending: str) -> bytes:
    """A hundred houses in a file of this kind."""
    from pyarrow import csv, feather

    plain = houses(folder / "whole.csv", rows=100)
    typed, path = csv.read_csv(plain), folder / "whole"
    if ending == ".jsonl":
        return "".join(json.dumps(row, default=str) + "\n" for row in typed.to_pylist()).encode()
    if ending == ".csv.zst":
        return packed(plain.read_bytes(), "zstd")
    if ending == ".txt":
        return plain.read_bytes().replace(b",,", b",NA,").replace(b",", b"  ")
    if ending == ".xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in [typed.column_names, *(list(row.values()) for row in typed.to_pylist())]:
            book.active.append(row)
        book.save(path)
    else:
        typed = typed.append_column("coded", typed["town"].dictionary_encode())
        typed = typed.append_column("view", typed["town"].cast(pa.string_view()))
        feather.write_feather(typed, path, compression="zstd" if ending == ".feather" else "uncompressed")
    return path.read_bytes()


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".jsonl", ".csv.zst", ".txt", ".xlsx"])
def test_a_damaged_file_is_read_or_refused(ending: str, tmp_path: Path) -> None:
    whole, path, refused = intact(tmp_path, ending), tmp_path / f"t{ending}", 0
    for seed in range(6 if ending == ".xlsx" else 25):
        draw, content = random.Random(seed), bytearray(whole)
        for _ in range(draw.choice([1, 2, 5, 20])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.randrange(len(content))] if draw.random() < 0.2 else content)
        try:
            X: Any = fit(path, "price", held=(0.3, 1) if seed % 2 else None).arrays(path, Notes())[0]
        except DataError as problem:
            assert "\n" not in str(problem) and str(path) in str(problem)
            refused += 1
            continue
        assert np.isfinite(X).all()
    assert refused > 2


@pytest.mark.parametrize("how", ["gz", "zst", "bz2", "lz4"])
def test_compressed_text_that_is_cut_short(tmp_path: Path, how: str) -> None:
    text = TEXT + "".join(f"{i * 7919 % 10007},{i * i % 99991}\n" for i in range(20_000))
    whole = packed(text.encode(), {"gz": "gzip", "zst": "zstd", "bz2": "bz2", "lz4": "lz4"}[how])
    for name in (f"t.csv.{how}", f"t.txt.{how}"):
        for size in (len(whole) // 2, len(whole) - 5, 10):
            with pytest.raises(DataError, match=f"{name} (is cut short: its|is empty|can't be read)"):
                rows_of(written(tmp_path, whole[:size], name))
        with pytest.raises(DataError, match=f"{name} can't be read"):
            rows_of(written(tmp_path, b"nothing of the kind", name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t.xls", "open it in the program that made it, and save it as .xlsx or .csv"),
        ("t.ods", "save it as .xlsx or .csv"),
        ("t.sas7bdat", r"read it by pandas.read_sas, and write it by .to_parquet\('t.parquet'\)"),
        ("t.zip", "unpack it first"),
        ("t.tar.gz", "unpack it first"),
        ("t.csv.xz", "unpack it first; .gz, .zst, .bz2 and .lz4 are unpacked here"),
        ("t.json", "if each of its lines is an object, call it t.jsonl; if not"),
        ("t.dta", "pandas.read_stata"),
        ("t.sqlite", "sqlite3 -csv"),
        ("t.unknown", "tables end in .csv, .tsv, .*, or are a folder of Parquet files$"),
    ],
)
def test_what_can_not_be_read_says_what_can(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Table(written(tmp_path, "", name))


def test_a_binary_file_with_the_name_of_a_text(tmp_path: Path) -> None:
    for start, words in (
        (b"PAR1", "a Parquet file"),
        (b"\x1f\x8b", "compressed by gzip"),
        (b"\xd0\xcf\x11\xe0", "an .xls"),
    ):
        with pytest.raises(DataError, match=f"t.csv is no text, but {words}"):
            Table(written(tmp_path, start + bytes(90), "t.csv"))

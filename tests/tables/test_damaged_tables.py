"""Files and configs changed at random are read, or refused by an error of gpubp, without warnings or NaN."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from houses import houses

import gpubp as bp
from gpubp.config import from_config
from gpubp.errors import DataError, ModelFileError
from gpubp.tables import Notes, Preparation, fit

pyarrow = pytest.importorskip("pyarrow")

WORDS = [
    "", "NA", "abc", '"', ",", "\n", "\r", "inf", "1e400", "-1e308", "é", "\0", "2020-02-30", "9999-12-31",
    "0001-01-01", "true", "1,5", ";", "\t", "\ufeff", "0x10", "  ", "2020-01-01T25:00", "٣", "{0}", "{x}", "9" * 30,
]  # fmt: skip
JSON: list[Any] = [
    None, True, -1, 0, 1e308, -1e308, 1e-308, 5, "", "trend", [], {}, ["a"], [["a"]], {"class": "ReLU"},
    {"class": "NumberColumn"}, 10**30, "x" * 50,
]  # fmt: skip


def damaged_csv(draw: random.Random, lines: list[str]) -> bytes:
    rows = [line.split(",") for line in lines[: draw.randint(1, len(lines))]]
    for _ in range(draw.choice([0, 1, 2, 5, 50])):
        row = draw.choice(rows)
        row[draw.randrange(len(row))] = "".join(draw.choices(WORDS, k=draw.choice([1, 1, 1, 3])))
    if draw.random() < 0.2:
        column = draw.randrange(9)
        for row in rows[1:]:
            row[column:] = [draw.choice(WORDS), *row[column + 1 :]]
    content = bytearray("\n".join(map(",".join, rows)).encode())
    for _ in range(draw.choice([0, 0, 0, 3])):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def damaged_parquet(draw: random.Random, whole: bytes) -> bytes:
    content = bytearray(whole)
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content[: draw.randrange(len(content))] if draw.random() < 0.2 else content)


def change(draw: random.Random, told: Any) -> None:
    """Something in it is another thing."""
    while True:
        keys = list(told) if isinstance(told, dict) else list(range(len(told)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(told[key], dict | list) and draw.random() < 0.8:
            told = told[key]
            continue
        told[key] = draw.choice(JSON)
        return


@pytest.mark.parametrize("seed", range(4))
def test_a_file_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    draw, plain = random.Random(seed), houses(tmp_path / "whole.csv", rows=100)
    lines = plain.read_text().splitlines()
    parquet.write_table(arrow_csv.read_csv(plain), tmp_path / "whole.parquet")
    whole, known, read = (tmp_path / "whole.parquet").read_bytes(), fit(plain, "price"), 0
    for i in range(60):
        path = tmp_path / ("t.parquet" if i % 3 == 0 else "t.csv")
        path.write_bytes(damaged_parquet(draw, whole) if i % 3 == 0 else damaged_csv(draw, lines))
        held = (0.3, 1) if i % 4 == 0 else None
        try:
            made = fit(path, draw.choice(["price", "dear", "town", "built"]), held=held)
            X, t, _ = made.arrays(path, Notes(), held=held)
        except DataError:
            continue
        assert t is not None and np.isfinite(X).all() and np.isfinite(t).all()
        assert from_config(json.loads(json.dumps(made.config(), allow_nan=False))) == made
        read += 1
        try:
            X, _, _ = known.arrays(path, Notes(), target=False)
        except DataError:
            continue
        assert np.isfinite(X).all()
    assert 2 < read < 55


def test_a_config_is_read_or_refused(tmp_path: Path) -> None:
    draw, plain = random.Random(0), houses(tmp_path / "whole.csv", rows=100)
    made, read = fit(plain, "price"), 0
    net = bp.Network(bp.Dense(1), made.width, device="cpu")
    for _ in range(500):
        told = json.loads(json.dumps(made.config()))
        for _ in range(draw.randint(1, 3)):
            change(draw, told)
        net.metadata["table"] = told
        try:
            found = Preparation.of(net)
        except ModelFileError:
            continue
        if found is None:
            continue
        read += 1
        assert found.outputs and repr(found) and [column.describe() for column in found.columns]
        found.target.answers(np.ones((3, found.target.outputs), np.float32))
        try:
            X, _, _ = found.arrays(plain, Notes(), target=False)
        except DataError:
            continue
        assert np.isfinite(X).all()
    assert 5 < read < 250


def test_text_that_is_not_utf_8() -> None:
    array = pyarrow.array([b"a\xff", b"b"], pyarrow.binary())
    text = pyarrow.StringArray.from_buffers(2, array.buffers()[1], array.buffers()[2])
    with pytest.raises(DataError, match="x holds text that is not UTF-8, or damaged"):
        fit(pyarrow.table({"x": text, "y": [1.0, 2.5]}), "y")


def test_a_class_with_braces() -> None:
    made = fit(pyarrow.table({"x": [1.0, 2.0] * 9, "y": ["{0}", "{y}"] * 9}), "y")
    with pytest.raises(DataError, match=r"y holds .\{1\}., and the classes are \{0\}, \{y\}"):
        made.targets(pyarrow.record_batch({"y": ["{1}"]}))

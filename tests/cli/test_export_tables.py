"""`gpubp export` of models of tables: the inputs of columns, and the comparison on raw cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, run
from exported import saved

import gpubp as bp
from gpubp.tables import NumberColumn, Preparation, TableTarget
from gpubp.tables.formats import NumberFormat

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("empty_folder")


def forms(path: str) -> dict[str, str]:
    told = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["columns"]
    return {column["name"]: column["form"] for column in json.loads(told)}


@pytest.mark.usefixtures("houses")
def test_the_raw_cells_of_a_table_are_compared() -> None:
    done = run("export", "houses.safetensors", "houses.onnx", "--check", "houses.csv", "--as-number", "built")
    assert done.exit_code == 0 and "on 300 rows of houses.csv" in done.stdout, done.output
    assert "price in its own units" in done.stdout and "garden" in done.stdout
    assert forms("houses.onnx") == {
        "area": "number",
        "town": "text",
        "garden": "text",
        "built": "number",
        "heating": "text",
    }
    done = run("export", "houses.safetensors", "houses.onnx", "--as-number", "built,garden")
    assert done.exit_code == 0 and "on 100 random rows" in done.stdout and done.stderr == "", done.output
    assert forms("houses.onnx")["garden"] == "number"


@pytest.mark.usefixtures("houses")
def test_a_file_for_prepared_rows() -> None:
    for more in ((), ("--check", "houses.csv")):
        done = run("export", "houses.safetensors", "houses.onnx", "--prepared", *more)
        assert done.exit_code == 0 and "rows of 23 numbers, as" in done.stdout, done.output
        assert "agrees with gpubp" in done.stdout


def test_classes_of_a_table_are_compared(houses: bp.Network) -> None:
    words = ("--drop", "address,built", "--epochs=3", "--hidden=8", *CPU, "--out=heating.safetensors")
    assert run("train", "houses.csv", "--target", "heating", *words).exit_code == 0
    done = run("export", "heating.safetensors", "heating.onnx", "--check", "houses.csv", "--json")
    found = json.loads(done.stdout)
    assert found["check"]["agrees"] and found["check"]["rows"] == 300
    assert [port["name"] for port in found["gives"]] == ["label", "probabilities"]
    assert {port["name"]: port["type"] for port in found["takes"]} == {
        "area": "float64",
        "town": "string",
        "garden": "string",
        "price": "float64",
    }


def typed(folder: Path) -> None:
    """typed.parquet with dates, times and durations that are no texts, and texts.csv with the same as texts."""
    import pyarrow
    from pyarrow import csv, parquet

    draw, n = np.random.default_rng(2), 200
    seconds = {"sold": draw.integers(0, 1_700_000_000, n), "open": draw.integers(0, 86_400, n)}
    stay = draw.integers(0, 1_000_000, n)
    table = pyarrow.table(
        {
            "sold": pyarrow.array(seconds["sold"].tolist(), pyarrow.timestamp("s", tz="Europe/Rome")),
            "open": pyarrow.array(seconds["open"].tolist(), pyarrow.time32("s")),
            "stay": pyarrow.array([None, *stay.tolist()[1:]], pyarrow.duration("s")),
            "vip": pyarrow.array((stay % 2 == 0).tolist()),
            "rooms": pyarrow.array((stay % 5).tolist()),
            "price": pyarrow.array((stay / 1e4 + draw.normal(size=n)).tolist()),
        }
    )
    parquet.write_table(table, folder / "typed.parquet")
    sold = [f"{day[8:10]}.{day[5:7]}.{day[:4]}" for day in map(str, seconds["sold"].astype("datetime64[s]"))]
    csv.write_csv(table.set_column(0, "sold", pyarrow.array(sold)).drop_columns("stay"), folder / "texts.csv")


def test_tables_with_types_are_compared_as_texts_and_as_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    typed(tmp_path)
    assert run("train", "typed.parquet", "--target=price", "--epochs=2", "--hidden=8", *CPU).exit_code == 0
    for more in ((), ("--as-number", "sold,open,stay,vip"), ("--as-text", "rooms")):
        done = run("export", "typed.safetensors", "typed.onnx", "--check", "typed.parquet", *more)
        assert done.exit_code == 0 and "on 200 rows of typed.parquet" in done.stdout, done.output
        done = run("export", "typed.safetensors", "typed.onnx", *more)
        assert done.exit_code == 0 and "on 100 random rows" in done.stdout and done.stderr == "", done.output


def test_types_of_another_form_than_the_texts_of_the_training_are_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    typed(tmp_path)
    words = ("--target=price", "--drop=open", "--epochs=2", "--hidden=8", *CPU)
    assert run("train", "texts.csv", *words).exit_code == 0
    done = run("export", "texts.safetensors", "texts.onnx", "--check", "typed.parquet")
    assert done.exit_code == 2 and "cells of sold are no texts, but each a date" in done.stderr, done.output
    assert "--as-number sold lets it take numbers" in done.stderr and not Path("texts.onnx").exists()
    done = run("export", "texts.safetensors", "texts.onnx", "--check", "typed.parquet", "--as-number", "sold")
    assert done.exit_code == 0 and "on 200 rows of typed.parquet" in done.stdout, done.output


def test_columns_that_random_cells_do_not_suit_are_told() -> None:
    pytest.importorskip("pyarrow")
    written = NumberFormat(",", ".", "€")  # whose example is 1.234,50 €, far beyond the mean here
    prepared = Preparation((NumberColumn("paid", 1e-9, 1e-9, written=written),), TableTarget("price", "numbers"))
    net = bp.Network(bp.Dense(1), prepared.width, device="cpu")
    prepared.keep_in(net)
    net.save("m.safetensors")
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 0 and Path("m.onnx").exists(), done.output
    assert "not compared with gpubp: no random cells of paid suit; --check DATA compares real rows" in done.stderr


@pytest.mark.parametrize("model", ["bag", "gru"])
def test_texts_and_numbers_written_for_people_are_compared(model: str) -> None:
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(3)
    good, bad, other = (words.split() for words in ("great warm clean", "cold loud rude", "the room was a bit very"))
    lines = ["review|paid|mood"]
    for i in range(150):
        words = [*draw.choice(other, draw.integers(3, 9)), *draw.choice(good if i % 2 else bad, 2)]
        text = " ".join(draw.permutation(words)).capitalize() + ("!" if i % 3 else " — 5*")
        lines.append(f"{text}|{draw.uniform(20, 3000):,.2f} €|{'good' if i % 2 else 'bad'}")
    Path("reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("--target=mood", f"--model={model}", "--epochs=1", "--hidden=8", *CPU)
    assert run("train", "reviews.csv", *words).exit_code == 0
    for more in (("--check", "reviews.csv"), ()):
        done = run("export", "reviews.safetensors", "reviews.onnx", *more)
        assert done.exit_code == 0 and "agrees with gpubp" in done.stdout, done.output
    assert forms("reviews.onnx") == {"review": "text", "paid": "text"}


TABLE_MISTAKES = [
    (("houses.safetensors", "--as-number", "build"), "the network sees no column 'build'; did you mean built?"),
    (("houses.safetensors", "--as-number", "town"), "town, a column of kind category, is given as text"),
    (("houses.safetensors", "--as-number", "built", "--as-text", "built"), "--as-number and --as-text both name built"),
    (("houses.safetensors", "--as-number", "built", "--prepared"), "--as-number and --prepared both say"),
    (("houses.safetensors", "--check", "rows.npy"), "was trained on a table, and rows.npy is none"),
    (("houses.safetensors", "--check", "short.csv"), "short.csv lacks the columns"),
    (("houses.safetensors", "--check", "odd.csv"), "odd.csv, line 3: garden holds 'maybe'"),
    (("m.safetensors", "--check", "houses.csv"), "was not trained on"),
    (("m.safetensors", "--prepared"), "--prepared goes with a table, and m.safetensors was not trained on one"),
    (("m.safetensors", "--as-text", "a"), "--as-text goes with a table"),
]


@pytest.mark.usefixtures("houses")
def test_mistakes_with_tables_are_one_line() -> None:
    saved(bp.Dense(2), 4)
    np.save("rows.npy", np.zeros((2, 4)))
    Path("short.csv").write_text("area;town\n3;Oslo\n")
    first, *rest = Path("houses.csv").read_text().splitlines()
    Path("odd.csv").write_text("\n".join([first, rest[0], "x;30.5;Oslo;maybe;01.02.1999;3;oil"]))
    before = sorted(Path().iterdir())
    for (model, *arguments), words in TABLE_MISTAKES:
        done = run("export", model, "new.onnx", *arguments)
        assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
        assert words in done.stderr, done.stderr
    assert sorted(Path().iterdir()) == before

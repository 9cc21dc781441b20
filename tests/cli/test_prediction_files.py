"""What `gpubp predict` writes: numbers of rows, columns of the table, probabilities, in every form."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

pyarrow = pytest.importorskip("pyarrow")
CPU = "--device=cpu"
WORDS = ("--hidden=4", "--epochs=1", CPU)
HEAD = ["code", "length", "first name", "species", "mass", "prediction", "ringed"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """birds.csv, whose codes have leading zeros and spaces, and models of it."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("birds"))
        lines = [
            [
                f" {i % 50:04}",
                f"{rng.normal():.2f}",
                "Zoë, 3rd",
                "AGC"[i % 3] + "x y",
                f"{rng.normal():.3f}",
                "",
                f"{i % 2 > 0}",
            ]
            for i in range(60)
        ]
        with open("birds.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEAD, *lines])
        for target, more in (("species", ()), ("mass", ("--test-fraction=0.3",)), ("ringed", ("--loss=binary",))):
            drop = "--drop=code,prediction"
            done = run("train", "birds.csv", f"--target={target}", drop, *WORDS, *more, f"--out={target}.safetensors")
            assert done.exit_code == 0, done.output
        np.savez("yes.npz", X=np.eye(4), y=[0, 1, 1, 0])
        assert run("train", "yes.npz", "--loss=binary", *WORDS, "--out=yes.safetensors").exit_code == 0
        yield


def predicted(model: str, *more: str, data: str = "birds.csv") -> list[dict[str, str]]:
    done = run("predict", f"{model}.safetensors", data, *more, "--out=p.csv", CPU)
    assert done.exit_code == 0, done.output
    with open("p.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def told(model: str, *more: str) -> dict[str, Any]:
    done = run("predict", f"{model}.safetensors", "birds.csv", *more, "--json", CPU)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_rows_are_numbered_from_one() -> None:
    rows = predicted("species")
    assert list(rows[0]) == ["row", "prediction", "probability"]
    assert [row["row"] for row in rows] == [str(k) for k in range(1, 61)]
    assert told("species")["row"] == list(range(1, 61)) and told("species")["ids"] is None


@pytest.mark.parametrize("words", [("--id=code", "--id=first name"), ("--id=code, first name",)])
def test_columns_of_the_table_come_untouched_in_place_of_numbers(words: tuple[str, ...]) -> None:
    rows = predicted("mass", *words)
    assert list(rows[0]) == ["code", "first name", "prediction"]
    with open("birds.csv", newline="", encoding="utf-8") as file:
        wanted = [(row["code"], row["first name"]) for row in csv.DictReader(file)]
    assert [(row["code"], row["first name"]) for row in rows] == wanted and wanted[7] == (" 0007", "Zoë, 3rd")
    assert told("mass", *words)["ids"] == {"code": [c for c, _ in wanted], "first name": [n for _, n in wanted]}
    shown = run("predict", "mass.safetensors", "birds.csv", *words, CPU)
    assert "0007" in shown.stdout and "Zoë" in shown.stdout and "row" not in shown.stdout.split()


def test_a_parquet_file_gives_its_values_as_text() -> None:
    from pyarrow import parquet

    table = pyarrow.table({"k": [7, None], "code": ["007", None], "length": [1.0, 2.0], "first name": ["a", "b"]})
    columns = {"species": ["Ax y", "Cx y"], "ringed": [True, False]}
    for name, values in columns.items():
        table = table.append_column(name, [values])
    parquet.write_table(table, "two.parquet")
    rows = predicted("mass", "--id=k,code,ringed", data="two.parquet")
    assert [(row["k"], row["code"], row["ringed"]) for row in rows] == [("7", "007", "True"), ("", "", "False")]


def test_probabilities_of_every_class() -> None:
    rows = predicted("species", "--probabilities", "--id=code")
    names = ["probability_Ax y", "probability_Cx y", "probability_Gx y"]
    assert list(rows[0]) == ["code", "prediction", "probability", *names]
    for row in rows:
        p = [float(row[name]) for name in names]
        assert sum(p) == pytest.approx(1, abs=2e-6) and float(row["probability"]) == max(p)
        assert row["prediction"] == names[int(np.argmax(p))].removeprefix("probability_")


def test_probabilities_of_yes_and_no() -> None:
    rows = predicted("ringed", "--probabilities")
    assert list(rows[0])[3:] == ["probability_False", "probability_True"]
    assert float(rows[0]["probability_True"]) + float(rows[0]["probability_False"]) == pytest.approx(1, abs=2e-6)
    rows = predicted("yes", "--probabilities", data="yes.npz")
    assert list(rows[0]) == ["row", "prediction", "probability", "probability_0", "probability_1"]
    assert rows[0]["probability"] == rows[0]["probability_1"]


def test_npz_has_the_same() -> None:
    words = ("--id=code", "--id=first name", "--interval=0.5", "--out=p.npz", CPU)
    assert run("predict", "mass.safetensors", "birds.csv", *words).exit_code == 0
    rows = predicted("mass", *words[:3])
    with np.load("p.npz") as found:
        assert sorted(found) == ["high", "id", "id_columns", "low", "prediction", "row"]
        assert found["id_columns"].tolist() == ["code", "first name"] and found["id"].shape == (60, 2)
        assert found["id"][:, 0].tolist() == [row["code"] for row in rows]
        for name in ("low", "prediction", "high"):
            assert found[name] == pytest.approx(np.array([float(row[name]) for row in rows]), rel=1e-6)
        assert found["row"].tolist() == list(range(1, 61))
    document = told("mass", "--interval=0.5")
    assert document["low"] == pytest.approx([float(row["low"]) for row in rows], rel=1e-6)
    assert document["high"] == pytest.approx([float(row["high"]) for row in rows], rel=1e-6)


MISTAKES = [
    (("mass", "--id=cod"), "birds.csv has no column 'cod' for --id; did you mean code?"),
    (("mass", "--id=prediction"), "--id prediction: a column of the predictions is called so; rename it in the table"),
    (("mass", "--probabilities"), "--probabilities goes with classes, and the model has mass as a number"),
    (("species", "--interval=0.9"), "--interval goes with numbers, and the model has species as one of 3 classes"),
    (("yes", "--id=code"), "--id names columns of a table, and the model was not trained on one"),
    (("species", "--id=code", "--out=p.npy"), ".npy holds the predictions alone; with --id, take .csv or .npz"),
    (("species", "--probabilities", "--out=p.npy"), "with --probabilities, take .csv or .npz"),
    (("mass", "--interval=1"), "1 is not a number above 0 and below 1"),
]


@pytest.mark.parametrize(("words", "text"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_one_line_and_nothing_is_written(words: tuple[str, ...], text: str) -> None:
    before = sorted(Path().iterdir())
    done = run("predict", f"{words[0]}.safetensors", "birds.csv", *words[1:], CPU)
    assert done.exit_code == 2 and text in done.stderr and done.stderr.count("\n") == 1, done.output
    assert sorted(Path().iterdir()) == before

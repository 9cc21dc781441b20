"""Small tables as people have them, from a CSV file to predictions on the command line."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("rich")
testing = pytest.importorskip("click.testing")

from gpubp.cli.app import app  # noqa: E402

ROWS = 240
RNG = np.random.default_rng(0)
AREA = RNG.uniform(20, 150, ROWS).round(1)
DAYS = [date(2019, 1, 1) + timedelta(days=int(d)) for d in RNG.integers(0, 1400, ROWS)]
ZIPS = RNG.choice(["04103", "01067", "80331", "10115", "20095"], ROWS)
WORTH = {"04103": 2.0, "01067": 9.0, "80331": 4.0, "10115": 1.0, "20095": 7.0}
MINUTES = RNG.integers(0, 1440, ROWS)
PRICE = 1000 * AREA + RNG.normal(0, 2000, ROWS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, code: int = 0) -> str:
    done = testing.CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code and "Traceback" not in done.output, done.output
    return str(done.output)


def write(columns: dict[str, Any], separator: str = ",") -> None:
    with open("t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def comma(x: float) -> str:
    return f"{x:.2f}".replace(".", ",")


TABLES: dict[str, Callable[[], tuple[dict[str, Any], str]]] = {
    "decimal comma": lambda: ({"area": map(comma, AREA), "price": map(comma, PRICE)}, ";"),
    "currency": lambda: ({"area": AREA, "price": [f"${x:,.2f}" for x in PRICE]}, ","),
    "percent": lambda: ({"area": [f"{x:.0f}%" for x in AREA], "price": [f"{x / 1000:.1f}%" for x in PRICE]}, ","),
    "times": lambda: (
        {"at": [f"{m // 60:02}:{m % 60:02}" for m in MINUTES], "price": np.sin(MINUTES / 1440 * 2 * np.pi).round(3)},
        ",",
    ),
    "day first": lambda: ({"sold": [f"{d:%d.%m.%Y}" for d in DAYS], "price": [d.toordinal() / 7 for d in DAYS]}, ","),
    "month first": lambda: (
        {"sold": [f"{d.month}/{d.day}/{d.year}" for d in DAYS], "price": [d.toordinal() / 7 for d in DAYS]},
        ",",
    ),
    "postcodes": lambda: ({"zip": ZIPS, "price": [WORTH[z] for z in ZIPS] + RNG.normal(0, 0.1, ROWS)}, ","),
}
SHOWN = {
    "decimal comma": r"area +number .*written 1234,50;(.|\n)*price is taken for numbers, written 1234,50\n",
    "currency": r"price is taken for numbers, written \$1,234.50\n",
    "percent": r"area +number .*written 12%;(.|\n)*price is taken for numbers, written 12%\n",
    "times": r"at +time of day",
    "day first": r"sold +date .*written 31.12.2024;",
    "month first": r"sold +date .*written 12/31/2024;",
    "postcodes": r"zip +category .*codes such as 01067:",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_learnt_as_it_is_written(name: str) -> None:
    columns, separator = TABLES[name]()
    write({key: list(values) for key, values in columns.items()}, separator)
    quick = ("--hidden=16", "--epochs=40", "--device=cpu", "--test-fraction=0.2")
    done = testing.CliRunner().invoke(app, ["train", "t.csv", "--target=price", *quick])
    assert done.exit_code == 0 and re.search(SHOWN[name], done.stdout + done.stderr), done.output
    found = re.search(r"test R² (-?\d\.\d+)", done.output)
    assert found and float(found[1]) > 0.9, done.output
    assert f"R² {found[1]}" in run("evaluate", "t.safetensors", "t.csv", "--device=cpu")
    run("predict", "t.safetensors", "t.csv", "--out", "p.csv", "--device=cpu")


def test_predictions_are_in_the_unit_of_the_column() -> None:
    write({"area": AREA, "price": [f"{x / 1000:.1f}%" for x in PRICE]})
    run("train", "t.csv", "--target=price", "--hidden=16", "--epochs=40", "--device=cpu")
    run("predict", "t.safetensors", "t.csv", "--out", "p.npy", "--device=cpu")
    assert np.abs(np.load("p.npy") - PRICE / 1000).mean() < 10


def test_answers_in_any_case_are_two_classes() -> None:
    said = np.where(AREA > 85, RNG.choice(["yes", "Yes", "YES"], ROWS), RNG.choice(["no", "No"], ROWS))
    write({"area": AREA, "dear": said})
    shown = run("train", "t.csv", "--target=dear", "--hidden=8", "--epochs=30", "--device=cpu", "--test-fraction=0.2")
    assert "dear as one of 2 classes, no, yes;" in shown
    assert float(re.search(r"test accuracy (\d\.\d+)", shown)[1]) > 0.9  # type: ignore[index]


def test_marks_of_missing_values_are_advised_and_then_taken() -> None:
    write({"area": [["-", ".", "unknown", a, a, a][i % 6] for i, a in enumerate(AREA)], "price": PRICE})
    quick = ("--hidden=8", "--epochs=2", "--device=cpu")
    told = run("train", "t.csv", "--target=price", *quick, code=2)
    advice = re.search(r"t.csv, line 2: area holds '-', .* --missing (\S+) if", told)
    assert advice and not Path("t.safetensors").exists()
    assert "missing: the mean" in " ".join(
        run("train", "t.csv", "--target=price", *quick, "--missing", advice[1]).split()
    )
    run("evaluate", "t.safetensors", "t.csv", "--device=cpu")


def test_a_target_of_names_is_refused_before_anything_is_trained() -> None:
    write({"area": AREA, "owner": [f"owner{chr(97 + i % 26)}{i // 26}" for i in range(ROWS)]})
    told = run("train", "t.csv", "--target=owner", code=2)
    assert "the target owner has 240 different values in 240 rows" in told and "they look like names" in told


def test_the_advice_on_classes_is_printed_where_it_works() -> None:
    quick = ("--hidden=8", "--epochs=2", "--device=cpu")
    write({"area": AREA, "price": PRICE})
    assert "--loss softmax" not in run("train", "t.csv", "--target=price", *quick)
    write({"area": AREA, "price": np.arange(ROWS) % 30})
    assert "price is taken for numbers; --loss softmax would" in run("train", "t.csv", "--target=price", *quick)
    assert "one of 30 classes" in run("train", "t.csv", "--target=price", "--loss=softmax", *quick)


def test_find_lr_advises_a_command_that_reads_the_table_in_the_same_way() -> None:
    write({"sold": [f"0{1 + i % 9}.02.2024" for i in range(ROWS)], "price": PRICE})
    shown = run("find-lr", "t.csv", "--target=price", "--dates=dmy", "--missing=-,unknown", "--device=cpu")
    assert "gpubp train t.csv --target price --dates=dmy --missing=-,unknown --lr 0." in shown


def test_options_for_tables_are_refused_for_other_data() -> None:
    np.savez("t.npz", X=np.zeros((9, 2)), y=np.arange(9) % 2)
    assert "--decimal goes with a table" in run("train", "t.npz", "--decimal", ",", code=2)

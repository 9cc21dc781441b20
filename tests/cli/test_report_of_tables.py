"""Reports of tables: their rows can be found in the file, and their names and units are those of the table."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, run
from test_report import Page

pytest.importorskip("pyarrow")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytestmark = pytest.mark.usefixtures("empty_folder")
QUICK = ("--hidden=8", "--epochs=2", "--report=r.html", *CPU)


def write(path: str, rows: int = 300, seed: int = 0, gaps: bool = True) -> None:
    """A table with numbers, texts with a line break, a price and a kind; some rows have no target, and one is blank."""
    draw = np.random.default_rng(seed)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "area", "town", "price", "kind"])
        for k in range(rows):
            area, town = draw.integers(30, 200), draw.choice(["Oslo", "Rome"])
            price, kind = f"{1000 * area + draw.normal(0, 9000):.0f}", draw.choice(["flat", "house"])
            missing = gaps and k % 7 == 2
            name = f"n{k}\n{k}" if k % 50 == 3 else f"n{k}"
            writer.writerow([name, area, town, "" if missing else price, "" if missing else kind])
            if k == 20:
                file.write("\n")


def in_file(path: str) -> dict[int, dict[str, str]]:
    """The rows of a CSV file by the line that they begin in."""
    found, begin = {}, 1
    with open(path, newline="") as file:
        reader = csv.reader(file)
        for record in reader:
            if record:
                found[begin] = record
            begin = reader.line_num + 1
    heads = found.pop(1)
    return {line: dict(zip(heads, row, strict=True)) for line, row in found.items()}


def page() -> Page:
    return Page(Path("r.html").read_text(encoding="utf-8"))


def rows_of(title: str) -> list[dict[str, str]]:
    """The table under a heading of the report."""
    html = Path("r.html").read_text(encoding="utf-8")
    part = html[html.index(f"<h3>{title}</h3>") :]
    part = part[: part.index("</table>")]
    heads = re.findall(r"<th [^>]*>([^<]*)</th>", part)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in part.split("<tr>")[2:]]
    return [dict(zip(heads, row, strict=True)) for row in cells]


PARTS = {
    "test": ("--test-fraction=0.3",),
    "validation": ("--validation-fraction=0.3",),
    "validation beside a test part": ("--validation-fraction=0.2", "--test-fraction=0.3"),
    "training": ("--validation-fraction=0",),
    "another table": ("--test=other.csv",),
    "another table to validate with": ("--validation=other.csv",),
}


@pytest.mark.parametrize("part", PARTS)
def test_mistaken_rows_stand_where_the_report_says(part: str) -> None:
    write("t.csv")
    write("other.csv", 60, seed=1)
    done = run("train", "t.csv", "--target=kind", *QUICK, *PARTS[part])
    assert done.exit_code == 0, done.output
    table, shown = in_file("other.csv" if "another" in part else "t.csv"), rows_of("Mistakes")
    assert len(shown) == 12
    for row in shown:
        there = table[int(row["place"].removeprefix("line "))]
        assert row["true"] == there["kind"] != row["predicted"]
        assert (row["area"], row["town"], row["price"]) == (there["area"], there["town"], there["price"])
        assert row["name"].strip() == there["name"].strip()


@pytest.mark.parametrize("part", PARTS)
def test_rows_with_the_largest_errors_stand_where_the_report_says(part: str) -> None:
    write("t.csv")
    write("other.csv", 60, seed=1)
    assert run("train", "t.csv", "--target=price", *QUICK, *PARTS[part]).exit_code == 0
    table, shown = in_file("other.csv" if "another" in part else "t.csv"), rows_of("Largest errors")
    errors = []
    for row in shown:
        there = table[int(row["place"].removeprefix("line "))]
        assert row["area"] == there["area"] and row["town"] == there["town"]
        true, error = (float(row[name].replace(",", "")) for name in ("true", "error"))
        assert true == pytest.approx(float(there["price"]), rel=1e-3)
        errors.append(abs(error))
    assert errors == sorted(errors, reverse=True) and len(errors) == 12


def test_rows_of_parquet_are_counted_from_1() -> None:
    import pyarrow.csv
    import pyarrow.parquet

    write("t.csv")
    table = pyarrow.csv.read_csv("t.csv", parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    pyarrow.parquet.write_table(table, "t.parquet", row_group_size=40)
    done = run("train", "t.parquet", "--target=price", *QUICK, "--test-fraction=0.3", "--memory=8KB")
    assert done.exit_code == 0 and "read from disk" in done.stderr, done.output
    for row in rows_of("Largest errors"):
        there = table.slice(int(row["place"].removeprefix("row ")) - 1, 1).to_pylist()[0]
        assert row["area"] == str(there["area"]) and float(row["true"].replace(",", "")) == pytest.approx(
            there["price"], rel=1e-3
        )


def test_rows_of_arrays_are_named_as_python_names_them() -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(200, 3)), draw.integers(0, 2, 200)
    np.savez("a.npz", X=X[:150], y=y[:150], X_test=X[150:], y_test=y[150:])
    assert run("train", "a.npz", *QUICK).exit_code == 0
    for row in rows_of("Mistakes"):
        found = re.fullmatch(r"X_test\[(\d+)\]", row["place"])
        assert found and row["true"] == str(y[150 + int(found[1])])
        assert float(row["x0"]) == pytest.approx(X[150 + int(found[1]), 0], abs=1e-4)


def test_axes_and_numbers_are_those_of_the_table() -> None:
    write("t.csv")
    done = run("train", "t.csv", "--target=price", *QUICK, "--test-fraction=0.3", "--json=found.json")
    texts = [text for _, text in page().texts]
    assert {"true price", "predicted price", "price"} <= set(texts) and "y" not in texts
    assert any(text.startswith("predicted less true price") for text in texts)
    off = json.loads(Path("found.json").read_text())["test"]["mean_absolute_error"]
    shown = f"{float(f'{off:.3e}'):,.0f}"
    assert f"mean absolute error {shown}," in done.output and f"off by {shown} on average" in page().text
    assert not re.search(r"\d{4}\.\d", page().text)


def test_an_axis_has_the_unit_of_the_table() -> None:
    write("t.csv", gaps=False)
    lines = Path("t.csv").read_text().splitlines()
    Path("t.csv").write_text(
        "\n".join([lines[0], *(re.sub(r",(\d+),(\w+)$", r',"$\1",\2', line) for line in lines[1:])])
    )
    done = run("train", "t.csv", "--target=price", *QUICK, "--test-fraction=0.3")
    assert done.exit_code == 0 and "true price ($)" in page().text, done.output


def test_cross_validation_is_in_the_report() -> None:
    write("t.csv")
    done = run("train", "t.csv", "--target=price", *QUICK, "--l2=auto")
    assert done.exit_code == 0 and re.search(r"Cross-validation on 15\d of 257 rows: R² -?\d\.\d{4}, ", page().text)


def test_the_command_in_the_report_has_what_was_typed_and_repeats_the_run() -> None:
    write("t.csv")
    typed = ("train", "t.csv", "--target=price", "--test-fraction=0.3", "--hidden=8", "--epochs=3", "--report=r.html")
    assert run(*typed, "--save-config=run.toml").exit_code == 0
    assert "memory" not in Path("run.toml").read_text()
    command = next(text for _, text in page().texts if text.startswith("gpubp train"))
    assert sorted(shlex.split(command)[1:]) == sorted(typed)
    model = Path("t.safetensors").read_bytes()
    Path("t.safetensors").unlink()
    assert run(*shlex.split(command)[1:]).exit_code == 0 and Path("t.safetensors").read_bytes() == model
    assert run(*typed, "--checkpoint-dir=runs").exit_code == 0
    told = json.loads(Path("runs/run.json").read_text())
    Path("runs/run.json").write_text(json.dumps(told | {"finished": False}))
    assert run("train", "--resume", "runs").exit_code == 0
    command = next(text for _, text in page().texts if text.startswith("gpubp train"))
    assert "--memory" not in command and "--target=price" in command

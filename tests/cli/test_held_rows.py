"""`gpubp evaluate` on the rows that a model was trained with: the rows that it does not know are judged."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from houses import houses

import gpubp as bp
from gpubp.cli.held_rows import RowDigest, TrainedRows
from gpubp.tables import Preparation, held_out

pyarrow = pytest.importorskip("pyarrow")
QUICK = ("--hidden=8", "--epochs=2", "--device=cpu", "--drop=dear", "--out=m.safetensors")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    houses(Path("houses.csv"), rows=400)


def train(*more: str, data: str = "houses.csv") -> dict[str, Any]:
    done = run("train", data, "--target=price", *QUICK, *more, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def judge(*arguments: str) -> tuple[dict[str, Any], str]:
    """The document, and what is said besides."""
    done = run("evaluate", "m.safetensors", *arguments, "--device=cpu", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def lines(path: str = "houses.csv") -> list[str]:
    return Path(path).read_text().splitlines(keepends=True)


def test_the_rows_held_out_are_judged_alone_and_it_is_said() -> None:
    trained = train("--test-fraction=0.3")
    held = trained["data"]["test_rows"]
    found, said = judge("houses.csv")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("held_out", held, 0)
    assert found["metrics"] == trained["test"]
    assert f"the {held} rows that training held out of 400 (--all for all)" in said
    assert "held-out R²" in said


def test_all_judges_every_row_and_says_how_many_were_trained_with() -> None:
    held = train("--test-fraction=0.3", "--validation-fraction=0.1")["data"]["test_rows"]
    found, said = judge("houses.csv", "--all")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("all", 400, 400 - held)
    validation = round(0.1 * (400 - held))
    told = (
        f"400 rows: {400 - held} rows that it was trained with ({validation} of them to validate with), {held} that it"
    )
    assert told in said


@pytest.mark.parametrize("name", ["another name.csv", "houses.tsv", "houses.parquet"])
def test_name_and_format_of_the_table_do_not_matter(name: str) -> None:
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    held = train("--test-fraction=0.3")["data"]["test_rows"]
    if name.endswith(".parquet"):
        parquet.write_table(arrow_csv.read_csv("houses.csv"), name, row_group_size=77)
    else:
        Path(name).write_text("".join(lines()).replace(",", "\t" if name.endswith(".tsv") else ","))
    found, _ = judge(name)
    assert (found["part"], found["rows"]) == ("held_out", held)


def test_rows_on_disk_are_recognised() -> None:
    trained = train("--test-fraction=0.3", "--memory=8KB")
    found, said = judge("houses.csv", "--memory=8KB")
    assert "read from" in said and found["part"] == "held_out" and found["metrics"] == pytest.approx(trained["test"])
    in_memory, _ = judge("houses.csv")
    assert in_memory["metrics"] == found["metrics"]


def test_new_rows_at_the_end_are_judged_too() -> None:
    held = train("--test-fraction=0.3")["data"]["test_rows"]
    houses(Path("new.csv"), rows=50, seed=5)
    Path("more.csv").write_text("".join(lines() + lines("new.csv")[1:]))
    found, said = judge("more.csv")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("held_out_and_new", held + 50, 0)
    assert f"the {held} rows that training held out of 400, and the 50 rows that follow the 400 of the training" in said
    network = bp.load("m.safetensors", device="cpu")
    prepared = Preparation.of(network)
    assert prepared is not None
    X, t, part = prepared.arrays("more.csv", held=(0.3, 0))
    assert t is not None
    kept = part | (np.arange(450) >= 400)
    error = prepared.target.answers(network.predict(X[kept])) - (prepared.target.mean + prepared.target.scale * t[kept])
    assert found["metrics"]["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-4)


def test_a_model_trained_on_all_rows() -> None:
    train()
    found, said = judge("houses.csv")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("all", 400, 400)
    assert "these are the rows that it was trained with" in said
    houses(Path("new.csv"), rows=50, seed=5)
    Path("more.csv").write_text("".join(lines() + lines("new.csv")[1:]))
    found, said = judge("more.csv")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("new", 50, 0)
    assert "the 50 rows that follow the 400 of the training (--all for all)" in said
    found, said = judge("more.csv", "--all")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("all", 450, 400)


def test_another_table_is_judged_as_a_whole() -> None:
    train("--test-fraction=0.3")
    changed = lines()
    changed[200] = changed[201]
    Path("other.csv").write_text("".join(changed))
    Path("less.csv").write_text("".join(lines()[:300]))
    houses(Path("new.csv"), rows=300, seed=9)
    for name, rows, known in (("other.csv", 400, True), ("less.csv", 299, True), ("new.csv", 300, False)):
        found, said = judge(name)
        assert (found["part"], found["rows"], found["trained_rows"]) == ("all", rows, None)
        assert ("trained with are in this table" in " ".join(said.split())) == known


def test_rows_without_a_target_do_not_shift_the_others() -> None:
    with open("houses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for k in range(0, 400, 7):
        rows[k]["price"] = ""
    with open("gaps.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    trained = train("--test-fraction=0.3", data="gaps.csv")
    found, _ = judge("gaps.csv")
    assert (found["part"], found["metrics"]) == ("held_out", trained["test"])
    Path("filled.csv").write_text("".join(line for line in lines("gaps.csv") if line.split(",")[6]))
    found, said = judge("filled.csv")
    assert (found["part"], found["rows"]) == ("all", 400 - 58)
    assert found["trained_rows"] == trained["data"]["rows"] + trained["data"]["validation_rows"]
    assert "it is not known which rows training held out, and all are evaluated" in said


def test_a_model_file_of_an_earlier_version() -> None:
    train("--test-fraction=0.3")
    network = bp.load("m.safetensors", device="cpu")
    del network.metadata["trained_rows"], network.metadata["validation_rows"]
    network.save("m.safetensors")
    found, _ = judge("houses.csv")
    assert (found["part"], found["rows"], found["trained_rows"]) == ("all", 400, None)


@pytest.mark.parametrize("wrong", [{"class": "Dense", "units": 3}, {"class": "TrainedRows"}, 7, {"rows": "many"}])
def test_a_wrong_description_is_one_line(wrong: Any) -> None:
    train("--test-fraction=0.3")
    network = bp.load("m.safetensors", device="cpu")
    told = network.metadata["trained_rows"]
    network.metadata["trained_rows"] = told | wrong if isinstance(wrong, dict) and "class" not in wrong else wrong
    network.save("m.safetensors")
    done = run("evaluate", "m.safetensors", "houses.csv")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output


def test_arrays_without_a_test_part() -> None:
    X = np.random.default_rng(0).normal(size=(1500, 3))
    np.savez("a.npz", X=X, y=X[:, 0])
    np.save("X.npy", X)
    np.save("y.npy", X[:, 0])
    np.savez("more.npz", X=np.concatenate([X, X]), y=np.concatenate([X[:, 0], X[:, 1]]))
    words = ("--hidden=4", "--epochs=1", "--device=cpu", "--out=m.safetensors")
    assert run("train", "a.npz", *words).exit_code == 0
    for data in (("a.npz",), ("X.npy", "--target=y.npy"), ("X.npy", "--target=y.npy", "--memory=8KB")):
        found, said = judge(*data)
        assert (found["part"], found["trained_rows"]) == ("all", 1500)
        assert "these are the rows that it was trained with" in said
    assert judge("more.npz")[0]["rows"] == 1500 and judge("more.npz", "--all")[0]["rows"] == 3000


def test_all_of_data_with_a_test_part(points: Path) -> None:
    assert run("train", points, "--hidden=4", "--epochs=1", "--device=cpu", "--out=m.safetensors").exit_code == 0
    found, said = judge(str(points))
    assert (found["part"], found["rows"], found["trained_rows"]) == ("test", 50, None) and "test accuracy" in said
    found, said = judge(str(points), "--all")
    assert (found["part"], found["rows"]) == ("all", 200) and "200 rows, 150 to train with and the others" in said


def test_the_digest_does_not_depend_on_the_parts() -> None:
    X, t, kept = np.arange(60.0).reshape(20, 3), np.arange(20), np.arange(30) % 3 > 0
    whole, parts = (RowDigest(first=15, held=(0.5, 1)) for _ in range(2))
    whole.add(X, t, kept)
    for first in range(0, 30, 6):
        rows = slice(int(kept[:first].sum()), int(kept[: first + 6].sum()))
        parts.add(X[rows], t[rows], kept[first : first + 6])
    assert (whole.values, whole.places, whole.rows) == (parts.values, parts.places, parts.rows)
    assert np.array_equal(whole.held_rows, parts.held_rows)
    fewer = RowDigest(held=(0.5, 1))
    fewer.add(X[:15], t[:15], kept[:23])
    assert TrainedRows.of(fewer).are_first_of(whole)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda rows: rows[::-1], 100),
        (sorted, 100),
        (lambda rows: rows[1:], 100),
        (lambda rows: rows[:200], 50),
        (lambda rows: [row for row in rows for _ in range(2)], 100),
    ],
)
def test_rows_of_the_training_are_found_in_a_table_that_was_changed(change: Any, share: int) -> None:
    train("--test-fraction=0.3")
    head, *rows = lines()
    Path("other.csv").write_text("".join([head, *change(rows)]))
    found, said = judge("other.csv")
    told = re.search(
        r"about (\d+)% of the rows that the model was trained with are in this table", " ".join(said.split())
    )
    assert told is not None and abs(int(told[1]) - share) <= 15, said
    assert (found["part"], found["trained_rows"]) == ("all", None)


def test_rows_that_training_held_out_are_none_of_the_training() -> None:
    train("--test-fraction=0.3")
    head, *rows = lines()
    held = held_out(0, 400, 0.3, 0)
    Path("other.csv").write_text("".join([head, *(row for row, out in zip(rows, held, strict=True) if out)]))
    found, said = judge("other.csv")
    assert found["part"] == "all" and "trained with" not in said


def test_rows_that_occur_twice_in_the_training_are_not_looked_for() -> None:
    """A table of few different rows: new rows have the same values."""
    for name, seed in (("few.csv", 0), ("others.csv", 1)):
        a, b = np.random.default_rng(seed).integers(0, 4, size=(2, 300))
        rows = "".join(f"l{x},m{y},{x + y}\n" for x, y in zip(a, b, strict=True))
        Path(name).write_text(f"p,q,price\n{rows}")
    done = run("train", "few.csv", "--target=price", "--hidden=8", "--epochs=2", "--device=cpu", "--out=m.safetensors")
    assert done.exit_code == 0, done.output
    assert "trained with" not in judge("others.csv")[1]

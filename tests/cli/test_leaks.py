"""Columns that decide the target alone are named before the training; others are not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CPU, run

from gpubp.analysis.one_column import decided

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("empty_folder")
QUICK = ("--hidden=4", "--epochs=1", *CPU)
ROWS = 300


def train(columns: dict[str, Any], *more: object, target: str = "y") -> tuple[list[str], str]:
    """The columns that were named, and what was printed."""
    with open("t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    done = run("train", "t.csv", "--target", target, *QUICK, *more, "--json=found.json")
    assert done.exit_code == 0, done.output
    return [c["column"] for c in json.loads(Path("found.json").read_text())["deciding_columns"]], done.output


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_column_that_says_the_target_in_other_words_is_named(draw: np.random.Generator) -> None:
    survived = draw.integers(0, 2, ROWS)
    columns = {"age": draw.integers(1, 80, ROWS), "alive now": np.where(survived, "yes", "no"), "survived": survived}
    named, output = train(columns, "--test-fraction=0.2", target="survived")
    told = "alive now alone decides survived in 100% of the rows; if it is not known before survived is, leave it out"
    assert named == ["alive now"] and f"{told}: --drop 'alive now'" in output
    assert output.index("alone decides") < output.index("epoch 1")
    named, output = train(columns, "--drop=alive now", target="survived")
    assert named == [] and "alone decides" not in output


def test_numbers_that_decide_classes_or_numbers_are_named(draw: np.random.Generator) -> None:
    """A threshold; a sum with a tax, also of a skewed column with gaps; a function that is no straight line."""
    score, price = draw.normal(50, 10, ROWS).round(2), np.exp(draw.normal(size=ROWS)).round(3)
    other = draw.normal(size=ROWS)
    passed = np.where(score > 47, "passed", "failed")
    assert train({"score": score, "other": other, "y": passed})[0] == ["score"]
    assert train({"net": price, "other": other, "y": (1.2 * price).round(3)})[0] == ["net"]
    gaps = ["" if k % 60 == 7 else f"{p:.3f}" for k, p in enumerate(price)]
    assert train({"net": gaps, "other": other, "y": np.where(np.array(gaps) == "", 0.0, 3 * price)})[0] == ["net"]
    named, output = train({"root": np.sqrt(score), "y": score})
    assert named == ["root"] and "root alone decides y, with R² 0.9999; if it" in output


def test_levels_that_decide_numbers_and_classes_are_named(draw: np.random.Generator) -> None:
    code = draw.permutation(np.arange(ROWS) % 60)
    text = np.array([f"code {c}" for c in code])
    prices = draw.normal(size=60).round(3)
    assert train({"code": text, "y": prices[code]})[0] == ["code"]
    assert train({"code": text, "y": np.where(prices > 0, "a", "b")[code]})[0] == ["code"]


@pytest.mark.parametrize("classes", [True, False])
def test_columns_without_a_relation_are_not_named(classes: bool, draw: np.random.Generator) -> None:
    """Keys of which nearly every row has its own, numbers, a rising date, and a strong column that is no copy."""
    y = draw.normal(size=ROWS)
    label = np.where(y > 0, "high", "low") if classes else y.round(3)
    columns = {
        "key": draw.permutation(10 * ROWS)[:ROWS],
        "name": [f"n{k}" for k in draw.integers(0, ROWS // 2, ROWS)],
        "x": (y + 0.3 * draw.normal(size=ROWS)).round(3),
        "day": [f"2024-{k // 28 + 1:02}-{k % 28 + 1:02}" for k in range(ROWS)],
        "y": label,
    }
    named, output = train(columns, "--categorical=name")
    assert named == [] and "alone decides" not in output


def test_a_column_with_gaps_is_judged_where_it_is_known(draw: np.random.Generator) -> None:
    """Levels, many levels and numbers, for classes and numbers."""
    y, gap = draw.normal(size=ROWS).round(3), draw.random(ROWS) < 0.2
    label = np.where(y > 0, "high", "low")
    known = f"where it is not missing ({100 * (1 - gap.mean()):.1f}% of all); if"
    named, output = train({"flag": np.where(gap, "", np.where(y > 0, "A", "B")), "y": label})
    assert named == ["flag"] and f"flag alone decides y in 100% of the rows {known}" in output
    assert json.loads(Path("found.json").read_text())["deciding_columns"][0]["known"] == pytest.approx(1 - gap.mean())
    code = [("A" if k > 0 else "B") + str(i % 20) for i, k in enumerate(y)]
    assert train({"code": np.where(gap, "", code), "y": label})[0] == ["code"]
    assert train({"net": np.where(gap, "", y * 1.1), "y": label})[0] == ["net"]
    named, output = train({"net": np.where(gap, "", y * 1.1), "y": y})
    assert named == ["net"] and f"with R² 1.0000 {known}" in output
    assert train({"noise": np.where(gap, "", draw.normal(size=ROWS)), "y": y})[0] == []


def test_a_column_that_decides_classes_but_for_a_few_mistakes_is_named(draw: np.random.Generator) -> None:
    y = draw.integers(0, 2, ROWS)
    copy = np.where(np.arange(ROWS) % 100 == 7, 1 - y, y)
    named, output = train({"copy": copy, "x": draw.normal(size=ROWS), "y": y})
    assert named == ["copy"] and "copy alone decides y in 99.0% of the rows; if it" in output
    worse = np.where(np.arange(ROWS) % 20 == 7, 1 - y, y)
    assert train({"copy": worse, "x": draw.normal(size=ROWS), "y": y})[0] == []


def test_time_does_not_decide_a_class_that_stays_for_a_while(draw: np.random.Generator) -> None:
    state = np.repeat(draw.integers(0, 2, ROWS // 10), 10)
    days = [f"2024-{k // 28 + 1:02}-{k % 28 + 1:02}" for k in range(ROWS)]
    assert train({"day": days, "x": draw.normal(size=ROWS), "y": state})[0] == []


def test_features_of_arrays_are_looked_at_too(draw: np.random.Generator) -> None:
    X = draw.normal(size=(ROWS, 3))
    X[:, 1] = X[:, 0] > 0
    np.savez("a.npz", X=X, y=X[:, 1].astype(int))
    done = run("train", "a.npz", *QUICK)
    assert "feature 1 of X alone decides y in 100% of the rows" in done.stderr and "leave it out of X" in done.stderr
    np.save("X.npy", X.astype("f4"))
    np.save("y.npy", X[:, 0] * 2)
    on_disk = run("train", "X.npy", "--target=y.npy", "--memory=2KB", *QUICK)
    assert "feature 0 of X alone decides y, with R² 1.0000" in on_disk.stderr, on_disk.output


def test_the_report_has_the_note(draw: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    y = draw.integers(0, 2, ROWS)
    train({"x": draw.normal(size=ROWS), "copy": y, "y": y}, "--report=r.html")
    assert "Of the columns, copy alone decides y in 100% of the rows" in Path("r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", range(5))
def test_chance_decides_little(seed: int) -> None:
    """Of columns of every kind, and few rows, the share that is decided by chance is far from 1."""
    draw = np.random.default_rng(seed)
    for rows in (50, 500):
        rare = np.zeros(rows, np.int64)
        rare[:10] = 1
        for t in (draw.integers(0, 2, rows), draw.permutation(rare)):
            for levels in (2, rows // 5, rows // 2, 10 * rows):
                for ordered in (True, False):
                    assert decided(draw.integers(0, levels, rows), t, ordered, True)[0] < 0.9
        for levels in (2, rows // 5, 10 * rows):
            assert decided(draw.integers(0, levels, rows), draw.normal(size=rows), levels > 2, False)[0] < 0.9


def test_the_sums_are_those_of_a_loop() -> None:
    """(1) of the module, row by row, against a slow count."""
    draw = np.random.default_rng(0)
    x, t = draw.integers(0, 20, 200), draw.integers(0, 3, 200)
    right = 0
    for i in range(200):
        others = np.bincount(np.delete(t, i)[np.delete(x, i) == x[i]], minlength=3)
        right += bool((others[t[i]] > np.delete(others, t[i])).all())
    assert decided(x, t, False, True)[1] in (0.0, pytest.approx(right / 200))
    y = draw.normal(size=200) + 10 * x
    error = [y[i] - np.delete(y, i)[np.delete(x, i) == x[i]].mean() for i in range(200)]
    want = 1 - np.square(error).sum() / 200 / (np.square(y - y.mean()).sum() / 199)
    assert decided(x, y, False, False)[0] == pytest.approx(want)

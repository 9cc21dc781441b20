"""What targets are refused and why, answers in any case, and the options and advice about single columns."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import Preparation, fit

pyarrow = pytest.importorskip("pyarrow")

ROWS = 100
RNG = np.random.default_rng(0)
WORDS = [
    f"{a}{b}" for a in ("red", "blue", "old", "new", "big", "dry", "raw", "odd", "hot", "low") for b in "abcdefghij"
]


def with_target(y: Any, **options: Any) -> Preparation:
    return fit(pyarrow.table({"x": RNG.normal(size=len(y)), "y": y}), "y", **options)


def column(x: Any, **options: Any) -> Any:
    table = pyarrow.table({"x": x, "z": RNG.normal(size=len(x)), "y": RNG.normal(size=len(x))})
    made = fit(table, "y", **options)
    return next(c for c in (*made.columns, *made.left_out) if c.name == "x")


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words_of_it"),
    [
        (WORDS, "y has 100 different values in 100 rows, and nothing can be learnt of classes that come once: .*names"),
        ([f"{w} is what was said" for w in WORDS], "they look like free text, "),
        ([f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(84)], "dates, '2024-01-01' .*; --loss softmax"),
        ([f"{i // 4 + 1:02}.{i % 4 + 9:02}.2024" for i in range(100)], "they are dates, '01.09.2024' and"),
        ([f"{i},{i % 9}" if i % 2 else f"{i}.{i % 9}" for i in range(100)], "written in several ways, '0.0' and '1,1'"),
        ([f"${i}" if i % 2 else f"€{i}" for i in range(100)], "numbers in several units, '€0' and '\\$1'; give all"),
        ([f"0{i:04}" for i in range(100)], "they look like codes, such as '00000'; --loss mse predicts"),
    ],
)  # fmt: skip
def test_a_target_of_which_nearly_every_row_is_its_own_class_is_refused(values: list[str], words_of_it: str) -> None:
    with pytest.raises(DataError, match=words_of_it):
        with_target(values)


def test_the_advice_for_such_a_target_works() -> None:
    codes = [f"0{i:04}" for i in range(100)]
    assert with_target(codes, kind="numbers").target.kind == "numbers"
    marked = [f"{i}.5" if i % 5 else "unknown" for i in range(100)]
    with pytest.raises(DataError, match="y holds 'unknown', which is no number.*--missing unknown if nothing"):
        with_target(marked)
    assert with_target(marked, missing=["unknown"]).target.kind == "numbers"


def test_numbers_are_not_forced_into_thousands_of_classes() -> None:
    with pytest.raises(DataError, match="y has 3,000 different values in 3,000 rows: .* once: --loss mse predicts it"):
        with_target(np.arange(3000), kind="classes")
    with pytest.raises(DataError, match="y has 3,000 different values in 3,000 rows: .* once: they look like names"):
        with_target([f"name{i}" for i in range(3000)], kind="classes")
    with pytest.raises(DataError, match="holds fractions, .*: --loss mse predicts numbers"):
        with_target(RNG.normal(size=ROWS), kind="classes")


def test_a_target_that_is_the_same_in_every_row_is_refused() -> None:
    for values in ([7.5] * ROWS, ["1,5"] * ROWS):
        with pytest.raises(DataError, match="the target y can't be predicted: it is [71].5 in every row"):
            with_target(values, decimal="," if isinstance(values[0], str) else None)
    with pytest.raises(DataError, match="it holds whole numbers such as 92233720368547758.., which"):
        with_target(pyarrow.array([2**63 + i for i in range(600)], pyarrow.uint64()))


def test_typed_dates_as_a_target_are_refused_and_can_be_classes() -> None:
    days = pyarrow.array([date(2020, 1, 1 + i % 28) for i in range(ROWS)])
    with pytest.raises(DataError, match="they are dates, .*; --loss softmax takes each for a class"):
        with_target(days)
    assert with_target(days, kind="classes").target.outputs == 28
    with pytest.raises(DataError, match="the target y has no numbers: they are dates"):
        with_target(days, kind="numbers")


def test_classes_that_differ_in_case_alone_are_said() -> None:
    note = "'Male' and 'male' differ in upper and lower case alone"
    assert with_target(["Male", "male", "Female"] * 30).target.note == note
    assert column(["Male", "male", "Female"] * 30).note == note


def test_the_advice_on_classes_is_given_where_it_works() -> None:
    assert with_target(RNG.normal(size=ROWS)).target.note == ""
    assert with_target(np.arange(ROWS)).target.note == ""
    whole = np.arange(ROWS) % 25
    assert with_target(whole).target.note == "--loss softmax would make them classes"
    assert with_target(whole, kind="classes").target.outputs == 25


def test_answers_in_any_case_are_two_classes() -> None:
    made = with_target(["yes", "Yes", "YES", "no", "No"] * 20)
    assert made.target.classes == ("no", "yes")
    told = pyarrow.record_batch({"y": ["YeS", "NO", "yes"]})
    assert made.targets(told).tolist() == [1, 0, 1]
    assert with_target(["Yes", "No"] * 50).target.classes == ("No", "Yes")
    with pytest.raises(DataError, match="y holds 'perhaps', and the classes are no, yes"):
        made.targets(pyarrow.record_batch({"y": ["perhaps"]}))


# -- the user's word --------------------------------------------------------------------------------------------------


def test_a_column_called_a_category_is_one_with_a_note() -> None:
    for values in (WORDS, list(range(ROWS)), RNG.normal(size=ROWS), [f"{w} " * 30 for w in WORDS]):
        found = column(values, categorical=["x"])
        assert found.kind == "category" and len(found.levels) == ROWS
        assert "nearly every row has a value of its own" in found.note


def test_a_column_called_numeric_is_one_with_a_note() -> None:
    assert "rises from row to row" in column(list(range(ROWS)), numeric=["x"]).note
    assert column([7] * ROWS, numeric=["x"]).note == "it is 7 in every row"
    assert column(RNG.integers(0, 50, ROWS), numeric=["x"]).note == ""


# -- large and infinite numbers ---------------------------------------------------------------------------------------


def test_identifiers_that_float64_can_not_tell_apart_are_not_called_the_same() -> None:
    base = 2**63 + 5
    for values in (
        pyarrow.array([base + i for i in range(600)], pyarrow.uint64()),
        [str(base + i) for i in range(600)],
    ):
        found = column(values)
        assert found.why == f"it holds whole numbers such as {base}, which differ by less than float64 can tell"
        assert column(values, categorical=["x"]).kind == "category"
        assert "differ by less" in column(values, numeric=["x"]).note or "rises" in column(values, numeric=["x"]).note
    same = column(pyarrow.array([base] * 600, pyarrow.uint64()))
    assert "in every row" in same.why
    wide = pyarrow.array((RNG.random(600) * 2**63).astype(np.uint64))
    assert "beyond 9,007,199,254,740,992 are rounded, the largest to multiples of" in column(wide).note


def test_infinite_numbers_are_an_error_with_the_option_that_helps() -> None:
    x = RNG.normal(size=ROWS)
    for count in (1, 40):
        y = x.copy()
        y[:count] = np.inf
        y[count] = -np.inf
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError, match=r"row 1: x holds inf, and numbers are finite: --missing -inf,inf"):
                column(y)
            found = column(y, missing=["-inf", "inf"])
            with pytest.raises(DataError, match="y holds inf"):
                with_target(y)
            assert with_target(y, missing=["-inf", "inf"]).target.kind == "numbers"
        assert found.missing and found.mean == pytest.approx(x[count + 1 :].mean())


def test_infinite_numbers_of_a_new_table() -> None:
    made = with_target(np.arange(ROWS))
    with pytest.raises(DataError, match="row 2: x holds 'inf', which is no number"):
        made.transform(pyarrow.record_batch({"x": [0.5, np.inf]}))


# -- on the command line ----------------------------------------------------------------------------------------------


def test_the_options_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    testing = pytest.importorskip("click.testing")
    from gpubp.cli.app import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        done = testing.CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return str(done.output)

    lines = [f"{i},{i % 9};0{1 + i % 5}.02.2024;{['-', 'unknown', i][i % 3]};{i // 2 + 1}.{100 + i}" for i in range(90)]
    Path("t.csv").write_text("area;sold;age;price\n" + "\n".join(lines))
    quick = ("--hidden=8", "--epochs=2", "--device=cpu")
    written = ("--decimal", ",", "--thousands", ".", "--dates", "dmy", "--missing", "-,unknown")
    shown = run("train", "t.csv", "--target", "price", *quick, *written, "--save-config", "run.toml")
    assert "written 1.234,50;" in shown and "written 31.12.2024" in shown
    assert "price is taken for numbers, written 1.234,50" in shown
    assert "mean absolute error" in run("evaluate", "t.safetensors", "t.csv", "--device=cpu")
    first = Path("t.safetensors").read_bytes()
    run("predict", "t.safetensors", "t.csv", "--out", "p.csv", "--device=cpu")
    run("train", "--config", "run.toml", "--out", "again.safetensors")
    assert Path("again.safetensors").read_bytes() == first
    run("train", "t.csv", "--target", "price", *quick, *written, "--categorical", "area", "--checkpoint-dir", "runs")
    shown = run("train", "t.csv", "--target", "price", *quick, *written, "--categorical", "area")
    assert "area: nearly every row has a value of its own" in shown
    for wrong in (("--decimal", ";"), ("--thousands", "x"), ("--decimal", ",", "--thousands", ",")):
        done = testing.CliRunner().invoke(app, ["train", "t.csv", "--target", "price", *wrong])
        assert done.exit_code == 2 and "Traceback" not in done.output

"""Numbers written another way: decimal commas, thousands separators, currencies, percent, units and codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import CategoryColumn, NumberColumn, Preparation, fit

pyarrow = pytest.importorskip("pyarrow")

ROWS = 120
RNG = np.random.default_rng(0)
NUMBERS = RNG.uniform(-3000, 3000, ROWS).round(2)


def fitted(x: Any, others: dict[str, Any] | None = None, **options: Any) -> Preparation:
    """A table with the column x, another of numbers, and a target."""
    rows = len(x)
    table = {"x": x, "z": np.arange(rows) % 7 + 0.5, **(others or {}), "y": np.cos(np.arange(rows))}
    return fit(pyarrow.table(table), "y", **options)


def column(x: Any, **options: Any) -> Any:
    made = fitted(x, **options)
    return next(c for c in (*made.columns, *made.left_out) if c.name == "x")


def english(x: float) -> str:
    return f"{x:,.2f}"


def german(x: float) -> str:
    return english(x).translate(str.maketrans(",.", ".,"))


WAYS = {
    "1234,50": lambda x: f"{x:.2f}".replace(".", ","),
    "1.234,50": german,
    "1,234.50": english,
    "1 234,50": lambda x: german(x).replace(".", " "),
    "1'234.50": lambda x: english(x).replace(",", "'"),
    "1_234.50": lambda x: english(x).replace(",", "_"),
    "$1,234.50": lambda x: ("-" if x < 0 else "") + "$" + english(abs(x)),
    "€1.234,50": lambda x: f"€{german(x)}",
    "1.234,50€": lambda x: f"{german(x)} €",
    "USD 1,234.50": lambda x: f"USD {english(x)}",
    "12%": lambda x: f"{x:.2f}%",
    "12,5%": lambda x: f"{x:.2f} %".replace(".", ","),
    "12 days": lambda x: f"{x:.2f} day" if abs(x) < 500 else f"{x:.2f} days",
    "12 sq ft": lambda x: f"{x:.2f} sq ft",
    "12 kg": lambda x: f"{x:.2f} kg",
    "12 m²": lambda x: f"{x:.2f}m²",
    "12 °C": lambda x: f"{x:.2f} °C",
}


@pytest.mark.parametrize("way", WAYS)
def test_numbers_are_read_as_they_are_written(way: str) -> None:
    texts = [WAYS[way](x) for x in NUMBERS]
    made = fitted(texts)
    found = made.columns[0]
    assert isinstance(found, NumberColumn) and found.written.example == way and f"written {way}" in found.describe()
    assert found.mean == pytest.approx(NUMBERS.mean()) and found.scale == pytest.approx(NUMBERS.std())
    plain = fitted([f"{x:.2f}" for x in NUMBERS])
    X = made.transform(pyarrow.record_batch({"x": texts, "z": np.zeros(ROWS)}))
    want = plain.transform(pyarrow.record_batch({"x": [f"{x:.2f}" for x in NUMBERS], "z": np.zeros(ROWS)}))
    assert np.array_equal(X, want)
    typed = made.transform(pyarrow.record_batch({"x": NUMBERS, "z": np.zeros(ROWS)}))
    assert np.array_equal(typed, want), "numbers of a typed file, with a model of text"


@pytest.mark.parametrize("way", WAYS)
def test_a_target_is_read_as_it_is_written(way: str) -> None:
    table = pyarrow.table({"x": NUMBERS, "y": [WAYS[way](x) for x in NUMBERS]})
    target = fit(table, "y").target
    assert target.kind == "numbers" and target.written.example == way
    np.testing.assert_allclose(target.read(table["y"].combine_chunks()) * target.scale + target.mean, NUMBERS)
    assert target.answers(np.zeros((1, 1)))[0] == pytest.approx(NUMBERS.mean())


@pytest.mark.parametrize(
    ("shown", "value"),
    [("−5,5", -5.5), ("(5,5)", -5.5), ("5,5-", -5.5), ("+5,5", 5.5), ("1,5E+03", 1500.0), (",5", 0.5), ("7", 7.0)],
)
def test_signs_and_exponents(shown: str, value: float) -> None:
    made = fitted([f"{x:.2f}".replace(".", ",") for x in NUMBERS])
    assert made.columns[0].read(pyarrow.array([shown])).values.tolist() == [value]  # type: ignore[attr-defined]


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u2009", " "])
def test_every_space_separates_thousands(space: str) -> None:
    found = column([german(x).replace(".", space) for x in NUMBERS])
    assert found.kind == "number" and found.mean == pytest.approx(NUMBERS.mean())


@pytest.mark.parametrize(
    "values", [["A12", "w7", "B3"], ["item 5", "item 6"], ["12A", "7B"], ["1-2", "3-4"], ["1.2.3"]]
)
def test_codes_stay_categories(values: list[str]) -> None:
    assert column([*values, "other"] * 30).kind == "category"


# -- two readings -----------------------------------------------------------------------------------------------------


def test_numbers_with_two_readings_are_an_error_that_shows_both(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("z;price;y\n" + "".join(f"{i % 7};{i % 9 + 1},{i:03d};{i % 5}\n" for i in range(ROWS)))
    with pytest.raises(DataError) as refused:
        fit(path, "y")
    assert "line 2: price holds '1,000', which is 1000 or 1: all" not in str(refused.value)
    assert "t.csv, line 2: price holds '1,000', which is 1000 or 1, and" in str(refused.value)
    assert "--thousands , for 1000, or --decimal , for 1" in str(refused.value)
    means = [fit(path, "y", **{o: ","}).columns[1].mean for o in ("thousands", "decimal")]  # type: ignore[arg-type, attr-defined]
    assert means[0] == pytest.approx(1000 * means[1])


@pytest.mark.parametrize(
    ("decides", "decimal", "thousands"),
    [("0,123", ",", ""), ("12,34", ",", ""), ("1,234,567", ".", ","), ("1,234.5", ".", ","), ("1.234,5", ",", ".")],
)
def test_one_value_decides_for_the_column(decides: str, decimal: str, thousands: str) -> None:
    found = column([f"{i % 9 + 1},{i:03d}" for i in range(ROWS)] + [decides])
    assert (found.written.decimal, found.written.thousands) == (decimal, thousands)


def test_points_are_decimal_points_where_no_column_has_a_decimal_comma() -> None:
    x = [f"{i % 9 + 1}.{i:03d}" for i in range(ROWS)]
    found = column(x)
    assert found.kind == "number" and found.mean < 10 and found.written.plain
    comma = [f"{i},5" for i in range(ROWS)]
    with pytest.raises(DataError) as refused:
        fitted(x, {"area": comma})
    told = str(refused.value)
    assert "x holds '1.000', which is 1 or 1000, and area is written with a decimal comma (0,5)" in told
    assert "--thousands . for 1000" in told and "--decimal ." not in told, "it would fail for area"
    for option in ({"thousands": "."}, {"decimal": ","}):
        made = fitted(x, {"area": comma}, **option)
        assert made.columns[0].mean > 1000  # type: ignore[attr-defined]


def test_whole_thousands_with_points_are_not_shortened() -> None:
    x = [f"{i % 9 + 1}.{i % 2 * 500:03d}" for i in range(ROWS)]
    assert column(x, decimal=",").mean == pytest.approx(np.mean([float(v.replace(".", "")) for v in x]))


def test_an_option_that_the_values_contradict() -> None:
    with pytest.raises(DataError, match=r"x holds '0.5', which is no number written 1234,50, as --decimal , says"):
        fitted([f"{i}.5" for i in range(ROWS)], decimal=",")
    for option in ({"decimal": ";"}, {"thousands": "x"}, {"decimal": ",", "thousands": ","}, {"dates": "day"}):
        with pytest.raises(ValueError, match="decimal|thousands|dates"):
            fitted([1.0] * ROWS, **option)


def test_few_values_written_another_way_are_mistakes() -> None:
    x = [german(v) for v in NUMBERS]
    for value, what in (("abc", "no number written 1.234,50"), ("1,234.5", "no number written 1.234,50")):
        with pytest.raises(DataError, match=f"row 8: x holds '{value}', which is {what}, and 119 other values are num"):
            fitted([*x[:7], value, *x[8:]])
    with pytest.raises(DataError, match="row 8: x holds 'abc', which is no number written"):
        fitted([*x[:7], "abc", *x[8:]], decimal=",")
    dollars = [f"${v:.2f}" for v in abs(NUMBERS)]
    with pytest.raises(DataError, match="row 8: x holds '€5', which is no number written \\$12"):
        fitted([*dollars[:7], "€5", *dollars[8:]])


def test_columns_of_several_units_are_categories_or_left_out_with_the_reason() -> None:
    few = column([f"${i % 4}" if i % 2 else f"€{i % 4}" for i in range(ROWS)])
    assert isinstance(few, CategoryColumn) and "several units, as '€0' and '$1'" in few.note
    mixed = column([f"{i % 7},5" if i % 2 else f"{i % 7}.5" for i in range(ROWS)])
    assert mixed.kind == "category" and "its numbers are written in several ways, as '" in mixed.note
    many = column([f"{i}%" if i % 2 else f"{i}" for i in range(ROWS)])
    assert "several units, as '0' and '1%'" in many.why


def test_a_new_value_that_is_written_another_way_is_an_error_that_says_how_the_column_is_written() -> None:
    made = fitted([german(v) for v in NUMBERS])
    with pytest.raises(DataError, match="row 1: x holds '1,234.50', which is no number written 1.234,50"):
        made.transform(pyarrow.record_batch({"x": ["1,234.50"], "z": [0.0]}))
    target = fit(pyarrow.table({"x": NUMBERS, "y": [f"{v:.1f}%" for v in NUMBERS]}), "y").target
    with pytest.raises(DataError, match="y holds '7', which is no number written 12%"):
        target.read(pyarrow.array(["7"]))


def test_separators_that_come_late_are_read_from_the_first_row_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 12)
    numbers = np.arange(6000) * 0.5
    path = tmp_path / "t.csv"
    path.write_text("x;y\n" + "".join(f"{german(v).removesuffix(',00')};{i % 3}\n" for i, v in enumerate(numbers)))
    found: Any = fit(path, "y").columns[0]
    assert found.written.example == "1.234,50" and found.mean == pytest.approx(numbers.mean())


def test_a_format_of_a_model_file_is_checked() -> None:
    from gpubp.config import from_config

    made = fitted([german(v) for v in NUMBERS])
    assert from_config(made.config()) == made
    told = made.config()
    told["columns"][0]["written"]["decimal"] = "x"
    with pytest.raises(ValueError, match="decimal mark"):
        from_config(told)


# -- codes ------------------------------------------------------------------------------------------------------------


def test_leading_zeros_mean_a_code() -> None:
    zips = ["04103", "01067", "10115", "80331"] * 30
    found = column(zips)
    assert isinstance(found, CategoryColumn) and found.describe().startswith("codes such as 01067: 01067, 04103")
    assert column(zips, numeric=["x"]).kind == "number"
    assert column(["0.5", "0", "10"] * 40).kind == "number"
    table = pyarrow.table({"x": NUMBERS, "y": zips})
    assert fit(table, "y").target.classes == ("01067", "04103", "10115", "80331")


def test_a_code_that_comes_late_is_a_code(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 12)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{'01067' if i > 4000 else 10000 + i % 50},{i % 3}\n" for i in range(5000)))
    found: Any = fit(path, "y").columns[0]
    assert found.kind == "category" and len(found.levels) == 51


# -- marks of missing values ------------------------------------------------------------------------------------------


def test_marks_of_missing_values_are_given_and_kept() -> None:
    x = ["1.5" if i % 5 else ["-", ".", "unknown", "Unknown"][i // 5 % 4] for i in range(100)]
    x = [v if v != "1.5" else f"{i}.5" for i, v in enumerate(x)]
    with pytest.raises(DataError, match="row 1: x holds '-', which is no number.*--missing -,.,unknown if"):
        fitted([*x[:95]])
    made = fitted(x, missing=["-", ".", "unknown"])
    assert made.columns[0].missing and made.missing == ("-", ".", "unknown")  # type: ignore[attr-defined]
    X = made.transform(pyarrow.record_batch({"x": ["UNKNOWN", "1.5"], "z": [0.0, 1.0]}))
    assert X[:, made.outputs.index("x is missing")].tolist() == [1.0, 0.0]
    y = pyarrow.table({"x": NUMBERS, "y": ["-", "5"] + ["7.5", "8"] * 59})
    assert fit(y, "y", missing=["-"]).target.mean == pytest.approx((5 + 59 * 15.5) / 119)


@pytest.mark.parametrize("mark", ["-", ".", "unknown", "n.a.", "#DIV/0!"])
def test_a_mark_in_a_column_of_few_numbers_is_an_error(mark: str) -> None:
    with pytest.raises(DataError, match="--missing "):
        fitted([mark, "1", "2", "3"] * 30)


def test_marks_that_are_numbers_hold_in_typed_columns_too() -> None:
    for x in ([-999, 1, 2, 4] * 30, [-999.0, 1.0, 2.0, 4.0] * 30, ["-999", "1", "2", "4"] * 30):
        found = column(x, missing=["-999"])
        assert found.mean == pytest.approx(7 / 3) and found.missing


def test_a_code_that_comes_after_more_numbers_than_are_counted_is_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 15)
    path = tmp_path / "t.csv"
    path.write_text(
        "x,y\n" + "".join(f"{'01067' if i == 9000 else 10000 + i * 7 % 9001},{i % 3}\n" for i in range(9500))
    )
    with pytest.raises(DataError, match="line 9002: x holds '01067', a code, .*: --categorical x, or --numeric x"):
        fit(path, "y")
    assert [fit(path, "y", **{o: ["x"]}).columns[0].kind for o in ("categorical", "numeric")] == ["category", "number"]

"""Numbers and dates as spreadsheets and databases export them: the same numbers give the same rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import LeftOut, Preparation, fit

pyarrow = pytest.importorskip("pyarrow")

ROWS = 120
NUMBERS = np.random.default_rng(0).uniform(-9000, 9000, ROWS).round(2)
WHOLE = np.abs(NUMBERS).round()
DAYS = [datetime(2015, 1, 1) + timedelta(days=7919 * i % 3600, seconds=9973 * i) for i in range(ROWS)]


def prepared(x: Any, **options: Any) -> tuple[Preparation, Any]:
    table = pyarrow.table({"x": x, "z": np.arange(len(x)) % 7 + 0.5, "y": np.cos(np.arange(len(x)))})
    made = fit(table, "y", **options)
    return made, made.arrays(table)[0]


def column(x: Any, **options: Any) -> Any:
    made = prepared(x, **options)[0]
    return next(c for c in (*made.columns, *made.left_out) if c.name == "x")


def ledger(before: str, after: str = "") -> Callable[[float], str]:
    """Amounts whose unit stands outside of the brackets of negative ones."""
    return lambda x: f"{before}({-x:,.2f}){after}" if x < 0 else f"{before}{x:,.2f}{after}"


@pytest.mark.parametrize("write", [ledger("$"), ledger("$ "), ledger("", " €"), ledger("", "%"), "{:.2f}".format])
def test_negative_amounts_in_brackets_and_with_dashes(write: Callable[[float], str]) -> None:
    texts = [write(x).replace("-", "–") for x in NUMBERS]
    assert np.array_equal(prepared(texts)[1], prepared(NUMBERS)[1])


@pytest.mark.parametrize(
    "form", ["{:.0f}.-", "{:.0f},-", "{:.0f},--", "{:.0f}.—", "CHF {:.0f}.-", "{:.0f},- €", "kr {:.0f},–"]
)
def test_a_dash_for_no_cents_is_no_sign(form: str) -> None:
    assert np.array_equal(prepared([form.format(x) for x in WHOLE])[1], prepared(WHOLE)[1])


@pytest.mark.parametrize("unit", ["k", "liters", "inches", "inch", "feet"])
def test_more_units(unit: str) -> None:
    assert np.array_equal(prepared([f"{x:.0f} {unit}" for x in WHOLE])[1], prepared(WHOLE)[1])


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S GMT", "%Y-%m-%d %H:%M:%S +0000"])
def test_a_time_zone_after_a_space(form: str) -> None:
    plain = prepared([f"{day:%Y-%m-%d %H:%M:%S}" for day in DAYS])[1]
    assert np.array_equal(prepared([day.strftime(form) for day in DAYS])[1], plain)


@pytest.mark.parametrize("form", ["%Y%m%d.0", "%d.%m.%y"])
def test_days_as_text_in_more_forms(form: str) -> None:
    plain = prepared([f"{day:%Y-%m-%d}" for day in DAYS])[1]
    assert np.array_equal(prepared([day.strftime(form) for day in DAYS])[1], plain)


@pytest.mark.parametrize("mark", ["/", "-"])
def test_months_with_a_year(mark: str) -> None:
    plain = prepared([f"{day:%Y-%m}" for day in DAYS])[1]
    assert np.array_equal(prepared([f"{day:%m}{mark}{day:%Y}" for day in DAYS])[1], plain)


def test_the_date_that_is_shown_has_two_readings() -> None:
    doubtful = [f"{1 + i % 12:02}.{1 + i * 5 % 12:02}.2020" for i in range(ROWS)]
    with pytest.raises(DataError, match="row 2: x holds '02.06.2020', which is 2 June 2020 or 6 February 2020"):
        prepared(doubtful)


def test_the_mark_of_pandas_for_no_date_is_missing() -> None:
    texts = ["NaT" if i % 9 == 0 else f"{day:%Y-%m-%d}" for i, day in enumerate(DAYS)]
    assert column(texts).kind == "date" and column(texts).missing


@pytest.mark.parametrize("form", ["{:.0f} furlong", "{:.0f}$K", "{:.0f} janvier 2024"])
def test_a_column_of_unknown_units_or_months_is_left_out_with_an_example(form: str) -> None:
    left = column([form.format(x) for x in WHOLE])
    assert isinstance(left, LeftOut) and "which is neither a number nor a date of a known format" in left.why

"""Dates, times of day and durations in all the forms that people write."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import DateColumn, NumberColumn, Preparation, fit
from gpubp.tables.dates import DateFormat

pyarrow = pytest.importorskip("pyarrow")

ROWS = 200
DAYS = [datetime(2019, 3, 1) + timedelta(days=7 * i % 1500, minutes=13 * i) for i in range(ROWS)]


def fitted(x: Any, **options: Any) -> Preparation:
    table = {"x": x, "z": np.arange(len(x)) % 7 + 0.5, "y": np.cos(np.arange(len(x)))}
    return fit(pyarrow.table(table), "y", **options)


def column(x: Any, **options: Any) -> Any:
    made = fitted(x, **options)
    return next(c for c in (*made.columns, *made.left_out) if c.name == "x")


ISO = column([f"{day:%Y-%m-%d}" for day in DAYS])
WITH_TIME = column([f"{day:%Y-%m-%d %H:%M}" for day in DAYS])


@pytest.mark.parametrize(
    "form",
    [
        "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%y", "%m/%d/%y",
        "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%B %d, %Y", "%b %d %Y", "%a, %d %b %Y", "%A, %B %d, %Y",
    ],
)  # fmt: skip
def test_dates_are_read_as_in_iso_form(form: str) -> None:
    texts = [day.strftime(form) for day in DAYS]
    made = fitted(texts)
    found: Any = made.columns[0]
    assert isinstance(found, DateColumn) and (found.mean, found.scale, found.parts) == (ISO.mean, ISO.scale, ISO.parts)
    again = made.transform(pyarrow.record_batch({"x": texts, "z": np.zeros(ROWS)}))
    typed = made.transform(pyarrow.record_batch({"x": [day.date() for day in DAYS], "z": np.zeros(ROWS)}))
    assert np.array_equal(again, typed)


@pytest.mark.parametrize(
    "form",
    [
        "%d.%m.%Y %H:%M",
        "%m/%d/%Y %I:%M %p",
        "%m/%d/%y %H:%M:%S",
        "%Y/%m/%d %H:%M",
        "%d %b %Y %H:%M",
        "%B %d, %Y, %I:%M%p",
    ],
)
def test_dates_with_times_of_day(form: str) -> None:
    found = column([day.strftime(form) for day in DAYS])
    assert (found.mean, found.scale, found.parts) == (WITH_TIME.mean, WITH_TIME.scale, WITH_TIME.parts)


def test_whole_numbers_of_eight_digits_are_dates_if_every_one_is() -> None:
    numbers = [int(f"{day:%Y%m%d}") for day in DAYS]
    assert column(numbers).kind == "date" and column(numbers).mean == ISO.mean
    assert column([*numbers, 20230229]).kind == "number" and column(numbers, numeric=["x"]).kind == "number"
    assert column([str(n) for n in numbers]).written.order == "compact"


def test_dates_with_two_readings_are_an_error_that_shows_both() -> None:
    x = [f"{i % 12 + 1:02}.{i % 5 + 1:02}.2024" for i in range(ROWS)]
    with pytest.raises(
        DataError, match="row 6: x holds '06.01.2024', .* 6 January 2024 or 1 June 2024, .*--dates dmy.*mdy"
    ):
        fitted(x)
    with pytest.raises(DataError, match="x holds '02/03/2024', which is 2 March 2024 or 3 February 2024"):
        fitted([f"{i % 10 + 2:02}/{i % 3 + 3:02}/2024" for i in range(ROWS)])
    means = [column(x, dates=order).mean for order in ("dmy", "mdy")]
    assert means[0] != means[1]
    assert column([*x, "31.12.2024"]).written.order == "dmy" and column([*x, "12.31.2024"]).written.order == "mdy"


def test_years_of_two_digits_may_come_first() -> None:
    x = [f"{20 + i % 5}-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(ROWS)]
    with pytest.raises(DataError, match="which is 20 January 2001 or 1 January 2020, .*--dates dmy .*--dates ymd"):
        fitted(x)
    found = column(x, dates="ymd")
    assert found.written.example == "24-12-31" and found.mean > 18_000 * 86400
    assert column([*x, "99-12-31"]).written.order == "yymd", "no month has 99 days"


def test_an_order_is_advised_where_it_leaves_the_other_columns_their_dates() -> None:
    doubtful = [f"{i % 9 + 1:02}/{i % 5 + 1:02}/2024" for i in range(ROWS)]
    table = {"x": doubtful, "z": [f"{day:%m/%d/%Y}" for day in DAYS], "y": np.cos(np.arange(ROWS))}
    with pytest.raises(DataError) as refused:
        fit(pyarrow.table(table), "y")
    assert "--dates mdy" in str(refused.value) and "--dates dmy" not in str(refused.value)
    assert fit(pyarrow.table(table), "y", dates="mdy").columns[0].kind == "date"


def test_dates_of_several_forms_in_a_column_are_said() -> None:
    x = [f"{day:%d.%m.2020}" if i % 2 else f"{day:2020-%m-%d}" for i, day in enumerate(DAYS)]
    found = column([f"{v[:-6]}{i % 9}" if len(v) > 10 else v for i, v in enumerate(x)])
    told = found.note if found.kind == "category" else found.why
    assert "its dates are written in several ways" in told


def test_an_order_that_the_dates_contradict() -> None:
    with pytest.raises(DataError, match="which is no date such as 31/12/2024, as --dates dmy says"):
        fitted([f"{day:%m/%d/%Y}" for day in DAYS], dates="dmy")


def test_few_values_that_are_no_dates_are_mistakes_and_new_ones_errors() -> None:
    x = [f"{day:%d.%m.%Y}" for day in DAYS]
    with pytest.raises(
        DataError, match="row 8: x holds '31.02.2024', which is no date such as 31.12.2024, and 199 oth"
    ):
        fitted([*x[:7], "31.02.2024", *x[8:]])
    made = fitted(x)
    with pytest.raises(DataError, match="x holds '12/31/2024', which is no date such as 31.12.2024"):
        made.transform(pyarrow.record_batch({"x": ["12/31/2024"], "z": [0.0]}))


def test_years_of_two_digits_are_those_of_posix() -> None:
    made = fitted([f"31.12.{(69 + i) % 100:02}" for i in range(100)])
    found: Any = made.columns[0]
    read = found.written.read(pyarrow.array(["31.12.69", "31.12.68"])).values
    assert read.tolist() == [-86400.0, (date(2068, 12, 31) - date(1970, 1, 1)).days * 86400.0]


@pytest.mark.parametrize(
    "values",
    [
        [f"{i % 24:02}:{i % 60:02}" for i in range(ROWS)],
        [f"{i % 24}:{i % 60:02}:00" for i in range(ROWS)],
        [f"{i % 12 or 12}:{i % 60:02} {'AM' if i % 24 < 12 else 'PM'}" for i in range(ROWS)],
        [time(i % 24, i % 60) for i in range(ROWS)],
        pyarrow.array([time(i % 24, i % 60) for i in range(ROWS)], pyarrow.time32("s")),
    ],
)
def test_times_of_day(values: Any) -> None:
    found = column(values)
    assert found.kind == "time of day" and found.parts == ("trend", "day")
    assert found.mean == pytest.approx(np.mean([i % 24 * 3600 + i % 60 * 60 for i in range(ROWS)]))
    assert found.outputs == ["x trend", "x sine of the day", "x cosine of the day"]
    assert column(values, numeric=["x"]).kind == "number"


@pytest.mark.parametrize(
    "values",
    [
        [f"{i % 48:02}:{i % 60:02}" for i in range(ROWS)],
        [f"{i % 48:02}:{i % 60:02}:00" for i in range(ROWS)],
        [f"{i % 48 // 24} days {i % 24:02}:{i % 60:02}:00" for i in range(ROWS)],
        [timedelta(hours=i % 48, minutes=i % 60) for i in range(ROWS)],
        pyarrow.array([timedelta(hours=i % 48, minutes=i % 60) for i in range(ROWS)], pyarrow.duration("ns")),
    ],
)
def test_durations_are_numbers_of_seconds_and_it_is_said(values: Any) -> None:
    if isinstance(values, list) and "days" in str(values[0]):
        seconds = [i % 48 // 24 * 86400 + i % 24 * 3600 + i % 60 * 60 for i in range(ROWS)]
    else:
        seconds = [i % 48 * 3600 + i % 60 * 60 for i in range(ROWS)]
    found = column(values)
    assert isinstance(found, NumberColumn) and found.describe().startswith("durations h:mm:ss, in seconds; mean")
    assert found.mean == pytest.approx(np.mean(seconds))
    target = fit(pyarrow.table({"x": np.arange(ROWS) % 9, "y": values}), "y").target
    assert target.kind == "numbers" and target.written.describe() == "durations h:mm:ss, in seconds"
    assert target.mean == pytest.approx(np.mean(seconds))


@pytest.mark.parametrize(
    "values", [[f"{i % 48:02}:{i % 60:02}" for i in range(ROWS)], [f"{day:%Y%m%d}" for day in DAYS]]
)
def test_words_for_nothing_are_missing_among_durations_and_dates_of_eight_digits(values: list[str]) -> None:
    gaps = ["", " NA ", "?", None]
    x: list[Any] = [gaps[i // 9 % 4] if i % 9 == 4 else value for i, value in enumerate(values)]
    prepared = fitted(x)
    rows, _, _ = prepared.arrays(pyarrow.table({"x": x, "z": np.zeros(ROWS)}), target=False)
    told = rows[:, prepared.outputs.index("x is missing")]
    assert told.tolist() == [float(i % 9 == 4) for i in range(ROWS)]


@pytest.mark.parametrize("text", ["2024-12-31T18", "2024-12-31 18+02:00", "2024-12-31 18Z"])
def test_an_hour_without_minutes_is_read_alike_alone_and_among_others(text: str) -> None:
    alone, among = (DateFormat().read(pyarrow.array([text, *others])) for others in ([], ["2024-12-31 18:30Z", "x"]))
    assert alone.values[0] == among.values[0] > 0 and not among.bad[0]

"""ONNX files that read dates, times of day and durations."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

import pyarrow
from onnx_tables import TableSession, compare_texts

from gpubp.tables import DateColumn, NumberColumn
from gpubp.tables.dates import DateFormat, DurationFormat

ORDERS = [("iso", ""), ("dmy", "."), ("dmy", "-"), ("mdy", "/"), ("ymd", "/"), ("ymd", "-"), ("yymd", "-"), ("my", "/"),
          ("name", ""), ("compact", ""), ("time", "")]  # fmt: skip
MONTHS = "January February March April May June July August September October November December".split()


def clock(rng: random.Random) -> str:
    hour, minute = rng.choice([0, 1, 5, 11, 12, 13, 23, 24, 9]), rng.choice([0, 5, 59, 60, 30])
    text = rng.choice([f"{hour}", f"{hour:02}"]) + rng.choice(["", f":{minute:02}", f":{minute:02}:"])
    text += rng.choice(["05", "59", "60", "07.5", "08,25", "09.123456789"]) if text.endswith(":") else ""
    return text + rng.choice(["", "", "", " PM", "am", " a.m.", "p.m.", " P.M"])


def date(rng: random.Random, written: DateFormat) -> str:
    """A text that is a date of this format, or nearly."""
    order = written.order
    y = rng.choice([1, 1969, 1970, 2000, 1900, 2023, 2024, 2100, 9999, 68, 69, 99])
    m, d = rng.choice([1, 2, 2, 3, 6, 11, 12, 13, 0]), rng.choice([1, 15, 28, 29, 30, 31, 32, 0])
    month, day = rng.choice([f"{m}", f"{m:02}"]), rng.choice([f"{d}", f"{d:02}"])
    year = rng.choice([f"{y:04}", f"{y:04}", f"{y % 100:02}"])
    s = rng.choice([written.separator] * 5 + [f" {written.separator}", f"{written.separator} "])
    time = rng.choice(["", "", "", rng.choice(["T", " ", ", ", ",", "  "]) + clock(rng)])
    if order == "name":
        name = MONTHS[m % 12]
        name = rng.choice([name, name[:3], name.upper(), name[:3].lower(), f"{name[:3]}.", name[:4]])
        first = rng.choice(["", "", "Tue ", "Tuesday, ", "sun. ", "Weds "])
        return rng.choice([
            f"{first}{day}{rng.choice(['', 'st', 'th', '.'])}{rng.choice([' ', '-', ''])}{name}"
            f"{rng.choice([' ', ', ', '-'])}{year}{time}",
            f"{first}{name} {day}{rng.choice(['', ',', 'th'])} {year}{time}",
            f"{name}{rng.choice(' -')}{y:04}",
        ])  # fmt: skip
    if order == "iso":
        zone = rng.choice(
            ["", "", "Z", " UTC", "GMT", "+02:00", "-05:30", "+0530", " +02:00", "-11", "+24:00", " -0330"]
        )
        hours = rng.choice(["18:30", "00:00:00", "23:59:59.5", "12:34:56.123456", "24:00", "18", "07:05:61"])
        return f"{y:04}-{m:02}-{d:02}" + rng.choice(["", rng.choice("T ") + hours + zone])
    short = s.join([f"{y:04}", month])
    return {
        "dmy": s.join([day, month, year]) + time,
        "mdy": s.join([month, day, year]) + time,
        "ymd": rng.choice([short, short + s + day, short + s + day]) + time,
        "yymd": s.join([f"{y % 100:02}", month, day]) + time,
        "my": s.join([month, f"{y:04}"]),
        "compact": f"{y:04}{m:02}{d:02}" + rng.choice(["", "", ".0"]),
        "time": clock(rng),
    }[order]


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_dates_in_texts_are_those_that_gpubp_reads(order: tuple[str, str], tmp_path: Path) -> None:
    written, rng = DateFormat(*order), random.Random("".join(order))
    mean, scale = (4e4, 1e4) if written.order == "time" else (1.5e9, 1e9)
    column = DateColumn("x", mean, scale, ("trend", "year", "week", "day"), missing=True, written=written)
    texts = [rng.choice(["", "", "", " ", "\t"]) + date(rng, written) for _ in range(250)]
    good, bad = compare_texts(TableSession(tmp_path, [column]), [*texts, "", " NA"])
    assert min(good, bad) > 20


def test_every_day_of_four_centuries_is_counted(tmp_path: Path) -> None:
    days = [datetime(1799, 12, 25) + timedelta(days=int(n)) for n in np.arange(0, 150_000, 13)]
    column = DateColumn("x", 0.0, 86400.0, ("trend",), written=DateFormat("dmy", "."))
    session = TableSession(tmp_path, [column], None)
    values = {"x": [f"{day.day}.{day.month}.{day.year:04}" for day in days]}
    session.compare(values)
    session.compare({"x": [text for text in values["x"] if "2." in text]})


def test_a_date_may_be_a_number_and_a_number_a_date(tmp_path: Path) -> None:
    columns = [
        DateColumn("x", 1.6e9, 1e8, ("trend", "week"), missing=True, written=DateFormat("mdy", "/")),
        NumberColumn("y", 1.6e9, 1e8, missing=True, written=DateFormat("dmy", ".")),
        NumberColumn("z", 3600.0, 1800.0, missing=True, written=DurationFormat()),
    ]
    texts = {
        "x": ["12/31/2024", "2/29/2020", ""],
        "y": ["31.12.2024", "", "1.1.70"],
        "z": ["1:30", "2 days 0:00:01", ""],
    }
    session = TableSession(tmp_path, columns)
    session.compare(texts)
    numbers = TableSession(tmp_path, columns, dict.fromkeys("xyz", "number"))
    given = {name: [None if np.isnan(v) else v for v in column.written.read(pyarrow.array(texts[name])).values]
             for name, column in zip("xyz", columns, strict=True)}  # fmt: skip
    a, b = session.run(texts)["prediction"], numbers.run(given)["prediction"]
    assert np.abs(a - b).max() < 1e-5
    assert (
        numbers.model.graph.input[0].doc_string == "x: a date in seconds since 1970-01-01 00:00 UTC; NaN where missing"
    )


def test_durations_in_texts_are_those_that_gpubp_reads(tmp_path: Path) -> None:
    rng, texts = random.Random(0), ["", "NA"]
    for _ in range(400):
        days = rng.choice(["", "", "1 day ", "3 days, ", "10  days "])
        hour, minute = rng.choice([0, 1, 36, 100]), rng.choice([0, 5, 59, 60])
        second = rng.choice(["", ":05", ":59.25", ":07,5", ":60", ":5"])
        texts.append(f"{rng.choice(['', '', '-', '+'])}{days}{hour}:{minute:02}{second}")
    column = NumberColumn("x", 3600.0, 1e5, missing=True, written=DurationFormat())
    good, bad = compare_texts(TableSession(tmp_path, [column]), texts)
    assert min(good, bad) > 20


def test_a_date_that_does_not_exist_is_an_error_that_says_so(tmp_path: Path) -> None:
    session = TableSession(tmp_path, [DateColumn("x", 1.6e9, 1e8, ("trend",), written=DateFormat("dmy", "."))])
    session.refuses(
        {"x": ["1.1.2023", "31.2.2024"]}, "column x: a value which is no date such as 31.12.2024; .* idx=2 "
    )
    session.refuses({"x": ["29.2.2023"]}, "is no date")

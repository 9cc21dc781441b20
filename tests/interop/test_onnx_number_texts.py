"""ONNX files that read numbers from texts, in the formats that gpubp reads."""

import locale
import random
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

from onnx_tables import TableSession, compare_texts

from gpubp.tables import NumberColumn
from gpubp.tables.dates import DurationFormat
from gpubp.tables.formats import NumberFormat

FORMATS = [
    NumberFormat(),
    NumberFormat(","),
    NumberFormat(",", "."),
    NumberFormat(".", ","),
    NumberFormat(".", "'"),
    NumberFormat(",", " "),
    NumberFormat(".", "_"),
    NumberFormat(",", ".", "€"),
    NumberFormat(".", ",", "$", True),
    NumberFormat(unit="%"),
    NumberFormat(unit="day"),
    NumberFormat(".", "", "Fr.", True),
    NumberFormat(",", ".", "kr"),
    NumberFormat(unit="m2"),
    NumberFormat(",", "", "l/100km"),
    NumberFormat(".", "'", "CHF", True),
    NumberFormat(unit="sq ft"),
]


def column(written: NumberFormat) -> NumberColumn:
    return NumberColumn("x", 0.0, 10.0, missing=True, log=1.0, written=written)


def number(rng: random.Random, written: NumberFormat) -> str:
    """A text that is a number of this format, or nearly."""
    d, t = written.decimal, written.thousands
    whole = ["0", "7", "12", "1234", "999", "001"]
    whole += [f"1{t}234", f"12{t}345{t}678", f"0{t}123", "12,34,567"] if t else []
    body = rng.choice([*[rng.choice(whole) + rng.choice(["", "", d, f"{d}5", f"{d}05"]) for _ in range(5)], f"{d}5"])
    body += rng.choice([""] * 6 + ["e3", "E-2", "e+1"]) + rng.choice(
        [""] * 8 + [".-", ",-", ".--", ",—", ".---", ".- "]
    )
    unit = rng.choice([written.unit] * 6 + ["", "km"]) + ("s" if rng.random() < 0.1 else "")
    sign = rng.choice(["", "", "", "-", "+", "−", "–"])

    def space() -> str:
        return rng.choice(["", "", "", " ", "\u00a0", "\u202f", "  "])

    end = rng.choice(["", "", "-"])
    forms = [
        f"{sign}{space()}{unit}{space()}{rng.choice([sign, ''])}{body}{space()}{end}",
        f"{sign}{space()}{body}{space()}{unit}{space()}{end}",
        f"({space()}{body}{space()}){space()}{unit}",
        f"{unit}{space()}({space()}{body}{space()})",
        f"({space()}{unit}{space()}{body}{space()})",
        f"({body}{space()}{unit}{space()})",
        body,
    ]
    return rng.choice(["", "", "", " ", "\t", "\u2003"]) + rng.choice(forms) + rng.choice(["", "", " ", "\n"])


@pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.example)
def test_numbers_in_texts_are_those_that_gpubp_reads(written: NumberFormat, tmp_path: Path) -> None:
    rng = random.Random(written.example)
    session = TableSession(tmp_path, [column(written)], {"x": "text"})
    good, bad = compare_texts(session, [*(number(rng, written) for _ in range(150)), "", "NA", " n/a "])
    assert min(good, bad) > 10


@pytest.mark.parametrize("written", FORMATS[::3], ids=lambda written: written.example)
def test_texts_with_errors_in_them_are_never_other_numbers(written: NumberFormat, tmp_path: Path) -> None:
    rng = random.Random(written.example)
    session, texts = TableSession(tmp_path, [column(written)], {"x": "text"}), []
    for _ in range(200):
        text = number(rng, written)
        at = rng.randrange(len(text) + 1)
        texts.append(text[:at] + rng.choice(" .,-+()e'’_x5 ") + text[at + rng.randrange(2) :])
    compare_texts(session, texts, strict=False)


def test_numbers_beyond_float64_are_refused_and_long_ones_are_read_to_the_last_digit(tmp_path: Path) -> None:
    session = TableSession(tmp_path, [NumberColumn("x", 0.0, 1e17, written=NumberFormat(",", "."))])
    session.compare({"x": ["123.456.789.012.345.678,25", "-0,1", "1" * 24]})
    with pytest.raises(Exception, match="column x: a number is too large or too small"):
        session.run({"x": ["1e400"]})


def test_a_number_may_be_given_as_it_is_written_or_as_a_number(tmp_path: Path) -> None:
    columns = [NumberColumn("x", 3.0, 2.0, written=NumberFormat(",", ".", "€")), NumberColumn("y", 3.0, 2.0)]
    usual = TableSession(tmp_path, columns, missing=("-999", "k.a."))
    other = TableSession(tmp_path, columns, {"x": "number", "y": "text"}, missing=("-999", "k.a."))
    assert [i.type for i in usual.session.get_inputs()] == ["tensor(string)", "tensor(double)"]
    assert [i.type for i in other.session.get_inputs()] == ["tensor(double)", "tensor(string)"]
    usual.compare({"x": ["1.234,50 €", "", " -999"], "y": [1.0, None, -999]})
    other.compare({"x": [1234.5, None, -999.0], "y": ["1e0", "", "K.A."]})
    assert usual.model.graph.input[0].doc_string == "x: a number written 1.234,50€; empty where missing"


def test_a_locale_with_a_decimal_comma_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = shutil.which("localedef")
    if tool is None:
        pytest.skip("no localedef, which makes locales")
    made = subprocess.run([tool, "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], capture_output=True)
    if not (tmp_path / "de_DE.UTF-8").exists():
        pytest.skip(f"no locale could be made: {made.stderr!r:.200}")
    columns = [column(NumberFormat(".", ",")), NumberColumn("y", 0.0, 9.0, written=DurationFormat())]
    session = TableSession(tmp_path, columns)
    values = {"x": ["1,234.75", "0.5"], "y": ["0:00:07.5", "0:01"]}
    expected = session.run(values)["prediction"]
    before = locale.setlocale(locale.LC_NUMERIC)
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    try:
        locale.setlocale(locale.LC_NUMERIC, "de_DE.UTF-8")
        assert locale.localeconv()["decimal_point"] == ","
        found = session.run(values)["prediction"]
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)
    assert found.tolist() == expected.tolist()
    session.compare(values)

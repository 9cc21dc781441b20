"""ONNX files that take the raw values of a table's columns."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

from onnx_reference import by_reference
from onnx_tables import PRICE, TableSession

import gpubp as bp
from gpubp.tables import CategoryColumn, DateColumn, NumberColumn, Preparation, YesNoColumn
from gpubp.tables.dates import DateFormat
from gpubp.tables.formats import NumberFormat

COLUMNS = (
    NumberColumn("area", 2.0, 3.0, missing=True, log=1.5, edges=(-1.0, 2.0, 5.0, 9.0)),
    YesNoColumn("garden", 0.5, 0.5, missing=True),
    CategoryColumn("town", ("Rome", "Oslo", "3", "New York"), other=True, missing=True),
    CategoryColumn("street:0", ("a  b", "y z"), embed=3),
    NumberColumn("label", 0.0, 1.0),
)
VALUES = {
    "area": [1.0, None, -3.5, 1e5, 0.0, 7.25],
    "garden": ["yes", "NO", " t ", "?", "1.0", "\tFalse"],
    "town": ["Rome", "Oslo ", "3.0", "Unknown", "New York", "\u00a0New \u2003York"],
    "street:0": ["a  b", "x", "\u00a0y z", "", "a b", "y  z"],
    "label": [1.5, None, -2.0, -999.0, 0.0, 3.0],
}


def test_numbers_answers_and_categories_give_the_predictions_of_gpubp(tmp_path: Path) -> None:
    table = TableSession(tmp_path, COLUMNS, missing=("unknown", "-999"))
    table.compare(VALUES)
    assert [i.name for i in table.session.get_inputs()] == ["area", "garden", "town", "street:0", "label (column)"]


def test_a_bad_value_is_an_error_that_names_column_and_row(tmp_path: Path) -> None:
    table = TableSession(tmp_path, COLUMNS)
    two = {name: column[:2] for name, column in VALUES.items()}
    table.refuses(two | {"area": [1.0, float("inf")]}, "column area: a value is infinite; .* idx=2 ")
    table.refuses(two | {"garden": ["maybe", "no"]}, "column garden: a value which is neither yes nor no; .* idx=1 ")
    table.refuses(two | {"label": [1.0, 2e9]}, "column label: a value is far beyond the numbers learnt from; .* idx=2 ")


def test_the_file_says_what_each_input_takes(tmp_path: Path) -> None:
    table = TableSession(tmp_path, COLUMNS)
    told = json.loads(table.session.get_modelmeta().custom_metadata_map["columns"])
    assert [about["input"] for about in told] == [i.name for i in table.session.get_inputs()]
    assert told[1] == {
        "name": "garden", "input": "garden", "kind": "yes/no", "form": "text", "example": "yes",
        "give": "yes or no, true or false, y or n, t or f, 1 or 0; empty where missing",
    }  # fmt: skip
    assert table.model.graph.input[0].doc_string == "area: a number; NaN where missing"


def test_columns_that_are_not_there_and_wrong_forms_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(bp.ExportError, match="no column 'towns'; did you mean town.; garden, .* not as 'numbers'"):
        TableSession(tmp_path, COLUMNS, {"towns": "text", "garden": "numbers"})
    assert not list(tmp_path.iterdir())


def test_prepared_rows_are_one_input(tmp_path: Path) -> None:
    prepared = Preparation(COLUMNS[:2], PRICE)
    net = bp.Network(bp.Dense(1), prepared.width, device="cpu")
    prepared.keep_in(net)
    net.to_onnx(tmp_path / "model.onnx", columns="prepared")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    X = np.random.default_rng(0).normal(size=(3, prepared.width)).astype(np.float32)
    expected = prepared.target.answers(net.predict(X))
    assert np.abs(session.run(None, {"input": X})[0] - expected).max() < 1e-5


def test_the_standards_own_reference_predicts_the_same(tmp_path: Path) -> None:
    columns = [
        *COLUMNS,
        NumberColumn("price", 0.0, 1e3, written=NumberFormat(",", ".", "€")),
        DateColumn("sold", 1.6e9, 1e8, ("trend", "week"), written=DateFormat("name")),
        DateColumn("seen", 1.6e9, 1e8, ("trend", "day")),
    ]
    values = VALUES | {
        "price": ["1.234,50 €", "(7 €)", "", "5,-€", "- 1e3 €", "€ 2"],
        "sold": ["31 Dec 2024", "", "March 3, 2021 6:05 PM", "May 2020", "1.Apr. 99", "Tue 5-june-2007"],
        "seen": [
            "2024-12-31",
            "2024-02-29T18:30:05.5",
            "2024-12-31 18:30+02:00",
            "",
            "1969-07-20 20:17 UTC",
            "2024-01-01T06-05",
        ],
    }
    table = TableSession(tmp_path, columns)
    (found,) = by_reference(table.model, table.feeds(values))
    assert np.abs(found - table.run(values)["prediction"]).max() < 1e-5
    table.compare(values)


def test_inputs_have_names_of_their_own_beside_outputs_and_parameters(tmp_path: Path) -> None:
    names = ["label", "label (column)", "0.W", "prediction", "Gather", "constant", "größe in m²: 0", "input"]
    columns = [CategoryColumn(name, ("a", "b")) for name in names]
    table = TableSession(tmp_path, columns)
    table.compare({name: ["a", "b", "", "c"] for name in names})
    inputs = [i.name for i in table.session.get_inputs()]
    assert inputs[4:] == names[4:] and len(set(inputs)) == len(names)


def test_a_network_in_float64_takes_the_same_inputs(tmp_path: Path) -> None:
    prepared = Preparation(COLUMNS, PRICE, missing=("unknown", "-999"))
    net = bp.Network(bp.Sequential(prepared.embedding, bp.Dense(1)), prepared.width, device="cpu", dtype="float64")
    prepared.keep_in(net)
    TableSession(tmp_path, COLUMNS, net=net).compare(VALUES)


def test_categories_with_unusual_spaces_inside_are_found_or_refused(tmp_path: Path) -> None:
    column = CategoryColumn("x", ("a  b", "a b", "c\u00a0d"), other=True)
    table = TableSession(tmp_path, [column])
    table.compare({"x": ["a  b", "a b", "c\u00a0d", "c d", " a b ", "a\tb", "a   b", "\u3000", "A b"]})
    with pytest.raises(Exception, match="column x: a text has spaces around it and unusual ones inside"):
        table.run({"x": ["a b", " a  b"]})


def test_what_is_missing_is_not_far_from_large_numbers_learnt_from(tmp_path: Path) -> None:
    columns = [
        NumberColumn("area", 1e12, 1.0, missing=True),
        NumberColumn("price", 1e12, 1.0, written=NumberFormat(",", ".", "€")),
        DateColumn("sold", 1.6e9, 1.0, ("trend",), written=DateFormat("dmy", ".")),
    ]
    values = {"area": [1e12 + 1, None], "price": ["1.000.000.000.001 €", ""], "sold": ["13.9.2020", ""]}
    table = TableSession(tmp_path, columns)
    table.compare(values)
    table.refuses(values | {"price": ["a", ""]}, "column price: a value which is no number written 1.234,50€")


def test_categories_may_have_no_level_of_their_own(tmp_path: Path) -> None:
    columns = [CategoryColumn("x", (), other=True, missing=True), CategoryColumn("y", (), embed=2)]
    TableSession(tmp_path, columns).compare({"x": ["a", "", "b"], "y": ["", "a", "b"]})

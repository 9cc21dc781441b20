"""The inputs of a graph that takes the columns of a table, and the numbers that it makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ....tables import Column, Preparation
from ..graph import BATCH, Graph, Value
from . import columns as _columns
from .forms import NUMBER, PREPARED, TEXT, Form, chosen
from .rows import Rows

OUTPUTS = ("label", "probabilities", "prediction", "output")  # names that no input has


def table_inputs(
    g: Graph, table: Preparation, columns: Mapping[str, str] | str | None, taken: Iterable[str] = ()
) -> tuple[list[Any], Value, str]:
    """Add inputs for all columns that the network sees, and the nodes that prepare them.

    columns: the form of some, as `forms` tells. taken: names that no input has. Returns the descriptions of the
    inputs, the value (n, width) that the network takes, and JSON that says what each input takes. Raises ExportError
    for what can't be given so, and for columns that can't be written.

    >>> from gpubp.tables import NumberColumn, TableTarget
    >>> table = Preparation((NumberColumn("rooms", 3.0, 1.0),), TableTarget("price", "numbers"))
    >>> inputs, x, told = table_inputs(Graph({}, np.dtype(np.float32)), table, None)
    >>> inputs[0].name, x.shape, json.loads(told)[0]["give"]
    ('rooms', ('batch', 1), 'a number; NaN where missing')
    """
    forms = chosen(table, columns)
    _columns.check(table, forms)
    described, values = [], {}
    for column in table.columns:
        form = forms[column.name]
        name = column.name
        while name in OUTPUTS or name in set(taken):
            name += " (column)"
        name = g.named(name)
        width = column.width if form.form == PREPARED else 1
        dtype: Any = {NUMBER: np.float64, PREPARED: np.float32}.get(form.form, "str")
        described.append(g.tensor(name, dtype, (BATCH, width)))
        described[-1].doc_string = f"{column.name}: {form.told}"
        values[column.name] = Value(name, (BATCH, width))
    longer = {name: _with_a_row(g, value, forms[name].form) for name, value in values.items()}
    rows = Rows(g, next(iter(longer.values())))
    x = rows.checked(_columns.numbers_of(rows, table, forms, longer))
    x = g.node("Slice", [x, g.whole(0), g.whole(-1), g.whole(0)], x.shape)
    if np.dtype(np.float32) != g.dtype:
        x = g.node("Cast", [x], x.shape, to=g.element_type)
    return described, x, _told(table, forms, values)


def _with_a_row(g: Graph, value: Value, form: str) -> Value:
    """The input with a row behind it in which nothing is known: no list of pieces is empty then, if no row is given."""
    empty: Any = np.zeros((1, int(value.shape[1])), np.float32)
    if form != PREPARED:
        empty = np.array([[""]], object) if form == TEXT else np.array([[np.nan]])
    return g.node("Concat", [value, g.constant(empty)], value.shape, axis=0)


def _told(table: Preparation, forms: Mapping[str, Form], values: Mapping[str, Value]) -> str:
    told = [_about(column, forms[column.name], values[column.name].name) for column in table.columns]
    return json.dumps(told, ensure_ascii=False)


def _about(column: Column, form: Form, name: str) -> dict[str, str]:
    return {"name": column.name, "input": name, "kind": column.kind, "form": form.form, "example": form.example,
            "give": form.told}  # fmt: skip

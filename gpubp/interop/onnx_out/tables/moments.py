"""Nodes of columns of dates and times of day: (5) in `gpubp.tables.columns`, from seconds in float64."""

from __future__ import annotations

import math

from ....tables import DateColumn
from ....tables.columns.date import DAY, YEAR
from ..graph import Value
from .rows import Rows
from .scaling import centred, told_missing


def date_columns(rows: Rows, column: DateColumn, t: Value, nothing: Value) -> list[Value]:
    """The numbers of the column (n, k) float32, of seconds t (n,) since 1970. nothing: which are missing.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> t, nothing = Value("t", ("batch",)), Value("nothing", ("batch",))
    >>> [part.shape for part in date_columns(rows, DateColumn("sold", 0.0, 1.0, ("trend", "week")), t, nothing)]
    [('batch', 1), ('batch', 1), ('batch', 1)]
    """
    made = []
    for part in column.parts:
        if part == "trend":
            made.append(centred(rows, column, t, nothing, "is far beyond the dates learnt from"))
            continue
        days = rows.op("Div", t, YEAR if part == "year" else DAY)
        if part == "week":
            days = rows.op("Div", rows.op("Add", days, 3.0), 7.0)
        angle = rows.op("Mul", rows.op("Sub", days, rows.op("Floor", days)), 2 * math.pi)
        quarter = rows.op("Add", angle, math.pi / 2)  # onnxruntime has had no cosine of float64 for long
        made += [rows.op("Sin", angle), rows.op("Sin", quarter)]
    numbers = [rows.side_by_side([rows.cast(rows.where(nothing, 0.0, y), "FLOAT")]) for y in made]
    return [*numbers, told_missing(rows, nothing)] if column.missing else numbers

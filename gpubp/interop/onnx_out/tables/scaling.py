"""Nodes of the formulas (1), (2), (6) and (7) of columns of numbers, in float64: see `gpubp.tables.columns.number`."""

from __future__ import annotations

import numpy as np

from ....tables.columns import DateColumn, NumberColumn
from ....tables.columns.base import FAR
from ....tables.columns.number import ABOVE, BELOW, BEND
from ..graph import BATCH, Value
from .rows import Rows


def scaled_columns(rows: Rows, column: NumberColumn, x: Value, nothing: Value) -> list[Value]:
    """The numbers of the column (n, k) float32, from x (n,) float64. nothing: which are missing; x is finite there.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> x, nothing = Value("x", ("batch",)), Value("nothing", ("batch",))
    >>> column = NumberColumn("rooms", 3.0, 1.0, edges=(1.0, 2.0, 3.0))
    >>> [part.shape for part in scaled_columns(rows, column, x, nothing)]
    [('batch', 1), ('batch', 2)]
    """
    z = _scaled(rows, column.log, x)
    y = centred(rows, column, z, nothing, "is far beyond the numbers learnt from")
    made = [rows.side_by_side([rows.cast(y, "FLOAT")])]
    if column.edges:
        made.append(_in_bins(rows, column, z, nothing))
    if column.missing:
        made.append(told_missing(rows, nothing))
    return made


def told_missing(rows: Rows, nothing: Value) -> Value:
    """(2): (n, 1) float32"""
    return rows.side_by_side([rows.cast(nothing, "FLOAT")])


def centred(rows: Rows, column: NumberColumn | DateColumn, z: Value, nothing: Value, why: str) -> Value:
    """(1) (n,) float64, 0 where nothing is known, and an error where it is far from all that was learnt from."""
    y = rows.op("Div", rows.op("Sub", z, float(column.mean)), float(column.scale))
    y = rows.where(nothing, 0.0, y)
    rows.refuse(rows.op("Greater", rows.op("Abs", y), FAR), f"column {column.name}: a value {why}")
    return y


def _scaled(rows: Rows, log: float, x: Value) -> Value:
    if not log:
        return x
    size = rows.op("Div", rows.op("Abs", x), float(log))
    return rows.op("Mul", rows.op("Sign", x), rows.op("Log", rows.op("Add", size, 1.0)))  # (6)


def _in_bins(rows: Rows, column: NumberColumn, z: Value, nothing: Value) -> Value:
    g = rows.g
    edges = np.asarray(column.edges, np.float64)
    b = np.sign(edges) * np.log1p(np.abs(edges) / column.log) if column.log else edges
    count = len(b) - 1
    low, high = np.zeros(count), np.ones(count)
    low[0], high[-1] = BELOW, ABOVE
    shape = (BATCH, count)
    constants = [Value(g.constant(array), (count,)) for array in (b[:-1], np.diff(b), low, high)]
    begins, widths, least, most = constants
    wide = rows.side_by_side([z])
    part = rows.op("Div", rows.op("Sub", wide, begins, shape=shape), widths, shape=shape)
    part = rows.op("Min", rows.op("Max", part, least, shape=shape), most, shape=shape)
    e = rows.op("Mul", part, BEND, shape=shape)  # (7)
    e = rows.op("Where", rows.side_by_side([nothing]), 0.0, e, shape=shape)
    return rows.op("Cast", e, shape=shape, to=int(g.onnx.TensorProto.FLOAT))

"""Cells: the texts of a column as they are given and tidied, and which of them say that nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....tables.values import MISSING
from ..graph import BATCH, Value
from .rows import Rows
from .strings import SPACES, joined, pieces_of, words


@dataclass(frozen=True)
class Cells:
    """Texts of a column, each (n,). given: as they come. tidy: without spaces around, with one blank for all spaces
    inside. nothing: which are missing.

    >>> Cells(Value("given", ("batch",)), Value("tidy", ("batch",)), Value("nothing", ("batch",))).tidy.name
    'tidy'
    """

    given: Value
    tidy: Value
    nothing: Value


def cells_of(rows: Rows, inputs: Sequence[Value], marks: Sequence[str]) -> list[Cells]:
    """The cells of columns of text (n, 1), tidied all at once. marks: words that mean that nothing is known.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> cells_of(rows, [Value("town", ("batch", 1)), Value("sold", ("batch", 1))], ("unknown",))[1].tidy.shape
    ('batch',)
    """
    if not inputs:
        return []
    shape = (BATCH, len(inputs))
    tidy = rows.op("Concat", *inputs, shape=shape, axis=1) if len(inputs) > 1 else inputs[0]
    for spaces in (SPACES.replace(" ", ""), " "):
        tidy = joined(rows, pieces_of(rows, tidy, spaces), " ")
    found = []
    for at, column in enumerate(inputs):
        given = rows.flat(column)
        found.append(Cells(given, rows.column(tidy, at), missing(rows, given, marks)))
    return found


def missing(rows: Rows, text: Value, marks: Sequence[str]) -> Value:
    """Which texts (n,) say that nothing is known.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> missing(rows, Value("text", ("batch",)), ()).name
    'RegexFullMatch'
    """
    return rows.matches(text, words(dict.fromkeys([*MISSING, *(mark.lower().strip() for mark in marks)])))

"""Nodes of columns of categories: (3) and (4) in `gpubp.tables.columns`.

Levels are compared with texts without spaces around them, and 3.0 is 3. A tidy text has one blank in place of all
spaces inside, so it is compared only where the text itself has single blanks inside and no other spaces. Levels that
have other spaces inside are compared with the text as it is given, and texts that have such spaces and others around
them are refused: whether they are one of these levels can't be told.
"""

from __future__ import annotations

import numpy as np

from ....tables import CategoryColumn
from ..graph import BATCH, ML, Value
from .cells import Cells
from .rows import Rows
from .scaling import told_missing
from .strings import SPACES, W, inside, parts

WHOLE = r"[+-]?[0-9]+\.0+"
_INK = f"[^{inside(SPACES)}]+"


def category_columns(rows: Rows, column: CategoryColumn, cells: Cells) -> list[Value]:
    """The numbers of the column (n, k) float32: one for each level, or the number of the level.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> cells = Cells(*(Value(name, ("batch",)) for name in ("given", "tidy", "nothing")))
    >>> [part.shape for part in category_columns(rows, CategoryColumn("town", ("Rome", "Oslo"), other=True), cells)]
    [('batch', 2), ('batch', 1)]
    """
    text = rows.where(rows.matches(cells.tidy, WHOLE), parts(rows, cells.tidy, ".", 2)[0], cells.tidy)
    code = _codes(rows, column, text)
    plain = rows.matches(cells.given, f"{W}{_INK}(?: {_INK})*{W}")
    odd = [level for level in column.levels if level == level.strip() and " ".join(level.split()) != level]
    code = rows.where(plain, code, _codes(rows, column, cells.given, odd) if odd else -1)
    if odd:
        around = rows.matches(cells.given, f"(?s:[{inside(SPACES)}].*|.*[{inside(SPACES)}])")
        rows.refuse(
            rows.all(rows.no(plain), around, rows.no(cells.nothing)),
            f"column {column.name}: a text has spaces around it and unusual ones inside: give it without those around",
        )
    unknown = rows.all(rows.op("Less", code, 0), rows.no(cells.nothing))
    if column.embed:
        number = rows.where(cells.nothing, len(column.levels) + 1, rows.where(unknown, len(column.levels), code))
        return [rows.side_by_side([rows.cast(number, "FLOAT")])]
    made = []
    if column.levels:
        known = rows.where(cells.nothing, -1, code)
        levels = Value(rows.g.constant(np.arange(len(column.levels))), (len(column.levels),))
        shape = (BATCH, len(column.levels))
        made.append(rows.cast(rows.op("Equal", rows.side_by_side([known]), levels, shape=shape), "FLOAT"))  # (3)
    if column.other:
        made.append(rows.side_by_side([rows.cast(unknown, "FLOAT")]))
    return [*made, told_missing(rows, cells.nothing)] if column.missing else made


def _codes(rows: Rows, column: CategoryColumn, text: Value, levels: list[str] | None = None) -> Value:
    """The number of the level that a text is, -1 for others."""
    wanted = [level for level in column.levels if level == level.strip()] if levels is None else levels
    if not wanted:
        return rows.op("Sub", rows.op("Mul", rows.numbers(), 0), 1)
    numbers = {level: k for k, level in enumerate(column.levels)}
    of = [numbers[level] for level in wanted]
    return rows.op("LabelEncoder", text, domain=ML, keys_strings=wanted, values_int64s=of, default_int64=-1)

"""fit: finds the kind of every column in one pass over a table and makes the Preparation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from . import values
from .choice import choose_column
from .columns import Column
from .date_survey import ASKED
from .formats import DECIMALS, THOUSANDS, spelled
from .preparation import LeftOut, Preparation, close_to, held_out
from .reading_choice import Others
from .survey import Survey
from .table import CellError, Table
from .target_choice import choose_target


def fit(
    table: Any,
    target: str,
    *,
    kind: str | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    text: Sequence[str] = (),
    drop: Sequence[str] = (),
    held: tuple[float, int] | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    dates: str | None = None,
    missing: Sequence[str] = (),
) -> Preparation:
    """Find out what the columns of a table are and how they become numbers, in one pass and bounded memory.

    table: a Table, or what one is made of: the path of a file, a DataFrame, a pyarrow Table. target: the
    column to predict. kind: "numbers" or "classes"; by default text, yes and no, and up to 20 different whole numbers
    that come 5 times each are classes. categorical, numeric, text, drop: names of columns that are to be categories,
    numbers, texts or nothing. held: (share, seed) of rows that must not be learnt from, see `held_out`.

    decimal: "." or ",". thousands: one of , . space ' _. dates: "dmy", "mdy" or "ymd". They say how the numbers and
    dates of all columns are written; by default that follows from the values of each column. missing: words, in any
    case, that mean in all columns that nothing is known.

    Text of which most rows have their own is read word by word, if it has several words a row that come again.

    Left out are columns with one value, or none; names of which nearly every row has its own; whole numbers that count
    the rows, or rise from row to row and are called id. Raises DataError for a column that is not there, for a
    few values of another kind in a column of numbers or dates, which are mistakes, for a column of which all values can
    be read in two ways, and for a target of which nearly every row is its own class. Messages name the options of the
    command line, which are called as these arguments are.

    >>> import pyarrow
    >>> made = fit(pyarrow.table({"id": [1, 2, 3], "open": ["yes", "no", "yes"], "n": [1.0, 2.0, 6.0]}), target="n")
    >>> made.columns, made.left_out
    ((YesNoColumn('open', 0.6666666666666666, 0.4714045207910317),), (LeftOut('id', 'it counts the rows'),))
    """
    table, target = Table(table), str(target).strip()  # pandas has names that are numbers
    options = {"categorical": categorical, "numeric": numeric, "text": text, "drop": drop}
    asked = {option: [str(name).strip() for name in names] for option, names in options.items()}
    for option, names in {"target": [target], **asked}.items():
        for name in names:
            if name not in table.columns:
                near = close_to(name, table.columns) or f"; it has {', '.join(table.columns)}"
                below = table.header_below(name)
                hint = f"; {below} holds {name!r}: if it is the header, delete what stands above it" if below else ""
                raise DataError(f"{table.name} has no column {name!r} for the {option}{near}{hint}")
            if option != "target" and name == target:
                raise DataError(f"{name!r} is the target, and can't be in {option} too")
    times = Counter(name for names in asked.values() for name in set(names))
    if both := sorted(name for name, count in times.items() if count > 1):
        raise DataError(f"{', '.join(both)} can't be two of categorical, numeric, text and drop")
    categorical, numeric, text, drop = asked.values()
    if kind not in (None, "numbers", "classes"):
        raise ValueError(f'a target is "numbers" or "classes", and got {kind!r}')
    marks = _marks(missing)
    written = check_written(decimal, thousands, dates)
    surveys = {
        name: Survey(name, name in categorical or name == target, name == target, text=name in text, **written)
        for name in table.columns
        if name not in drop
    }
    _gather(table, target, surveys, held, marks)
    others = Others(surveys.values(), target, numeric)
    try:
        aim = choose_target(surveys.pop(target), kind, others)
        columns: list[Column] = []
        left_out = [LeftOut(name, "you said so") for name in drop]
        for name, survey in surveys.items():
            found = choose_column(survey, name in categorical, name in numeric, others, name in text)
            (left_out if isinstance(found, LeftOut) else columns).append(found)  # type: ignore[arg-type]
    except CellError as problem:
        raise table.located(problem) from problem
    except DataError as problem:
        raise DataError(f"{table.name}: {problem}") from None
    if not columns:
        why = "; ".join(f"{c.name}: {c.why}" for c in left_out) or "it has no other"
        raise DataError(f"{table.name} has no column to predict {target} from: {why}")
    order = {name: i for i, name in enumerate(table.columns)}
    return Preparation(tuple(columns), aim, tuple(sorted(left_out, key=lambda c: order[c.name])), table.header, marks)


def _taken(array: Any, rows: np.ndarray[Any, Any]) -> Any:
    """Some rows of an Arrow array; of a type that no column is made of, the first as many, because pyarrow may fail."""
    import pyarrow

    if len(rows) == len(array) or values.kind_of(array.type) == "":
        return array.slice(0, len(rows))
    return array.take(pyarrow.array(rows))


def check_written(decimal: str | None, thousands: str | None, dates: str | None) -> dict[str, str | None]:
    """The arguments of `fit` that say how values are written, by name; ValueError for one that is none.

    >>> check_written(",", "\u00a0", None)
    {'decimal': ',', 'thousands': ' ', 'dates': None}
    """
    thousands = None if thousands is None else spelled(thousands)
    if decimal not in (None, *DECIMALS):
        raise ValueError(f"the decimal mark is {' or '.join(DECIMALS)}, and got {decimal!r}")
    if thousands not in (None, *THOUSANDS):
        raise ValueError(f"the thousands separator is one of {' '.join(THOUSANDS)} or a space, and got {thousands!r}")
    if decimal is not None and decimal == thousands:
        raise ValueError(f"the decimal mark and the thousands separator are two, and got {decimal!r} for both")
    if dates not in (None, *ASKED):
        raise ValueError(f"dates are {', '.join(ASKED)}, and got {dates!r}")
    return {"decimal": decimal, "thousands": thousands, "dates": dates}


def _marks(missing: Sequence[str]) -> tuple[str, ...]:
    marks = (missing,) if isinstance(missing, str) else tuple(missing)
    if not all(isinstance(mark, str) and mark.strip() for mark in marks):
        raise ValueError(f"marks of missing values are texts, and got {missing!r:.100}")
    return tuple(dict.fromkeys(mark.strip().lower() for mark in marks))


def _gather(
    table: Table,
    target: str,
    surveys: dict[str, Survey],
    held: tuple[float, int] | None,
    marks: Sequence[str],
) -> None:
    """Read the table into the surveys. Rows without a target are left out; rows held out add classes only."""
    import pyarrow

    rows = 0
    for first, batch in table.batches(list(surveys)):
        rows += len(batch)
        if marks:
            arrays = [values.without_marks(column, marks) for column in batch.columns]
            batch = pyarrow.RecordBatch.from_arrays(arrays, names=batch.schema.names)
        array = batch.column(batch.schema.get_field_index(target))
        if values.kind_of(array.type) == "":
            raise DataError(f"{table.name}: the target {target} is of type {array.type}; give numbers, or text")
        there = np.asarray(values.texts(array).is_valid().to_numpy(zero_copy_only=False), bool)
        learnt = there & ~held_out(first, len(batch), *held) if held else there
        kept = np.flatnonzero(learnt)
        if len(kept) < len(batch):
            surveys[target].levels.add(values.texts(array.take(pyarrow.array(np.flatnonzero(there & ~learnt)))))
        for name, survey in surveys.items():
            survey.add(_taken(batch.column(batch.schema.get_field_index(name)), kept), first, kept)
    if not rows:
        raise DataError(f"{table.name} has no rows")
    if not surveys[target].present:
        raise DataError(f"{table.name}: {target} has no value in any row")

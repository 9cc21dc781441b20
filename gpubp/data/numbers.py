"""Conversion of lists, arrays of objects and tables into NumPy arrays of numbers.

Tables are converted column by column, so that each keeps its type: a column of truths beside one of fractions becomes 0
and 1. Text, dates and missing values are refused, with row, column and value.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..backends import as_numpy
from ..errors import DataError

FILL_IN = "drop such rows, or fill them in, before training"
REAL = "and gpubp computes with real numbers: give real and imaginary parts as numbers of their own"
NUMBERS = (numbers.Real, Decimal, np.bool_)
MISSING = ("NoneType", "NAType", "NaTType")  # the types of None, pandas.NA and pandas.NaT


class Argument(NamedTuple):
    """An argument that holds numbers, as messages speak of it.

    name: "X", "y" or "sample_weight". needs: what is said of other values. columns: the names of its columns, if it is
    a table. reads_text: whether text that spells a number counts as one.

    >>> X = Argument("X", "and the network needs numbers")
    >>> X.at(3, 1), X._replace(columns=("age", "city")).at(3, 1)
    (('X', 'row 3, column 1'), ("X: column 'city'", 'row 3'))
    """

    name: str
    needs: str
    columns: Sequence[Any] = ()
    reads_text: bool = False

    def at(self, row: int, column: int | None = None) -> tuple[str, str]:
        """(subject, place) of "... holds nan in ..."."""
        if column is not None and len(self.columns):
            return f"{self.name}: column {self.columns[column]!r}", f"row {row}"
        return self.name, f"row {row}" + ("" if column is None else f", column {column}")


def to_numbers(given: Any, of: Argument) -> tuple[np.ndarray[Any, Any], tuple[Any, ...]]:
    """(`given` as an array of numbers, the names of its columns): lists, tables of pandas, polars and pyarrow and their
    columns, tensors, and arrays of objects that are numbers. An array of numbers stays as it is.

    Raises DataError for text, dates, other objects and missing values, with row, column and value.

    >>> to_numbers([[True, 1.5], [False, 2]], Argument("X", "and the network needs numbers"))[0].tolist()
    [[1.0, 1.5], [0.0, 2.0]]
    >>> to_numbers([["Rome", 1]], Argument("X", "and the network needs numbers"))
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: X holds 'Rome' in row 0, column 0, and the network needs numbers
    """
    if type(given) is np.ndarray:
        return _of_kind(given, of), ()
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise DataError(f"{of.name} has masked values; drop their rows, or fill them in, before training")
    if hasattr(given, "tocsr"):
        raise DataError(f"{of.name} is a sparse matrix, and only X may be one; give {of.name}.toarray()")
    if is_data_frame(given):
        types = types_of_pandas(given)
        if len(types) == 1 or (types and np.dtype(bool) not in types):  # pandas makes objects of truths beside others
            return as_numpy(given), tuple(given.columns)
        columns = _columns_of(given)
        return _from_columns(columns, of), tuple(name for name, _ in columns)
    if is_column(given):
        return _from_column(given, of, None), ()
    a = _as_array(given, of.name)
    if a.dtype.kind in "US" and not isinstance(given, np.ndarray):
        a = _as_array(given, of.name, object)  # in which numbers beside text are no text
    return _of_kind(a, of), ()


def _as_array(given: Any, name: str, dtype: Any = None) -> np.ndarray[Any, Any]:
    try:
        return as_numpy(given) if dtype is None else np.asarray(given, dtype)
    except (ValueError, TypeError, RuntimeError, BufferError) as problem:
        if "inhomogeneous" in str(problem):
            hint = "; or make the network with input_shape=(None, ...), for sequences" if name == "X" else ""
            raise DataError(f"{name} has rows of different lengths; every row needs as many numbers{hint}") from None
        raise DataError(f"{name} can't be made a NumPy array: {problem}") from problem


def _of_kind(a: np.ndarray[Any, Any], of: Argument, column: int | None = None) -> np.ndarray[Any, Any]:
    """The array, if it holds numbers, or objects that are; `column` is the number of the column that it is."""
    if a.dtype.kind in "fiub":
        return a
    if a.dtype.kind not in "OUST":
        raise of_type(of.name if column is None else of.at(0, column)[0], a.dtype, of)
    if a.dtype.kind == "T":  # NumPy's StringDType
        a = a.astype(object)
    if a.ndim == 0:
        value = a.item()
        if _is_number(type(value)):
            return np.asarray(float(value))
        shown = repr(value) if value is None or isinstance(value, str | bytes) else f"of type {type(value).__name__}"
        raise DataError(f"{of.name} is {shown:.60}, {of.needs}")
    kinds = set(map(type, a.reshape(-1).tolist()))
    if not all(map(_is_number, kinds)):
        if of.reads_text and all(issubclass(kind, str | bytes) or _is_number(kind) for kind in kinds):
            with suppress(ValueError):
                return a.astype(np.float64)
        _refuse(a, of, column)
    if kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return a.astype(bool)
    try:
        if all(issubclass(kind, numbers.Integral | np.bool_) for kind in kinds):
            return a.astype(np.int64)
    except OverflowError:
        pass
    try:
        return a.astype(np.float64)
    except OverflowError:
        raise DataError(f"{of.name} holds a number that is more than float64 can hold; scale it") from None
    except ValueError as problem:  # a signaling NaN of Decimal
        raise DataError(f"{of.name} holds a number that float64 can't hold: {problem}") from None


def of_type(subject: str, dtype: np.dtype[Any], of: Argument) -> DataError:
    """The error for an array of a type that is not of real numbers.

    >>> of_type("X", np.dtype("complex64"), Argument("X", "and the network needs numbers"))
    DataError('X holds complex64, and gpubp computes with real numbers: give real and imaginary parts as ...')
    """
    return DataError(f"{subject} holds {dtype}, {REAL if dtype.kind == 'c' else of.needs}")


def _refuse(a: np.ndarray[Any, Any], of: Argument, column: int | None) -> None:
    """Raise DataError for the first object that is no number."""
    for at, value in enumerate(a.reshape(-1).tolist()):
        if _is_number(type(value)) or (of.reads_text and _spells_number(value)):
            continue
        row, *rest = (int(i) for i in np.unravel_index(at, a.shape))
        if column is None and len(rest) == 1:
            column = rest[0]
        if type(value).__name__ in MISSING:
            _no_value(of, row, column, value)
        subject, place = of.at(row, column)
        needs = REAL if isinstance(value, complex) else of.needs
        raise DataError(f"{subject} holds {value!r:.60} in {place}, {needs}")


def _is_number(kind: type) -> bool:
    return issubclass(kind, NUMBERS) and not issubclass(kind, np.timedelta64)  # which NumPy takes for whole numbers


def _spells_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _no_value(of: Argument, row: int, column: int | None, value: Any) -> NoReturn:
    subject, place = of.at(row, column)
    raise DataError(f"{subject} has no value ({value}) in {place}; {FILL_IN}")


# -- tables -----------------------------------------------------------------------------------------------------------


def is_data_frame(given: Any) -> bool:
    """Whether it is a table of pandas, polars or pyarrow.

    >>> is_data_frame([[1, 2]])
    False
    """
    of_pandas = hasattr(given, "iloc") and hasattr(given, "items") and given.ndim == 2
    return of_pandas or hasattr(given, "get_columns") or hasattr(given, "itercolumns")


def types_of_pandas(table: Any) -> set[np.dtype[Any]]:
    """The types of the columns of a table of pandas, if all are NumPy's types of numbers; else an empty set.

    >>> types_of_pandas(np.ones((2, 2)))
    set()
    """
    types = set(table.dtypes) if hasattr(table, "iloc") and is_data_frame(table) else set()
    return types if all(isinstance(t, np.dtype) and t.kind in "fiub" for t in types) else set()


def _columns_of(table: Any) -> list[tuple[Any, Any]]:
    """(name, column) of each column of a table."""
    if hasattr(table, "iloc"):
        return list(table.items())
    if hasattr(table, "get_columns"):
        return list(zip(table.columns, table.get_columns(), strict=True))
    return list(zip(table.schema.names, table.columns, strict=True))


def is_column(given: Any) -> bool:
    """Whether it is a column of pandas, polars or pyarrow.

    >>> is_column(np.ones(3))
    False
    """
    return hasattr(given, "to_numpy") and (hasattr(given, "iloc") or hasattr(given, "null_count"))


def _from_columns(columns: list[tuple[Any, Any]], of: Argument) -> np.ndarray[Any, Any]:
    of = of._replace(columns=[name for name, _ in columns])
    parts = [_from_column(column, of, k) for k, (_, column) in enumerate(columns)]
    whole = np.empty((len(parts[0]) if parts else 0, len(parts)), np.result_type(*parts) if parts else np.float64)
    for k, part in enumerate(parts):
        whole[:, k] = part
    return whole


def _from_column(column: Any, of: Argument, k: int | None) -> np.ndarray[Any, Any]:
    """The numbers of a column; k is its number in the table, None where there is no table."""
    if type(column).__module__.partition(".")[0] == "pyarrow":
        return _from_arrow(column, of, k)
    if hasattr(column, "null_count"):  # polars
        if column.null_count():
            _no_value(of, int(column.is_null().arg_max()), k, "null")
        if str(column.dtype) in ("Int128", "UInt128"):  # which NumPy does not have
            return _of_kind(np.asarray(column.to_list(), object), of, k)
        return _one_axis(np.asarray(column.to_numpy()), column.dtype, of, k)
    nullable = getattr(getattr(column, "dtype", None), "numpy_dtype", None)  # of pandas
    if nullable is not None and np.dtype(nullable).kind in "fiub":
        missing = np.asarray(column.array.isna(), bool)
        if missing.any():
            _no_value(of, int(missing.argmax()), k, "NA")
        return np.asarray(column.array.to_numpy(dtype=nullable))
    return _of_kind(np.asarray(column), of, k)


def _one_axis(a: np.ndarray[Any, Any], kind: Any, of: Argument, k: int | None) -> np.ndarray[Any, Any]:
    """The numbers of a column; DataError for one whose values are lists or records."""
    if a.ndim != 1:
        raise DataError(f"{of.at(0, k)[0]} holds {kind}, {of.needs}")
    return _of_kind(a, of, k)


def _from_arrow(column: Any, of: Argument, k: int | None) -> np.ndarray[Any, Any]:
    from ..tables.values import kind_of
    from ..tables.values import numbers as numbers_of

    if column.null_count:
        nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), bool)
        _no_value(of, int(nulls.argmax()), k, "null")
    kind = kind_of(column.type)
    if kind in ("number", "yes/no"):
        plain = np.asarray(column)
        return plain if plain.dtype.kind in "fiub" else numbers_of(column).values
    if kind == "text":
        return _of_kind(np.asarray(column.to_pylist(), object), of, k)
    raise DataError(f"{of.at(0, k)[0]} holds {column.type}, {of.needs}")

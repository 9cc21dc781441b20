"""What an argument may be, such as `Count` or `NotNegative | None`, and the check of what was given.

The type is in the annotation of a dataclass's field, or in a call of `argument`. Numbers are kept as Python's own,
NumPy's too, so that the printed form of an object and its JSON are the same for both.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np


class Range(NamedTuple):
    """The numbers from `low` to `high`; above, below: whether these themselves are left out.

    >>> str(Range(1)), str(Range(0, above=True)), str(Range(0, 1, below=True))
    ('1 or more', 'above 0', 'from 0 to below 1')
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, number: float) -> bool:
        """Whether the number is one of them."""
        return (number > self.low if self.above else number >= self.low) and (
            number < self.high if self.below else number <= self.high
        )

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if self.above and self.below:
            return f"between {self.low:g} and {self.high:g}"
        return f"from {'above ' * self.above}{self.low:g} to {'below ' * self.below}{self.high:g}"


Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
UpToOne = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, below=True)]
BetweenZeroAndOne = Annotated[float, Range(0, 1, above=True, below=True)]


def whole(value: Any, least: float = 1) -> int | None:
    """A whole number, NumPy's too, as an int; None if it is none, or below `least`.

    >>> whole(np.int64(3)), whole(np.array(3)), whole(3.0), whole(0), whole(True)
    (3, 3, None, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if number >= least else None


def real(value: Any) -> float:
    """A real number, NumPy's too, as a float; not a number if it is none, so that no comparison holds of it.

    >>> real(np.float32(0.5)), real(np.array(0.5)), real("0.5"), real(None), real(True)
    (0.5, 0.5, nan, nan, nan)
    """
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    axes: int = getattr(value, "ndim", 0)
    if isinstance(value, bool | str | bytes) or kind not in "iuf" or axes:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def argument(of: str, name: str, kind: Any, value: Any) -> Any:
    """`value` as an argument of that type, numbers as Python's own; ValueError that says what it may be.

    of: whose argument it is. kind: int, float, bool, str, None, Literal, a type above, a tuple or a union of them;
    what else is in a union is taken as it is.

    >>> argument("Dense", "units", Count, np.int64(3))
    3
    >>> argument("Dense", "units", Count, True)
    Traceback (most recent call last):
    ...
    ValueError: Dense needs units to be a whole number, 1 or more, and got True
    """
    found = _plain(value, kind)
    if found is _WRONG:
        raise ValueError(f"{of} needs {name} to be {_words(kind)}, and got {value!r:.200}")
    return found


def instance(of: str, name: str, kind: type, value: Any) -> Any:
    """`value` as an argument that is an object of that class of gpubp's; TypeError if it is none.

    >>> import gpubp as bp
    >>> instance("Trainer", "loss", bp.Loss, bp.MeanSquaredError)
    Traceback (most recent call last):
    ...
    TypeError: Trainer needs loss to be a gpubp Loss and got <class '...'>; write MeanSquaredError(...)
    """
    if isinstance(value, kind):
        return value
    raise TypeError(f"{of} needs {name} to be a gpubp {kind.__name__} and got {value!r:.200}{as_call(value)}")


def as_call(value: Any) -> str:
    """What to write in place of a class that was given where an object is meant; "" for anything else.

    >>> as_call(Range)
    '; write Range(...)'
    """
    return f"; write {value.__name__}(...)" if isinstance(value, type) else ""


def keep_plain(thing: Any, of: str = "") -> None:
    """Check the fields of a dataclass by their annotations, and keep their numbers as Python's own; see `argument`.

    of: how errors call it, by default by its class. A default is kept as it is. Fields that a user's own class declares
    may hold anything, whatever their annotations say; only their numbers become Python's.
    """
    cls: Any = type(thing)
    for name, default in _defaults(cls).items():
        value = getattr(thing, name)
        if value is default:
            continue
        owner = next((c for c in cls.__mro__ if name in vars(c).get("__annotations__", ())), cls)
        kept = _pythons(value) if is_own(owner) else argument(of or cls.__name__, name, _kinds(cls)[name], value)
        object.__setattr__(thing, name, kept)  # it may be frozen


def is_own(of: type) -> bool:
    """Whether a class is the user's own, and not gpubp's.

    >>> is_own(int), is_own(Range)
    (True, False)
    """
    return of.__module__.partition(".")[0] != "gpubp"


def _pythons(value: Any) -> Any:
    """NumPy's numbers as Python's, those in tuples and lists too; everything else as it is."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if type(value) in (tuple, list) and any(isinstance(item, np.generic | tuple | list) for item in value):
        return type(value)(map(_pythons, value))
    return value


@cache
def _defaults(cls: Any) -> dict[str, Any]:
    """The default of each field."""
    if not dataclasses.is_dataclass(cls):
        return {}
    return {field.name: field.default for field in dataclasses.fields(cls) if field.init}


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    """The type of each field; it takes about as long to find as the class itself takes to be made."""
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # a name that only type checkers know, or one inside a function
        spelled: dict[Any, Any] = {"int": int, "float": float, "bool": bool, "str": str}
        return {field.name: spelled.get(field.type, field.type) for field in dataclasses.fields(cls)}


_WRONG: Any = object()
_NUMBERS = {2: "two", 3: "three"}
_SIMPLE = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "None"}


def _plain(value: Any, kind: Any) -> Any:
    """The value, or _WRONG."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        found = _plain(value, parts[0])
        fits = found is not _WRONG and all(part.holds(found) for part in parts[1:] if isinstance(part, Range))
        return found if fits else _WRONG
    if get_origin(kind) in (Union, types.UnionType):
        found = next((f for f in (_plain(value, part) for part in parts) if f is not _WRONG), _WRONG)
        return value if found is _WRONG and not all(map(_is_known, parts)) else found
    if get_origin(kind) is tuple:
        return _plain_tuple(value, parts)
    if get_origin(kind) is Mapping:
        found = {k: _plain(v, parts[1]) for k, v in value.items()} if isinstance(value, Mapping) else {"": _WRONG}
        return _WRONG if any(f is _WRONG for f in found.values()) else found
    if get_origin(kind) is Literal:
        return next((part for part in parts if isinstance(value, str) and part == value), _WRONG)
    if kind is int:
        number = whole(value, -math.inf)
        return _WRONG if number is None else number
    if kind is float:
        return _finite(value)
    if kind is bool:
        is_bool = isinstance(value, bool | np.bool_) or getattr(getattr(value, "dtype", None), "kind", "") == "b"
        return bool(value) if is_bool and not getattr(value, "ndim", 0) else _WRONG
    if kind is str:
        return str.__str__(value) if isinstance(value, str) else _WRONG  # of an enum's member its text
    if kind in (None, types.NoneType):
        return None if value is None else _WRONG
    return value


def _finite(value: Any) -> Any:
    number = real(value)
    if not math.isfinite(number):
        return _WRONG
    count = whole(value, -math.inf)
    return number if count is None else count  # whole numbers stay what they are, as in SGD(1)


def _plain_tuple(value: Any, kinds: tuple[Any, ...]) -> Any:
    """One number stands for a tuple of one, where a tuple may have any length."""
    several = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
    if isinstance(value, str):
        return _WRONG
    items = list(value) if several else [value]
    if kinds[-1:] == (...,):
        kinds = kinds[:1] * len(items)
    elif not several:
        return _WRONG
    found = tuple(map(_plain, items, kinds)) if len(items) == len(kinds) else (_WRONG,)
    return _WRONG if any(f is _WRONG for f in found) else found


def _is_known(kind: Any) -> bool:
    return kind in _SIMPLE or kind is None or get_origin(kind) in (Annotated, tuple, Mapping, Literal)


def _words(kind: Any) -> str:
    """What a type holds, in words."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        return ", ".join([_words(parts[0]), *(str(part) for part in parts[1:] if isinstance(part, Range))])
    if get_origin(kind) in (Union, types.UnionType):
        listed = {get_args(part)[0] for part in parts if get_args(part)[-1:] == (...,)}  # said with their tuples
        return ", or ".join(_words(part) for part in parts if part not in listed)
    if get_origin(kind) is Literal:
        return ", or ".join(f'"{part}"' for part in parts)
    if get_origin(kind) is tuple:
        if parts[-1] is ...:
            return f"{_words(parts[0])}, or a tuple of them"
        return f"{_NUMBERS[len(parts)]}{' pairs' * (get_origin(parts[0]) is tuple)} of them"
    if get_origin(kind) is Mapping:
        return f"name -> {_words(parts[1])}"
    return _SIMPLE.get(kind) or ("None" if kind is None else f"a {getattr(kind, '__name__', kind)}")

"""Configurable: objects that are saved and restored by their constructor's arguments, such as layers and losses.

The rule is scikit-learn's: every argument of `__init__` is kept in an attribute of the same name. From it
follow the printed form, the JSON in a model file, and the object made again from that JSON.

What an argument may be is said by its type, such as `Count` or `NotNegative | None`: in the annotation of a
dataclass's field, or in a call of `argument`. Numbers are kept as Python's own, NumPy's too, so that the printed form
and the JSON are the same for both.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, wraps
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from .errors import GpubpError


class ConfigError(GpubpError, ValueError):
    """A description from which no object can be made.

    >>> from_config({"class": "Dence", "units": 3})
    Traceback (most recent call last):
    ...
    gpubp.config.ConfigError: there is no class named 'Dence'; a class of your own must be imported before it is loaded
    """


class Configurable:
    """An immutable object that its constructor's arguments describe in full.

    >>> import gpubp as bp
    >>> bp.Dense(64, use_bias=False).config()["units"]
    64
    >>> from_config(bp.LeakyReLU(0.3).config())
    LeakyReLU(0.3)
    """

    registry: ClassVar[dict[str, type[Configurable]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Configurable.registry[cls.__name__] = cls
        if own := vars(cls).get("__post_init__"):  # which may check what it finds, and need not call this one

            @wraps(own)
            def after_plain(self: Configurable, *args: Any) -> None:
                keep_plain(self)
                own(self, *args)

            cls.__post_init__ = after_plain  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Called by dataclasses when the fields are set: see `keep_plain`."""
        keep_plain(self)

    def config(self) -> dict[str, Any]:
        """The object as numbers, strings, lists and dictionaries: what JSON can hold."""
        described: dict[str, Any] = {"class": type(self).__name__}
        for name in inspect.signature(type(self)).parameters:
            described[name] = as_plain(getattr(self, name))
        return described

    def __repr__(self) -> str:
        shown = []
        by_name = False
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, None)
            if parameter.kind is parameter.VAR_POSITIONAL:
                shown += [repr(item) for item in value or ()]
                by_name = True
            elif parameter.default is parameter.empty or not same(value, parameter.default):
                needed = parameter.default is parameter.empty
                by_name = by_name or parameter.kind is parameter.KEYWORD_ONLY or bool(shown) and not needed
                shown.append(f"{name}={value!r}" if by_name else repr(value))
            else:
                by_name = True
        return f"{type(self).__name__}({', '.join(shown)})"


def as_plain(value: Any) -> Any:
    """What JSON can hold for `value`; raises ConfigError if there is nothing.

    >>> as_plain({"units": np.int64(3), "inner": (True, None, ConfigError)})
    Traceback (most recent call last):
    ...
    gpubp.config.ConfigError: <class 'gpubp.config.ConfigError'> can't be written to a file; use numbers, ...
    """
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, dict):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return as_plain(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"{value!r} can't be written to a file; use numbers, strings, lists of them, or gpubp's own objects"
    )


def same(one: Any, two: Any) -> bool:
    """Whether two arguments are the same: equal values, equal arrays, objects of one class with the same arguments.

    >>> same((np.ones(2), 3), (np.ones(2), 3)), same(np.ones(2), None), same(3, 3.0)
    (True, False, True)
    """
    if one is two:
        return True
    if isinstance(one, Configurable) and type(one) is not type(two):  # of one name, maybe, as in a notebook
        return False
    with suppress(Exception):  # of arrays, whose == is no single answer
        equal = one == two
        if isinstance(equal, bool | np.bool_) and (equal or not isinstance(one, Configurable | list | tuple | dict)):
            return bool(equal)
    with suppress(ConfigError, AttributeError):  # an argument that no file can hold, or that is not kept
        return _same_parts(one, two)
    return False


def _same_parts(one: Any, two: Any) -> bool:
    """Whether the arguments of two objects, or the items of two containers, are the same one by one."""
    if isinstance(one, Configurable):
        return all(same(getattr(one, name), getattr(two, name)) for name in inspect.signature(type(one)).parameters)
    if type(one) is type(two) and isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(as_plain(one) == as_plain(two))


def from_config(described: Any, classes: Iterable[type[Configurable]] = ()) -> Any:
    """The object that `config()` described. `classes` adds to, or replaces, the classes known by name."""
    known = Configurable.registry | {c.__name__: c for c in classes}
    return _restore(described, known)


def _restore(described: Any, known: dict[str, type[Configurable]]) -> Any:
    if isinstance(described, list):
        return tuple(_restore(item, known) for item in described)
    if not isinstance(described, dict) or "class" not in described:
        return described
    name = described["class"]
    cls = known.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ConfigError(f"there is no class named {name!r}; a class of your own must be imported before it is loaded")
    arguments = {key: _restore(value, known) for key, value in described.items() if key != "class"}
    positional: list[Any] = []
    for key, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += arguments.pop(key, ())
    try:
        return cls(*positional, **arguments)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"no {name} can be made from {arguments}: {problem}") from problem


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

    >>> instance("Trainer", "loss", Configurable, Configurable)
    Traceback (most recent call last):
    ...
    TypeError: Trainer needs loss to be a gpubp Configurable and got <class '...'>; write Configurable(...)
    """
    if isinstance(value, kind):
        return value
    raise TypeError(f"{of} needs {name} to be a gpubp {kind.__name__} and got {value!r:.200}{as_call(value)}")


def as_call(value: Any) -> str:
    """What to write in place of a class that was given where an object is meant; "" for anything else.

    >>> as_call(Configurable)
    '; write Configurable(...)'
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

    >>> is_own(int), is_own(Configurable)
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

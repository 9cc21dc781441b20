"""Configurable: objects that are saved and restored by their constructor's arguments, such as layers and losses.

The rule is scikit-learn's: every argument of `__init__` is kept in an attribute of the same name. From it
follow the printed form, the JSON in a model file, and the object made again from that JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar

import numpy as np

from ..errors import GpubpError
from .arguments import keep_plain


class ConfigError(GpubpError, ValueError):
    """A description from which no object can be made.

    >>> from_config({"class": "Dence", "units": 3})
    Traceback (most recent call last):
    ...
    gpubp.config.objects.ConfigError: there is no class named 'Dence'; a class of your own must be ...
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
    gpubp.config.objects.ConfigError: <class ...> can't be written to a file; use numbers, ...
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

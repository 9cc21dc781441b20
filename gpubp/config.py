"""Configurable: objects that are saved and restored by their constructor's arguments, such as layers and losses.

The rule is scikit-learn's: every argument of `__init__` is kept in an attribute of the same name. From it
follow the printed form, the JSON in a model file, and the object made again from that JSON.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .errors import GpubpError

__all__ = ["Configurable", "ConfigError", "as_plain", "from_config", "real", "whole"]


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
            elif parameter.default is parameter.empty or value != parameter.default:
                needed = parameter.default is parameter.empty
                by_name = by_name or bool(shown) and not needed
                shown.append(f"{name}={value!r}" if by_name else repr(value))
            else:
                by_name = True
        return f"{type(self).__name__}({', '.join(shown)})"


def whole(value: Any, least: int = 1) -> int | None:
    """A whole number, NumPy's too, as an int; None if it is none, or below `least`.

    >>> whole(np.int64(3)), whole(3.0), whole(0)
    (3, None, None)
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = operator.index(value)
    return number if number >= least else None


def real(value: Any) -> float:
    """A real number, NumPy's too, as a float; not a number if it is none, so that no comparison holds of it.

    >>> real(np.float32(0.5)), real("0.5"), real(None)
    (0.5, nan, nan)
    """
    return float(value) if isinstance(value, int | float | np.integer | np.floating) else math.nan


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
        made = cls(*positional, **arguments)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"no {name} can be made from {arguments}: {problem}") from problem
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(made) if dataclasses.is_dataclass(made) else ()
    for field in fields:
        kind, value = _KINDS.get(str(field.type)), getattr(made, field.name)
        if kind and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ConfigError(f"no {name} can be made from {arguments}: {field.name} is no {field.type}")
    return made


_KINDS: dict[str, Any] = {"float": (float, int), "int": int, "bool": bool, "str": str}  # as annotations spell them

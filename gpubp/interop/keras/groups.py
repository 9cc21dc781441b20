"""Groups: what is in an HDF5 file, whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Shape = tuple[int, ...]
DEPTH = 40  # groups within groups
OBJECTS = 200_000
AXES = 32  # of HDF5
LARGEST_AXIS = (1 << 63) - 1


class Source(Protocol):
    """What reads a file: groups and arrays have numbers in it.

    >>> from gpubp.interop.keras.hdf5 import Reader
    >>> all(hasattr(Reader, name) for name in ("texts", "numbers"))
    True
    """

    def texts(self, number: int, name: str) -> list[str] | None:
        """An attribute of one or more texts; None if there is none."""

    def numbers(self, number: int, shape: Shape) -> np.ndarray[Any, Any]:
        """The numbers of an array of this shape."""


@dataclass(frozen=True)
class Stored:
    """An array of the file: its shape, and a way to read it.

    >>> Stored((2, 3), None, 0).shape
    (2, 3)
    """

    shape: Shape
    source: Source
    number: int

    def read(self) -> np.ndarray[Any, Any]:
        """The numbers."""
        return self.source.numbers(self.number, self.shape)


@dataclass(frozen=True)
class Group:
    """A group of the file: the groups and arrays in it, and its texts.

    >>> Group({}, {"0": Stored((2,), None, 1)}, None, 0).arrays["0"].shape
    (2,)
    """

    groups: Mapping[str, Group]
    arrays: Mapping[str, Stored]
    source: Source
    number: int

    def text(self, name: str) -> str:
        """An attribute that is a text; "" if there is none."""
        found = self.source.texts(self.number, name)
        return found[0] if found else ""

    def texts(self, name: str) -> list[str]:
        """An attribute that is a list of texts, also where Keras divided it: name0, name1, ..."""
        found = self.source.texts(self.number, name)
        if found is not None:
            return found
        parts: list[str] = []
        for k in range(OBJECTS):
            part = self.source.texts(self.number, f"{name}{k}")
            if part is None:
                break
            parts += part
        return parts


def as_data(group: Group) -> list[Any]:
    """A group as lists and dicts, for JSON: [number, groups by name, {name: [number, shape]}].

    >>> as_data(Group({"a": Group({}, {}, None, 1)}, {"0": Stored((2, 3), None, 2)}, None, 0))
    [0, {'a': [1, {}, {}]}, {'0': [2, (2, 3)]}]
    """
    groups = {name: as_data(inner) for name, inner in group.groups.items()}
    return [group.number, groups, {name: [stored.number, stored.shape] for name, stored in group.arrays.items()}]


def from_data(data: Any, source: Source, depth: int = 0) -> Group:
    """The group that `as_data` made these data of, read by `source`; ValueError for data that it does not make.

    >>> from_data([0, {}, {"0": [1, [2, 3]]}], None).arrays["0"].shape
    (2, 3)
    >>> from_data([0, {}, {"0": [1, [-2]]}], None)
    Traceback (most recent call last):
    ...
    ValueError: [1, [-2]] is no array
    """
    match data:
        case [int(number), dict(groups), dict(arrays)] if depth <= DEPTH and all(map(_is_name, (*groups, *arrays))):
            inner = {name: from_data(one, source, depth + 1) for name, one in groups.items()}
            return Group(inner, {name: _stored(one, source) for name, one in arrays.items()}, source, number)
    raise ValueError(f"{str(data)[:100]} is no group")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isprintable()


def _stored(data: Any, source: Source) -> Stored:
    match data:
        case [int(number), list(shape)] if len(shape) <= AXES:
            if all(type(n) is int and 0 <= n <= LARGEST_AXIS for n in shape):
                return Stored(tuple(shape), source, number)
    raise ValueError(f"{str(data)[:100]} is no array")

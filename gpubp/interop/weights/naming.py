"""Naming: names of one library into those of another, by a mapping or a function that the user gives."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import ModelFileError
from .modules import Dialect, Module
from .places import Place

Rename = Mapping[str, "str | None"] | Callable[[str], "str | None"]


def renamed(names: Iterable[str], rename: Rename | None, separator: str, argument: str) -> dict[str, str | None]:
    """Each name -> its new name, or None for what is to be left out.

    rename: a function of a whole name, or a mapping whose keys are whole names or their beginnings up to a separator;
    the longest that fits counts. argument: what messages call it.

    Raises TypeError for anything else, ModelFileError for a key that no name begins with, and for two names that become
    the same.

    >>> renamed(["fc1.weight", "fc1.bias"], {"fc1": "0"}, ".", "rename")
    {'fc1.weight': '0.weight', 'fc1.bias': '0.bias'}
    """
    names = list(names)
    if rename is None:
        return dict(zip(names, names, strict=True))
    if isinstance(rename, Mapping):
        made = _by_mapping(names, rename, separator, argument)
    elif callable(rename):
        made = {name: _text(rename(name), argument) for name in names}
    else:
        raise TypeError(
            f"{argument} is a mapping of names, such as {{'fc1': '0'}}, or a function of names, and not {rename!r:.90}"
        )
    seen: dict[str, str] = {}
    for name, new in made.items():
        if new is not None and seen.setdefault(new, name) != name:
            raise ModelFileError(f"{argument} gives {seen[new]} and {name} the same name, {new}")
    return made


def _by_mapping(
    names: list[str], rename: Mapping[str, str | None], separator: str, argument: str
) -> dict[str, str | None]:
    made: dict[str, str | None] = {}
    used: set[str] = set()
    for key, value in rename.items():
        _text(key, argument)
        _text(value, argument)
    for name in names:
        made[name] = name
        parts = name.split(separator)
        for length in range(len(parts), 0, -1):
            key = separator.join(parts[:length])
            if key in rename:
                used.add(key)
                made[name] = _joined(rename[key], separator.join(parts[length:]), separator)
                break
        else:
            if "" in rename:
                used.add("")
                made[name] = _joined(rename[""], name, separator)
    unused = [key for key in rename if key not in used]
    if unused:
        raise ModelFileError("\n".join(_unknown(key, names, separator, argument) for key in unused))
    return made


def _unknown(key: str, names: list[str], separator: str, argument: str) -> str:
    beginnings = {name.rpartition(separator)[0] or name for name in names} | set(names)
    near = difflib.get_close_matches(key, sorted(beginnings), 3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{argument} has {key!r}, with which no name begins{hint} There are {shown or 'none'}"


def _joined(beginning: str | None, rest: str, separator: str) -> str | None:
    if beginning is None:
        return None
    return separator.join(part for part in (beginning, rest) if part)


def _text(value: Any, argument: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{argument} gives names, or None for what is to be left out, and not {value!r:.100}")
    return value


def check_landed(
    rename: Rename | None, modules: Sequence[Module], places: Sequence[Place], dialect: Dialect, separator: str
) -> None:
    """Raise ModelFileError for names in a mapping `rename` that are of no layer here.

    >>> check_landed(None, [], [], None, ".")
    """
    if not isinstance(rename, Mapping):
        return
    paths = {path for place in places for path in dialect.paths(place)}
    landed = {module.path for module in modules if module.path in paths}
    wrong = []
    for key, value in rename.items():
        beginnings = {value, value.rpartition(separator)[0], value.rpartition(".")[0]} if value else set()
        if value and not any(
            path in beginnings or path.startswith((f"{value}.", f"{value}{separator}")) for path in landed
        ):
            wrong.append(f"rename gives {key!r} the name {value!r}, and no layer with parameters is called so")
    if wrong:
        known = ", ".join(place.title for place in places[:20]) + (" and more" if len(places) > 20 else "")
        raise ModelFileError("\n".join([*wrong, f"there are {known}"]))

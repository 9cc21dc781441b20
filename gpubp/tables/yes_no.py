"""Texts in upper and lower case: yes and no in whatever case they are written, and levels that differ in case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from . import values


class Answers(NamedTuple):
    """How often each of the two came, and how they are spelled, no first: in lower case, if there are several ways."""

    no: int
    yes: int
    spellings: tuple[str, str]


def differ_in_case(names: Iterable[str]) -> str:
    """A note on two of the texts that are the same but for upper and lower case, or an empty text.

    >>> differ_in_case(["Male", "male", "Female"])
    "'Male' and 'male' differ in upper and lower case alone"
    """
    known: dict[str, str] = {}
    for name in sorted(names):
        other = known.setdefault(name.lower(), name)
        if other != name:
            return f"{other[:30]!r} and {name[:30]!r} differ in upper and lower case alone"
    return ""


def yes_and_no(counts: Mapping[str, int]) -> Answers | None:
    """The two answers, if the texts with these counts are yes and no, y and n, true and false, or t and f.

    >>> yes_and_no({"yes": 3, "Yes": 2, "NO": 4})
    Answers(no=4, yes=5, spellings=('no', 'yes'))
    """
    words = {level.lower() for level in counts}
    for yes, no in zip(values.YES[:4], values.NO[:4], strict=True):
        if words == {yes, no}:
            of = {word: [level for level in counts if level.lower() == word] for word in (no, yes)}
            spellings = (no, yes) if len(counts) > 2 else (of[no][0], of[yes][0])
            total = {word: sum(counts[level] for level in of[word]) for word in (no, yes)}
            return Answers(total[no], total[yes], spellings)
    return None

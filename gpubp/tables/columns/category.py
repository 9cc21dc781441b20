"""Columns of categories: one-hot, or a number that an Embedding turns into a vector."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import values
from .base import Array, Column, Notes, check_name, check_note, refuse

MOST_LEVELS = 1_000_000  # of a column in a model file


@dataclass(frozen=True, repr=False)
class CategoryColumn(Column):
    """A column of categories: (3), or (4) if `embed`, the length of the vectors, is not 0.

    levels: the texts. other: whether rare ones were seen, which share a number. missing: whether it was missing. note:
    what is doubtful in taking it for a category. In (4) the word after the levels stands for all others, and the one
    after it for nothing.

    >>> import pyarrow
    >>> column, out = CategoryColumn("city", ("Rome", "Oslo")), np.zeros((3, 2))
    >>> column.fill(out, pyarrow.array(["Oslo", "Rome", "Atlantis"]), 0, Notes())
    >>> out.tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    """

    name: str
    levels: tuple[str, ...]
    other: bool = False
    missing: bool = False
    embed: int = 0
    note: str = ""

    kind = "category"

    def __post_init__(self) -> None:
        check_name(self)
        check_note(self)
        levels = self.levels
        if not (isinstance(levels, tuple) and all(isinstance(level, str) for level in levels)):
            raise ValueError(f"the levels of {self.name} are a list of texts, and got {levels!r:.100}")
        if len(set(levels)) != len(levels) or len(levels) > MOST_LEVELS:
            raise ValueError(f"the {len(levels):,} levels of {self.name} are too many, or not all different")
        if not 0 <= self.embed <= 4096:
            raise ValueError(f"{self.name} can't be embedded in {self.embed} numbers")
        if not self.embed and not self.width:
            raise ValueError(f"{self.name} has no levels")

    @property
    def embedded(self) -> bool:  # type: ignore[override]
        """Whether an Embedding comes after it."""
        return self.embed > 0

    @property
    def vocabulary(self) -> int:
        """Words of the embedding."""
        return len(self.levels) + 2

    @property
    def width(self) -> int:
        """One a level, or a single one."""
        return 1 if self.embed else len(self.levels) + self.other + self.missing

    @property
    def outputs(self) -> list[str]:
        """The column and the level."""
        if self.embed:
            return [self.name]
        more = [*(["another"] if self.other else []), *(["missing"] if self.missing else [])]
        return [f"{self.name} = {level}" for level in self.levels] + [f"{self.name} is {what}" for what in more]

    def describe(self) -> str:
        """The levels, or how many."""
        shown = ", ".join(level if len(level) <= 20 else f"{level[:19]}…" for level in self.levels[:4])
        more = f", ... {len(self.levels)} levels" if len(self.levels) > 4 else ""
        rest = [*(["rare ones"] if self.other else []), *(["missing"] if self.missing else [])]
        beside = f"{'; and ' if shown else ''}{' and '.join(rest)}" if rest else ""
        code = next((level for level in self.levels if re.fullmatch(r"0\d+", level)), None)
        codes = f"codes such as {code}: " if code and all(level.isdecimal() for level in self.levels) else ""
        return f"{codes}{shown}{more}{beside}{f'; embedded in {self.embed} numbers' if self.embed else ''}"

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(3) or (4)"""
        import pyarrow
        from pyarrow import compute

        if values.kind_of(array.type) == "":
            refuse(self.name, np.ones(len(array), bool), array, first, f"of type {array.type}, which is no category")
        text = values.texts(array)
        at = compute.index_in(text, value_set=pyarrow.array(self.levels, pyarrow.string()))
        code = np.asarray(at.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        nothing = np.asarray(text.is_null().to_numpy(zero_copy_only=False), bool)
        unknown = (code < 0) & ~nothing
        notes.add(self.name, "rare or new" if self.other else "new", unknown, first, text)
        if not self.missing:
            notes.add(self.name, "missing", nothing, first)
        if self.embed:
            out[:, 0] = np.where(nothing, len(self.levels) + 1, np.where(unknown, len(self.levels), code))  # (4)
            return
        out[...] = 0
        known = np.flatnonzero(code >= 0)
        out[known, code[known]] = 1  # (3)
        if self.other:
            out[unknown, len(self.levels)] = 1
        if self.missing:
            out[nothing, -1] = 1

"""NumberSurvey: a column of text read as numbers of all formats that still fit it, in one pass.

A format is a decimal mark and a thousands separator. As long as a separator did not come, formats that differ in it
alone give the same numbers and share one reading; when it comes, each continues with a copy. A column of plain numbers
so has one reading, or three until its points can be no thousands.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import values
from .formats import DECIMALS, THOUSANDS, NumberFormat, Parts, plain_numbers, split, split_plain
from .readings import SAMPLE, Reading
from .values import Values

UNITS = 8  # different ones, of which the first values are kept

Pair = tuple[str, str]  # decimal mark and thousands separator
Place = tuple[int, str]  # number of a row, and the text in it


class NumberSurvey:
    """The readings of a column as numbers. decimal, thousands: the marks of all columns, if they were given.

    unit: the most frequent one in the first values, None before there is any. units: the first values of each unit.
    examples: the first number with each separator. code: the first whole number that begins with 0.

    >>> import pyarrow
    >>> survey = NumberSurvey()
    >>> survey.add(pyarrow.array(["1.234,5", "12"]), first=0)
    True
    >>> survey.fitting()
    [(',', '.')]
    """

    def __init__(self, decimal: str | None = None, thousands: str | None = None) -> None:
        self.thousands = thousands
        self.candidates: list[Pair] = [
            (d, t)
            for d in DECIMALS
            for t in ("", *THOUSANDS)
            if d != t and d in (decimal, decimal or d) and d != thousands and t in ("", thousands or t)
        ]
        self.asked: list[str] = [
            *([f"--decimal {decimal}"] if decimal else []),
            *([f"--thousands {quoted(thousands)}"] if thousands else []),
        ]
        self.seen: set[str] = set()
        self.readings: dict[Pair, Reading] = {("", ""): Reading()}
        self.unit: str | None = None
        self.leading = False
        self.units: dict[str, Place] = {}
        self.examples: dict[str, Place] = {}
        self.code: Place | None = None
        self.all_plain = True  # all values are numbers as a program writes them
        self.tried = self.alike = 0  # values that were looked at, and those that are numbers of some format

    def key(self, pair: Pair, seen: set[str] | None = None) -> Pair:
        """The marks of a format that came, "" for one that did not: the key of its reading."""
        seen = self.seen if seen is None else seen
        return (pair[0] if pair[0] in seen else "", pair[1] if pair[1] in seen else "")

    @property
    def given_up(self) -> bool:
        """Whether no format fits."""
        return all(reading.given_up for reading in self.readings.values())

    @property
    def best(self) -> Reading:
        """The reading with the fewest wrong values; of plain numbers, if it is one of them."""
        plain = self.readings.get(self.key((".", "")))
        ordered = sorted(self.readings.values(), key=lambda r: (r.given_up, -r.moments.count, r is not plain))
        return ordered[0]

    def pair_of(self, reading: Reading) -> Pair:
        """The first format that has this reading."""
        return next(pair for pair in self.candidates if self.readings[self.key(pair)] is reading)

    def fitting(self) -> list[Pair]:
        """One format of each reading that all values fit, plain numbers first."""
        found: dict[Pair, Pair] = {}
        for pair in self.candidates:
            reading = self.readings[self.key(pair)]
            if reading.wrong == 0 and reading.moments.count:
                found.setdefault(self.key(pair), pair)
        return list(found.values())

    def format(self, pair: Pair, usual: Pair = (".", "")) -> NumberFormat:
        """The format with the unit that came. usual: the marks of the table, of which none came in the column."""
        decimal, thousands = self.key(pair)
        if not decimal:
            decimal = usual[0] if (usual[0], thousands) in self.candidates else pair[0]
        plain = decimal == "." and not thousands and not self.unit
        if not thousands and (decimal, usual[1]) in self.candidates and not plain:
            thousands = usual[1]
        if not thousands and self.thousands not in (None, decimal):
            thousands = str(self.thousands)
        return NumberFormat(decimal, thousands, self.unit or "", bool(self.unit) and self.leading)

    def add(self, text: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> bool:
        """Add a batch, an Arrow array of `values.written`, as Survey.add does; returns whether a format fits all."""
        if self.given_up:
            return False
        rows = np.arange(len(text)) if rows is None else rows
        if not self.unit and (plain := plain_numbers(text)) is not None:
            return self._add_plain(plain, text, first, rows)
        fits = [self._add(text[part], first, rows[part]) for part in _parts(text) if not self.given_up]
        return all(fits) and not self.given_up

    def add_typed(self, found: Values, array: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> bool:
        """Add a batch of numbers that are no text; returns whether all fits."""
        return self.readings[self.key((".", ""))].add(found, array, first, rows)

    def _add(self, text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        if not self.unit and (plain := plain_numbers(text)) is not None:
            return self._add_plain(plain, text, first, rows)
        self.all_plain = False
        if not values.has_digits(text):
            return self._add_words(text, first, rows)
        return self._add_parts(split(text), text, first, rows)

    def _add_plain(self, plain: Values, text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        """Add numbers as in a program, at once where they are read so; where points may be thousands, in parts."""
        if self.unit is None and not np.isnan(plain.values).all():
            self.unit = ""
        if self.unit == "" and "" not in self.units:
            self._keep_units({"": int(np.isnan(plain.values).argmin())}, text, first, rows)
        self._count(text, len(text) - text.null_count)
        living = [reading for reading in self.readings.values() if not reading.given_up]
        only_plain = "." in self.seen and len(living) == 1 and living[0] is self.readings.get((".", ""))
        if only_plain or not self._separators(text, ".", text, first, rows):
            for reading in living:
                reading.add(plain, text, first, rows)
            fits = True
        else:
            known = self.readings.get((".", ""))
            fits = known is not None and known.add(plain, text, first, rows)
            others = [self._add_parts(split_plain(text[p]), text[p], first, rows[p], known) for p in _parts(text)]
            fits = fits or all(others)
        if self.best.whole:
            self._look_for_codes(text, first, rows)
        return fits

    def _add_words(self, text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        self._count(text, 0)
        found = values.none(text)
        for reading in self.readings.values():
            if not reading.given_up:
                reading.add(found, text, first, rows)
        return not found.bad.any()

    def _add_parts(
        self, parts: Parts, text: Any, first: int, rows: np.ndarray[Any, Any], known: Reading | None = None
    ) -> bool:
        """Add texts to the readings of all formats but `known`, which has them."""
        import pyarrow

        sound = parts.sound
        if known is None:
            self._count(text, int(sound.sum()))
            if sound.any():
                self._find_units(parts, text, first, rows)
                body = parts.body.filter(pyarrow.array(sound))
                self._separators(body, "".join(THOUSANDS), text.filter(pyarrow.array(sound)), first, rows[sound])
        fits = False
        done: set[Pair] = set()
        for pair in self.candidates:
            key = self.key(pair)
            reading = self.readings[key]
            if key in done or reading.given_up or reading is known:
                continue
            done.add(key)
            fits = reading.add(parts.numbers(*pair, self.unit or ""), text, first, rows) or fits
        return fits

    def _count(self, text: Any, alike: int) -> None:
        self.tried += len(text) - text.null_count
        self.alike += alike

    def _find_units(self, parts: Parts, text: Any, first: int, rows: np.ndarray[Any, Any]) -> None:
        units = np.asarray(parts.unit.fill_null("?").to_numpy(zero_copy_only=False), object)
        there = np.flatnonzero(parts.sound)
        names, at, counts = np.unique(units[there].astype(str), return_index=True, return_counts=True)
        if self.unit is None:
            most = int(counts.argmax())
            self.unit, self.leading = str(names[most]), bool(parts.leading[there[at[most]]])
        self._keep_units({str(name): int(there[i]) for name, i in zip(names, at, strict=True)}, text, first, rows)

    def _keep_units(self, found: dict[str, int], text: Any, first: int, rows: np.ndarray[Any, Any]) -> None:
        for name, at in found.items():
            if len(self.units) < UNITS and name not in self.units:
                self.units[name] = (first + int(rows[at]), values.shown(text, at))

    def _separators(self, body: Any, marks: Sequence[str], text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        """Find those of `marks` that come in `body`; where one is new, the formats that have it part."""
        from pyarrow import compute

        came = False
        for mark in marks:
            if mark in self.seen and len(marks) > 1:
                continue
            found = values.host(compute.match_substring(body, mark)) > 0
            if not found.any():
                continue
            came = True
            if mark not in self.seen:
                at = int(found.argmax())
                self.examples[mark] = (first + int(rows[at]), values.shown(text, at))
                self._part(self.seen | {mark})
        return came

    def _part(self, seen: set[str]) -> None:
        parted: dict[Pair, Reading] = {}
        for pair in self.candidates:
            key = self.key(pair, seen)
            if key not in parted:
                parted[key] = copy.deepcopy(self.readings[self.key(pair)])
        self.seen, self.readings = seen, parted

    def _look_for_codes(self, text: Any, first: int, rows: np.ndarray[Any, Any]) -> None:
        import pyarrow
        from pyarrow import compute

        zeros = np.flatnonzero(values.host(compute.starts_with(text, "0")) > 0) if self.code is None else ()
        if len(zeros):
            begins = text.take(pyarrow.array(zeros))
            found = values.host(compute.match_substring_regex(begins, r"^0\d+$")) > 0
            if found.any():
                at = int(zeros[found.argmax()])
                self.code = (first + int(rows[at]), values.shown(text, at))


def _parts(text: Any) -> list[slice]:
    """The first values of a batch and the others, if there are any."""
    return [slice(0, SAMPLE), *([slice(SAMPLE, len(text))] if len(text) > SAMPLE else [])]


def quoted(mark: str) -> str:
    """A word as it is typed after an option.

    >>> quoted(","), quoted(" ")
    (',', "' '")
    """
    import shlex

    return mark if mark in (",", ".") else shlex.quote(mark)

"""DateSurvey: a column read as dates, times of day and durations of all formats that still fit it, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import values
from .dates import NUMERIC, SEPARATORS, DateFormat, DurationFormat, eight_digits
from .readings import SAMPLE, Reading

ORDERS = ("iso", "dmy", "mdy", "ymd", "yymd", "my", "name", "time", "duration")
DOUBTFUL = ("dmy", "mdy", "yymd")  # of which one date may have several
ASKED = {"dmy": ("dmy",), "mdy": ("mdy",), "ymd": ("yymd",)}  # by --dates


class DateSurvey:
    """The readings of a column by order, `dates.EXAMPLES` and "duration".

    dates: "dmy", "mdy" or "ymd", if it was given. compact: the reading of eight digits, which ends
    at the first that are no date. first: the first date, or the first that is another day in another order.

    >>> import pyarrow
    >>> survey = DateSurvey()
    >>> survey.add(pyarrow.array(["31.12.2024", "01.02.2024"]), first=0)
    True
    >>> survey.fitting()
    ['dmy']
    """

    def __init__(self, dates: str | None = None) -> None:
        self.dates = dates
        self.readings = {order: Reading() for order in ORDERS}
        self.compact = Reading()
        self.separator: str | None = None
        self.first: tuple[int, str] | None = None
        self._differ = False
        self.tried = self.alike = 0  # values that were looked at, and those that are dates of some format

    @property
    def given_up(self) -> bool:
        """Whether no format fits."""
        return all(reading.given_up for reading in self.readings.values())

    @property
    def best(self) -> Reading:
        """The reading with the fewest wrong values."""
        allowed = [reading for order, reading in self.readings.items() if self._allows(order)]
        return min(allowed, key=lambda reading: (reading.given_up, -reading.moments.count))

    def fitting(self) -> list[str]:
        """The orders that all values fit. Times of day are durations too, and only called times."""
        found = [order for order, r in self.readings.items() if not (r.wrong or r.given_up) and r.moments.count]
        return [o for o in found if self._allows(o) and (o != "duration" or "time" not in found)]

    def _allows(self, order: str) -> bool:
        return self.dates is None or order not in DOUBTFUL or order in ASKED[self.dates]

    def other_order_fits(self, present: int) -> bool:
        """Whether all values are dates of an order that was not given."""
        others = [self.readings[order] for order in DOUBTFUL if not self._allows(order)]
        return any(reading.wrong == 0 and 0 < reading.moments.count == present for reading in others)

    def order_of(self, reading: Reading) -> str:
        """The order that has this reading."""
        return next(order for order, found in self.readings.items() if found is reading)

    def format(self, order: str) -> DateFormat | DurationFormat:
        """The format of an order, with the separator that came."""
        if order == "duration":
            return DurationFormat()
        return DateFormat(order, (self.separator or "-") if order in NUMERIC else "")

    def add(self, text: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> bool:
        """Add a batch, an Arrow array of `values.written`, as Survey.add does; returns whether an order fits all."""
        if self.given_up:
            return False
        rows = np.arange(len(text)) if rows is None else rows
        if self._add_iso(text, first, rows):
            return True
        parts = [slice(0, SAMPLE), slice(SAMPLE, len(text))][: 1 + (len(text) > SAMPLE)]
        fits = [self._add(text[part], first, rows[part]) for part in parts if not self.given_up]
        return all(fits) and not self.given_up

    def _add_iso(self, text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        """Add a batch at once, if all of it is as in a program, as was all before; returns whether it is."""
        iso, read = self.readings["iso"], self.format("iso").read
        if iso.given_up or iso.wrong or read(text[:SAMPLE]).bad.any():
            return False
        found = read(text)
        if found.bad.any() or np.isnan(found.values).all():
            return False
        self.tried += len(text) - text.null_count
        self.alike += len(text) - text.null_count
        for order, reading in self.readings.items():
            reading.given_up = reading.given_up or order != "iso"
        return iso.add(found, text, first, rows)

    def _add(self, text: Any, first: int, rows: np.ndarray[Any, Any]) -> bool:
        digits = values.has_digits(text)
        if self.separator is None and digits:
            self._find_separator(text)
        fits = False
        alike = np.zeros(len(text), bool)
        seconds: list[np.ndarray[Any, Any]] = []
        for order, reading in self.readings.items():
            if not reading.given_up:
                may = digits and (order != "yymd" or self.separator in ("-", None))
                found = self.format(order).read(text) if may else values.none(text)
                alike |= ~np.isnan(found.values)
                seconds += [found.values] if order in DOUBTFUL else []
                if self.first is None and not np.isnan(found.values).all():
                    at = int((~np.isnan(found.values)).argmax())
                    self.first = (first + int(rows[at]), values.shown(text, at))
                fits = reading.add(found, text, first, rows) or fits
        self._look_for_difference(seconds, text, first, rows)
        self.tried += len(text) - text.null_count
        self.alike += int(alike.sum())
        return fits

    def _look_for_difference(
        self, seconds: list[np.ndarray[Any, Any]], text: Any, first: int, rows: np.ndarray[Any, Any]
    ) -> None:
        if self._differ or len(seconds) < 2:
            return
        least, most = np.fmin.reduce(seconds), np.fmax.reduce(seconds)
        differ = least < most
        if differ.any():
            at = int(differ.argmax())
            self.first, self._differ = (first + int(rows[at]), values.shown(text, at)), True

    def _find_separator(self, text: Any) -> None:
        import pyarrow
        from pyarrow import compute

        found = compute.struct_field(
            compute.extract_regex(text, r"^\d{1,4}\s?(?P<mark>[./-])\s?(?:\d{4}|\d{1,2})\b"), "mark"
        )
        at = compute.index_in(found, value_set=pyarrow.array(SEPARATORS)).drop_null().to_numpy()
        if len(at):
            self.separator = SEPARATORS[int(np.bincount(at).argmax())]

    def add_typed(self, kind: str, array: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> bool:
        """Add a batch of an Arrow type of dates, times of day or durations, by its kind; returns whether all fits."""
        order = {"date": "iso", "time": "time", "duration": "duration"}[kind]
        return self.readings[order].add(self.format(order).read(array), array, first, rows)

    def add_digits(self, array: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> None:
        """Add a batch of numbers, which may be dates of eight digits."""
        if not self.compact.given_up:
            fits = self.compact.add(eight_digits(array), array, first, rows)
            self.compact.given_up = not fits

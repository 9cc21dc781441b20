"""A length of time on the command line, as "90s", "10m" or "1h30m"."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
FORM = re.compile("".join(f"(?:{NUMBER}{unit})?" for unit in UNITS), re.ASCII)
MOST = 1e8  # seconds, three years


class Length(str):
    """A length of time as it was typed."""

    @property
    def seconds(self) -> float:
        """In seconds; 0 where it is none.

        >>> Length("1h30m").seconds, Length("soon").seconds
        (5400.0, 0.0)
        """
        found = FORM.fullmatch(self)
        parts = zip(found.groups(), UNITS.values(), strict=True) if found else ()
        return sum((float(part) * unit for part, unit in parts if part), 0.0)


class Timeout(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """A length of time: numbers of days, hours, minutes and seconds, in this order.

    >>> Timeout().convert(" 90S ", None, None)
    '90s'
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Length:
        """The length."""
        length = Length(str(value).strip().lower())
        if not 0 < length.seconds < MOST:
            self.fail(f"{value!r} is no time above 0, such as 90s, 10m or 1h30m", param, ctx)
        return length

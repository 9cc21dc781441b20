"""Options that say how the values of a table are written: --decimal, --thousands, --dates and --missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .options import several

WRITTEN = ("decimal", "thousands", "dates", "missing")


class Separator(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """A thousands separator.

    >>> Separator().convert("’", None, None)
    "'"
    """

    name = "separator"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The separator, one kind of space and of apostrophe."""
        from ..tables.formats import THOUSANDS, spelled

        mark = " " if str(value).lower() == "space" else spelled(str(value))
        if mark not in THOUSANDS:
            self.fail(f"{value!r} is none of , . ' _ and space", param, ctx)
        return mark


written_options = several(
    click.option("--decimal", type=click.Choice((".", ",")), help="The decimal mark of all columns."),
    click.option("--thousands", type=Separator(), metavar="MARK", help="The thousands separator: , . ' _ or space."),
    click.option("--dates", type=click.Choice(("dmy", "mdy", "ymd")), help="The order of day and month in dates."),
    click.option("--missing", multiple=True, metavar="WORDS", help="These mean that nothing is known, as -,unknown."),
)


def chosen_marks(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `tables.fit` by these options. Raises UsageError where two contradict.

    >>> chosen_marks({"decimal": ",", "thousands": None, "dates": None, "missing": ("-,unknown", "x")})["missing"]
    ('-', 'unknown', 'x')
    """
    if options["decimal"] is not None and options["decimal"] == options["thousands"]:
        raise click.UsageError(f"--decimal and --thousands are both {options['decimal']}; they are two different marks")
    words = tuple(word.strip() for given in options["missing"] for word in given.split(",") if word.strip())
    return {name: options[name] for name in ("decimal", "thousands", "dates")} | {"missing": words}

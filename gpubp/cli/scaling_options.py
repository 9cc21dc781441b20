"""Options of `gpubp profile` that say how many processes would share a training, and what joins them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..analysis.links import bandwidth_of, latency_of
from ..analysis.step_costs import BANDWIDTH, LATENCY, PROCESSES
from .options import several


class ProcessCounts(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """Numbers of processes, as "8", which stands for the usual ones and 8, or "2,16,32" for exactly these.

    >>> ProcessCounts().convert("6", None, None), ProcessCounts().convert("16, 32", None, None)
    ((2, 4, 6, 8, 64), (16, 32))
    """

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers, rising."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 2 <= int(part) < 10**9 for part in parts):
            self.fail(
                f"{value!r} is no number of processes, 2 or more, such as 8, and no list such as 2,4,16", param, ctx
            )
        numbers = {int(part) for part in parts}
        return tuple(sorted(numbers if len(parts) > 1 else numbers | set(PROCESSES)))


class OfLink(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A bandwidth or a latency, kept as it was typed.

    >>> OfLink("latency").convert("50us", None, None)
    '50us'
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        text = str(value)
        try:
            {"bandwidth": bandwidth_of, "latency": latency_of}[self.name](text)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        return text


scaling_options = several(
    click.option(
        "--processes", type=ProcessCounts(), metavar="N[,N]", help="Say what so many, and 2, 4, 8 and 64, would give."
    ),
    click.option(
        "--bandwidth", type=OfLink("bandwidth"), metavar="RATE", help=f"Between them.  [default: {BANDWIDTH}]"
    ),
    click.option("--latency", type=OfLink("latency"), metavar="TIME", help=f"Of a message.  [default: {LATENCY}]"),
)


def link_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Bandwidth and latency as arguments of `estimate_scaling`. Raises UsageError where there are no processes."""
    given = {name: options[name] for name in ("bandwidth", "latency") if options[name] is not None}
    if given and options["processes"] is None:
        raise click.UsageError(f"--{next(iter(given))} goes with --processes, as --processes 8")
    return given

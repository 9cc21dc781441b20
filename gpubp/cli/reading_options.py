"""Options that say how a table is read, and the completion of the names of its columns in a shell."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..endings import JSON_LINES, TEXT, is_stream, kind
from ..errors import DataError
from ..tables import Preparation, Table
from ..tables.sources import check_encoding, has_first_line
from .arguments import PLAIN, complete, is_table
from .console import note
from .options import several

LARGE = 1 << 26  # bytes of JSON lines, which are all read to find the names


class Encoding(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """The name of a text encoding that Python knows.

    >>> Encoding().convert("cp1252", None, None)
    'cp1252'
    """

    name = "encoding"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        try:
            return check_encoding(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


reading_options = several(
    click.option("--encoding", type=Encoding(), metavar="NAME", help="Of text, as cp1252.  [default: UTF-8]"),
    click.option("--no-header", is_flag=True, help="The first line is a row; columns are column 1, column 2, ..."),
)


class Columns(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """The name of a column of the table on the line, which is the argument DATA or FILE, or the option --check.

    files: endings of files that the option takes beside a table's columns. An option that may be repeated takes several
    names with commas between them.

    >>> Columns().convert("price", None, None)
    'price'
    """

    name = "column"

    def __init__(self, *files: str) -> None:
        self.files = files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, as it was typed."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The columns that begin with what is typed. Only the header is read; a table that can't be read has none."""
        path = _table_of(ctx)
        if not is_table(path):
            return complete(incomplete, (), self.files) if self.files else []
        before, comma, begun = incomplete.rpartition(",") if param.multiple else ("", "", incomplete)
        taken = before.split(",")
        names = [name for name in _names(path, ctx.params) if name.startswith(begun) and name not in taken]
        if os.environ.get("_GPUBP_COMPLETE", "").startswith("bash"):  # which would take other names for several words
            names = [name for name in names if PLAIN.fullmatch(name)]
        return [CompletionItem(f"{before}{comma}{name}") for name in names]


def _table_of(ctx: click.Context) -> str:
    """The argument DATA or FILE; while an option has no value yet, click leaves all arguments where they were typed."""
    arguments = [str(p.name) for p in ctx.command.params if isinstance(p, click.Argument)]
    typed = ctx.params | dict(zip(arguments, ctx.args, strict=False))
    return str(typed.get("data") or typed.get("file") or typed.get("check") or "")


def _names(path: str, options: Mapping[str, Any]) -> list[str]:
    if is_stream(path) or (kind(path) in JSON_LINES and os.path.getsize(path) > LARGE):
        return []
    try:
        return Table(path, encoding=options.get("encoding"), header=not options.get("no_header")).columns
    except Exception:  # whatever is wrong, a shell shows nothing of it
        return []


def named_columns(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns named by words such as "town" or "town,street". known: those of the table, which may hold commas.

    >>> named_columns(["town,street", "a,b"], ["a,b"])
    ['town', 'street', 'a,b']
    """
    found: list[str] = []
    for word in words:
        found += [word] if word in known else [part.strip() for part in word.split(",")]
    return list(dict.fromkeys(found))


def open_table(
    path: str, reading: Mapping[str, Any], prepared: Preparation | None = None, model: str = "", other: bool = False
) -> Table:
    """The table `path`, read by the options of `reading_options`; prints what the user should know of it.

    prepared: what came with `model`, if the table is read for one: it knows whether there is a header. other: whether
    the options were typed for another table beside this one, so that they are left out where they do not go with it.
    """
    encoding, no_header = reading.get("encoding"), bool(reading.get("no_header"))
    if other and not _is_text(path):
        encoding = None
    if prepared is None:
        found = Table(path, encoding=encoding, header=not no_header)
        if found.values_as_names:
            note(f"{found.name}: {found.advice}")
    else:
        if no_header and prepared.header:
            raise click.UsageError(
                f"--no-header: {model} was trained on a table with a header, and finds columns by their names; write "
                f"the names into the first line of {path}"
            )
        if no_header and not has_first_line(path) and not other:
            raise click.UsageError(f"--no-header: {path} has the names of its columns in itself")
        found = Table(path, encoding=encoding, header=prepared.header or not has_first_line(path))
    for told in found.notes:
        note(told)
    return found


def check_columns(table: Table, prepared: Preparation, model: str, target: bool) -> None:
    """Print a note about columns that are not used. Raises DataError where a needed column is missing."""
    try:
        extra = prepared.check(table.columns, table.name, target)
    except DataError as problem:
        if not table.values_as_names:
            raise
        shown = ", ".join(table.columns[:6])
        raise DataError(
            f"{problem}; its first line looks like values and not like names ({shown}): write the names of the columns "
            "into a first line"
        ) from problem
    if extra:
        shown = ", ".join(extra[:6]) + (", ..." if len(extra) > 6 else "")
        note(f"{table.name} has columns that {model} does not know, which are ignored: {shown}")


def _is_text(path: str) -> bool:
    return is_stream(path) or kind(path) in TEXT

"""Which page has the table of which results, and the table itself between its markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import parity, report

__all__ = ["PAGES", "marked", "table"]

PAGES = {"cpu": "README.md", "gpu": "README.md", "parity": "README.md", "compare": "docs/comparing-backends.md"}
TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "cpu": report.markdown, "gpu": report.markdown, "parity": parity.markdown, "compare": parity.compared,
}  # fmt: skip


def table(results: Mapping[str, Any], file: str | Path = "this file") -> str:
    """The table of results in Markdown. Raises ValueError for results of a kind that has none; file: named then.

    >>> table({"kind": "scaling"})
    Traceback (most recent call last):
        ...
    ValueError: this file holds results of "scaling", and tables are of "cpu", "gpu", "parity", "compare"
    """
    kind = results.get("kind")
    if kind not in TABLES:
        kinds = ", ".join(f'"{name}"' for name in TABLES)
        raise ValueError(f'{file} holds results of "{kind}", and tables are of {kinds}')
    return TABLES[kind](results)


def marked(file: Path, page: Path) -> str:
    """A file's name as the marker of its table has it: from the page's folder, or the one above.

    >>> marked(Path("/x/benchmarks/results/gpu.json"), Path("/x/docs/page.md"))
    'benchmarks/results/gpu.json'
    """
    above = next((folder for folder in page.parents[:2] if file.is_relative_to(folder)), None)
    return file.name if above is None else file.relative_to(above).as_posix()

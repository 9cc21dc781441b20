"""Copies of the pages with tables of GPUs, on which the tests of scripts/gpu_publish.py work."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

import gpu_publish  # noqa: E402

import gpu_folder  # noqa: E402
from benchmarks import report  # noqa: E402

COPIED = ("README.md", "CHANGELOG.md", "docs/comparing-backends.md", "docs/exact.md")
STEM = f"{gpu_folder.DATE}-h000"


def copy_pages(root: Path) -> Path:
    """A copy of the pages into a folder `root`, without tables of GPUs."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        for kind, section in gpu_publish.SECTIONS.items():  # those that this checkout may have by now
            heading = section.partition("\n")[0]
            text = re.sub(rf"^{re.escape(heading)}\n.*?(?=^###? )", "", text, flags=re.M | re.S)
            assert f"benchmarks: benchmarks/results/{kind}-" not in text
        (root / name).write_text(text, encoding="utf-8")
    (root / "benchmarks" / "results").mkdir(parents=True)
    return root


def publish(root: Path, *arguments: Any) -> int:
    return gpu_publish.main([*map(str, arguments), "--into", str(root)])


def state(root: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def between(page: str, name: str) -> str:
    """The lines between the markers of a file of results."""
    begin = report.BEGIN.format(f"benchmarks/results/{name}.json")
    return page.partition(begin)[2].partition(report.END)[0]


def cells(text: str, first: str) -> list[str]:
    """The cells of a table's row."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in row.strip("|").split("|")]

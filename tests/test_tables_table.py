"""scripts/tables_table: that it runs, and that docs/tables.md holds a table of its form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "tables_table"


def test_the_page_holds_a_table_as_the_script_prints_it() -> None:
    """One split of two small tables, few epochs: the heads, the names of the tables, and the scores are numbers."""
    for package in ("sklearn", "pandas", "pyarrow", "rich"):
        pytest.importorskip(package)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    part = page.partition("<!-- table: scripts/tables_table --write -->")[2].partition("<!-- end of the table -->")[0]
    kept = [line for line in part.splitlines() if line.startswith("|")]
    assert kept[:2] == printed[:2]
    names = re.findall(r'^    "([^"]+)": (?:lambda|_\w+,$)', SCRIPT.read_text(encoding="utf-8"), re.M)
    assert [line.split("|")[1].strip() for line in kept[2:]] == names and len(names) > 8
    for line in (*kept[2:], *printed[2:]):
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        assert len(cells) == len(kept[0].strip("|").split("|")) and cells[2] in ("accuracy", "R²"), line
        assert all(re.fullmatch(r"-?\d+\.\d+", cell) for cell in cells[3:]), line
    assert "scikit-learn" in part and "seeds 100 to" in part

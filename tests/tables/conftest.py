"""The table that the tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from houses import houses


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """1,500 houses in a CSV file."""
    pytest.importorskip("pyarrow")
    return houses(tmp_path / "houses.csv")

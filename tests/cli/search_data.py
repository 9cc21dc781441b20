"""Small tables for the tests of searches, and runs of `gpubp search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from command_line import run

QUICK = ("--hidden=4", "--epochs=2", "--device=cpu")


def write_table(path: str, X: Any, y: Any) -> None:
    heads = [*"abcdefgh"[: X.shape[1]], "y"]
    lines = [",".join(heads), *(",".join(f"{v:.5f}" for v in [*row, t]) for row, t in zip(X, y, strict=True))]
    Path(path).write_text("\n".join(lines) + "\n")


def write_noise(path: str, rows: int) -> None:
    """A table whose y no column tells."""
    rng = np.random.default_rng(rows)
    write_table(path, rng.normal(size=(rows, 3)), rng.normal(size=rows))


def write_bend(path: str, rows: int) -> None:
    """A table whose y depends on a product of two columns, without noise."""
    X = np.random.default_rng(rows).normal(size=(rows, 3))
    write_table(path, X, X[:, 0] * X[:, 1] + X[:, 2])


def searched(*words: object) -> dict[str, Any]:
    """The JSON document of a search."""
    done = run(
        "search", *words, *([] if any("--device" in str(w) for w in words) else ["--device=cpu"]), "--json=s.json"
    )
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(Path("s.json").read_text())
    return told

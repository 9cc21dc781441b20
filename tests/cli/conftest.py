"""Data sets for the tests of the commands, in an empty current folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is a new one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Two classes, called 3 and 7, that a line separates, as an .npz file with a test part."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = np.where(X @ [1.0, -2.0, 0.5] > 0, 7, 3)
    path = tmp_path / "points.npz"
    np.savez(path, X=X[:150], y=y[:150], X_test=X[150:], y_test=y[150:])
    return path


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """Numbers on a plane, without a test part."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    path = tmp_path / "line.npz"
    np.savez(path, X=X, y=X @ [3.0, -1.0] + 2.0)
    return path

"""Data sets for the tests of the commands, in an empty current folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, run

import gpubp as bp


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


@pytest.fixture
def trained(points: Path) -> Path:
    """The data that points.safetensors is trained on."""
    assert run("train", points, "--epochs=5", "--hidden=8", *CPU, "--out=points.safetensors").exit_code == 0
    return points


@pytest.fixture
def houses(empty_folder: None) -> bp.Network:
    """houses.csv with columns of several kinds, and houses.safetensors, trained on it."""
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(1)
    lines = ["address;area;town;garden;built;price;heating"]
    for i in range(300):
        area, town = draw.uniform(30, 200), draw.choice(["Oslo", " Rome", "NA", "New York"])
        built = f"{draw.integers(1, 29):02}.{draw.integers(1, 13):02}.{draw.integers(1950, 2020)}"
        cells = [f"{i:03} Hill Road", f"{area:.1f}" if i % 9 else "", town, draw.choice(["yes", "no"]), built]
        lines.append(
            ";".join([*map(str, cells), f"{4 * area + draw.normal():.1f}", draw.choice(["oil", "wood", "gas"])])
        )
    Path("houses.csv").write_text("\n".join(lines) + "\n")
    words = ("--drop", "address", "--epochs=3", "--hidden=8", *CPU)
    assert run("train", "houses.csv", "--target", "price", *words).exit_code == 0
    return bp.load("houses.safetensors", device="cpu")

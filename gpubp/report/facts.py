"""Parts of a report that describe data, times and machine."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backends import Shape, as_numpy
from ..backends.cuda.backend import CUDA
from ..backends.machine import processor
from ..data.checks import as_rows
from ..data.row_groups import RowGroups
from ..network.network import Network
from ..rounding import brief, number
from . import figures
from .words import Table, seconds

Array = np.ndarray[Any, Any]
LOOKED_AT = 1 << 22  # numbers of X that a summary is made of; of more, rows spread evenly
FEATURES = 40
CLASSES = 50
LIBRARIES = ("cupy-cuda12x", "cupy-cuda13x", "numba", "scikit-learn", "pandas", "pyarrow", "matplotlib")


class Part:
    """Some or all rows of X, which may be sparse or on a device. No more is copied than what is looked at.

    >>> part = Part(np.eye(4), np.array([1, 3]))
    >>> part.shape, part.sample().tolist()
    ((2, 4), [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    """

    def __init__(self, X: Any, rows: Array | None = None) -> None:
        self.X = X.tocsr() if hasattr(X, "tocsr") else X if hasattr(X, "dtype") else as_rows(X)[0]
        self.rows, self.dtype = rows, self.X.dtype
        self.shape: Shape = (self.X.shape[0] if rows is None else len(rows), *self.X.shape[1:])

    @classmethod
    def of(cls, X: Any) -> Part:
        """A Part of X; X itself if it is a Part."""
        return X if isinstance(X, Part) else cls(X)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Array) -> Any:
        """The rows of these numbers (m,)."""
        return self.X[rows if self.rows is None else self.rows[rows]]

    def sample(self) -> Array:
        """Rows spread evenly, (m, numbers); all rows if they are few."""
        count = min(len(self), max(1, LOOKED_AT // max(1, math.prod(self.shape[1:]))))
        if isinstance(self.X, RowGroups) and self.rows is None:
            return self.X.sample(count).reshape(-1, math.prod(self.shape[1:]))
        places = np.linspace(0, len(self) - 1, count).astype(np.int64)
        chosen = self[places]
        chosen = as_numpy(chosen.toarray() if hasattr(chosen, "toarray") else chosen)
        return np.asarray(chosen).reshape(count, -1)


def parts(data: Mapping[str, tuple[Any, Any]], prepared: bool = False) -> Table:
    """A table with a line for each part of the data: rows, features, type and range. data: name -> (X, y).

    prepared: whether the features are what the columns of a table became.

    >>> parts({"test": (np.eye(2), None)}).rows
    [['test', '2', '2', 'float64', '0 to 1', '0.5000', '0.5000']]
    """
    lines, looked = [], ["features are the numbers that the columns became"] if prepared else []
    for name, (X, _) in data.items():
        X = Part.of(X)
        some = X.sample()
        if len(some) < len(X):
            looked.append(f"{name}: ranges of {len(some):,} rows spread evenly over all")
        shape = " x ".join(map(str, X.shape[1:])) or "1"
        between = f"{brief(float(some.min()))} to {brief(float(some.max()))}"
        mean, spread = (number(float(f(some, dtype=np.float64))) for f in (np.mean, np.std))
        lines.append([name, f"{len(X):,}", shape, str(X.dtype), between, mean, spread])
    heads = ["part", "rows", "features", "type", "range", "mean", "standard deviation"]
    return Table(heads, lines, frozenset(["part", "type"]), "; ".join(looked))


def features(X: Any, names: Sequence[str] = ()) -> Table | None:
    """A table with a line for each feature; None for pictures and rows of many features. names: of the features.

    >>> features(np.array([[1.0, 2.0], [3.0, 2.0]])).rows
    [['0', '1', '2', '3', '1'], ['1', '2', '2', '2', '0']]
    """
    X = Part.of(X)
    if len(X.shape) != 2 or X.shape[1] > FEATURES:
        return None
    some = X.sample().astype(np.float64)
    numbers = zip(some.min(axis=0), some.mean(axis=0), some.max(axis=0), some.std(axis=0), strict=True)
    called = names if len(names) == X.shape[1] else [str(k) for k in range(X.shape[1])]
    lines = [[name, *(brief(v) for v in line)] for name, line in zip(called, numbers, strict=True)]
    return Table(["feature", "least", "mean", "largest", "standard deviation"], lines, frozenset(["feature"]))


def columns(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """A table of columns, from a mapping of facts for each column; None without any.

    >>> columns([{"column": "age", "type": "number", "missing": 3}]).heads
    ['column', 'type', 'missing']
    """
    if not rows:
        return None
    heads = list(dict.fromkeys(str(name) for row in rows for name in row))
    lines = [[_told(row.get(name, "")) for name in heads] for row in rows]
    counted = {name for name in heads if all(isinstance(row.get(name, 0), int | float) for row in rows)}
    return Table(heads, lines, frozenset(heads) - counted)


def _told(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return brief(float(value)) if isinstance(value, float | np.floating) else str(value)


def balance(t: Any, names: Sequence[str]) -> list[tuple[str, int, float]]:
    """(class, rows, share of the largest class) of class numbers (n,) or of one 1 a row (n, classes).

    >>> balance(np.array([0, 1, 1]), ["cat", "dog"])
    [('cat', 1, 0.5), ('dog', 2, 1.0)]
    """
    t = as_numpy(t)
    counts = t.sum(axis=0).astype(int) if t.ndim == 2 and t.shape[1] > 1 else np.bincount(t.reshape(-1).astype(int))
    largest = max(1, int(counts.max()))
    named = [names[k] if k < len(names) else str(k) for k in range(len(counts))]
    return [(name, int(c), int(c) / largest) for name, c in zip(named, counts, strict=True)][:CLASSES]


def targets_drawn(t: Any, name: str = "y") -> str:
    """A histogram of the targets, which are called `name`, as SVG; an empty text if a row has several targets.

    >>> targets_drawn(np.zeros((3, 2)))
    ''
    """
    t = as_numpy(t).astype(np.float64)
    return figures.spread(t.reshape(-1), name) if t.size == len(t) and np.isfinite(t).all() else ""


def timings(spent: float | None, steps: int, rows: int, predicted: tuple[int, float]) -> list[tuple[str, str]]:
    """Times in words. spent: seconds of `steps` training steps of `rows` rows. predicted: (rows, seconds).

    >>> timings(2.0, 100, 32, (10, 0.5))[1:3]
    [('a step of 32 rows', '20 ms'), ('trained with', '1,600 rows a second')]
    """
    told = []
    if spent is not None:
        told.append(("training", f"{seconds(spent)}, validation included"))
        if steps and spent > 0:
            told.append((f"a step of {rows:,} rows", seconds(spent / steps)))
            told.append(("trained with", f"{steps * rows / spent:,.0f} rows a second"))
    count, took = predicted
    told.append((f"predicting {count:,} rows", f"{seconds(took)}, {count / max(took, 1e-9):,.0f} rows a second"))
    return told


def machine(network: Network) -> list[tuple[str, str]]:
    """Device, processor, system and versions; no name of a user or a host.

    >>> import gpubp as bp
    >>> dict(machine(bp.Network(bp.Dense(1), 2, device="cpu")))["gpubp"] == bp.__version__
    True
    """
    from .. import __version__

    backend = network.backend
    device = backend.name
    if isinstance(backend, CUDA):
        name = backend.xp.cuda.runtime.getDeviceProperties(backend.index)["name"]
        device += f", {name.decode() if isinstance(name, bytes) else name}"
    told = [
        ("device", device),
        ("processor", f"{processor()}, {cores()} usable"),
        ("system", platform.platform()),
        ("gpubp", __version__),
        ("Python", platform.python_version()),
        ("NumPy", np.__version__),
    ]
    return told + [(name, found) for name in LIBRARIES if (found := version(name))]


def cores() -> str:
    """The number of cores that this process may use, as "2 cores"."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return f"{usable} core{'s' * (usable > 1)}"


def version(name: str) -> str:
    """The version of an installed package, "" if it is not installed.

    >>> version("numpy") == np.__version__, version("no-such-package")
    (True, '')
    """
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""

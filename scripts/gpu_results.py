"""Shared code of scripts/gpu_check.sh: lines of results, the arguments of a stage, and the device.

A result is one line of JSON in FOLDER/results.jsonl. It is written at once, so that an interrupted stage loses nothing:

    {"stage": "smoke", "name": "A float32", "ok": true, "microseconds": 61.5, ...}

In a dry run, on the stand-in for a GPU, each line has "dry": true.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GRACE = 4.0  # seconds that a stage gets to put things in order, after it was told to end
UNITS = {False: "µs", True: "stand-in µs"}
PLAN = "check"  # the stage of the line that a run begins with


class Results:
    """A file of results, as one stage writes it."""

    def __init__(self, file: Path, stage: str, dry: bool = False) -> None:
        self.file, self.stage, self.dry = file, stage, dry

    def add(self, name: str, **values: Any) -> None:
        """Append a line by one write, so that lines of several processes don't mix."""
        line = {"stage": self.stage, "name": name} | ({"dry": True} if self.dry else {}) | values
        text = json.dumps(_plain(line), default=str) + "\n"
        if self.file.exists() and not _ends_well(self.file):
            text = "\n" + text  # somebody was cut off
        with open(self.file, "ab", buffering=0) as out:
            out.write(text.encode())

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Any]]:
        """A part of a stage, whose problem is a result and ends no other. Gives its line's values, to be filled."""
        values: dict[str, Any] = {"ok": True}
        start = time.monotonic()
        try:
            yield values
        except Exception as problem:
            values |= {"ok": False, "problem": f"{type(problem).__name__}: {problem}"[:600]}
            import traceback

            traceback.print_exc()
        if values.get("ok", True):
            values.pop("problem", None)
        self.add(name, **values, took=round(time.monotonic() - start, 2))


def _plain(value: Any) -> Any:
    """A value with plain Python numbers, for JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _ends_well(file: Path) -> bool:
    with open(file, "rb") as read:
        if not read.seek(0, os.SEEK_END):
            return True
        read.seek(-1, os.SEEK_END)
        return read.read(1) == b"\n"


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of the last run in a file; incomplete lines are left out, and a missing file has none."""
    return runs(file)[-1]


def runs(file: Path) -> list[list[dict[str, Any]]]:
    """The lines of every run in a file, a list for each, of which there is at least one."""
    found: list[list[dict[str, Any]]] = [[]]
    try:
        text = file.read_bytes().decode(errors="replace")
    except OSError:
        return found
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("stage"), str) and isinstance(value.get("name"), str):
            if (value["stage"], value["name"]) == (PLAN, "plan") and found[-1]:
                found.append([])
            found[-1].append(value)
    return found


class Stage:
    """What a stage's script was asked for. results: where lines go. logs: a folder for longer output. dry: on the
    stand-in. limit: seconds for all of it."""

    def __init__(self, name: str, arguments: list[str] | None = None) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("results", type=Path)
        parser.add_argument("logs", type=Path)
        parser.add_argument("--limit", type=float, default=120.0)
        parser.add_argument("--name", default=name, help="of the stage, where a script has several")
        parser.add_argument("--share", default="", help="K/N: the K-th of N equal parts of the work")
        parser.add_argument("--dry", action="store_true")
        asked = parser.parse_args(arguments)
        self.name, self.logs, self.dry, self.share = asked.name, asked.logs, asked.dry, asked.share
        self.limit = asked.limit
        self.results = Results(asked.results, asked.name, asked.dry)
        self.us = UNITS[asked.dry]
        self.end = time.monotonic() + asked.limit
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        if asked.dry:
            sys.path.insert(0, str(ROOT / "tests"))  # where the stand-in lies

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.end - time.monotonic()

    def cupy(self) -> Any:
        """The CuPy module, or in a dry run the stand-in for it."""
        if self.dry:
            from strict import strict_cupy

            return strict_cupy()
        from gpubp.backends.cuda.driver import find_cupy

        return find_cupy()

    def products(self) -> Any:
        """The class that multiplies matrices: cublasLt, or in a dry run its stand-in."""
        if self.dry:
            from strict import StrictProducts

            return StrictProducts
        from gpubp.backends.cuda.cublaslt import CublasLt

        return CublasLt

    def backend(self, precision: str = "float32", products: Any = None) -> Any:
        """A new CUDA backend."""
        from gpubp.backends.cuda.backend import CUDA

        return CUDA(self.cupy(), 0, precision, products=products or self.products())

"""Clocks, power and temperature of the GPU while others measure."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import Any

from gpu_results import Stage, read


@contextmanager
def clocks(stage: Stage) -> Iterator[None]:
    """Note clocks, power and temperature of the GPU meanwhile; then say what they were in each part's turn."""
    asked = "clocks.sm,clocks.mem,power.draw,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits", "-lms", "100", "-i", "0"]
    found: list[tuple[float, list[str]]] = []
    process = None
    with suppress(OSError):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=listen, args=(process.stdout, found), daemon=True).start()
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()
        for line in read(stage.results.file):
            if line["stage"] == stage.name and line["name"].endswith(" turn"):
                during = [values for at, values in found if line["begun"] <= at <= line["ended"]]
                stage.results.add(f"{line['name'].removesuffix(' turn')} clocks", **in_short(during, asked.split(",")))


def listen(lines: Any, found: list[tuple[float, list[str]]]) -> None:
    """Append what nvidia-smi says, with the time of day."""
    for line in lines:
        found.append((time.time(), line.strip().split(", ")))


def in_short(samples: list[list[str]], names: list[str]) -> dict[str, Any]:
    """First, lowest, median, highest and last of each number.

    >>> in_short([["1980", "[N/A]"], ["1755", "[N/A]"], ["1980", "[N/A]"]], ["clocks.sm", "power.draw"])
    {'clocks.sm': [1980.0, 1755.0, 1980.0, 1980.0, 1980.0], 'samples': 3}
    """
    made: dict[str, Any] = {}
    for name, column in zip(names, zip(*samples, strict=False), strict=False):
        with suppress(ValueError):
            numbers = [float(value) for value in column]
            made[name] = [numbers[0], min(numbers), median(numbers), max(numbers), numbers[-1]]
    return made | {"samples": len(samples)}

"""The numbers of the tables, from measured times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

__all__ = ["floor_seconds", "ratio", "spread", "summary"]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    return {"median": median(seconds), "min": min(seconds), "max": max(seconds)}


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """How many times as fast `of` is as `to`: the median over rounds, in which both ran under the same conditions.

    >>> ratio([1.0, 2.0, 1.0], [2.0, 4.0, 3.0])
    2.0
    """
    return median(b / a for a, b in zip(of, to, strict=False))


def floor_seconds(flops: float, size: float, floor: Mapping[str, float]) -> float:
    """What a step takes at least: its products at the measured rate, or what its update moves at the measured
    bandwidth, whichever is longer.

    >>> floor_seconds(2e9, 1e6, {"gflops": 200.0, "gbytes": 20.0})
    0.01
    """
    return max(flops / floor["gflops"] / 1e9, size / floor["gbytes"] / 1e9)


def summary(found: Mapping[str, Any], floor: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """For each contender of a workload: spread, steps a second, ratio to torch eager and to the best other that is not
    gpubp, share of the floor; what can't be known is None."""
    times = {name: c["seconds"] for name, c in found["contenders"].items()}
    middle = {name: median(seconds) for name, seconds in times.items()}
    least = floor_seconds(found["flops"], found["bytes"], floor) if floor else None
    if found.get("products"):  # its own matrix products were timed
        least = median(found["products"])
    rows = {}
    for name, seconds in times.items():
        others = {n: m for n, m in middle.items() if n != name and n.partition("-")[0] != "gpubp"}
        best = min(others, key=lambda n: others[n]) if others else None
        rows[name] = spread(seconds) | {
            "rate": 1.0 / middle[name],
            "to_torch": ratio(seconds, times["torch"]) if "torch" in times else None,
            "to_best": ratio(seconds, times[best]) if best else None,
            "best": best,
            "share": least / middle[name] if least else None,
            "memory": found["contenders"][name].get("memory"),
        }
    return rows

"""Tables of what was compared between CPU and GPU: results of the kinds "parity" and "compare" as Markdown.

Results of the kind "parity" have for each case of the tests the distances of CPU and GPU from float64, what must be
equal to the bit, what was trained, and the tests that ran on the GPU. Those of "compare" have what `gpubp compare
--backends cpu,cuda` printed, network by network. `scripts/gpu_publish.py` writes both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from .report import described, first_words, row

__all__ = ["compared", "markdown"]

HEADS = [
    "distance from float64",
    "cases",
    "faults",
    "CPU, median",
    "GPU, median",
    "GPU, largest",
    "CPU there",
    "in the case",
]


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of CPU and GPU for the README, with what failed, what is missing, and the machine."""
    lines = [row(HEADS), row(["---", *["---:"] * 6, "---"])]
    lines += [row(_group(name, group)) for name, group in results["groups"].items()]
    lines += ["", row(["what was tried on the GPU", "result"]), row(["---", "---"])]
    lines += [row([check["what"], _result(check)]) for check in results["checks"]]
    if results["failures"]:
        lines += ["", "**Failed:**", ""]
        lines += [f"* {one['stage']}, {one['name']}: {first_words(one['problem'])}" for one in results["failures"]]
    if results["missing"]:
        lines += ["", f"Missing (–): {'; '.join(map(first_words, results['missing']))}."]
    return "\n".join([*lines, "", f"Compared on {described(results['machine'])}."])


def _group(name: str, group: Mapping[str, Any]) -> list[str]:
    """The row of networks, layers, losses or optimizers."""
    found = group["cases"]
    done, planned = len(found), group["planned"]
    count = f"{done}" if done >= planned else f"{done or '–'} of {planned}"
    if not found:
        return [name, count, *["–"] * 6]
    faults = sum(not case["ok"] for case in found.values())
    measured = {case: one for case, one in found.items() if "gpu" in one}
    if not measured:
        return [name, count, f"**{faults}**", *["–"] * 5]
    worst = max(measured, key=lambda case: float(measured[case]["gpu"]))
    middle = [_distance(median(float(one[side]) for one in measured.values())) for side in ("cpu", "gpu")]
    there = measured[worst]
    where = f"{worst}: {there['what']} of {_layer(there['layer'])}" if there["what"] else "–"
    return [
        name, count, f"**{faults}**" if faults else "0", *middle, _distance(there["gpu"]), _distance(there["cpu"]),
        first_words(where),
    ]  # fmt: skip


def _layer(name: str) -> str:
    """
    >>> _layer("4"), _layer("the layer")
    ('layer 4', 'the layer')
    """
    return name if " " in name else f"layer {name}"


def _distance(value: Any) -> str:
    """
    >>> _distance(2.345e-7), _distance(0.0), _distance("inf")
    ('2.3e-07', '0', 'inf')
    """
    number = float(value)
    return f"{number:.1e}" if 0 < number < float("inf") else f"{number:g}"


def _result(check: Mapping[str, Any]) -> str:
    if check["ok"] is None:
        return "–"
    said = first_words(check["shown"]) if check["shown"] else "ok"
    return said if check["ok"] else f"**failed:** {said}"


def compared(results: Mapping[str, Any]) -> str:
    """What `gpubp compare` printed, as blocks of a page, with the machine."""
    return "\n\n".join([*_blocks(results), f"Compared on {described(results['machine'])}."])


def _blocks(results: Mapping[str, Any]) -> Iterator[str]:
    for name, one in results["networks"].items():
        yield f"{name}{'' if one['ok'] else ', **with faults**'}:"
        yield "\n".join(f"    {line}".rstrip() for line in one["text"].strip("\n").splitlines())

"""Print the table of scripts/gpu_check.sh from a complete or partial file of results: gpu_table.py FOLDER

The exit code is 0 if every stage of the last run passed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from gpu_results import PLAN, UNITS, read

Line = dict[str, Any]
Row = tuple[str, str, str, str]
WIDTH = 150  # characters of what a row shows, at most
MOST_FAILURES = 12  # whose first lines are shown
MOST_ROWS = 60
FEW = 8  # failures of one stage that have a row of their own
WELL = ("ok", "left out")


def of(found: list[Line], stage: str) -> list[Line]:
    """The lines of a stage but those of its beginning and end."""
    return [line for line in found if line["stage"] == stage and line["name"] not in ("begin", "end")]


def names(found: list[Line]) -> list[str]:
    """The stages that were planned; those that have lines, where no plan is there."""
    planned = next((line.get("stages", []) for line in found if line["stage"] == PLAN), [])
    return list(dict.fromkeys([*planned, *(line["stage"] for line in found if line["stage"] != PLAN)]))


def ending(found: list[Line], stage: str) -> Line:
    """How a stage ended, by the runner, or by its lines if the runner was interrupted."""
    lines = [line for line in found if line["stage"] == stage]
    end = next((line for line in reversed(lines) if line["name"] == "end"), None)
    return end or {"went": "cut off" if lines else "not begun"}


def failed(line: Line) -> bool:
    """Whether a line is a failure."""
    return line.get("ok") is False or line.get("outcome") == "failed"


def code(found: list[Line]) -> int:
    """The exit code: 0 if all went well."""
    stages = names(found)
    if not stages:
        return 1
    for stage in stages:
        end = ending(found, stage)
        late = end["went"] == "left out" and "time" in str(end.get("why", ""))
        if end["went"] not in WELL or late or any(map(failed, of(found, stage))):
            return 1
    return 0


def tests(lines: list[Line]) -> str:
    """How many tests passed."""
    count = Counter(line["outcome"] for line in lines if "outcome" in line)
    if not count:
        collected = [line for line in lines if line["name"] == "collected"]
        return f"{collected[-1]['tests']} tests collected, none run" if collected else "no result"
    return ", ".join(f"{count[kind]} {kind}" for kind in ("passed", "failed", "skipped"))


def parity(lines: list[Line]) -> str:
    """How many cases were compared, and where the GPU is furthest from float64."""
    compared = [line for line in lines if "worst" in line]
    if not compared:
        return "no result"
    worst = max(compared, key=lambda line: float(line["worst"]["other"]))
    there = f"{worst['name']} {worst['worst']['layer']} {worst['worst']['what']}"
    distances = f"{worst['worst']['other']:.0e}, the CPU {worst['worst']['first']:.0e}"
    bad = sum(map(failed, compared))
    return f"{len(compared)} cases, {bad} with faults; furthest from float64: {distances} ({there})"


def benchmarks(lines: list[Line]) -> Iterator[tuple[str, str]]:
    """(workload, what its contenders took) from the lines of single turns."""
    turns: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if "seconds" in line and "contender" in line:
            turns.setdefault(line["name"], {}).setdefault(line["contender"], []).append(float(line["seconds"]))
    lost = {(line["name"], line["contender"]) for line in lines if "without" in line}
    for workload in dict.fromkeys(line["name"] for line in lines if "contender" in line):
        taken = {who: median(s) for who, s in turns.get(workload, {}).items() if (workload, who) not in lost}
        shown = [f"{who} {seconds * 1e6:.4g}" for who, seconds in sorted(taken.items(), key=lambda item: item[1])]
        without = [who for name, who in sorted(lost) if name == workload]
        peers = {who: seconds for who, seconds in taken.items() if who not in ("gpubp", "products")}
        if peers and "gpubp" in taken:
            best = min(peers, key=lambda who: peers[who])
            shown.append(f"so gpubp is {peers[best] / taken['gpubp']:.2f} times as fast as {best}")
        us = UNITS[any(line.get("dry") for line in lines)]
        said = f"{us} a step: {', '.join(shown)}" if shown else "no result"
        yield workload, said + (f"; without {', '.join(without)}" if without else "")


def rows(found: list[Line]) -> Iterator[Row]:
    """(stage or part, how it went, seconds, what it showed)"""
    for stage in names(found):
        lines, end = of(found, stage), ending(found, stage)
        bad = [line for line in lines if failed(line)]
        went = "ok" if end["went"] == "ok" and not bad else "FAILED" if end["went"] in ("ok", "failed") else end["went"]
        shown = str(end.get("why", ""))
        if stage.startswith("tests") and end["went"] not in ("left out", "not begun"):
            shown = tests(lines)
        elif stage == "parity" and lines:
            shown = parity(lines)
        elif summary := [line["summary"] for line in lines if "summary" in line]:
            shown = str(summary[-1])
        elif not lines and end["went"] not in ("left out", "not begun"):
            shown = "no result"
        yield stage, went if went in WELL else went.upper(), f"{end.get('seconds', 0):.0f}", shown
        for line in lines:
            if line in bad[:FEW]:
                said = str(line.get("shown") or line.get("problem", "")).partition("\n")[0]
                yield f"  {line['name']}", "FAILED", "", said
            elif "shown" in line and line not in bad:
                yield f"  {line['name']}", "ok" if "ok" in line else "", "", str(line["shown"])
        if len(bad) > FEW:
            yield f"  and {len(bad) - FEW} more", "FAILED", "", ""
        for workload, said in benchmarks(lines):
            yield f"  {workload}", "", "", said


def table(found: list[Line]) -> list[str]:
    """The lines of the table."""
    if not found:
        return ["no results"]
    dry = any(line.get("dry") for line in found)
    lines: list[Row] = [("stage", "", "s", "")]
    made = list(rows(found))
    if len(made) > MOST_ROWS:
        made = [*made[:MOST_ROWS], (f"and {len(made) - MOST_ROWS} more rows", "", "", "")]
    for name, went, seconds, shown in made:
        said = shown if len(shown) <= WIDTH else shown[: WIDTH - 4] + " ..."
        lines.append(
            (name if len(name) <= 44 else name[:41] + "...", f"dry {went}".strip() if dry else went, seconds, said)
        )
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    head = ["DRY RUN on the stand-in for a GPU: no figure below is a GPU's"] if dry else []
    return head + [
        f"{name.ljust(widths[0])}  {went.ljust(widths[1])}  {seconds.rjust(widths[2])}  {shown}".rstrip()
        for name, went, seconds, shown in lines
    ]


def details(found: list[Line]) -> list[str]:
    """The text below the table: failures first, then the details that stages have written."""
    lines = []
    bad = [line for line in found if failed(line)]
    for line in bad[:MOST_FAILURES]:
        problem = str(line.get("problem") or line.get("shown") or "failed").splitlines()
        lines.append(f"-- {line['stage']}, {line['name'][:80]}")
        lines += [f"   {text[:160]}" for text in problem[:3]]
    if len(bad) > MOST_FAILURES:
        lines.append(f"-- and {len(bad) - MOST_FAILURES} more failures")
    for line in found:
        if line.get("detail"):
            lines.append(f"-- {'dry, ' if line.get('dry') else ''}{line['stage']}, {line['name']}")
            lines += [f"   {str(text)[:200]}" for text in line["detail"]]
    return lines


def main(folder: Path) -> int:
    """Print the table; 0 if all went well."""
    found = read(folder / "results.jsonl")
    print("\n".join(table(found)))
    return code(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Gather what scripts/gpu_check.sh left in one or more folders, and refuse what is no measurement of one machine."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gpu_table
from gpu_results import PLAN, runs

Line = dict[str, Any]
PROFILE = "profile"  # a stage whose results are for developers
NOT_TRIED = ("left out", "not begun")


class Refused(Exception):
    """These folders can't be published; the message says why."""


class Part(NamedTuple):
    """A stage of one run. lines: its results. end: the line of its end. folder: where it ran, on this date."""

    lines: list[Line]
    end: Line
    folder: Path
    date: str


class Collected(NamedTuple):
    """All stages by name, each as it ran last, and what the folders say of the machine."""

    parts: dict[str, Part]
    facts: dict[str, str]

    def lines(self, stage: str) -> list[Line]:
        """The results of a stage, none if it did not run."""
        return self.parts[stage].lines if stage in self.parts else []

    def logs(self, stage: str, start: str) -> dict[str, str]:
        """Name -> text of the logs whose names begin so, from the folder in which a stage ran."""
        if stage not in self.parts or self.parts[stage].end["went"] in NOT_TRIED:
            return {}
        return {name: text for name, text in logs_of(self.parts[stage].folder).items() if name.startswith(start)}

    def machine_line(self) -> Line:
        """The line in which the GPU, its driver and its libraries were recorded."""
        return next((line for line in self.lines("machine") if line["name"] == "found"), {})


def logs_of(folder: Path) -> dict[str, str]:
    """Name -> text of all logs of a folder; none where they are missing or damaged."""
    found = {}
    try:
        with tarfile.open(folder / "logs.tar.gz") as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    found[Path(member.name).name] = file.read().decode(errors="replace")
    except (OSError, EOFError, tarfile.TarError, zlib.error):
        pass
    return found


def document(text: str) -> dict[str, Any]:
    """The JSON document in a log, {} if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def collect(folders: Sequence[Path]) -> Collected:
    """Gather the stages of all folders. A stage that ran in several is that of the last one. Raises Refused for a
    folder without results, a dry run, and folders of different machines."""
    parts: dict[str, Part] = {}
    facts: dict[str, dict[str, Path]] = {}
    for folder in folders:
        made = [run for run in runs(folder / "results.jsonl") if any(line["stage"] != PLAN for line in run)]
        if not made:
            raise Refused(f"{folder} has no results: scripts/gpu_check.sh would have left results.jsonl in it")
        if any(line.get("dry") for run in made for line in run):
            raise Refused(f"{folder} is of a dry run, and a dry run on the stand-in is no measurement")
        for run in made:
            plan = next((line for line in run if line["stage"] == PLAN), {})
            for stage in gpu_table.names(run):
                end = gpu_table.ending(run, stage)
                if stage not in parts or end["went"] not in NOT_TRIED:
                    parts[stage] = Part(gpu_table.of(run, stage), end, folder, str(plan.get("date", "")))
            for name, value in facts_of(run, folder):
                facts.setdefault(name, {}).setdefault(value, folder)
    for name, values in facts.items():
        if len(values) > 1:
            said = ", ".join(f"{value} in {folder}" for value, folder in values.items())
            raise Refused(f"these folders are of different machines: {name} {said}")
    return Collected(parts, {name: next(iter(values)) for name, values in facts.items()})


def facts_of(run: list[Line], folder: Path) -> Iterator[tuple[str, str]]:
    """(name, value) of what must be the same in all folders, as a run and its benchmarks tell it."""
    for line in run:
        if line["stage"] == PLAN and line.get("gpu"):
            yield from by_nvidia_smi(str(line["gpu"]))
        if (line["stage"], line["name"]) == ("machine", "found") and "gpu" in line:
            yield "GPU by CUDA", str(line["gpu"])
            told = str(line.get("nvidia-smi", ""))
            if "," in told:
                yield "driver", told.rpartition(",")[2].strip()
            for name in ("python", "numpy", "torch", "jax", "numba"):
                if line.get(name, "missing") != "missing":
                    yield name, str(line[name])
    if any(line["stage"] == "benchmarks" for line in run):
        machine = document(logs_of(folder).get("benchmarks.json", "")).get("machine", {})
        if machine.get("gpu"):
            yield from by_nvidia_smi(str(machine["gpu"]))
        versions = machine.get("versions", {}) | ({"python": machine["python"]} if "python" in machine else {})
        for name in ("python", "numpy", "torch", "jax", "numba"):
            if name in versions:
                yield name, str(versions[name])


def by_nvidia_smi(told: str) -> Iterator[tuple[str, str]]:
    """
    >>> dict(by_nvidia_smi("NVIDIA H200, 580.65.06"))
    {'GPU': 'NVIDIA H200', 'driver': '580.65.06'}
    """
    name, comma, driver = told.rpartition(",")
    yield "GPU", (name if comma else told).strip()
    if comma:
        yield "driver", driver.strip()


def failures(found: Collected) -> list[dict[str, str]]:
    """What failed: lines of results, and stages that ended with an error and have no such line. A profile is no check:
    its experiments may fail."""
    failed = []
    for stage, part in ((stage, part) for stage, part in found.parts.items() if stage != PROFILE):
        bad = [line for line in part.lines if gpu_table.failed(line)]
        for line in bad:
            problem = str(line.get("problem") or line.get("shown") or "it failed")
            failed.append({"stage": stage, "name": str(line["name"]), "problem": problem})
        if part.end["went"] == "failed" and not bad:
            problem = f"it ended with exit code {part.end.get('code')}"
            failed.append({"stage": stage, "name": "the whole stage", "problem": problem})
    return failed


def why_missing(found: Collected, stage: str) -> str:
    """Why a stage has no results, or not all of them; "" if it ran to its end.

    >>> why_missing(Collected({}, {}), "parity")
    'parity was not run'
    """
    if stage not in found.parts:
        return f"{stage} was not run"
    end = found.parts[stage].end
    match end["went"]:
        case "ok" | "failed":
            return ""
        case "left out":
            return f"{stage} was left out: {end.get('why', 'no reason was given')}"
        case "not begun":
            return f"{stage} was not begun, the run ended before it"
        case "timed out":
            return f"{stage} timed out after {float(end.get('seconds', 0)):.0f} s"
    return f"{stage} was interrupted"

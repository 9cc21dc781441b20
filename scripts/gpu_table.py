"""The short table of scripts/gpu_check.sh: gpu_table.py FOLDER; exits with 0 if every part of the check went well."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """What a JSON file holds, None if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def tests(path: Path) -> str:
    """What a JUnit file tells: how many passed, and the first that failed."""
    try:
        suite = next(ElementTree.parse(path).iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return "no result"
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = [case.get("name") for case in suite.iter("testcase") if any(c.tag in ("failure", "error") for c in case)]
    said = f"{count['tests'] - count['failures'] - count['errors'] - count['skipped']} passed"
    said += f", {len(failed)} failed, {count['skipped']} skipped"
    return said + (f": {', '.join(map(str, failed[:5]))}" if failed else "")


def parity(found: Any) -> str:
    """A comparison in a line."""
    other = found["others"][0]
    worst = max((d[1] for layer in other["layers"] for d in layer["outputs"]), default=0.0)
    times = ", ".join(f"{name} {seconds * 1e6:.0f} µs" for name, seconds in found["seconds"].items())
    return f"outputs {worst:.1e} apart at most; a step takes {times}"


def rows(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """(part, whether it went well, seconds, what it showed)"""
    for line in (folder / "parts.txt").read_text(encoding="utf-8").splitlines():
        name, code, seconds = line.split()
        went = {"0": "ok", "124": "TIMED OUT"}.get(code, f"FAILED ({code})")
        shown = ""
        if name == "machine" and (machine := read(folder / "machine.json")):
            shown = f"{machine['gpu']}, CuPy {machine['cupy']}, cublasLt {machine['cublasLt']}"
        elif name == "tests":
            shown = tests(folder / "tests.xml")
        elif name == "parity" and not any(folder.glob("parity-*.json")):
            shown = "no result"
        elif name == "benchmarks":
            shown = "see benchmarks.log"
        yield name, went, seconds, shown
        if name == "parity":
            for path in sorted(folder.glob("parity-*.json")):
                if found := read(path):
                    yield f"  {path.stem.removeprefix('parity-')}", "ok" if found["ok"] else "FAULT", "", parity(found)


def main(folder: Path) -> int:
    """Print the table; 0 if every part went well."""
    lines = [("part", "", "s", ""), *rows(folder)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    for name, went, seconds, shown in lines:
        print(f"{name.ljust(widths[0])}  {went.ljust(widths[1])}  {seconds.rjust(widths[2])}  {shown}".rstrip())
    return 0 if all(went == "ok" for _, went, _, _ in lines[1:]) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""scripts/gpu_racecheck.py with a program in the sanitizer's place (see test_gpu_check.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_racecheck.py"
CLEAN = "echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)'"
DIRTY = (
    "echo '========= Error: Race reported between Write access at dot+0x1 and Read access at dot+0x2 [8 hazards]'; "
    "echo '========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)'"
)


def checked(folder: Path, does: str) -> dict[str, object]:
    """The line that the stage leaves where compute-sanitizer does this."""
    fake = folder / "compute-sanitizer"
    fake.write_text(f"#!/bin/sh\n{does}\n")
    fake.chmod(0o755)
    paths = {"PATH": os.pathsep.join((str(folder), os.environ["PATH"])), "PYTHONPATH": str(SCRIPT.parents[1])}
    call = [sys.executable, SCRIPT, folder / "results.jsonl", folder, "--limit", "6"]
    subprocess.run(call, check=True, capture_output=True, env=os.environ | paths)
    (line,) = [json.loads(text) for text in (folder / "results.jsonl").read_text().splitlines()]
    return line


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
@pytest.mark.parametrize(("does", "ok"), [(CLEAN, True), (DIRTY, False), ("exit 3", False)])
def test_what_the_sanitizer_says(does: str, ok: bool, tmp_path: Path) -> None:
    line = checked(tmp_path, does)
    assert line["ok"] is ok and line["hazards"] == (does == DIRTY)
    assert ("Race reported" in str(line.get("problem"))) == (does == DIRTY)


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_a_sanitizer_that_takes_too_long_is_not_waited_for(tmp_path: Path) -> None:
    """Its child holds its output open, and does not end with it."""
    before = time.monotonic()
    line = checked(tmp_path, "echo so far; sleep 60; echo done")
    assert time.monotonic() - before < 50
    assert line["ok"] is False and "did not end in time" in str(line["summary"])

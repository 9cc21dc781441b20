"""scripts/gpu_check.sh: what it says without a GPU, and its table, from results of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpubp as bp
from gpubp.backends.driver import why_not

SCRIPTS = Path(__file__).parents[1] / "scripts"


def table(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / "gpu_table.py", folder], capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
def test_without_a_gpu_it_ends_with_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", SCRIPTS / "gpu_check.sh", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 1 and not done.stderr
    assert "nothing was checked, because no GPU can be used" in done.stdout


def test_the_table_of_a_check(tmp_path: Path) -> None:
    X = [[float(i), 1.0] for i in range(8)]
    found = bp.compare_backends(
        bp.Dense(1), X, [0.0] * 8, loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"), steps=2
    )
    (tmp_path / "parity-mlp-float32.json").write_text(json.dumps(found.to_dict()))
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite tests="4" failures="1" errors="0" skipped="1">'
        '<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><skipped/></testcase>'
        '<testcase name="d"/></testsuite></testsuites>'
    )
    (tmp_path / "parts.txt").write_text("tests 1 12\nparity 0 3\nbenchmarks 124 60\n")
    done = table(tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and not done.stderr
    assert "FAILED (1)" in lines[1] and "2 passed, 1 failed, 1 skipped: b" in lines[1]
    assert lines[3].startswith("  mlp-float32") and "outputs" in lines[3] and "TIMED OUT" in lines[4]
    (tmp_path / "parts.txt").write_text("parity 0 3\n")
    assert table(tmp_path).returncode == 0
    (tmp_path / "parity-mlp-float32.json").unlink()
    assert "no result" in table(tmp_path).stdout

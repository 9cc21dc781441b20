"""Benchmarks of several processes: what they measure, and that gpubp takes the numbers that they print."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpubp.analysis.links import Link

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "messages.py"


def started(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=400
    )


def mpiexec() -> str:
    """Where it is; without it, or without mpi4py, the test is skipped."""
    pytest.importorskip("mpi4py")
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_processes_measure_and_the_first_prints(count: int) -> None:
    done = started(mpiexec(), "-n", str(count))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{count} processes on 1 machine\n")
    rows = re.findall(r"^ *(\d+) (B|KiB) +([\d,.]+) µs +[\d.]+ +([\d,.]+) µs +[\d.]+$", done.stdout, re.M)
    assert [f"{size} {unit}" for size, unit, *_ in rows] == "1 B,4 B,16 B,64 B,256 B,1 KiB,4 KiB".split(",")
    assert all(float(spent.replace(",", "")) > 0 for row in rows for spent in row[2:])
    last = re.search(rf"^gpubp profile DATA --processes {count} --bandwidth (\S+) --latency (\S+)$", done.stdout, re.M)
    assert last is not None, done.stdout
    link = Link.of(*last.groups())
    assert link.bandwidth >= 1000 and link.latency > 0


def test_one_process_is_told_what_to_type() -> None:
    pytest.importorskip("mpi4py")
    done = started()
    assert done.returncode == 2 and "mpiexec -n 2 python benchmarks/messages.py" in done.stderr


def test_steps_of_two_processes_are_predicted_and_measured() -> None:
    mpiexec()
    command = [sys.executable, "-m", "benchmarks.several", "--workloads", "mlp-128", "--rounds", "1", "--epochs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^mlp-128((?: +[\d.]+ ms){4}) +([\d.]+)   [\d.]+ GB/s, [\d.]+ µs$", done.stdout, re.M)
    assert found is not None, done.stdout
    _, predicted, sending, measured = (float(number) for number in re.findall(r"[\d.]+", found[1]))
    assert 0 < sending < predicted and float(found[2]) == pytest.approx(predicted / measured, abs=0.02)

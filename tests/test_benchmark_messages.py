"""benchmarks/messages.py: what it measures, and that gpubp takes the numbers that it prints."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpubp.analysis.links import Link

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "messages.py"


def started(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("count", [2, 3])
def test_processes_measure_and_the_first_prints(count: int) -> None:
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    done = started(mpiexec, "-n", str(count))
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

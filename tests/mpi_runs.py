"""Programs of several processes by mpiexec, with a time limit: one that hangs fails the test, and nothing is left."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
_beside = Path(sys.executable).parent / "mpiexec"  # of this environment
MPIEXEC = str(_beside) if _beside.exists() else shutil.which("mpiexec")

needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or MPIEXEC is None, reason="mpi4py or mpiexec is not installed"
)
_numbers = itertools.count()  # of runs


class Ended(NamedTuple):
    """How a run ended: its exit code, and what it printed."""

    code: int
    output: str
    errors: str


def environment(**more: str) -> dict[str, str]:
    """That of this process, with this gpubp, one thread for each process, and without a launcher's variables."""
    others = ("PMI", "OMPI_", "MPI_", "GPUBP_PROCESS", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "processes")])
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **one, "PYTHONPATH": path, **more}


class Run:
    """`mpiexec -n count python arguments`, in a session of its own. more: environment variables."""

    def __init__(self, count: int, *arguments: Any, **more: str) -> None:
        self.mark = f"{os.getpid()}-{next(_numbers)}"
        self.process = subprocess.Popen(
            [MPIEXEC, "-n", str(count), sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(GPUBP_TEST_RUN=self.mark, **more),
            start_new_session=True,
        )

    def left(self) -> list[int]:
        """The processes of the run that are there, by a mark in their environment; [] where the system has no /proc."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"GPUBP_TEST_RUN={self.mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended
                pass
        return found

    def kill(self) -> None:
        for pid in {self.process.pid, *self.left()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def end(self, seconds: float = 300.0) -> Ended:
        """Wait for its end. AssertionError if it is not done after so many seconds, or leaves processes."""
        try:
            output, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            output, errors = self.process.communicate()
            raise AssertionError(f"not done after {seconds:g} s:\n{output}\n{errors}") from None
        for _ in range(1200):  # one that was killed may need a moment
            left = self.left()
            if not left:
                break
            time.sleep(0.05)
        self.kill()
        assert not left, f"processes were left: {left}\n{output}\n{errors}"
        return Ended(self.process.returncode, output, errors)


def run(count: int, *arguments: Any, seconds: float = 300.0, **more: str) -> Ended:
    """Run it to its end."""
    return Run(count, *arguments, **more).end(seconds)

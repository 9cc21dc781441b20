"""What one process does otherwise than the others ends all, soon and with words; what all of them may do, they may."""

import re
from pathlib import Path

import faults_program
import pytest

import mpi_runs

PROGRAM = Path(faults_program.__file__)
pytestmark = mpi_runs.needs_mpi


def ended(what: str, folder: Path, size: int = 2, limit: float = 3.0) -> mpi_runs.Ended:
    return mpi_runs.run(size, PROGRAM, what, folder, seconds=300.0, GPUBP_PROCESSES_TIMEOUT=str(limit))


@pytest.mark.parametrize(
    ("what", "size", "message"),
    [
        ("a step of one", 2, "process 0 is at .* of step 3 in a callback, but process 1 of 2 .* of step 3:"),
        ("a checkpoint of one", 2, "process 0 is at .* of a checkpoint at step 2, but process 1 of 2 .* of step 3:"),
        ("a checkpoint of one after the fit", 2, "process 1 of 2 .* ended before .* of a checkpoint at step 16, where"),
        ("a trainer of one, and the others import MPI", 2, r"has waited \d+ s for the others to begin to train"),
        ("more numbers of one", 2, r"process 0 has numbers of .* <f8\(300,\), and process 1 .*<f8\(3,\):|more numbers"),
        ("another type of one", 2, r"process 0 has numbers of .* <i4\(4,\), and process 1 .* <f4\(4,\): all"),
        ("halves, one raises", 4, "ZeroDivisionError: division by zero"),
        ("an exit code of one", 2, "process 1 of 2 .* ended before the exchange of sums of step 3, where"),
    ],
)  # fmt: skip
def test_what_one_does_ends_all(what: str, size: int, message: str, tmp_path: Path) -> None:
    run = ended(what, tmp_path, size, limit=20.0 if "MPI" not in what else 3.0)
    assert run.code == 1, run
    assert len(re.findall(message, run.errors)) == 1 and run.errors.count("Traceback") == 1, run.errors


@pytest.mark.parametrize("what", ["two trainers", "fork", "a fork goes on", "a late stop", "slow at the end"])
def test_what_processes_may_do(what: str, tmp_path: Path) -> None:
    """One that is done waits for the others, however long: 4 s with a time limit of 3 s."""
    run = ended(what, tmp_path, limit=3.0 if what == "slow at the end" else 20.0)
    assert run.code == 0 and not run.errors, run
    assert sorted(re.findall(r"^\d fine$", run.output, re.M)) == ["0 fine", "1 fine"]
    assert ("can't train together" in run.output) == (what == "a fork goes on")

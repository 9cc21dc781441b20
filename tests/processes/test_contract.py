"""Groups of threads and of MPI keep what `Processes` promises."""

from pathlib import Path

import process_contract
import pytest

import mpi_runs
from gpubp.errors import CommunicationError
from thread_processes import ThreadProcesses, in_threads

PROGRAM = Path(process_contract.__file__)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 8])
def test_threads(size: int) -> None:
    in_threads(size, process_contract.check_all)


@mpi_runs.needs_mpi
@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 8])
def test_mpi(size: int) -> None:
    ended = mpi_runs.run(size, PROGRAM, size, seconds=300.0)
    assert ended.code == 0, ended
    assert sorted(ended.output.splitlines()) == [f"{rank} fine" for rank in range(size)]


def test_a_failed_thread_ends_the_others() -> None:
    def work(group: ThreadProcesses) -> None:
        if group.rank == 1:
            raise KeyError("of one")
        group.share(1)

    with pytest.raises(KeyError, match="of one"):
        in_threads(3, work)


def test_a_thread_that_does_not_come_is_an_error() -> None:
    def work(group: ThreadProcesses) -> None:
        if group.rank:
            group.share(1)

    with pytest.raises(CommunicationError):
        in_threads(2, work, seconds=0.2)


def test_different_calls_are_an_error() -> None:
    def work(group: ThreadProcesses) -> None:
        group.share(1) if group.rank else group.collect(1)

    with pytest.raises(AssertionError, match="different calls"):
        in_threads(2, work)

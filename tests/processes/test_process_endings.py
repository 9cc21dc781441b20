"""However one process ends, all end, soon and with one message; nothing hangs, and no process is left."""

import re
import signal
import sys
from pathlib import Path

import ending_program
import pytest

import mpi_runs

PROGRAM = Path(ending_program.__file__)
pytestmark = mpi_runs.needs_mpi


def ended(how: str, size: int = 2, **more: str) -> mpi_runs.Ended:
    return mpi_runs.run(size, PROGRAM, how, **more)


def test_all_end_in_order() -> None:
    run = ended("order")
    assert (run.code, run.errors) == (0, "")
    assert sorted(run.output.splitlines()) == ["0 has ended", "1 has ended"]


def test_those_that_are_done_wait_for_the_others() -> None:
    run = ended("order, one late")
    assert (run.code, run.errors) == (0, "")
    assert sorted(run.output.splitlines()) == ["0 has ended", "1 has ended"]


def test_an_exit_code_of_one_is_that_of_all() -> None:
    run = ended("order, one with a code")
    assert (run.code, run.errors) == (3, "")


@pytest.mark.parametrize(
    ("how", "of", "message"),
    [
        ("one raises", "1", "ValueError: of one"),
        ("all raise", "[01]", "ValueError: of all"),  # 0, but where it comes half a second later than the other
        ("the others raise", "[12]", "ValueError: of the others"),
        ("one interrupted", "1", "KeyboardInterrupt"),
        ("an error of communication", "1", "gpubp.errors.CommunicationError: a cable is broken"),
    ],
)
def test_an_error_is_printed_once(how: str, of: str, message: str) -> None:
    size = 3 if how == "the others raise" else 2
    run = ended(how, size)
    assert run.code == (130 if message == "KeyboardInterrupt" else 1), run
    assert run.errors.count("Traceback") == 1, run.errors
    assert re.search(
        rf"^process {of} of {size} on \S+ ends all processes because of this error:$", run.errors, re.MULTILINE
    )
    assert run.errors.splitlines().count(message) == 1


@pytest.mark.parametrize(("how", "of"), [("one ends", "1"), ("all end", "[01]")])
def test_a_line_instead_of_a_traceback(how: str, of: str) -> None:
    run = ended(how)
    assert run.code == 2, run
    assert len(re.findall(rf"^no such file \(process {of} of 2 on \S+\)$", run.errors, re.MULTILINE)) == 1, run.errors
    assert run.errors.count("no such file") == 1 and "Traceback" not in run.errors


@pytest.mark.parametrize("how", ["exit 0", "exit 3"])
def test_one_that_ends_early_is_named(how: str) -> None:
    run = ended(how)
    assert run.code != 0, run
    said = re.findall(
        r"CommunicationError: process 1 of 2 \(host \S+, pid \d+\) ended before (.+), where process 0 waits",
        run.errors,
    )
    assert said == ["the sum of gradients"], run.errors
    assert run.errors.count("Traceback") == 1
    assert run.output == "last words\n"


@pytest.mark.parametrize("how", ["hang", "stopped"])
def test_one_that_hangs_is_named(how: str) -> None:
    run = ended(how, 3, GPUBP_PROCESSES_TIMEOUT="3")
    assert run.code == 1, run
    assert run.errors.count("Traceback") == 1, run.errors
    said = re.findall(
        r"process 2 of 3 \(host \S+, pid \d+\) has not come to the sum of gradients for \d+ s: it hangs", run.errors
    )
    assert len(said) == 1, run.errors
    assert "process 1 of 3" not in run.errors.replace("process 1 of 3 on", "")


def test_one_that_makes_another_call_is_named() -> None:
    run = ended("another call", 3, GPUBP_PROCESSES_TIMEOUT="3")
    assert run.code == 1, run
    assert run.errors.count("Traceback") == 1, run.errors
    here, other = "the sum of gradients", "what all processes say to each other"
    process = r"process \d of 3 \(host \S+, pid \d+\)"
    assert re.search(
        rf"process [01] waits for {here}, but process 2 of 3 \(host \S+, pid \d+\) for {other}: all processes must|"
        rf"process 2 waits for {other}, but {process}, {process} for {here}: all processes must",
        run.errors,
    ), run.errors


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us see processes of others")
@pytest.mark.parametrize("how", ["_exit", "SIGKILL", "SIGTERM"])
def test_a_killed_process_is_named(how: str) -> None:
    run = ended(how, 3)
    assert run.code != 0, run
    assert "Traceback" not in run.errors
    said = re.findall(r"^process (\d) of 3 \(pid \d+\) on \S+ was killed, which ends all", run.errors, re.MULTILINE)
    assert said == ["2"], run.errors


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us see processes of others")
@pytest.mark.parametrize("how", ["early error", "early exit"])
def test_one_that_ends_before_the_start_is_named(how: str) -> None:
    """MPI's own start would wait for it for ever."""
    run = ended(how)
    assert run.code != 0, run
    said = re.findall(r"^process (.+) of 2 on \S+ ended before the processes could begin", run.errors, re.MULTILINE)
    assert said == ["1"], run.errors
    assert run.errors.count("Traceback") == (how == "early error")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, None)])
def test_a_signal_to_mpiexec_ends_all(number: int, code: int | None) -> None:
    run = mpi_runs.Run(2, PROGRAM, "steps")
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == "steps\n"
    run.process.send_signal(number)
    end = run.end()
    assert end.code == code or (code is None and end.code), end
    assert end.errors.count("Traceback") == (number == signal.SIGINT), end


def test_a_wrong_setting_of_one_process_ends_all() -> None:
    """MPI has started in all of them, but the group of one is never made."""
    run = ended("wrong limit")
    assert run.code == 1, run
    assert run.errors.count("Traceback") == 1 and "is a number of seconds above 0" in run.errors, run.errors
    assert re.search(r"^process 1 of 2 on \S+ ends all processes", run.errors, re.MULTILINE)


def test_programs_that_a_process_starts_are_in_no_group() -> None:
    run = ended("child")
    assert (run.code, run.errors) == (0, "")
    assert run.output == "None\n" * 2


def test_one_that_never_begins_is_an_error() -> None:
    """MPI has started in all, but one does not train."""
    run = ended("no group", GPUBP_PROCESSES_TIMEOUT="3")
    assert run.code == 1, run
    assert re.search(r"process 0 of 2 has waited \d+ s for the others to begin to train together", run.errors)
    assert run.errors.count("Traceback") == 1, run.errors

"""Commands in several processes, as `mpiexec -n 4 gpubp train` starts them.

All processes are given the same words, read the same data and train together, call by call. Process 0 alone prints and
writes files:

* The streams of the others lead nowhere, so that nothing that prints has to know of processes.
* `leads` says whether this process writes. What process 0 has to do before the others go on is done by `first`.
* After the training process 0 goes on alone (`goes_on_alone`), and the others wait for its exit code.

An error ends all (`ended`). A command that does not train works in one process, and is refused in several.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import CommunicationError
from . import process
from .console import print_error

if TYPE_CHECKING:
    from ..processes.mpi import MPIProcesses

Result = TypeVar("Result")

TOGETHER = ("train", "verify")  # commands that train one network in all processes
ALONE = ("help", "completion", "doctor")  # which process 0 does, and the others need not


class _State:
    """What this process knows of the others, for one run of the command line."""

    group: MPIProcesses | None = None
    parted = False  # whether process 0 has gone on alone
    begun = False  # whether the command is known


_state = _State()


class Failure(NamedTuple):
    """How a run fails. communication: whether it is about the others, so that it says which process shows it.

    >>> Failure("no such file", 2).code
    2
    """

    message: str
    code: int
    communication: bool = False


class WorksAlone(click.ClickException):
    """A command that works in one process was started in several."""

    exit_code = 2


class FirstFailed(click.ClickException):
    """Process 0 has failed at what it does first; it shows why, and has the exit code."""

    exit_code = 0


def group() -> MPIProcesses | None:
    """The processes that run this command together; None for one process."""
    return _state.group


def count() -> int:
    """How many processes run this command together.

    >>> count()
    1
    """
    return 1 if _state.group is None else _state.group.size


def leads() -> bool:
    """Whether this process prints and writes files: process 0, or the only one.

    >>> leads()
    True
    """
    return _state.group is None or _state.group.leads


def _launched() -> tuple[int, str]:
    if not any(name in os.environ for name in process.RANKS):
        return 1, ""
    from ..processes.launch import launched

    return launched()


@contextmanager
def streams() -> Iterator[None]:
    """A run of the command line, in which only process 0 prints."""
    _state.group, _state.parted, _state.begun = None, False, False
    before = sys.stdout, sys.stderr
    process.muted = process.rank() > 0 and _launched()[0] > 1
    if not process.muted:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:  # an error that is no user's is shown
            sys.stdout, sys.stderr = before


def begin(command: str, words: list[str]) -> None:
    """Begin a command: together with the other processes if it trains, and in process 0 alone if it tells something.

    words: its arguments. Raises ClickException for a command that works in one process, and what `processes_of` raises.
    """
    if _state.begun:  # and this is the command that `help` is asked about
        return
    _state.begun = True
    launched, launcher = _launched()
    if launched == 1 or command in ALONE or {"-h", "--help"} & set(words):
        process.hear_interrupts()
        if launched > 1 and process.rank():
            raise click.exceptions.Exit(0)
        return
    if command not in TOGETHER:
        by = "srun" if launcher == "srun" else "mpiexec"
        raise WorksAlone(f"gpubp {command} works in one process; start it without {by}")
    from ..processes.launch import processes_of

    found: Any = processes_of("auto")
    _state.group = found
    process.at_interrupt = _interrupted
    process.hear_interrupts()


def hosts() -> int:
    """On how many machines the processes run; all of them call it."""
    return 1 if _state.group is None else len(set(_state.group.collect(platform.node())))


def beside() -> int:
    """How many processes run on this machine; all of them call it."""
    found = _state.group
    return 1 if found is None else found.collect(platform.node()).count(platform.node())


def same(value: Any) -> Any:
    """What process 0 has, made of what JSON has, in all processes.

    >>> same(3)
    3
    """
    return value if _state.group is None else _state.group.share(value)


def least(number: int) -> int:
    """The least of all processes' numbers.

    >>> least(3)
    3
    """
    return number if _state.group is None else int(min(_state.group.collect(number)))


def first(work: Callable[[], Result]) -> Result | None:
    """What `work` returns, which process 0 alone does while the others wait; None in these. If it fails, all end.

    >>> first(lambda: 3)
    3
    """
    found = _state.group
    if found is None:
        return work()
    if not found.leads:
        if not found.share(None):
            raise FirstFailed("process 0 has failed")
        return None
    try:
        made = work()
    except Exception:
        found.share(False)
        raise
    found.share(True)
    return made


def goes_on_alone() -> bool:
    """Whether this process goes on after the training: process 0. The others return, and wait for its exit code.

    >>> goes_on_alone()
    True
    """
    _state.parted = _state.group is not None
    if leads():
        return True
    for number in (signal.SIGINT, signal.SIGTERM):  # what ends process 0 ends all
        signal.signal(number, signal.SIG_IGN)
    return False


def ended(found: int | Failure) -> int:
    """End the command in all processes; returns the exit code, of process 0 if there is no failure.

    >>> ended(0)
    0
    """
    if isinstance(found, int):
        try:
            return _agreed(found)
        except CommunicationError as problem:
            found = Failure(str(problem), process.FAILED, communication=True)
    return _fail(*found)


def _agreed(code: int) -> int:
    found = _state.group
    if found is None:
        return code
    code = int(found.share(code))
    _state.group, _state.parted = None, False
    return code


def _fail(message: str, code: int, communication: bool = False) -> int:
    """End all processes by a `Failure`, shown once; returns the exit code where all end in order."""
    found = _state.group
    if found is None:
        return print_error(message, code)

    def show(where: str) -> None:
        sys.stderr = sys.__stderr__
        print_error(f"{message}{f' ({where})' if where else ''}", code)

    if communication:
        from ..processes import end_all

        end_all(show, process.FAILED)
    if _state.parted and found.leads:
        print_error(message, code)
        return _agreed(code)
    from ..processes.mistakes import end_by_mistake

    code = end_by_mistake(found, show, code)
    _state.group = None
    return code


def _interrupted() -> None:
    """Ctrl-C before there is something to put in order: end all at once, with one line."""
    found = _state.group
    if found is None:
        return
    from ..processes import end_all

    def show(where: str) -> None:
        who = "" if where.startswith("process 0 ") else f" ({where})"
        with suppress(OSError):
            os.write(2, f"gpubp: interrupted{who}\n".encode())

    end_all(show, process.INTERRUPTED)

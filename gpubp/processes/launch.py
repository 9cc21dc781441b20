"""Whether this Python is one of several that an MPI launcher started, and the group of processes that it belongs to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CommunicationError, MissingDependencyError
from .base import Processes

if TYPE_CHECKING:  # loaded only where there are several processes
    from .mpi import MPIProcesses
    from .watch import Followed

# What launchers tell each process of how many there are. PMI_SIZE: mpiexec of MPICH, Intel MPI and Cray, and srun with
# --mpi=pmi2. OMPI_...: mpirun of Open MPI. MV2_...: MVAPICH.
SIZES = {
    "OMPI_COMM_WORLD_SIZE": "Open MPI's mpirun",
    "MV2_COMM_WORLD_SIZE": "MVAPICH's mpirun",
    "PMI_SIZE": "an mpiexec of MPICH's kind, or by srun",
}
# Launchers that start processes by PMIx give the rank, and the size by variables of their own. A shell within `salloc`
# has Slurm's variables too, but no rank; one that is a step itself, has one task.
RANKS = ("PMIX_RANK", "PMI_RANK")
# SLURM_PTY_PORT: the process was started from a shell that srun started with --pty.
STEPS = {"SLURM_STEP_NUM_TASKS": "srun", "MPI_LOCALNRANKS": "an mpiexec of MPICH's kind"}
MARK = "GPUBP_PROCESS"  # the number of the process that is in a group: programs that it starts are in none

_kept: dict[str, Any] = {}  # the key by which a communicator keeps its group


def launched(environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """How many processes the launcher of this one started, and its name, by the environment alone; (1, "") without.

    >>> launched({"PMI_SIZE": "4", "PMI_RANK": "0"})[0], launched({"SLURM_NTASKS": "4"})
    (4, (1, ''))
    """
    found = os.environ if environment is None else environment
    if found.get(MARK, str(os.getpid())) != str(os.getpid()):
        return 1, ""
    names = dict(SIZES)
    if any(found.get(name) for name in RANKS) and not found.get("SLURM_PTY_PORT"):
        names |= STEPS
    for variable, launcher in names.items():
        text = found.get(variable, "")
        if text.isdecimal() and int(text) > 1:
            return int(text), launcher
    return 1, ""


def processes_of(communicator: Any) -> Processes | None:
    """The group of processes that a communicator is, None for one process alone.

    communicator: "auto", all processes that an MPI launcher started together with this one; None, this process alone;
    a communicator of mpi4py; or a `Processes`, which is returned as it is. All processes of a communicator call this
    at the same place, and get a group with a communicator of its own, so that its messages don't mix with the user's.
    The same communicator gives the same group again. One with a single process is None, as without MPI.

    Raises ValueError for anything else, MissingDependencyError if there is a launcher but no mpi4py, and
    CommunicationError if mpi4py belongs to another MPI than the launcher, so that each process sees itself alone.

    >>> processes_of(None) is None
    True
    """
    if communicator is None or isinstance(communicator, Processes):
        return communicator
    if isinstance(communicator, str):
        if communicator != "auto":
            raise ValueError(_wrong(communicator))
        return _all_processes()
    MPI = sys.modules.get("mpi4py.MPI")  # which who has a communicator has imported
    if MPI is None or not isinstance(communicator, MPI.Comm):
        raise ValueError(_wrong(communicator))
    if not isinstance(communicator, MPI.Intracomm) or communicator == MPI.COMM_NULL:
        raise ValueError(
            f"communicator must be an intracommunicator with this process in it; got {type(communicator).__name__}"
            f"{', which is COMM_NULL' if communicator == MPI.COMM_NULL else ''}."
        )
    return _group(communicator)


def _wrong(communicator: object) -> str:
    return f'communicator is "auto", None, or a communicator of mpi4py such as MPI.COMM_WORLD; got {communicator!r}.'


def _mpi() -> Any:
    """mpi4py.MPI, which initializes MPI when it is first imported; MissingDependencyError without."""
    try:
        from mpi4py import MPI
    except ImportError as problem:
        raise MissingDependencyError(
            "Training by several processes needs mpi4py: pip install 'gpubp[mpi]'. To train in each process alone, "
            "give communicator=None."
        ) from problem
    except RuntimeError as problem:  # mpi4py without an MPI to load
        raise MissingDependencyError(
            f"mpi4py finds no MPI library: load the one of this machine, or pip install mpich ({problem})."
        ) from problem
    return MPI


def _all_processes() -> Processes | None:
    """The group of all that were launched with this process."""
    count, launcher = launched()
    if count == 1:
        return None
    from . import watch

    program = None if "mpi4py.MPI" in sys.modules else watch.start(os.environ)
    try:
        MPI = _mpi()
    finally:
        if program is not None:
            watch.end(program)
    if MPI.COMM_WORLD.Get_size() == 1:
        library = MPI.Get_library_version().splitlines()[0].strip(" \0")
        raise CommunicationError(
            f"this process is one of {count} started by {launcher}, but the MPI of mpi4py, {library}, sees it alone: "
            f"mpiexec belongs to another MPI. Use the mpiexec of {library.split(' Version')[0]}, or install mpi4py for "
            f"the other MPI (pip install --force-reinstall --no-binary mpi4py mpi4py). To train {count} times, give "
            f"communicator=None."
        )
    return _group(MPI.COMM_WORLD)


def _group(communicator: Any) -> MPIProcesses | None:
    """The group of a communicator, made once; None if this process is alone in it."""
    from . import ending
    from .mpi import MPIProcesses

    if communicator.Get_size() == 1:
        return None
    os.environ[MARK] = str(os.getpid())
    if not _kept:
        _kept["key"] = _mpi().Comm.Create_keyval()
    group: MPIProcesses | None = communicator.Get_attr(_kept["key"])
    if group is None:
        ending.guard()
        group = MPIProcesses(communicator)
        communicator.Set_attr(_kept["key"], group)
        ending.join(group.notices, _followed(group))
    return group


def _followed(group: MPIProcesses) -> Followed | None:
    """The connection to a program that says which process was killed, where all are on one machine."""
    from . import watch

    hosts = {member.host for member in group.notices.members}
    if len(hosts) > 1 or group.size < _mpi().COMM_WORLD.Get_size() or "followed" in _kept:
        return None
    program, name = watch.follow(os.environ) if group.leads else (None, "")
    _kept["followed"] = name = group.share(name)
    try:
        return watch.Followed(name, group.rank, group.size, program) if name else None
    except OSError:  # the program has ended: who is killed is then named by the launcher alone
        return None

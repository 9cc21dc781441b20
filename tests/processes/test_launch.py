"""Which Pythons a launcher started, and which group a communicator is."""

import subprocess
import sys

import pytest

import mpi_runs
from gpubp.processes import launched, processes_of
from thread_processes import in_threads

# What each launcher gives its processes, shortened; sizes as of four processes on one node.
LAUNCHERS = {
    "MPICH's mpiexec": ({"PMI_RANK": "1", "PMI_SIZE": "4", "PMI_FD": "9", "MPI_LOCALNRANKS": "4"}, 4),
    "MPICH's mpiexec -pmi=pmix": ({"PMIX_RANK": "1", "PMIX_NAMESPACE": "kvs_1", "MPI_LOCALNRANKS": "4"}, 4),
    "Intel MPI": ({"PMI_RANK": "0", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4", "I_MPI_HYDRA_DEBUG": "0"}, 4),
    "Open MPI 4": ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "PMIX_RANK": "2"}, 4),
    "Open MPI 5 within salloc": ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0", "SLURM_NTASKS": "4"}, 2),
    "MVAPICH": ({"MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "0"}, 4),
    "srun --mpi=pmi2": ({"PMI_RANK": "0", "PMI_SIZE": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, 4),
    "srun --mpi=pmix": ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}, 4),
    "srun --mpi=none": ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, 1),
    "a shell in salloc": ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_TASKS_PER_NODE": "4"}, 1),
    "a shell in salloc that is a step": ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "PMIX_RANK": "0"}, 1),
    "a shell of srun --pty": ({"SLURM_STEP_NUM_TASKS": "4", "PMIX_RANK": "0", "SLURM_PTY_PORT": "4711"}, 1),
    "mpirun in a shell of srun --pty": ({"PMI_SIZE": "4", "PMIX_RANK": "0", "SLURM_PTY_PORT": "4711"}, 4),
    "a program that a process of a group starts": ({"PMI_RANK": "1", "PMI_SIZE": "4", "GPUBP_PROCESS": "1"}, 1),
    "sbatch": ({"SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_PROCID": "0"}, 1),
    "mpiexec -n 1": ({"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALNRANKS": "1"}, 1),
    "no launcher": ({"HOME": "/root"}, 1),
    "a damaged environment": ({"PMI_SIZE": "four", "OMPI_COMM_WORLD_SIZE": ""}, 1),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launchers(name: str) -> None:
    environment, count = LAUNCHERS[name]
    assert launched(environment)[0] == count


def test_one_process_loads_no_mpi() -> None:
    program = (
        "import sys\nfrom gpubp.processes import processes_of\nassert processes_of('auto') is None\n"
        "assert processes_of(None) is None\nassert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], env=mpi_runs.environment(), check=True)


def test_a_group_stays_as_it_is() -> None:
    assert in_threads(2, lambda group: processes_of(group) is group) == [True, True]


@pytest.mark.parametrize("wrong", ["all", 4, ["auto"], object()])
def test_other_things_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match='communicator is "auto", None, or a communicator of mpi4py'):
        processes_of(wrong)


def test_mpi4py_is_named_where_it_is_missing() -> None:
    program = (
        "import sys\nsys.modules['mpi4py'] = None\nfrom gpubp.errors import MissingDependencyError\n"
        "from gpubp.processes import processes_of\n"
        "try:\n    processes_of('auto')\nexcept MissingDependencyError as problem:\n    print(problem)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=mpi_runs.environment(PMI_SIZE="2"),
        check=True,
        capture_output=True,
        text=True,
    )
    assert "pip install 'gpubp[mpi]'" in run.stdout


@mpi_runs.needs_mpi
def test_a_launcher_of_another_mpi_is_named() -> None:
    program = (
        "from gpubp.errors import CommunicationError\nfrom gpubp.processes import processes_of\n"
        "try:\n    processes_of('auto')\nexcept CommunicationError as problem:\n    print(problem)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=mpi_runs.environment(OMPI_COMM_WORLD_SIZE="4"),
        check=True,
        capture_output=True,
        text=True,
    )
    assert "one of 4 started by Open MPI's mpirun" in run.stdout and "sees it alone" in run.stdout


COMMUNICATORS = """
import sys
import numpy as np
from mpi4py import MPI
from gpubp.processes import processes_of
world = processes_of("auto")
assert processes_of(MPI.COMM_WORLD) is world and processes_of("auto") is world
assert processes_of(MPI.COMM_SELF) is None
half = MPI.COMM_WORLD.Split(world.rank % 2)
group = processes_of(half)
assert processes_of(half) is group and (group.rank, group.size) == (world.rank // 2, 2)
assert group.collect(world.rank) == [world.rank % 2, world.rank % 2 + 2]
MPI.COMM_WORLD.Isend(np.full(3, 7.0), (world.rank + 1) % 4, 0)  # the user's own message
assert world.collect(world.rank) == [0, 1, 2, 3]
mine = np.empty(3)
MPI.COMM_WORLD.Recv(mine)
assert mine.tolist() == [7.0] * 3
intercommunicator = half.Create_intercomm(0, MPI.COMM_WORLD, 1 - world.rank % 2)
for wrong in (intercommunicator, MPI.COMM_NULL, MPI):
    try:
        processes_of(wrong)
    except ValueError as problem:
        assert "communicator" in str(problem)
    else:
        raise AssertionError(wrong)
sys.stdout.write("fine\\n")
"""


@mpi_runs.needs_mpi
def test_communicators() -> None:
    run = mpi_runs.run(4, "-c", COMMUNICATORS)
    assert (run.code, run.output.split(), run.errors) == (0, ["fine"] * 4, "")

"""Which GPU each process takes, and groups of MPI that become groups of GPUs, on the strict stand-in for CuPy."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from gpu_group import put
from gpubp.backends import get_backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.errors import DeviceError, MissingDependencyError
from gpubp.processes.gpus import Seen, device_of, place
from gpubp.processes.nccl import GPUProcesses, processes_on
from strict import StrictProducts
from strict_nccl import World
from thread_processes import ThreadProcesses, in_threads


def test_processes_of_a_host_take_its_gpus_in_turn():
    a = ["u0", "u1"]
    assert place([Seen("x", a), Seen("y", ["u2"]), Seen("x", a)]) == [0, 0, 1]
    assert place([Seen("x", ["u1"]), Seen("x", a)]) == [0, 0], "the second sees what the first has not taken"
    with pytest.raises(DeviceError, match="4 processes and 2 GPUs on host x: start 2 there"):
        place([Seen("x", a)] * 4)
    with pytest.raises(DeviceError, match="2 processes on host x see 2 GPUs, but too few of these each"):
        place([Seen("x", a), Seen("x", ["u0"])])
    with pytest.raises(DeviceError, match="process 1 of 2 on host y: no driver"):
        place([Seen("x", a), Seen("y", [], "no driver")])
    with pytest.raises(MissingDependencyError, match="process 0 of 2 on host x: no NCCL"):
        place([Seen("x", a, "no NCCL"), Seen("y", a)])


def test_a_group_of_mpi_becomes_one_of_gpus():
    world = World(2)

    def work(processes: ThreadProcesses) -> str:
        cupy = world.cupy(processes.rank)
        device = device_of(processes, "cuda", cupy)
        backend = CUDA(cupy, index=int(device.partition(":")[2]), products=StrictProducts)
        first = processes_on(CUDA(cupy, index=backend.index, products=StrictProducts), processes)
        group = processes_on(backend, processes)
        assert isinstance(group, GPUProcesses) and isinstance(first, GPUProcesses)
        assert group.communicator.link is first.communicator.link, "networks on one GPU share it"
        assert processes_on(backend, group) is group and group.be is backend
        assert group.collect(group.rank) == [0, 1]
        with backend.active():
            vector = put(group, np.full(5, 1.0 + group.rank))
            slices = group.slices(vector, [0, 2, 5])
            slices.sum()
            slices.gather()
            assert backend.to_host(vector).tolist() == [3.0] * 5
        return device

    assert in_threads(2, work) == ["cuda:0", "cuda:1"]


def test_a_group_keeps_no_network_that_is_gone():
    world = World(2)

    groups: list[ThreadProcesses] = []

    def work(processes: ThreadProcesses) -> weakref.ref[CUDA]:
        groups.append(processes)
        backend = CUDA(world.cupy(processes.rank), index=processes.rank, products=StrictProducts)
        processes_on(backend, processes)
        return weakref.ref(backend)

    backends = in_threads(2, work)
    gc.collect()  # here, because a thread's collection does nothing while another thread's is under way
    assert len(groups) == 2 and [backend() for backend in backends] == [None, None]


def test_two_processes_on_one_gpu_are_refused_in_both():
    world = World(2)

    def work(processes: ThreadProcesses) -> str:
        backend = CUDA(world.cupy(processes.rank), products=StrictProducts)
        with pytest.raises(DeviceError) as problem:
            processes_on(backend, processes)
        return str(problem.value)

    (said,) = set(in_threads(2, work))
    assert "processes 0 and 1 on host" in said and 'device="cuda:1" in place of "cuda:0"' in said


def test_processes_with_and_without_gpus_are_refused_in_both():
    world = World(2)

    def work(processes: ThreadProcesses) -> str:
        gpu = CUDA(world.cupy(processes.rank), products=StrictProducts)
        with pytest.raises(DeviceError) as problem:
            processes_on(get_backend("cpu") if processes.rank else gpu, processes)
        return str(problem.value)

    (said,) = set(in_threads(2, work))
    assert 'some don\'t (process 0 on "cuda:0", process 1 on "cpu"): give all the same device' in said


def test_auto_is_the_cpu_where_a_process_has_no_gpu():
    world = World(2)

    def work(processes: ThreadProcesses) -> tuple[str, str]:
        cupy = world.cupy(processes.rank)
        auto = device_of(processes, "auto", cupy)
        if processes.rank:
            cupy.cuda.runtime.getDeviceCount = lambda: 0
        return auto, device_of(processes, "auto", cupy)

    assert in_threads(2, work) == [("cuda:0", "cpu"), ("cuda:1", "cpu")]

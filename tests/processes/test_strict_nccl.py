"""The stand-in for NCCL refuses what NCCL refuses, and knows what would hang."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_group import on_gpus
from gpubp.processes.nccl import GPUProcesses
from strict import strict_cupy
from strict_nccl import NcclError, World
from strict_streams import StrictError


def test_the_stand_in_refuses_what_nccl_refuses():
    def work(group: GPUProcesses) -> None:
        be, nccl, handle = group.be, group.be.cupy.cuda.nccl, group.communicator._handle
        a, stream = be.zeros((4,), "float32"), be._stream.ptr
        place, other = a.data.ptr, 1 - group.rank
        for call, kind, said in (
            (lambda: handle.send(place, 4, 77, other, stream), NcclError, "no type 77"),
            (lambda: handle.send(np.zeros(4).ctypes.data, 4, 7, other, stream), NcclError, "not a valid pointer"),
            (lambda: handle.send(place, 4, nccl.NCCL_FLOAT64, other, stream), StrictError, "32 bytes .* are more than"),
            (lambda: handle.send(place, 4, 7, 5, stream), NcclError, "from . to 5"),
            (lambda: handle.send(place, 4, 7, other, 0), StrictError, "another stream"),
            (nccl.groupEnd, NcclError, "groupEnd without"),
        ):
            with pytest.raises(kind, match=said):
                call()
        with be.cupy.cuda.Device(other), pytest.raises(NcclError, match="the current device is not"):
            handle.send(place, 4, 7, other, stream)
        nccl.groupStart()
        with pytest.raises(StrictError, match="within another"):
            nccl.groupStart()
        nccl.groupEnd()

    on_gpus(2, work)


def test_the_stand_in_knows_what_would_hang():
    def differ(group: GPUProcesses) -> None:
        a = group.be.zeros((4,), "float32")
        group.communicator.exchange([a[: 2 + group.rank]] * 2, out=[None, None])
        group.be._stream.synchronize()

    def one_sided(group: GPUProcesses) -> None:
        a = group.be.zeros((4,), "float32")
        if group.rank:
            group.communicator.exchange([a, None], out=[None, None])
            group.be._stream.synchronize()

    def other_counts(group: GPUProcesses) -> None:
        a = group.be.zeros((4,), "float32")
        sizes = (2, 3) if group.rank else (1, 2)
        sends, out = [None, None], [None, None]
        sends[1 - group.rank], out[1 - group.rank] = a[: sizes[0]], a[: sizes[1]]
        group.communicator.exchange(sends, out=out)
        group.be._stream.synchronize()

    for work, said in ((differ, "hangs"), (one_sided, "hangs: nobody does"), (other_counts, "other counts")):
        with pytest.raises(StrictError, match=said):
            on_gpus(2, work, World(2, hang=1.0))


def test_the_stand_in_moves_messages_as_late_as_can_be():
    """What reads a message on another stream that has not waited reads old numbers."""

    def work(group: GPUProcesses) -> None:
        be = group.be
        a, out, seen = (be.zeros(shape, "float32") for shape in ((2,), (2, 2), (2, 2)))
        be.put(a, 1.0 + group.rank)
        be.synchronize()
        group.gather(a, out)
        other = be.cupy.cuda.Stream(non_blocking=True)
        with other:
            be.cupy.copyto(seen, out)
        assert not seen.get(stream=other).any()
        be.synchronize()
        assert out.get(stream=other).tolist() == [[1, 1], [2, 2]]

    on_gpus(2, work)


def test_the_stand_in_refuses_messages_that_are_captured_first_and_the_end_of_a_communicator_that_a_graph_uses():
    def work(group: GPUProcesses) -> None:
        be = group.be
        a, out = be.zeros((2,), "float32"), be.zeros((2, 2), "float32")
        gather = lambda: group.communicator.all_gather(a, out=out)  # noqa: E731
        with pytest.raises(StrictError, match="whose like no run before has sent"):
            be.graphs.written(gather)
        gather()
        graph = be.graphs.written(gather)
        with pytest.raises(StrictError, match="a graph that uses the communicator is alive"):
            group.communicator._handle.destroy()
        graph.launch(be._stream)
        be.synchronize()
        if group.rank:
            gather()
        else:
            graph.launch(be._stream)
        with pytest.raises(StrictError, match="is captured by one process only|hangs"):
            be._stream.synchronize()

    on_gpus(2, work, World(2, hang=3.0))


def test_the_stand_in_has_no_nccl_unless_it_is_asked_for():
    assert not hasattr(strict_cupy().cuda, "nccl")

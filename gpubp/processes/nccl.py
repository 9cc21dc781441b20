"""A group of processes whose GPUs send each other messages by NCCL.

Numbers of the device go from GPU to GPU, as a part of the recorded step:

    gather            ncclAllGather
    slices, sum       ncclSend and ncclRecv of all slices at once, then (1) of base.py by one kernel
    slices, gather    ncclAllGather, or ncclSend and ncclRecv where slices differ in length

What the host has, such as settings and the first parameters, goes by another group, as of MPI. Without one it goes by
the GPUs, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, Backend, get_backend
from ..backends.order import add_as_tree
from ..errors import DeviceError, ShapeError
from .base import Processes, VectorSlices
from .gpus import Seen, place, seen_here
from .meeting import Meeting
from .waiting import time_limit


class GPUProcesses(Processes):
    """The processes of a group, each with one GPU.

    backend: a `CUDA` that has joined the others by its `join`. host: the group for what the host has, None for none.

    bytes_sent: between GPUs, asked for by this process so far; what a recorded step sends is counted once, when it is
    recorded.
    """

    def __init__(self, backend: Any, host: Processes | None = None) -> None:
        self.be, self.host = backend, host
        self.communicator = backend.graphs.communicator
        self.rank, self.size = self.communicator.rank, self.communicator.size
        self.bytes_sent = 0

    def on(self, backend: Any) -> GPUProcesses:
        """The same group, which sends on the stream of another backend of the same GPU."""
        if backend is self.be:
            return self
        if backend.index != self.be.index:
            raise DeviceError(
                f'the processes send messages from "{self.be.name}", and the network is on "{backend.name}": make it '
                f'with device="{self.be.name}"'
            )
        backend.graphs.share(self.communicator)
        return GPUProcesses(backend, self.host)

    @property
    def doing(self) -> str:
        """See `Processes`; the group for what the host has compares it."""
        return "" if self.host is None else self.host.doing

    @doing.setter
    def doing(self, what: str) -> None:
        if self.host is not None:
            self.host.doing = what

    def gather(self, a: Any, out: Any) -> None:
        """See `Processes.gather`; of arrays of the device it is a part of the step."""
        if not self.be.owns(a):
            self._host_gather(a, out)
            return
        if out.shape != (self.size, *a.shape):
            raise ShapeError(f"{self.size} arrays of shape {a.shape} are gathered into one of shape {out.shape}")
        self.bytes_sent += a.nbytes * (self.size - 1)
        with self.be.active():
            self.be.run(self.communicator.all_gather, a, out=out)

    def _host_gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        if self.host is not None:
            self.host.gather(a, out)
            return
        content = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
        with self.be.active():
            mine, all_of_them = self.be.to_device(content), self.be.empty((self.size, content.size), np.uint8)
            self.communicator.all_gather(mine, out=all_of_them)
            out[...] = self.be.to_host(all_of_them).reshape(-1).view(out.dtype).reshape(out.shape)

    def broadcast(self, a: np.ndarray[Any, Any]) -> None:
        """See `Processes.broadcast`."""
        if self.host is not None:
            self.host.broadcast(a)
            return
        content = a.reshape(-1).view(np.uint8)
        with self.be.active():
            there = self.be.to_device(content)
            sends = [there if self.rank == 0 and p else None for p in range(self.size)]
            receives = [there if self.rank and p == 0 else None for p in range(self.size)]
            self.communicator.exchange(sends, out=receives)
            content[...] = self.be.to_host(there)

    def share(self, value: Any) -> Any:
        """See `Processes.share`."""
        if self.host is not None:
            return self.host.share(value)
        content = np.frombuffer(json.dumps(value).encode() if self.rank == 0 else b"", np.uint8)
        length = np.array([content.size], np.int64)
        self.broadcast(length)
        whole = np.zeros(int(length[0]), np.uint8)
        if self.rank == 0:
            whole[:] = content
        self.broadcast(whole)
        return json.loads(whole.tobytes())

    def collect(self, value: Any) -> list[Any]:
        """See `Processes.collect`."""
        if self.host is not None:
            return self.host.collect(value)
        content = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = np.empty((self.size, 1), np.int64)
        self._host_gather(np.array([content.size], np.int64), lengths)
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: content.size] = content
        all_of_them = np.empty((self.size, padded.size), np.uint8)
        self._host_gather(padded, all_of_them)
        return [json.loads(all_of_them[p, : int(lengths[p, 0])].tobytes()) for p in range(self.size)]

    def slices(self, vector: Array, bounds: Sequence[int]) -> VectorSlices:
        """See `Processes.slices`. Raises ShapeError for bounds that don't fit, or a vector with gaps."""
        return GPUSlices(self, vector, bounds)

    def close(self) -> None:
        """Free what NCCL has of the GPU; all processes call it. See `Communicator.close`."""
        self.communicator.close()


class GPUSlices(VectorSlices):
    """Slices of a vector on the GPU; all calls are queued on the stream, and recorded with a step."""

    def __init__(self, processes: GPUProcesses, vector: Any, bounds: Sequence[int]) -> None:
        bounds = [int(bound) for bound in bounds]
        self._processes, self._be = processes, processes.be
        size, rank = processes.size, processes.rank
        if vector.ndim != 1 or not vector.flags.c_contiguous:
            raise ShapeError(f"slices are of a vector without gaps; got an array of shape {vector.shape}")
        if len(bounds) != size + 1 or bounds != sorted(bounds) or bounds[0] < 0 or bounds[-1] > len(vector):
            raise ShapeError(
                f"slices of {len(vector)} numbers for {size} processes need {size + 1} rising bounds from 0 to "
                f"{len(vector)}; got {bounds}"
            )
        self._slices = [vector[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]
        self._whole = vector[bounds[0] : bounds[-1]]
        self._mine = self._slices[rank]
        self._equal = len({len(a) for a in self._slices}) == 1
        others = [None if p == rank else a for p, a in enumerate(self._slices)]
        self._sends, self._others = tuple(others), tuple(others)
        self._own = tuple(None if p == rank else self._mine for p in range(size))
        received = self._be.empty((size - 1, len(self._mine)), vector.dtype) if size > 1 else ()
        places = [received[k] for k in range(size - 1)]
        self._received = (*places[:rank], None, *places[rank:])
        self._parts = [*places[:rank], self._mine, *places[rank:]]

    def start(self) -> None:
        """Nothing: all slices are sent together, in `sum`."""

    def sum(self) -> None:
        """See `VectorSlices.sum`."""
        if len(self._parts) > 1:
            with self._be.active():
                self._send(self._communicator.exchange, self._sends, self._received)
                add_as_tree(self._be, self._parts, self._mine)

    def gather(self) -> None:
        """See `VectorSlices.gather`."""
        if len(self._parts) == 1:
            return
        with self._be.active():
            if self._equal:
                self._processes.bytes_sent += self._mine.nbytes * (len(self._parts) - 1)
                self._be.run(self._communicator.all_gather, self._mine, out=self._whole)
            else:
                self._send(self._communicator.exchange, self._own, self._others)

    @property
    def _communicator(self) -> Any:
        return self._processes.communicator

    def _send(self, exchange: Any, sends: Sequence[Any], out: Sequence[Any]) -> None:
        self._processes.bytes_sent += sum(a.nbytes for a in sends if a is not None)
        self._be.run(exchange, sends, out=out)


def processes_on(backend: Backend, processes: Processes | None) -> Processes | None:
    """The group for training on a backend: the same for a CPU; a `GPUProcesses` for a GPU, which sends what the device
    has from GPU to GPU, and what the host has by the group that is given. All processes call it at the same place.

    processes: a group that a launcher has made, as of MPI, or one that `gpu_processes_by_files` has; None for this
    process alone. backend: of a network, on the GPU that `device_of` has named.

    Raises, in all processes alike, MissingDependencyError without NCCL, DeviceError if two processes use one GPU or
    some a CPU; CommunicationError if NCCL can't begin.

    >>> processes_on(get_backend("cpu"), None) is None
    True
    """
    if processes is None:
        return None
    names = processes.collect(backend.name)
    if len({name == "cpu" for name in names}) > 1:
        which = ", ".join(f'process {rank} on "{name}"' for rank, name in enumerate(names[:8]))
        raise DeviceError(f"some processes compute on GPUs and some don't ({which}): give all the same device")
    if backend.name == "cpu":
        if isinstance(processes, GPUProcesses):
            raise DeviceError('the processes send messages between GPUs, and the network is on device="cpu"')
        return processes
    from ..backends.cuda.backend import CUDA

    assert isinstance(backend, CUDA)
    if isinstance(processes, GPUProcesses):
        return processes.on(backend)
    return _joined(processes, backend)


def _joined(processes: Processes, backend: Any) -> GPUProcesses:
    """The group with its messages between GPUs, which begin when it is first asked for them."""
    from ..backends.cuda.nccl import new_identifier

    mine = [list(seen_here(backend.cupy)), backend.name, backend.index]
    _check_placed([(Seen(*seen), name, index) for seen, name, index in processes.collect(mine)])
    begun: dict[int, Any] = vars(processes).setdefault("_by_gpu", {})  # communicators, as long as the group lasts
    if backend.index in begun:
        backend.graphs.share(begun[backend.index])
    else:
        identifier = processes.share(new_identifier(backend.cupy) if processes.rank == 0 else "")
        begun[backend.index] = backend.join(processes.rank, processes.size, bytes.fromhex(identifier), time_limit())
    return GPUProcesses(backend, processes)


def _check_placed(answers: Sequence[tuple[Seen, str, int]]) -> None:
    """Raise DeviceError if the processes don't have a GPU each."""
    numbers = place([seen for seen, _, _ in answers])
    users: dict[tuple[str, str], int] = {}
    for rank, (seen, name, index) in enumerate(answers):
        other = users.setdefault((seen.host, seen.gpus[index]), rank)
        if other != rank:
            raise DeviceError(
                f"processes {other} and {rank} on host {seen.host} use one GPU: in process {rank}, make the network "
                f'with device="cuda:{numbers[rank]}" in place of "{name}". device_of(processes) says which it is.'
            )


def gpu_processes_by_files(
    folder: str | os.PathLike[str],
    name: str,
    rank: int,
    size: int,
    numerics: str = "ordinary",
    precision: str = "float32",
    timeout: float | None = None,
) -> GPUProcesses:
    """A group of processes without MPI, which meet in a folder that all of them see; `be` is this process's backend,
    and the device of its network.

    name: of the run; see `Meeting`. rank, size: the number of this process, and how many there are. timeout: seconds
    to wait for the others, by default what `time_limit` says.

    Raises MissingDependencyError without NCCL, DeviceError without a GPU for each process, CommunicationError if the
    others do not come, ValueError for a name or a rank that can't be.
    """
    from ..backends.cuda.driver import find_cupy
    from ..backends.cuda.nccl import new_identifier

    timeout = time_limit(timeout)
    meeting = Meeting(folder, name, rank, size)
    here = seen_here()
    identifier, seen = meeting.attend(
        list(here),
        lambda: "" if here.problem else new_identifier(find_cupy()),  # then all hear of the problem
        timeout,
    )
    number = place([Seen(*one) for one in seen])[rank]
    backend: Any = get_backend(f"cuda:{number}", precision, numerics=numerics)
    backend.join(rank, size, bytes.fromhex(identifier), timeout)
    return GPUProcesses(backend)

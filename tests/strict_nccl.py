"""NCCL of the strict stand-in for CuPy (see strict.py): several of them in one process, each with one thread.

    world = World(2)
    cupys = [world.cupy(rank) for rank in range(2)]     # each with cupy.cuda.nccl

Messages are queued on streams as kernels are, and moved as late as can be: a message is there when a stream that needs
it has come to it and the streams of both processes have. Then the stream of the other process is done up to there, by
whichever thread waits. So what reads a message without being behind it on its stream reads old numbers.

It refuses what NCCL refuses: unknown types, memory of the host or of another device, more numbers than an array has,
groups that are not closed, another device than the communicator's. It raises where NCCL would wait for ever: a message
without its counterpart (HANG seconds later), counts that differ, a call that one process captures and another doesn't,
a communicator that is destroyed before graphs that use it. And it refuses what the house forbids: a message whose like
no run before the capture has sent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from strict import StrictCupy
from strict_streams import StrictError

HANG = 60.0  # seconds after which a message without its counterpart is an error; building a kernel may take some
BYTES = {0: 1, 1: 1, 2: 4, 3: 4, 4: 8, 5: 8, 6: 2, 7: 4, 8: 8}
NAMES = {
    "INT8": 0, "UINT8": 1, "INT32": 2, "UINT32": 3, "INT64": 4, "UINT64": 5, "FLOAT16": 6, "FLOAT32": 7, "FLOAT64": 8
}  # fmt: skip


class NcclError(RuntimeError):
    """An error of NCCL, by CuPy's name for it."""


class World:
    """Processes whose stand-ins for CuPy can send each other messages.

    devices: how many the host has. hang: seconds after which a message without its counterpart is an error. kind: of
    stand-in. bytes_sent: by each process. backward: whether messages that are ready are moved in the reverse order.
    """

    def __init__(
        self,
        processes: int,
        devices: int | None = None,
        hang: float = HANG,
        kind: Callable[..., StrictCupy] = StrictCupy,
    ) -> None:
        self.lock = threading.RLock()
        self.come = threading.Condition(self.lock)
        self.hang, self.backward = hang, False
        self.bytes_sent = [0] * processes
        self.groups: dict[bytes, Group] = {}
        self._cupys = [_cupy_of(self, kind(devices=devices or processes)) for _ in range(processes)]

    def cupy(self, rank: int) -> StrictCupy:
        """That of one process."""
        return self._cupys[rank]

    def abandon(self) -> None:
        """Drop all messages that have not been moved, and what waits behind them."""
        for group in self.groups.values():
            for turn in group.calls.values():
                turn.stream._queue.clear()


class Group:
    """The processes of one identifier."""

    def __init__(self, world: World, size: int) -> None:
        self.world, self.size = world, size
        self.members: dict[int, Any] = {}
        self.calls: dict[Any, Turn] = {}  # what each process has asked for, by (kind, from, to, how manyeth)


class Turn:
    """Messages of one process that are moved together; an entry of a stream's queue that stays there until it is done.

    messages: (key, key of the counterpart, place of bytes, whether it is sent). captured: whether in a graph.
    """

    blocks = True

    def __init__(self, group: Group, rank: int, stream: Any, captured: bool) -> None:
        self.group, self.rank, self.stream, self.captured = group, rank, stream, captured
        self.messages: list[Message] = []
        self.passed = self.done = False  # passed: whether the stream has come to it

    def __call__(self, patient: bool = True) -> bool:
        """Come to it, and move the messages once the others have. Whether it is done: it always is with `patient`."""
        world = self.group.world
        self.passed = True
        world.come.notify_all()
        end = time.monotonic() + world.hang
        while not self.done:
            others = [self.group.calls.get(message.other) for message in self.messages]
            for other in others:
                if other is not None and not other.passed:
                    other.stream._run(other, patient=False)
            if all(other is not None and other.passed for other in others):
                self._move(others)
                break
            if not patient:
                return False
            if not world.come.wait(max(end - time.monotonic(), 0.0)) and not self.done:
                lacking = [m.other for m, o in zip(self.messages, others, strict=True) if o is None or not o.passed]
                raise StrictError(f"process {self.rank} hangs: nobody does {lacking}")
        return True

    def _move(self, others: list[Any]) -> None:
        pairs = list(zip(self.messages, others, strict=True))
        for message, other in reversed(pairs) if self.group.world.backward else pairs:
            if other.captured != self.captured:
                raise StrictError(f"process {self.rank} hangs: {message.key} is captured by one process only")
            theirs = next(m for m in other.messages if m.key == message.other)
            if theirs.size != message.size or theirs.code != message.code:
                raise StrictError(
                    f"process {self.rank} hangs: {message.key} has other counts or types than {theirs.key}"
                )
            if not message.moved:
                send, receive = (message, theirs) if message.sends else (theirs, message)
                receive.place()[...] = send.place()
                message.moved = theirs.moved = True
                self.group.world.bytes_sent[message.sender] += message.size * (message.sender != message.receiver)
        self.done = True
        self.group.world.come.notify_all()


class Message:
    """One half of a message."""

    def __init__(self, key: Any, other: Any, place: Callable[[], np.ndarray], code: int, size: int) -> None:
        self.key, self.other, self.place, self.code, self.size = key, other, place, code, size
        self.sends, self.moved = key[0] == "send", False
        self.sender, self.receiver = key[1], key[2]


def _cupy_of(world: World, cupy: StrictCupy) -> StrictCupy:
    cupy._lock = world.lock
    cupy.cuda.runtime.getDeviceProperties = lambda index: {"name": b"a stand-in", "uuid": bytes([index]) * 16}
    nccl: Any = SimpleNamespace(available=True, NcclError=NcclError, **{f"NCCL_{k}": v for k, v in NAMES.items()})
    thread = threading.local()

    def start() -> None:
        if getattr(thread, "calls", None) is not None:
            raise StrictError("a group of NCCL's calls is begun within another")
        thread.calls = []

    def end() -> None:
        calls = getattr(thread, "calls", None)
        if calls is None:
            raise NcclError("NCCL_ERROR_INVALID_USAGE: groupEnd without groupStart")
        thread.calls = None
        by_end: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for communicator, stream, halves in calls:
            by_end[id(communicator), stream].append((communicator, halves))
        for (_, stream), some in by_end.items():
            some[0][0]._ask(stream, [half for _, halves in some for half in halves])

    def get_unique_id() -> bytes:
        return os.urandom(128)

    nccl.groupStart, nccl.groupEnd, nccl.get_unique_id = start, end, get_unique_id
    nccl.get_version = lambda: 22705
    nccl.NcclCommunicator = lambda size, identifier, rank: NcclCommunicator(cupy, world, thread, size, identifier, rank)
    cupy.cuda.nccl = nccl
    return cupy


class NcclCommunicator:
    """`cupy.cuda.nccl.NcclCommunicator`, as much of it as gpubp may use."""

    def __init__(self, cupy: Any, world: World, thread: Any, size: int, identifier: bytes, rank: int) -> None:
        if cupy._stream().is_capturing():
            raise StrictError("a communicator is made while a stream is captured")
        if len(identifier) != 128:
            raise ValueError(f"commId length {len(identifier)} != 128.")
        self._cupy, self._world, self._thread, self._rank, self._size = cupy, world, thread, rank, size
        self._device, self._destroyed = cupy._here.device, False
        self._graphs: list[weakref.ref[Any]] = []
        self._seen: set[Any] = set()
        self._counted: dict[Any, int] = defaultdict(int)
        self.error: str | int = ""  # that NCCL has found meanwhile; a number for an answer that CuPy has no name for
        with world.come:
            self._group = world.groups.setdefault(identifier, Group(world, size))
            taken = [other for other in self._group.members.values() if other._place() == self._place()]
            if rank in self._group.members or taken:
                raise NcclError("NCCL_ERROR_INVALID_USAGE: a rank or a device of this group is taken")
            self._group.members[rank] = self
            world.come.notify_all()
            if not world.come.wait_for(lambda: len(self._group.members) == size, HANG):
                raise StrictError(f"process {rank} hangs: {len(self._group.members)} of {size} have come")

    def _place(self) -> Any:
        return self._device

    def destroy(self) -> None:
        if any(graph() is not None for graph in self._graphs):
            raise StrictError("NCCL would wait for ever: a graph that uses the communicator is alive")
        self._destroyed = True

    def abort(self) -> None:
        self._destroyed = True

    def check_async_error(self) -> None:
        if self.error:
            raise KeyError(self.error) if isinstance(self.error, int) else NcclError(self.error)

    def send(self, place: int, count: int, code: int, peer: int, stream: int) -> None:
        self._add(stream, [("send", self._rank, peer, place, count, code)])

    def recv(self, place: int, count: int, code: int, peer: int, stream: int) -> None:
        self._add(stream, [("receive", peer, self._rank, place, count, code)])

    def allGather(self, place: int, to: int, count: int, code: int, stream: int) -> None:
        step = count * BYTES.get(code, 1)
        halves: list[Any] = []
        for peer in range(self._size):
            halves.append(("send", self._rank, peer, place, count, code))
            halves.append(("receive", peer, self._rank, to + peer * step, count, code))
        self._add(stream, halves)

    def _add(self, stream: int, halves: list[Any]) -> None:
        if self._destroyed:
            raise StrictError("a communicator is used after its end")
        if self._cupy._here.device != self._device:
            raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: the current device is not {self._device}")
        if stream != self._cupy._stream().ptr:
            raise StrictError("NCCL is given another stream than the current one")
        for _, sender, receiver, _, count, code in halves:
            if code not in BYTES:
                raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: there is no type {code}")
            if not (0 <= sender < self._size and 0 <= receiver < self._size) or count < 1:
                raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: {count} numbers from {sender} to {receiver}")
        if getattr(self._thread, "calls", None) is not None:
            self._thread.calls.append((self, stream, halves))
        else:
            self._ask(stream, halves)

    def _ask(self, stream: int, halves: list[Any]) -> None:
        """Queue messages that go together, or write them into the graph."""
        cupy, queue = self._cupy, self._cupy._stream()
        kinds = tuple((kind, sender, receiver, count, code) for kind, sender, receiver, _, count, code in halves)
        if queue.is_capturing() and kinds not in self._seen:
            raise StrictError(f"messages are captured whose like no run before has sent: {kinds}")
        self._seen.add(kinds)
        places = [self._memory(place, count * BYTES[code]) for *_, place, count, code in halves]

        def turn(captured: bool) -> Turn:
            made = Turn(self._group, self._rank, queue, captured)
            with self._world.come:
                for (kind, sender, receiver, _, count, code), place in zip(halves, places, strict=True):
                    number = self._counted[kind, sender, receiver]
                    self._counted[kind, sender, receiver] += 1
                    other = "receive" if kind == "send" else "send"
                    keys = (kind, sender, receiver, number), (other, sender, receiver, number)
                    made.messages.append(Message(*keys, place, code, count * BYTES[code]))
                    self._group.calls[keys[0]] = made
                self._world.come.notify_all()
            return made

        if queue._graph is not None:
            again = lambda: turn(True)  # noqa: E731
            queue._graph._add("nccl", SimpleNamespace(again=again), queue)
            self._graphs.append(weakref.ref(queue._graph))
        else:
            cupy.counts.launches += 1
            cupy.counts.null_stream += queue.null
            with self._world.come:  # whoever is told of it finds it in the queue
                queue._queue.append(turn(False))

    def _memory(self, place: int, size: int) -> Callable[[], np.ndarray]:
        """The bytes at an address of the device; a graph looks after their memory."""
        cupy = self._cupy
        for _, reference in cupy._allocated:
            memory = reference()
            if memory is None or not memory.ptr <= place < memory.ptr + max(len(memory.bytes), 1):
                continue
            if memory.device_id != self._device:
                raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: memory of device {memory.device_id}")
            if place + size > memory.ptr + len(memory.bytes):
                raise StrictError(f"{size} bytes from {place:#x} are more than the array there has")
            low, whole = place - memory.ptr, memory.bytes
            stream = cupy._stream()
            if stream._graph is not None:
                stream._graph._arrays.append(SimpleNamespace(memory=reference))
            return lambda: whole[low : low + size]
        raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: {place:#x} is not a valid pointer")


def threads(count: int, work: Callable[[int], Any], timeout: float = 300.0) -> list[Any]:
    """work(rank) of each process, each in a thread; its results, or the first error that is not of waiting."""
    results: list[Any] = [None] * count
    problems: list[tuple[int, BaseException]] = []

    def one(rank: int) -> None:
        try:
            results[rank] = work(rank)
        except BaseException as problem:
            problems.append((rank, problem))

    every = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(count)]
    for thread in every:
        thread.start()
    end = time.monotonic() + timeout
    for thread in every:
        thread.join(max(end - time.monotonic(), 0.1))
    if problems:
        quiet = [problem for _, problem in problems if "hangs" not in str(problem)]
        raise (quiet or [problem for _, problem in problems])[0]
    assert not any(thread.is_alive() for thread in every), "a process hangs"
    return results

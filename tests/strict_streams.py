"""Streams, events, graphs and memory of the strict stand-in for CuPy (see strict.py)."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from strict_arrays import StrictArray


class StrictError(RuntimeError):
    """Something that CuPy lets pass and a step of gpubp must not do."""


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime, by CuPy's name for it."""


class OutOfMemoryError(MemoryError):
    """The device's memory is full, by CuPy's name for it."""


class CompileException(Exception):
    """A kernel that does not compile, by CuPy's name for it."""


@dataclass
class Counts:
    """How often each thing was done since it was last set to 0."""

    launches: int = 0  # kernels asked for one by one
    graph_launches: int = 0
    graph_kernels: int = 0  # kernels that ran because a graph was launched
    allocations: int = 0
    host_reads: int = 0
    host_copies: int = 0  # host to device
    waits: int = 0  # of the host for the device
    operators: int = 0  # and assignments on bare arrays
    null_stream: int = 0  # kernels asked of the default stream

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def copy(self) -> Counts:
        return Counts(*(getattr(self, f.name) for f in fields(self)))


class Memory:
    """A piece of the device's memory, at an address that 512 divides as CuPy's are; it goes back to its pool when no
    array needs it any more, whatever is still queued."""

    def __init__(self, block: np.ndarray, size: int, device_id: int) -> None:
        self.bytes, self.device_id = block[:size], device_id
        self.ptr = block.ctypes.data

    def view(self, layout: tuple) -> np.ndarray:
        """The numbers at (offset, shape, strides, dtype)."""
        offset, shape, strides, dtype = layout
        return np.ndarray(shape, dtype, self.bytes, offset, strides)


class Pool:
    """CuPy's memory pool: what was freed is given out again at once, to whoever asks on the same stream.

    That is right as long as all work on it is asked of that stream, or waited for; else two arrays are one.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple[int, int, int], list[np.ndarray]] = {}

    def take(self, size: int, device_id: int, stream: Stream) -> Memory:
        """Memory that holds anything but zeros, for work on `stream`."""
        rounded = -(-size // 512) * 512
        idle = self._idle.setdefault((device_id, stream.ptr, rounded), [])
        if idle:
            block = idle.pop()
            stream._queue.append(lambda: block.fill(0xA5))  # what nobody has written is no zero
        else:
            whole = np.full(rounded + 512, 0xA5, np.uint8)
            start = -whole.ctypes.data % 512
            block = whole[start : start + rounded]
        memory = Memory(block, size, device_id)
        weakref.finalize(memory, idle.append, block).atexit = False
        return memory


class PinnedMemory(bytearray):
    """Host memory that the device fetches from by itself, when it gets to it."""


def pinned_view(memory: Any, shape: tuple, dtype: np.dtype, offset: int, strides: tuple) -> np.ndarray:
    """What lies in pinned memory by the time that it is copied from."""
    if memory is None:
        raise StrictError("pinned memory was freed before the copy from it was done")
    return np.ndarray(shape, dtype, memory, offset, strides)


class Kept:
    """An array as a kernel holds it, in a stream's queue or in a graph: an address, which keeps nothing alive. Whatever
    lies there by the time that it runs is used."""

    def __init__(self, array: StrictArray) -> None:
        self.memory = weakref.ref(array._memory)
        self._bytes, self._layout = array._memory.bytes, array._layout

    def view(self) -> np.ndarray:
        offset, shape, strides, dtype = self._layout
        return np.ndarray(shape, dtype, self._bytes, offset, strides)


class _Waits:
    """In a stream's queue: it waits for a mark of another one."""

    blocks = True

    def __init__(self, mark: Any) -> None:
        self._mark = mark

    def __call__(self, patient: bool) -> bool:
        return bool(self._mark.passed or self._mark.stream._run(self._mark, patient))


class Stream:
    """A queue of work, done as late as can be."""

    def __init__(self, library: Any, non_blocking: bool = False, null: bool = False) -> None:
        self._library, self.is_non_blocking, self.null = library, non_blocking, null
        self.ptr = 0 if null else library._new_handle()
        self.device_id = -1 if null else library._here.device
        self._queue: deque[Any] = deque()
        self._graph: Graph | None = None
        self._leaves: set[int] = set()  # of the graph: what the next kernel of this stream has to wait for
        self._broken = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> Stream:
        here = self._library._here
        if not self.null and self.device_id != here.device:
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({here.device})"
            )
        here.streams[here.device].append(self)
        here.entered.append(here.device)
        return self

    def __exit__(self, *problem: object) -> None:
        here = self._library._here
        assert here.streams[here.entered.pop()].pop() == self

    def _run(self, until: Any = None, patient: bool = True) -> bool:
        """Do what is queued, up to `until`. patient: whether to wait for messages of other processes. Returns whether
        it is all done. What may wait stays in the queue until it is done, as meanwhile another thread may come here."""
        with self._library._lock, np.errstate(all="ignore"):
            while self._queue and not (until is not None and until.passed):
                work = self._queue[0]
                if getattr(work, "blocks", False):
                    if not work(patient):
                        return False
                    if self._queue and self._queue[0] is work:
                        self._queue.popleft()
                else:
                    self._queue.popleft()()
            return until is None or bool(until.passed)

    def _break(self, error: str) -> None:
        self._broken = "cudaErrorStreamCaptureInvalidated"
        raise CUDARuntimeError(error)

    def synchronize(self) -> None:
        if self._graph is not None:
            self._break("cudaErrorStreamCaptureUnsupported")
        self._library.counts.waits += 1
        self._run()

    @property
    def done(self) -> bool:
        if self._graph is not None:
            self._break("cudaErrorStreamCaptureUnsupported")
        return not self._queue

    def record(self, event: Event | None = None) -> Event:
        event = event or Event(self._library)
        if event.device_id != (self._library._here.device if self.null else self.device_id):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: the event is of another device than the stream")
        if self._graph is not None:
            event._mark = SimpleNamespace(graph=self._graph, leaves=set(self._leaves), passed=True)
            return event
        event._mark = mark = SimpleNamespace(passed=False, stream=self)
        self._queue.append(lambda: mark.__dict__.update(passed=True, at=time.perf_counter()))
        return event

    def wait_event(self, event: Event) -> None:
        mark = event._mark
        if hasattr(mark, "graph"):
            if mark.graph.ended:
                raise CUDARuntimeError("cudaErrorCapturedEvent: the event was recorded in a capture that is over")
            if self._graph is None:
                self._graph, self._broken = mark.graph, ""
                mark.graph.streams.append(self)
            self._leaves |= mark.leaves
        elif mark is not None:
            self._queue.append(_Waits(mark))

    def begin_capture(self, mode: Any = None) -> None:
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._graph is not None:
            raise CUDARuntimeError("cudaErrorIllegalState")
        self._graph, self._broken, self._leaves = Graph(self._library), "", set()

    def end_capture(self) -> Graph:
        if self._graph is None:
            raise CUDARuntimeError("cudaErrorIllegalState")
        graph, self._graph = self._graph, None
        graph.ended = True
        for branch in graph.streams:
            branch._graph, branch._leaves = None, set()
        if self._broken:
            raise CUDARuntimeError(self._broken)
        if len(graph._before(self._leaves)) < len(graph.names):
            raise CUDARuntimeError("cudaErrorStreamCaptureUnjoined")
        graph.order = graph._sorted(self)
        if graph.names:
            self._library.graphs.append(graph)
        return graph

    def is_capturing(self) -> bool:
        return self._graph is not None


class Event:
    """A mark in a queue."""

    def __init__(self, library: Any, block: bool = False, disable_timing: bool = False) -> None:
        self._library, self.device_id = library, library._here.device
        self._timed = not disable_timing
        self._mark: Any = None

    def record(self, stream: Stream | None = None) -> None:
        (stream or self._library._stream()).record(self)

    def _uncaptured(self) -> None:
        if hasattr(self._mark, "graph"):
            raise CUDARuntimeError("cudaErrorCapturedEvent: the event was recorded in a capture")

    def synchronize(self) -> None:
        self._uncaptured()
        if self._mark is not None:
            self._library.counts.waits += not self._mark.passed
            self._mark.stream._run(self._mark)

    @property
    def done(self) -> bool:
        """Whoever asks makes the work go on, but does not wait for other processes."""
        self._uncaptured()
        if self._mark is not None and not self._mark.passed:
            self._mark.stream._run(self._mark, patient=False)
        return self._mark is None or self._mark.passed


def elapsed(before: Event, after: Event) -> float:
    """Milliseconds between two events."""
    if not (before._timed and after._timed and before._mark and after._mark):
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event has no time, or was not recorded")
    if not (before._mark.passed and after._mark.passed):
        raise CUDARuntimeError("cudaErrorNotReady")
    return 1000.0 * (after._mark.at - before._mark.at)


class Graph:
    """What was asked of a stream while it was captured, and of others that had to wait for it.

    names: of the kernels, in order. order: in which they are done.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._kernels: list[Callable[[], None]] = []
        self._arrays: list[Kept] = []
        self.names: list[str] = []
        self.streams: list[Stream] = []  # others than the one captured
        self.order: list[int] = []
        self.uploaded = self.ended = False
        self._waits: list[set[int]] = []  # for which kernels each kernel waits
        self._of: list[int] = []  # the stream of each

    def _add(self, name: str, kernel: Callable[[], None], stream: Stream) -> None:
        """A kernel more."""
        self._kernels.append(kernel)
        self.names.append(name)
        self._waits.append(set(stream._leaves))
        self._of.append(stream.ptr)
        stream._leaves = {len(self.names) - 1}

    def _before(self, some: set[int]) -> set[int]:
        """These kernels and all that come before them."""
        found, todo = set(), list(some)
        while todo:
            if (k := todo.pop()) not in found:
                found.add(k)
                todo += self._waits[k]
        return found

    def _sorted(self, main: Stream) -> list[int]:
        """The kernels in an order that is allowed and least expected: those of other streams as late as can be, or,
        with `branches_first`, as early."""
        early, done = self._library.branches_first, []
        mine = [k for k in range(len(self.names)) if self._of[k] == main.ptr]
        others = [k for k in range(len(self.names)) if self._of[k] != main.ptr]
        for k in mine:
            if early:
                for other in others:
                    if other not in done and self._waits[other] <= set(done):
                        done.append(other)
            done += sorted(self._before(self._waits[k]) - set(done))
            done.append(k)
        return done + [k for k in others if k not in done]

    def upload(self, stream: Stream | None = None) -> None:
        self.uploaded = True

    def launch(self, stream: Stream | None = None) -> None:
        if any(a.memory() is None for a in self._arrays):
            raise StrictError("a graph was launched after memory that it uses had been freed")
        counts = self._library.counts
        counts.graph_launches += 1
        counts.graph_kernels += len(self._kernels)
        kernels = [self._kernels[k] for k in self.order]  # messages are others at each launch
        queue = (stream or self._library._stream())._queue
        with self._library._lock:
            queue.extend(kernel.again() if hasattr(kernel, "again") else kernel for kernel in kernels)

    def debug_dot_str(self, flags: int = 0) -> str:
        nodes = [f'"graph_1_node_{i}"[label="{name}"];' for i, name in enumerate(self.names)]
        return "\n".join(
            ["digraph dot {", "subgraph cluster_1 {", 'label="graph_1" graph[style="dashed"];', *nodes, "}", "}"]
        )


class Device:
    """A device, made the current one by `with`."""

    compute_capability = "90"

    def __init__(self, library: Any, index: int) -> None:
        self._library, self.id, self._before = library, int(index), threading.local()

    def __enter__(self) -> Device:
        here = self._library._here
        self._before.__dict__.setdefault("stack", []).append(here.device)
        here.device = self.id
        return self

    def __exit__(self, *problem: object) -> None:
        self._library._here.device = self._before.stack.pop()

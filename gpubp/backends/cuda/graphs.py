"""CUDA graphs: the kernels of a recorded step, captured once and then launched together.

A graph holds bare addresses: whatever it reads or writes must live as long as it does, and keep its place. What CuPy's
own functions allocate while they are captured comes from a pool of the graph's own, which CuPy never gives back by
itself; so a graph that nobody launches any more is set aside, and freed once the stream is done with it.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any

from ...errors import CommunicationError
from ..recording import Call, Record
from .branches import Branches
from .launches import Launches, first_line, warn_once
from .nccl import Communicator
from .timing import milliseconds

RUNS = 2  # of a recorded step before it is captured: kernels are compiled and loaded by the first
TOGETHER = 16  # steps in one graph, where many are done at a stretch
AT_ONCE = 10  # launches of a call that is timed
NODES = 1024  # calls of the steps in one graph, at most
DEPTH = 4  # stretches of work, or single steps, that the host may have asked for and the device not done


Dropped = list[tuple[Any, Any, Any]]  # graphs that nobody launches any more, their pools and communicators
_left: list[tuple[Any, Any, Dropped]] = []  # those of backends that are gone, with device and stream


class Graph:
    """A CUDA graph, with the arrays that must live as long.

    >>> Graph(None, ("an array",)).buffers
    ('an array',)
    """

    def __init__(self, captured: Any, buffers: tuple[Any, ...]) -> None:
        self.captured, self.buffers = captured, buffers

    def launch(self, stream: Any) -> None:
        """Ask the stream for all of it."""
        self.captured.launch(stream)


class Graphs:
    """What makes graphs of the work on one stream.

    cupy: the CuPy module. device: where the stream is. name: of the device, as in "cuda:0". allowed: whether there are
    to be any. branches: whether products may run beside others in them. communicator: of the messages to other GPUs
    that the stream may wait for, None for none.
    """

    allowed = branches = True
    communicator: Communicator | None = None

    def __init__(self, cupy: Any, device: Any, stream: Any, name: str) -> None:
        self.cuda, self._name, self._device, self._stream = cupy.cuda, name, device, stream
        self._dropped: Dropped = []
        weakref.finalize(self, _left.append, (device, stream, self._dropped)).atexit = False
        self._writing = False  # whether the stream is being captured

    def written(self, work: Callable[[], Any]) -> Any:
        """What `work` asks of the stream, none of it done: CuPy's graph."""
        try:  # around the beginning too: Ctrl-C may be raised as soon as it is done
            self._writing = True
            self._stream.begin_capture()
            work()
        except BaseException:
            with suppress(Exception):  # of a capture that was broken off; it is over all the same
                self._stream.end_capture()
            raise
        finally:
            self._writing = False
        return self._stream.end_capture()

    def of(self, work: Callable[[], Any], buffers: tuple[Any, ...]) -> Graph:
        """What `work` launches as a graph. Raises what CuPy raises for what can't be captured."""
        pool = self.cuda.MemoryPool()
        with self.cuda.using_allocator(pool.malloc):
            captured = self.written(work)
        captured.upload(self._stream)
        graph = Graph(captured, buffers)
        if self.communicator is not None:
            self.communicator.link.graphs += 1
        # only noted here: a finalizer may run in the middle of a capture, which waiting would break
        weakref.finalize(graph, self._dropped.append, (captured, pool, self.communicator)).atexit = False
        return graph

    def share(self, communicator: Communicator) -> Communicator:
        """Let the stream send messages by a communicator that another one has."""
        self.communicator = communicator.on(self._stream)
        return self.communicator

    def agree(self, able: bool, record: Record) -> bool:
        """Whether all processes can do something with a record; where it sends no messages, whether this one can."""
        if self.communicator is None or not any(_is_message(call) for call in record.calls):
            return able
        return self.communicator.agree(able)

    def wait(self, event: Any = None) -> None:
        """The host waits for an event, or for the stream, but not for ever for another process."""
        self.wait_for_others(event)
        (self._stream if event is None else event).synchronize()

    def wait_for_others(self, event: Any = None) -> None:
        """`wait` if there may be messages to wait for; nothing if there are none."""
        if self.communicator is not None and not self._writing:
            if event is None:
                event = self.cuda.Event(disable_timing=True)
                event.record(self._stream)
            self.communicator.wait(event)

    def free_dropped(self) -> None:
        """Give back the memory of graphs that nobody launches any more; while the stream is captured, later."""
        if self._writing:
            return
        if self._dropped:
            self.wait()
        _free(self._device, self._stream, self._dropped)
        while _left:
            _free(*_left.pop())

    def seconds_of(self, call: Call, rounds: int, buffers: tuple[Any, ...]) -> float:
        """What one call takes, the median of so many, by events around many in one graph; or of those made one by one,
        if it can't be captured."""

        def many() -> None:
            for _ in range(AT_ONCE):
                call.function(*call.args, **call.kwargs)

        launch: Callable[[], Any] = many
        with suppress(Exception):
            launch = partial(self.of(many, buffers).launch, self._stream)
        return median(milliseconds(self.cuda, self._stream, launch, max(rounds // AT_ONCE, 3))) / 1000.0 / AT_ONCE

    def refuse(self, cause: str) -> str:
        """The cause, of which a warning tells once."""
        warn_once(f"steps on {self._name} run call by call instead of as one CUDA graph, which is slower: {cause}")
        return cause


def _free(device: Any, stream: Any, dropped: Dropped) -> None:
    if not dropped:
        return
    with device:  # whose part of the pool is meant
        stream.synchronize()
        while dropped:
            captured, pool, communicator = dropped.pop()
            del captured
            pool.free_all_blocks()
            if communicator is not None:
                communicator.link.graphs -= 1


def _is_message(call: Call) -> bool:
    return isinstance(getattr(call.function, "__self__", None), Communicator)


def launches_in(captured: Any) -> int:
    """How many kernels and copies a graph of CuPy's has, as the driver counts them; or where it can't be asked, some or
    none, by a drawing, the one way that CuPy has."""
    graph, count = getattr(captured, "graph", 0), ctypes.c_size_t()
    if graph:
        try:
            if ctypes.CDLL("libcuda.so.1").cuGraphGetNodes(ctypes.c_void_p(graph), None, ctypes.byref(count)) == 0:
                return count.value
        except (OSError, AttributeError):  # another system's library, or an old one
            pass
    return str(captured.debug_dot_str()).count("_node_")


class Pace:
    """How far the host may be ahead of the device: DEPTH stretches of work, lest Ctrl-C and progress wait long.

    cuda: of the CuPy module. stream: where the work is asked for. wait: how the host waits for an event.
    """

    def __init__(self, cuda: Any, stream: Any, wait: Callable[[Any], None]) -> None:
        self._cuda, self._stream, self._wait = cuda, stream, wait
        self._ends = [cuda.Event() for _ in range(DEPTH)]
        self._starts = [cuda.Event() for _ in range(DEPTH)]
        self._steps = [0] * DEPTH  # of the stretch between two such events, 0 if it is not timed
        self._now = 0

    def begin(self, timed: bool = False) -> float:
        """Wait until there may be another stretch. Seconds of a step in the one waited for, 0 if it wasn't timed."""
        k = self._now
        self._wait(self._ends[k])
        seconds = 0.0
        if self._steps[k]:
            seconds = self._cuda.get_elapsed_time(self._starts[k], self._ends[k]) / 1000.0 / self._steps[k]
        if timed:
            self._starts[k].record(self._stream)
        self._steps[k] = 0
        return seconds

    def end(self, steps: int = 0) -> None:
        """All of the stretch has been asked for; it had so many steps, if it is timed."""
        k = self._now
        self._ends[k].record(self._stream)
        self._steps[k], self._now = steps, (k + 1) % DEPTH


class CallByCall:
    """A step that could not be recorded, made call by call. refusal: why."""

    record = graph = None

    def __init__(self, step: Callable[[], None], refusal: str) -> None:
        self._step, self.refusal = step, refusal

    def __call__(self) -> None:
        """Do it again."""
        self._step()

    def repeat(self, times: int) -> None:
        """Do it so many times."""
        for _ in range(times):
            self()


class CapturedStep:
    """A recorded step: call by call at first, and then as a CUDA graph, in one launch. Printed, it shows the calls.

    record: the calls. graph: once there is one. refusal: why there is none, "" if nothing speaks against it. seconds:
    of a step among the last, 0 before any were repeated.
    """

    def __init__(
        self,
        record: Record,
        graphs: Graphs,
        launches: Launches,
        streams: tuple[Any, Callable[[], Any]],
        buffers: Callable[[], tuple[Any, ...]],
    ) -> None:
        self.record, self.refusal = record, ""
        self.graph: Graph | None = None
        self._many: Graph | None = None  # of `_together` steps
        self._together = min(TOGETHER, NODES // max(len(record), 1))
        self._branches: Branches | None = None
        self._graphs, self._launches, self._buffers = graphs, launches, buffers
        self._stream, self._side = streams
        self._runs, self.seconds = 0, 0.0
        self._pace = Pace(graphs.cuda, self._stream, graphs.wait)

    def __call__(self) -> None:
        """Do it again."""
        timed = self.seconds > 0.0  # steps that were too slow to be repeated may be quick by now
        self.seconds = self._pace.begin(timed) or self.seconds
        self._once()
        self._pace.end(int(timed))

    def _once(self) -> None:
        if self.graph is None and self._runs >= RUNS and not self.refusal and self._graphs.allowed:
            try:
                self.graph, cause = self._agreed(1), "another process can't capture it"
            except CommunicationError:
                raise
            except Exception as problem:
                cause = self._why(problem)
            if self.graph is None:
                self.refusal = self._graphs.refuse(f"this step can't be captured: {cause}")
        if self.graph is not None:
            self.graph.launch(self._stream)
        else:
            self._launches.uncapturable = ""
            self.record()
            if self._launches.uncapturable and not self.refusal:
                self.refusal = self._graphs.refuse(self._launches.uncapturable)
        self._runs += 1

    def repeat(self, times: int) -> None:
        """Do it so many times, in as few launches as can be."""
        many = self._of_many() if self.graph is not None and times >= self._together > 1 else None
        self.seconds = self._pace.begin(timed=True) or self.seconds
        left = times
        while left:
            if many is not None and left >= self._together:
                many.launch(self._stream)
                left -= self._together
            else:
                self._once()
                left -= 1
        self._pace.end(times)

    def _of_many(self) -> Graph | None:
        if self._many is None:
            try:
                self._many, cause = self._agreed(self._together), "another process can't capture them"
            except CommunicationError:
                raise
            except Exception as problem:
                cause = self._why(problem)
            if self._many is None:
                warn_once(f"{self._together} steps are {self._together} CUDA graphs and not one: {cause}")
                self._together = 0
        return self._many

    def _why(self, problem: Exception) -> str:
        """Why there is no graph: not CuPy's refusal of its own products, but what has led to them."""
        return self._launches.uncapturable or first_line(problem)

    def _agreed(self, steps: int) -> Graph | None:
        """So many steps as a graph; None where another process, to which it sends messages, can't have it."""
        self._launches.uncapturable = ""
        try:
            graph = self._captured(steps)
        except CommunicationError:
            raise
        except Exception:
            self._graphs.agree(False, self.record)
            raise
        return graph if self._graphs.agree(True, self.record) else None

    def _work(self) -> Callable[[], None]:
        """What is captured: the calls on two streams, where that has been asked for and gains anything."""
        if self._branches is None:
            self._branches = Branches(self.record.calls, self._launches, self._graphs.cuda, self._stream, self._side())
        return self._branches if self._branches.forks and self._graphs.branches else self.record

    def _captured(self, steps: int) -> Graph:
        work = self._work()

        def all_of_them() -> None:
            for _ in range(steps):
                work()

        return self._graphs.of(all_of_them, (self.record, *self._buffers()))

    def __len__(self) -> int:
        return len(self.record)

    def __str__(self) -> str:
        return str(self.record)

"""Messages between GPUs: NCCL, through CuPy, on the stream of a backend.

One process uses one GPU. All calls are queued on the backend's stream like kernels, so a captured step repeats them.
Each process must make the same calls in the same order, and capture and launch the same graphs:

* "Whether an operation launch is graph-captured ... must be uniform over all ranks", and so must be the launch of a
  graph that has one (NCCL's guide, "Using NCCL with CUDA Graphs"). So the processes agree on each capture: `agree`.
* The first message between two GPUs makes their connection, which takes memory. A step runs twice before its capture.
* ncclCommDestroy and ncclCommAbort wait until no graph is left that was captured with the communicator
  (`commDestroySync` in NCCL's src/init.cc). CuPy calls the first when its object is freed. So a communicator is closed
  or lasts as long as the process, and graphs are freed before it.
* NCCL's sums depend on the way that messages take, so it is asked for no sum. It moves bytes, and own kernels add them.

The host never waits for another process without end: it asks for errors, and gives up after `timeout` seconds.
"""

from __future__ import annotations

import copy
import ctypes
import importlib
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ...errors import CommunicationError, MissingDependencyError, ShapeError
from ..arrays import Array
from .launches import first_line

TIMEOUT = 600.0  # seconds that a process waits for the others: evaluation or a checkpoint may take minutes in one
SPINS = 200  # questions whether the GPU is done that the host asks without a pause
PAUSE = 5e-5  # seconds between later ones
ABORT = 5.0  # seconds that an abort may take
TYPES = {
    "float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64", "float16": "NCCL_FLOAT16", "int32": "NCCL_INT32",
    "int64": "NCCL_INT64", "uint8": "NCCL_UINT8", "uint32": "NCCL_UINT32", "uint64": "NCCL_UINT64",
    "bool": "NCCL_UINT8",
}  # fmt: skip

INSTALL = "pip install 'gpubp[nccl12]' (CUDA 12) or 'gpubp[nccl13]' (CUDA 13), on Linux"


def why_no_nccl(cupy: Any) -> str:
    """Why CuPy has no NCCL, with what to install; "" if it has."""
    try:
        nccl = _library(cupy)
    except ImportError as problem:
        return f"CuPy's module for NCCL can't be imported ({first_line(problem)}): {INSTALL}"
    return "" if getattr(nccl, "available", False) else f"CuPy finds no NCCL: {INSTALL}"


def find_nccl(cupy: Any) -> Any:
    """CuPy's module for NCCL, `cupy.cuda.nccl`; MissingDependencyError where there is no NCCL."""
    if reason := why_no_nccl(cupy):
        raise MissingDependencyError(f"Training with several GPUs needs NCCL. {reason}")
    return _library(cupy)


def _library(cupy: Any) -> Any:
    # it is a submodule that `import cupy` does not import, and importing it warns where there is no library
    found = getattr(cupy.cuda, "nccl", None)
    if found is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module("cupy.cuda.nccl")
    return found


class Link:
    """What communicators of one process have in common. graphs: how many graphs with their calls are alive. failure:
    why they can't be used any more, "" while they can.

    >>> Link().graphs
    0
    """

    def __init__(self) -> None:
        self.graphs, self.failure = 0, ""


class Communicator:
    """One process's end of the messages between `size` GPUs.

    cupy: the CuPy module. device, stream: those of the backend. identifier: 128 bytes that rank 0 has made by
    `new_identifier` and all processes have got. timeout: seconds that this process waits for the others.

    rank, size: the number of this process, and how many there are. link: what it has in common with those of other
    streams.

    What moves numbers is queued on the stream and returns at once. It is called through `Backend.run`, with what is
    written as `out`.

    Raises MissingDependencyError without NCCL, CommunicationError if the others do not come.
    """

    def __init__(
        self, cupy: Any, device: Any, stream: Any, rank: int, size: int, identifier: bytes, timeout: float = TIMEOUT
    ) -> None:
        self._nccl = find_nccl(cupy)
        self._cupy, self._device = cupy, device
        self.rank, self.size, self.timeout = rank, size, timeout
        self._codes = {np.dtype(name): getattr(self._nccl, code) for name, code in TYPES.items()}
        self._handle = self._begun(identifier)
        self.link = Link()
        # freeing it would wait for graphs, which nobody frees at the end of a process
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._handle))
        self._use(stream)

    def on(self, stream: Any) -> Communicator:
        """The same communicator for another stream of the same GPU."""
        other = copy.copy(self)
        other._use(stream)
        return other

    def _use(self, stream: Any) -> None:
        self._stream = stream
        with self._device, stream:
            self._flag, self._flags = (self._cupy.empty((n,), np.uint8) for n in (1, self.size))

    def _begun(self, identifier: bytes) -> Any:
        """CuPy's communicator. All processes come here; it is made in a thread, because NCCL waits without end."""
        made: list[Any] = []
        problems: list[BaseException] = []

        def begin() -> None:
            try:
                with self._device:
                    made.append(self._nccl.NcclCommunicator(self.size, identifier, self.rank))
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=begin, name="gpubp-nccl", daemon=True)
        thread.start()
        thread.join(self.timeout)
        if problems:
            raise CommunicationError(
                f"process {self.rank} of {self.size} can't begin to send messages between GPUs: "
                f"{first_line(problems[0])}; with NCCL_DEBUG=WARN in the environment NCCL says more"
            ) from problems[0]
        if not made:
            raise CommunicationError(
                f"process {self.rank} of {self.size} has waited {self.timeout:.0f} s for {self._others()} to begin to "
                "send messages between GPUs; start all of them, and see that no firewall is between their hosts"
            )
        return made[0]

    # -- what is queued on the stream -------------------------------------------------------------------------------

    def exchange(self, sends: Sequence[Array | None], out: Sequence[Array | None]) -> None:
        """Send sends[p] to process p, and put what it sends into out[p], for all p at once. What two processes send and
        expect has the same type and size; None, or an array without numbers, for nothing."""
        self._check_able()
        for arrays in (sends, out):
            if len(arrays) != self.size:
                raise ShapeError(f"an exchange between {self.size} processes has {len(arrays)} arrays")
        todo = []
        for k in range(self.size):  # each process begins with another partner
            to, of = (self.rank + k) % self.size, (self.rank - k) % self.size
            todo.append((self._handle.send, sends[to], to))
            todo.append((self._handle.recv, out[of], of))
        calls = [(call, *self._described(a), peer) for call, a, peer in todo if a is not None and a.size]
        if not calls:
            return
        stream = self._stream.ptr
        with self._watching():
            self._nccl.groupStart()
            try:
                for call, place, count, code, peer in calls:
                    call(place, count, code, peer, stream)
            except BaseException:
                with suppress(Exception):  # the first error says more
                    self._nccl.groupEnd()
                raise
            self._nccl.groupEnd()

    def all_gather(self, a: Array, out: Array) -> None:
        """out[p] = the `a` of process p. out: (size, *a.shape), or a vector of `size` times as many numbers, whose own
        part `a` may be."""
        self._check_able()
        if out.size != self.size * a.size or out.dtype != a.dtype:
            raise ShapeError(
                f"{a.size} numbers {a.dtype} of each of {self.size} processes don't fit into {out.size} numbers "
                f"{out.dtype}"
            )
        if not a.size:
            return
        (place, count, code), (to, _, _) = self._described(a), self._described(out)
        with self._watching():
            self._handle.allGather(place, to, count, code, self._stream.ptr)

    def _described(self, a: Array) -> tuple[int, int, int]:
        """Address, count and type, as NCCL takes them."""
        if not isinstance(a, self._cupy.ndarray):
            raise ShapeError(f"messages between GPUs are arrays of the device, not {type(a).__name__}")
        if not a.flags.c_contiguous:
            raise ShapeError(f"an array of shape {a.shape} lies with gaps, and a message has none: copy it before")
        if a.dtype not in self._codes:
            raise ShapeError(f"NCCL has no type for numbers of {a.dtype}")
        return int(a.data.ptr), int(a.size), self._codes[a.dtype]

    # -- waiting, errors, the end -----------------------------------------------------------------------------------

    def wait(self, event: Any = None) -> None:
        """The host waits for an event, or for all of the stream. Raises CommunicationError if NCCL reports an error, or
        the GPU is not done in time, because it waits for another process."""
        self._check_able()
        if event is None:
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(self._stream)
        end, asked = time.monotonic() + self.timeout, 0
        while not event.done:
            asked += 1
            if asked < SPINS:
                continue
            self.check()
            if time.monotonic() > end:
                self._fail(
                    f"process {self.rank} of {self.size} has waited {self.timeout:.0f} s for its GPU, which waits for "
                    f"{self._others()}: one has ended, or has not come to the same step. If its work takes longer, set "
                    "the environment variable GPUBP_PROCESSES_TIMEOUT to more seconds"
                )
            time.sleep(PAUSE)

    def check(self) -> None:
        """Raise CommunicationError if NCCL has found that another process can't be reached, or another error."""
        self._check_able()
        with self._watching():
            self._handle.check_async_error()

    def agree(self, able: bool) -> bool:
        """Whether all processes are able to do something; each calls it at the same place. It waits for the GPU."""
        self._check_able()
        with self._device, self._stream:
            self._flag.set(np.array([able], np.uint8))
            self.all_gather(self._flag, out=self._flags)
            self.wait()
            return bool(self._flags.get().all())

    def close(self) -> None:
        """Free what NCCL has of the GPU, when all messages are sent. If a graph is left that sends messages, this is
        left to the end of the process. All processes call it."""
        if not self.link.failure:
            self.wait()
            self.link.failure = f"process {self.rank} has closed its communicator"
            if not self.link.graphs:
                self._handle.destroy()

    def _others(self) -> str:
        others = [str(p) for p in range(self.size) if p != self.rank]
        if len(others) > 8:
            others = [*others[:7], f"{len(others) - 7} more"]
        return f"process{'es' * (len(others) > 1)} {', '.join(others)}"

    def _check_able(self) -> None:
        if self.link.failure:
            raise CommunicationError(self.link.failure)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Errors of NCCL within are told in words."""
        try:
            yield
        except (self._nccl.NcclError, KeyError) as problem:  # a KeyError where CuPy has no name for NCCL's answer
            said = f"it answers {problem}" if isinstance(problem, KeyError) else first_line(problem)
            self._fail(
                f"process {self.rank} of {self.size}: NCCL has failed ({said}); it sends messages to "
                f"{self._others()}, of which one may have ended"
            )

    def _fail(self, reason: str) -> None:
        """Give up: end the kernels that wait for others, so that the process can end."""
        self.link.failure = reason
        thread = threading.Thread(target=self._handle.abort, name="gpubp-nccl-abort", daemon=True)
        thread.start()  # in a thread, because it may wait for graphs
        thread.join(ABORT)
        raise CommunicationError(reason)


def new_identifier(cupy: Any) -> str:
    """What a group of processes knows each other by, made by rank 0: 128 bytes as hex text."""
    identifier: bytes = find_nccl(cupy).get_unique_id()
    return identifier.hex()

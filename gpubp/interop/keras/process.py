"""Process: an HDF5 file is read by a process of its own, because HDF5's library ends the process on some damaged files.

On others it never comes back. So `child.py` reads the file in a Python of its own, and this side asks it for the groups
and texts, and for one array after the other. What comes is checked as if a stranger had sent it. A child that ends, or
takes too long, is an error as for other damaged files.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ModelFileError
from .child import READY, receive, send
from .groups import Group, Shape, from_data
from .hdf5 import Reader, require_h5py

START = 60.0  # seconds for a Python that imports h5py
WAIT = 30.0  # seconds for an answer
SPEED = 4e6  # bytes of the file and of an array for which it may take a second more
DTYPES = {"<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1"}
CODE = "from gpubp.interop.keras.child import main; main()"
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")


@contextmanager
def opened(content: bytes | Path, called: str) -> Iterator[Group]:
    """The groups and arrays of an HDF5 file, while it is open.

    content: the file, or its path. called: its name in messages. Raises ModelFileError for what is refused, damaged, or
    ends the process that reads it; MissingDependencyError without h5py.

    >>> with opened(b"no file", "a.h5"):
    ...     pass
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: a.h5 is no whole HDF5 file (...)
    """
    if sys.modules.get("h5py") is None and importlib.util.find_spec("h5py") is None:
        require_h5py()
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    process = _started()
    if process is None:
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
            reader = Reader(file, size, called)
            try:
                yield reader.tree()
            finally:
                reader.close()
        return
    child = Child(process, size, called)
    try:
        child.give(content)
        yield child.tree()
    finally:
        child.end()


def _started() -> subprocess.Popen[bytes] | None:
    """A Python that runs `child.main`; None where there is none to start, and the file is read in this process.

    An application that was made of a program has itself as its Python, and a browser no processes.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    path = [*(place for place in sys.path if isinstance(place, str)), str(Path(__file__).resolve().parents[3])]
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {CODE}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ONE_THREAD,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    return None


class Child:
    """The child, as this side sees it.

    process: that runs `child.main`. size: of the file in bytes. called: its name in messages. Its methods raise
    ModelFileError in the words of the child, or for one that ended, took too long, or answered wrongly.

    >>> child = Child(_started(), 7, "a.h5")
    >>> child.give(b"no file")
    >>> child.tree()
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: a.h5 is no whole HDF5 file (...)
    >>> child.end()
    """

    def __init__(self, process: subprocess.Popen[bytes], size: int, called: str) -> None:
        self.process, self.size, self.called = process, size, called
        self.late = 0.0  # seconds after which it was ended

    def give(self, content: bytes | Path) -> None:
        """Wait until the child has started, and give it the file."""
        with self._within(START):
            lines = iter(lambda: self._from.readline(1 << 16), b"")
            if not any(line.endswith(READY) for line in lines):  # Python may print something at its start
                require_h5py()
                raise ModelFileError(
                    f"{self.called} can't be read: {sys.executable} does not start, or not within {START:.0f} s"
                )
        path = str(content.resolve()) if isinstance(content, Path) else None
        with self._within(self._seconds(0)), self._judged():
            send(self._to, {"file": path, "size": self.size, "called": self.called})
            if isinstance(content, bytes):
                self._to.write(content)
                self._to.flush()

    def tree(self) -> Group:
        """The groups and arrays of the file."""
        with self._within(self._seconds(0)), self._judged():
            return from_data(self._ask(0, ask="tree")["tree"], self)

    def texts(self, number: int, name: str) -> list[str] | None:
        """An attribute of one or more texts; None if there is none."""
        with self._within(self._seconds(0)), self._judged():
            found = self._ask(0, ask="texts", number=number, name=name)["texts"]
            if found is not None and not (isinstance(found, list) and all(isinstance(text, str) for text in found)):
                raise ValueError("texts that are none")
            return found

    def numbers(self, number: int, shape: Shape) -> np.ndarray[Any, Any]:
        """The numbers of an array of this shape."""
        room = 8 * math.prod(shape)
        with self._within(self._seconds(room)), self._judged():
            dtype = self._ask(room, ask="numbers", number=number, shape=shape)["dtype"]
            if dtype not in DTYPES:
                raise ValueError(f"the dtype {dtype}")
            found = np.empty(shape, "u1" if dtype == "|b1" else dtype)
            left = found.reshape(-1).view("u1").data
            while left:
                count = self._from.readinto(left)  # type: ignore[attr-defined]
                if not count:
                    raise EOFError
                left = left[count:]
            return found != 0 if dtype == "|b1" else found

    def end(self) -> None:
        """End the process, and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):
                pipe.close()

    def _ask(self, room: int, **question: Any) -> dict[str, Any]:
        send(self._to, question | {"seconds": self._seconds(room), "room": room})
        answer = receive(self._from, 16 * self.size + (1 << 20))
        if isinstance(words := answer.get("refused"), str):
            raise ModelFileError("".join(c if c.isprintable() else "?" for c in words[:1000]))
        return answer

    @property
    def _to(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _from(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def _seconds(self, room: int) -> float:
        return min(WAIT + (self.size + room) / SPEED, 1e6)

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """End the child if this takes longer; whoever waits for its answer hears that it has ended."""

        def too_late() -> None:
            self.late = seconds
            self.process.kill()

        watch = threading.Timer(seconds, too_late)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Errors in words for a child that ends or answers wrongly."""
        try:
            yield
        except (ModelFileError, TimeoutError):  # the latter by an alarm of the caller
            raise
        except (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            if self.late:
                why = f"did not come back from reading it within {self.late:.0f} s"
            elif isinstance(problem, EOFError | OSError):
                why = f"crashed while reading it ({self._end()})"
            else:
                why = "gave a wrong answer"
            raise ModelFileError(f"{self.called} is damaged: HDF5's library {why}") from problem

    def _end(self) -> str:
        """How it ended."""
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(WAIT)
            with suppress(ValueError):
                return signal.Signals(-code).name
            return f"exit code {code}"
        return "without its end"

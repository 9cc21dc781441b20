"""Child: the process in which HDF5's library reads a file of anyone.

`process.py` starts it. Both send messages: 8 bytes with the length, little-endian, and JSON. The child says that it is
ready, takes the file, and answers questions until its pipe is closed:

    {"file": PATH or null, "size": N, "called": NAME}   then N bytes of the file if there is no path; no answer
    {"ask": "tree"}                                     {"tree": data of `groups.as_data`}
    {"ask": "texts", "number": K, "name": NAME}         {"texts": [TEXT, ...] or null}
    {"ask": "numbers", "number": K, "shape": [...]}     {"dtype": "<f4"}, then the numbers in C order

Each question also says the seconds and the bytes that its answer may take. {"refused": WORDS} answers what is refused.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from ...errors import ModelFileError

READY = b"gpubp reads HDF5\n"
ROOM = 2 << 30  # bytes of memory for any file, and eight times the file beside them


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    """Write a message.

    >>> pipe = io.BytesIO()
    >>> send(pipe, {"ask": "tree"})
    >>> pipe.getvalue()
    b'\\x0f\\x00\\x00\\x00\\x00\\x00\\x00\\x00{"ask": "tree"}'
    """
    text = json.dumps(message).encode()
    pipe.write(struct.pack("<Q", len(text)) + text)
    pipe.flush()


def receive(pipe: IO[bytes], most: int) -> dict[str, Any]:
    """The next message; EOFError if there is none, ValueError if it is none, or has more than `most` bytes.

    >>> pipe = io.BytesIO()
    >>> send(pipe, {"ask": "tree"})
    >>> receive(io.BytesIO(pipe.getvalue()), 100)
    {'ask': 'tree'}
    """
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    length = struct.unpack("<Q", head)[0]
    if length > most:
        raise ValueError(f"a message of {length} bytes")
    text = pipe.read(length)
    if len(text) < length:
        raise EOFError
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("a message that is no dict")
    return message


def main() -> None:
    """Answer, as above, on standard input and output.

    >>> import subprocess
    >>> code = "from gpubp.interop.keras.child import main; main()"
    >>> subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True).stdout == READY
    True
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent ends this one
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # so that what a library prints is no answer
        from .hdf5 import require_h5py

        require_h5py()
        answers.write(READY)
        answers.flush()
        try:
            given = receive(sys.stdin.buffer, 1 << 20)
            content = None if given["file"] else sys.stdin.buffer.read(given["size"])
            limits = _Limits(given["size"])
            with open(given["file"], "rb") if content is None else io.BytesIO(content) as file:
                _answer(file, given, limits, answers)
        except (EOFError, BrokenPipeError):
            return


def _answer(file: BinaryIO, given: dict[str, Any], limits: _Limits, answers: IO[bytes]) -> None:
    """All questions, one after the other."""
    from .hdf5 import PROBLEMS, Reader

    reader, called = None, given["called"]
    while True:
        asked = receive(sys.stdin.buffer, 1 << 30)
        limits.set(asked["seconds"], asked["room"])
        numbers = None
        try:
            reader = reader or Reader(file, given["size"], called)
            answer, numbers = _answered(reader, asked)
        except ModelFileError as problem:
            answer = {"refused": str(problem)}
        except MemoryError:
            answer = {"refused": f"{called} is refused: reading it needs more memory than a file of its size may take"}
        except PROBLEMS as problem:
            answer = {"refused": f"{called} is damaged, or no file of Keras ({str(problem)[:200]})"}
        send(answers, answer)
        if numbers is not None:
            answers.write(numbers)
            answers.flush()


def _answered(reader: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """(the answer, bytes that follow it or None) to a question."""
    import numpy as np

    from .groups import as_data

    match asked["ask"]:
        case "tree":
            return {"tree": as_data(reader.tree())}, None
        case "texts":
            return {"texts": reader.texts(asked["number"], asked["name"])}, None
    numbers = reader.numbers(asked["number"], tuple(asked["shape"]))
    numbers = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return {"dtype": numbers.dtype.str}, numbers.reshape(-1).view(np.uint8)


class _Limits:
    """What this process may take, where the system has limits; it ends also when the parent was ended before it."""

    def __init__(self, size: int) -> None:
        try:
            import resource
        except ImportError:  # Windows
            self.resource: Any = None
            return
        self.resource = resource
        self._lower(resource.RLIMIT_CORE, 0)
        statm = Path("/proc/self/statm")
        self.memory = None
        if statm.exists():
            used = int(statm.read_text().split()[0]) * resource.getpagesize()
            self.memory = used + ROOM + 8 * size

    def set(self, seconds: float, room: int) -> None:
        """For the next answer."""
        if self.resource is not None:
            self._lower(self.resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds) + 1)
            if self.memory is not None:
                self._lower(self.resource.RLIMIT_AS, self.memory + 4 * room)

    def _lower(self, kind: int, limit: int) -> None:
        """Set a limit that may be set again, as far as the system lets it."""
        most = self.resource.getrlimit(kind)[1]
        with suppress(OSError, ValueError, OverflowError):
            self.resource.setrlimit(kind, (limit if most == self.resource.RLIM_INFINITY else min(limit, most), most))

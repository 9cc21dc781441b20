"""Signals, broken pipes and closed streams of a command's process.

* Ctrl-C ends it at once, with 130 and one line, as long as nothing is lost by it. An exception would be raised in the
  middle of an import, or of a library, where it may be caught, or forgotten: it was, once in 150 times. After
  `raise_on_interrupt` it is an exception, because a training must be saved, or a half-written file removed.
* A pipe whose reader has gone (`gpubp ... | head`) is no error: what is left goes nowhere.
* Standard streams that are closed are opened on nothing, so that no file that is opened takes their place.
"""

import contextlib
import os
import signal
import sys
from types import FrameType

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Process:
    """A context around the whole program. code: its exit code.

    >>> with Process() as process:
    ...     process.code = 0
    """

    code = 0

    def __enter__(self) -> "Process":
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not in a shell's background
            signal.signal(signal.SIGINT, _end)
        return self

    def __exit__(self, *problem: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except BrokenPipeError:
                drop_output(stream)
            except OSError as full:
                drop_output(stream)
                self.code = self.code or 1
                with contextlib.suppress(OSError):
                    print(f"gpubp: what was said could not be written: {full.strerror}", file=sys.stderr, flush=True)


def raise_on_interrupt() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt; before, it ends the process at once."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def drop_output(stream: object) -> None:
    """Drop whatever is still written to a standard stream, because its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1 if stream is sys.stdout else 2)
    os.close(nowhere)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\ngpubp: interrupted\n" if os.isatty(2) else b"gpubp: interrupted\n")
    os._exit(INTERRUPTED)

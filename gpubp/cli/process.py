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
from collections.abc import Callable
from types import FrameType

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# By these, MPI launchers tell a process which one it is.
RANKS = ("OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")


def rank() -> int:
    """The number of this process among those that a launcher started together, by the environment alone.

    >>> rank()
    0
    """
    found = (os.environ.get(name, "") for name in RANKS)
    return next((int(text) for text in found if text.isdecimal()), 0)


muted = rank() > 0  # whether another process of the same command says what there is to say
# Whether Ctrl-C waits: of processes that a launcher started, one that ends while MPI starts leaves the others there.
_deaf = any(name in os.environ for name in RANKS)
_heard: list[int] = []  # signals that wait
at_interrupt: Callable[[], object] | None = None  # called at Ctrl-C before this process ends


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


def hear_interrupts() -> None:
    """From here on Ctrl-C ends the process, where it waited until MPI has started."""
    global _deaf
    _deaf = False
    if _heard:
        _end(signal.SIGINT, None)


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
    if _deaf:
        _heard.append(number)
        return
    if at_interrupt is not None:
        at_interrupt()
    if not muted:
        with contextlib.suppress(OSError):
            os.write(2, b"\ngpubp: interrupted\n" if os.isatty(2) else b"gpubp: interrupted\n")
    os._exit(INTERRUPTED)

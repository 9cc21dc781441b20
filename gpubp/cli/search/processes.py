"""`--parallel N`: N processes of this machine search one study, each with one thread; this one watches them.

A process is the same command again, told by an environment variable that it only runs trials. Its study is the one of
--study, or a file in a temporary folder. Nothing else is shared, and nothing is sent between them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import click

from ...training.signals import SignalHandlers
from .loop import Tried, tried

PARENT = "GPUBP_SEARCH_PARENT"  # the number of the process that watches
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
POLL = 0.2  # seconds
ENDED = 128 + signal.SIGTERM  # the exit code of a process that was asked to end


def parent() -> int | None:
    """The number of the process that watches this one; None where none does.

    >>> parent() is None
    True
    """
    told = os.environ.get(PARENT, "")
    return int(told) if told.isdigit() else None


@dataclass
class Processes:
    """Processes that run trials of a study. arguments: of `gpubp`, that begin one."""

    arguments: Sequence[str]
    count: int
    running: list[tuple[subprocess.Popen[bytes], BinaryIO]] = field(default_factory=list)

    def begin(self) -> None:
        """Start them. They get no Ctrl-C from a terminal, so that this one says when they end."""
        own = {PARENT: str(os.getpid())} | dict.fromkeys(THREADS, "1")
        for _ in range(self.count):
            told = tempfile.TemporaryFile()  # noqa: SIM115  # closed at the end
            process = subprocess.Popen(
                [sys.executable, "-m", "gpubp", *self.arguments],
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
            )
            self.running.append((process, told))

    def watch(self, study: Any, tell: Callable[[Tried, int], None]) -> str:
        """Tell each trial that ends, until all processes have; returns "trials", or "interrupt" after Ctrl-C.

        Raises ClickException where a process failed, SystemExit after SIGTERM.
        """
        told: set[int] = {trial.number for trial in tried(study) if trial.is_whole}
        try:
            with SignalHandlers() as signals:
                asked = False
                while any(process.poll() is None for process, _ in self.running):
                    _tell(study, told, tell)
                    if signals.received and not asked:
                        asked = True
                        for process, _ in self.running:
                            process.terminate()  # by SIGTERM; a shell's background ignores Ctrl-C
                    time.sleep(POLL)
                _tell(study, told, tell)
                self._check()
                if signals.received not in (0, signal.SIGINT):
                    raise SystemExit(128 + signals.received)
                return "interrupt" if signals.received else "trials"
        finally:
            self.end()

    def _check(self) -> None:
        for process, told in self.running:
            if process.returncode not in (0, ENDED):
                told.seek(0, os.SEEK_END)
                told.seek(max(0, told.tell() - 2000))
                words = told.read().decode("utf-8", "replace").strip() or f"it ended with {process.returncode}"
                raise click.ClickException(f"a process of --parallel failed: {words.splitlines()[-1]}")

    def end(self) -> None:
        """End those that still run, and close what they have said."""
        for process, told in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
            told.close()
        self.running.clear()


def _tell(study: Any, told: set[int], tell: Callable[[Tried, int], None]) -> None:
    ended = [trial for trial in tried(study) if trial.is_whole]
    for trial in ended:
        if trial.number not in told:
            told.add(trial.number)
            tell(trial, len(told))

"""The processes of contenders: start, ask, wait with a time limit, end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from gpubp.backends.cpu.blas import unforced

__all__ = ["Crew", "Gone", "Process", "environment"]

ROOT = Path(__file__).parents[1]
POOLS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


def environment(threads: int) -> dict[str, str]:
    """The environment of every process that is measured: no variable forces kernels, and pools have `threads`.

    >>> "OPENBLAS_CORETYPE" in environment(2), environment(2)["OMP_NUM_THREADS"]
    (False, '2')
    """
    made = unforced() | dict.fromkeys(POOLS, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return made | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


class Gone(Exception):
    """A process refused, failed, ended, or took too long; the message says which."""


class Process:
    """A worker. threads: of every library's pool, and the cores it may use, if it is pinned. name: for messages."""

    def __init__(self, name: str, threads: int = 2, pinned: bool = True) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=environment(threads),
        )  # fmt: skip
        if pinned:
            _pin(self._process.pid, threads)
        self._answers: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def tell(self, **asked: Any) -> None:
        """Send a request without waiting."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._answers.put("")

    def hear(self, limit: float = 120.0) -> dict[str, Any]:
        """Wait for the answer, at most `limit` seconds; raises Gone."""
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            self.end()
            raise Gone(f"no answer within {limit:.0f} s") from None
        if not line:
            self._errors.seek(0)
            last = [text.strip() for text in self._errors if text.strip()][-1:]
            self.end()
            raise Gone(f"its process ended{': ' + last[0] if last else ''}")
        answer: dict[str, Any] = json.loads(line)
        if "cannot" in answer or "error" in answer:
            raise Gone(answer.get("cannot") or answer["error"])
        return answer

    def ask(self, limit: float = 120.0, **asked: Any) -> dict[str, Any]:
        self.tell(**asked)
        return self.hear(limit)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *problem: Any) -> None:
        self.end()


class Crew:
    """A process for each contender, kept from one workload to the next: a library is imported once, and a GPU's context
    made once. threads, pinned: as a process's."""

    def __init__(self, threads: int = 2, pinned: bool = True) -> None:
        self._threads, self._pinned = threads, pinned
        self._processes: dict[str, Process] = {}

    def of(self, name: str) -> Process:
        """The process of a contender; a new one if there is none or if it was ended."""
        if name not in self._processes:
            self._processes[name] = Process(name, self._threads, self._pinned)
        return self._processes[name]

    def lose(self, name: str) -> None:
        """End the process of a contender, which gets a new one for its next workload."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.end()

    def end(self) -> None:
        for name in list(self._processes):
            self.lose(name)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *problem: Any) -> None:
        self.end()


def _pin(pid: int, threads: int) -> None:
    """Pin to as many cores as threads, because some libraries count cores instead of reading the environment."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads < len(cores):
            os.sched_setaffinity(pid, cores[:threads])

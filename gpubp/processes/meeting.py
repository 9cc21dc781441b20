"""How processes without MPI find each other: by files in a folder that all of them see.

    each process      writes NAME.RANK: a mark that nobody else has, and what it sees (host, GPUs)
    rank 0            reads them until all are there, and writes NAME.all: all marks, and the identifier of the group
    each process      if its own mark is in NAME.all, writes all these marks into its NAME.RANK
    rank 0            when all have written the same marks, writes so into NAME.all
    each process      reads that, and removes its NAME.RANK; rank 0 removes NAME.all at last

A file that an earlier run has left is never taken: its marks are others. If rank 0 has read such a NAME.RANK, it writes
NAME.all anew when the process that has this rank now replaces it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..atomic import write_parts
from ..errors import CommunicationError

PAUSE = 0.05  # seconds between two looks at the folder
LARGEST = 1 << 20  # bytes of a file that is read


class Meeting:
    """One process's part in a meeting of `size` processes.

    folder: that all of them see; name: of the run, such as the number of a job, which no other run uses at the same
    time. rank, size: the number of this process, and how many there are. Raises ValueError for what fits no file.

    >>> import tempfile
    >>> meeting = Meeting(tempfile.mkdtemp(), "job-7", rank=0, size=1)
    >>> meeting.attend({"host": "a"}, lambda: "an identifier", timeout=5)
    ('an identifier', [{'host': 'a'}])
    """

    def __init__(self, folder: str | os.PathLike[str], name: str, rank: int, size: int) -> None:
        if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 100:
            raise ValueError(f"the name of a meeting has letters, digits, - and _; got {name!r}")
        if not 0 <= rank < size:
            raise ValueError(f"the rank of one of {size} processes is from 0 to {size - 1}; got {rank}")
        self.folder, self.name, self.rank, self.size = Path(folder), name, rank, size
        self._mark = secrets.token_hex(16)

    def attend(self, seen: Any, identify: Callable[[], str], timeout: float) -> tuple[str, list[Any]]:
        """(the group's identifier, what all processes see, by rank).

        seen: what this process sees, of what JSON has. identify: makes the identifier; only rank 0 calls it. timeout:
        seconds to wait for the others. Raises CommunicationError, which names the ranks that do not come, or the file
        that can't be written.
        """
        self._tell(seen, [])
        end = time.monotonic() + timeout
        if self.rank == 0:
            return self._lead(seen, identify(), end, timeout)
        told: list[str] = []
        while time.monotonic() < end:
            found = self._read("all")
            if found is not None and self._mark in found["marks"]:
                if found["done"]:
                    self._remove(str(self.rank))
                    return found["identifier"], found["seen"]
                if told != found["marks"]:
                    told = found["marks"]
                    self._tell(seen, told)
            time.sleep(PAUSE)
        self._remove(str(self.rank))
        raise CommunicationError(
            f"process {self.rank} of {self.size} has waited {timeout:.0f} s for process 0 to write "
            f"{self._path('all')}: start all processes, with the same folder, name and number of processes"
        )

    def _lead(self, seen: Any, identifier: str, end: float, timeout: float) -> tuple[str, list[Any]]:
        others = [str(p) for p in range(1, self.size)]
        said: list[str] = []
        here: dict[str, Any] = dict.fromkeys(others)
        while time.monotonic() < end:
            here = {p: self._read(p) for p in others}
            come = [one for one in here.values() if one is not None and one["size"] == self.size]
            marks = [self._mark, *(one["mark"] for one in come)]
            all_seen = [seen, *(one["seen"] for one in come)]
            content = {"marks": marks, "seen": all_seen, "identifier": identifier}
            if len(marks) == self.size:
                if all(one["told"] == marks for one in come):
                    self._write("all", done=True, **content)
                    self._finish(others, end)
                    return identifier, all_seen
                if marks != said:
                    self._write("all", done=False, **content)
                    said = marks
            time.sleep(PAUSE)
        self._remove("all", "0")
        missing = [p for p, one in here.items() if one is None or self._mark not in one["told"]]
        raise CommunicationError(
            f"process 0 of {self.size} has waited {timeout:.0f} s in {self.folder}, and "
            f"process{'es' * (len(missing) > 1)} {', '.join(missing)} did not come: start all processes, with the same "
            "folder, name and number of processes"
        )

    def _finish(self, others: list[str], end: float) -> None:
        """Remove what rank 0 has written, when all others have read it."""
        while any(self._path(p).exists() for p in others) and time.monotonic() < end:
            time.sleep(PAUSE)
        self._remove("all", "0")

    def _path(self, what: str) -> Path:
        return self.folder / f"{self.name}.{what}"

    def _tell(self, seen: Any, told: list[str]) -> None:
        self._write(str(self.rank), seen=seen, told=told, size=self.size)

    def _write(self, what: str, **content: Any) -> None:
        text = json.dumps({"mark": self._mark, **content})
        try:
            write_parts(self._path(what), [text.encode()])
        except OSError as problem:
            raise CommunicationError(
                f"process {self.rank} of {self.size} can't write {self._path(what)}: {problem.strerror or problem}"
            ) from problem

    def _read(self, what: str) -> dict[str, Any] | None:
        """The content of a file; None if there is none, or one of something else."""
        try:
            with open(self._path(what), "rb") as file:
                content = file.read(LARGEST + 1)
            found = json.loads(content) if len(content) <= LARGEST else None
        except (OSError, ValueError, RecursionError):
            return None
        needed: dict[str, type] = {"marks": list, "seen": list, "identifier": str, "done": bool}
        if what != "all":
            needed = {"told": list, "size": int}
        needed |= {"mark": str}
        if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in needed.items()):
            return None
        return found if what == "all" or "seen" in found else None

    def _remove(self, *what: str) -> None:
        for one in what:
            with suppress(OSError):
                self._path(one).unlink(missing_ok=True)

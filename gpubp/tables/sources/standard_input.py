"""Standard input and pipes: written to a temporary file, because a table is read several times."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from typing import IO, Any

from ...endings import STDIN
from ...errors import DataError
from .delimited import Delimited


class StandardInput(Delimited):
    """CSV from standard input or a pipe. The temporary file has no name where the system allows it, and is removed."""

    def __init__(self, path: str, encoding: str | None, header: bool) -> None:
        name = "standard input" if path == STDIN else path
        copy = _copied(path, name)
        weakref.finalize(self, copy.close)
        unnamed = f"/proc/self/fd/{copy.fileno()}"
        super().__init__(unnamed if os.path.exists(unnamed) else str(copy.name), name, encoding, header)


def _copied(path: str, name: str) -> IO[Any]:
    try:
        if path != STDIN:
            with open(path, "rb") as given:
                return _copy(given)
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError(
                "nothing comes from standard input: write a command before it, as cat houses.csv | gpubp ..."
            )
        return _copy(sys.stdin.buffer)
    except OSError as problem:
        raise DataError(f"{name} can't be copied to a temporary file ({problem}): $TMPDIR says where") from problem


def _copy(given: Any) -> IO[Any]:
    make = tempfile.TemporaryFile if os.path.isdir("/proc/self/fd") else tempfile.NamedTemporaryFile
    copy: IO[Any] = make(prefix="gpubp.", suffix=".csv")
    shutil.copyfileobj(given, copy)
    copy.flush()
    return copy

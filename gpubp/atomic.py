"""Atomic writing of files: a reader sees the whole old file or the whole new file.

    write    content -> .name.pid-thread.tmp, in the same folder
    fsync    the file: its bytes are on the disk
    rename   over the old one, which POSIX and Windows do at once
    fsync    the folder: the rename is on the disk

Whatever fails on the way, a full disk or a `kill -9`, what stood at the path still stands there.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

GATHERED = 1 << 18  # bytes that one call writes at least, where parts are smaller
ABANDONED = 600.0  # seconds after which a file that nobody writes to is left over, whatever process has its number now
STARTED = time.time() - 2.0  # before this process wrote its first file; times of files are as coarse as two seconds
Bytes = bytes | memoryview


def write_parts(path: str | os.PathLike[str], parts: Iterable[Bytes]) -> None:
    """Write `parts`, one after the other, as the whole content of `path`.

    Other threads run while the system writes. Raises OSError where it can't be written, with the name of the file, and
    its bytes as `size`; what was at `path` is then still there, and nothing beside it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_parts(path, [b"one ", b"file"])
    >>> path.read_text()
    'one file'
    """
    path, parts = Path(path), iter(parts)
    size = 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        try:
            for content in _gathered(parts):
                size += len(content)
                _write_all(handle, content, path)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException as problem:
        with suppress(OSError):  # the error that brought us here says more
            temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError):
            problem.filename = str(path)  # and not that of the temporary file
            problem.size = size + sum(memoryview(part).nbytes for part in parts)  # type: ignore[attr-defined]
        raise
    _sync_folder(path.parent)


def leftovers(folder: Path, names: str = "*") -> list[Path]:
    """Temporary files in `folder` of processes that were killed while writing, for names that fit the pattern.

    The files of processes that still run are not among them, unless nothing was written to them for ten minutes:
    another process may have got the number of the one that was killed. This one may have it too, as in a container that
    was started again, so files with its number from before it started are among them.

    >>> leftovers(Path("no/such/folder"))
    []
    """
    try:
        return [file for file in sorted(folder.glob(f".{names}.*-*.tmp")) if _is_left_over(file)]
    except OSError:
        return []


def _is_left_over(file: Path) -> bool:
    try:
        written = file.stat().st_mtime
        if time.time() - written > ABANDONED:
            return True
        number = re.search(r"\.(\d+)-\d+\.tmp$", file.name)
        if number is not None and int(number[1]) == os.getpid():
            return written < STARTED
        if number is not None and os.name == "posix":  # elsewhere os.kill would end the process
            os.kill(int(number[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is gone already, or is another user's
        return False
    return False


def _gathered(parts: Iterable[Bytes]) -> Iterator[memoryview[Any]]:
    """Small parts together, large ones as they are."""
    small = bytearray()
    for part in parts:
        content = memoryview(part).cast("B")
        if len(small) + len(content) <= GATHERED:
            small += content
            continue
        if small:
            yield memoryview(small)
            small = bytearray()
        yield content
    if small:
        yield memoryview(small)


def _write_all(handle: int, content: memoryview[Any], path: Path) -> None:
    """The system may write less than it is asked to: a signal, a quota, 2 GiB at once."""
    done = 0
    while done < len(content):
        count = os.write(handle, content[done:])
        if count <= 0:
            raise OSError(errno.EIO, "the system wrote nothing, and said no reason", str(path))
        done += count


def _sync_folder(folder: Path) -> None:
    """So that the rename itself survives a power cut; not every system lets a folder be opened for it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

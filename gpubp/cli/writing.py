"""Files that can't be written, as on a full disk: what is said, and where a model goes instead."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ..atomic import write_parts
from ..errors import in_bytes
from ..network.network import Network
from .console import print_error
from .process import raise_on_interrupt

KEPT = "gpubp.kept"  # where the context of a command has what is saved already
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
MODEL = "model.safetensors"  # in the folder of a run


def why_not(path: str | os.PathLike[str], problem: OSError, after: int | None = None) -> str:
    """Say that a file can't be written: its name, its size, the reason, and what was kept of an older one.

    after: how many bytes were written; None where the error has the `size` of the whole file.

    >>> why_not("no/file", OSError(28, "No space left on device"), after=2048)
    "no/file can't be written: No space left on device after 2.0 KB; no such file was there before, and none is now"
    """
    size = getattr(problem, "size", None)
    told = f"{path}{f', {in_bytes(size)},' if size else ''} can't be written: {problem.strerror or problem}"
    told += "" if after is None else f" after {in_bytes(after)}"
    folder = Path(path).absolute().parent
    if problem.errno in FULL and folder.is_dir():
        told += f" ({in_bytes(shutil.disk_usage(folder).free)} are free in {folder})"
    there = Path(path).exists()
    return (
        f"{told}; {'the older file is there as it was' if there else 'no such file was there before, and none is now'}"
    )


def failure(path: str | os.PathLike[str], problem: OSError, after: int | None = None) -> click.ClickException:
    """The failure of a command that says so, and what the command has saved already.

    >>> failure("a", OSError(5, "Input/output error")).exit_code
    1
    """
    context = click.get_current_context(silent=True)
    kept = "" if context is None else context.meta.get(KEPT, "")
    return click.ClickException(why_not(path, problem, after) + kept)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError of writing `path` into a `failure`."""
    try:
        yield
    except OSError as problem:
        raise failure(path, problem) from problem


def write_file(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a whole file, which replaces an older one at the end. Raises ClickException where it can't be written."""
    raise_on_interrupt()
    with writing(path):
        write_parts(path, [content])


@dataclass(frozen=True)
class Saved:
    """Where a model was saved. path: of its file. problem: why it is another than was asked for, or None."""

    path: str
    problem: str | None = None

    def again(self, network: Network) -> bool:
        """Save the network there once more, with what is known now; whether that worked. What is wrong is printed."""
        try:
            network.save(self.path)
        except OSError as problem:
            print_error(
                f"{why_not(self.path, problem)}. It is whole, but for the errors of gpubp predict --interval", 1
            )
            return False
        return True


def save_model(network: Network, out: str, run: str | None) -> Saved:
    """Save a network as `out`, or where that fails in the folder of its run, or else in a new temporary folder.

    run: the folder of --checkpoint-dir, or None. Raises ClickException where it can be saved nowhere.
    """
    try:
        network.save(out)
    except OSError as problem:
        told = why_not(out, problem)
    else:
        _keep(out)
        return Saved(out)
    tried = []
    for folder in (run, None):
        try:
            place = Path(run) / MODEL if folder and run else Path(tempfile.mkdtemp(prefix="gpubp-")) / Path(out).name
            if place.absolute() == Path(out).absolute():
                continue
            network.save(place)
        except OSError as problem:
            where = folder or tempfile.gettempdir()
            tried.append(f"it can't be saved in {where} either: {problem.strerror or problem}")
            continue
        _keep(str(place))
        again = f"; gpubp train --resume {shlex.quote(run)} saves it as {out}" if run else ""
        return Saved(str(place), f"{told}. The model is saved as {place}{again}")
    raise click.ClickException("; ".join([told, *tried]))


def _keep(path: str) -> None:
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[KEPT] = f". The model is saved as {path}"

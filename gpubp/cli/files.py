"""Files that the commands read and write, checked before the work, and written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..datasets import Dataset, load, read_npz
from ..endings import SOUNDS, advice, ending
from ..errors import DataError, ModelFileError
from . import together
from .arguments import NAMED, PICTURES, is_sounds, is_table
from .console import fact
from .process import raise_on_interrupt
from .writing import failure

OF_KERAS = "a file of Keras, from which net.load_keras takes weights in Python"
OF_TORCH = "a file of PyTorch; saved as safetensors, net.load_torch takes its weights in Python"
ELSEWHERE = {
    ".onnx": 'an ONNX file; in Python, bp.from_onnx("{path}").save("model.safetensors") makes a model file of it',
    **dict.fromkeys((".keras", ".h5", ".hdf5"), OF_KERAS),
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), OF_TORCH),
}  # models of other libraries, and what to do


def load_data(what: str, folder: str | None) -> Dataset:
    """Load the data set called `what`. Raises DataError for NaN, missing files and the like."""
    check_folder(what, folder)
    check_data(what)
    if is_table(what):
        raise DataError(f"{what} is a table, and this command takes none")
    if is_sounds(what):
        raise DataError(f"{what} is a folder of sounds, and this command takes none")
    if what == "mnist":  # which is downloaded, if need be
        found = together.first(lambda: load(what, folder))
        if found is not None:
            return found
    return load(what, folder)


def check_data(what: str) -> None:
    """Raise DataError for data that are not there, or of a kind that can't be read, with what to do instead."""
    if is_sounds(what):
        return
    if what not in NAMED and not Path(what).is_file() and not is_table(what):
        raise DataError(f"{_missing(what)}; give digits, mnist or the path of an .npz file, or of a table")
    if ending(what, SOUNDS):
        raise DataError(f"{what} is one sound; give a folder that has a folder of .wav files for each class")
    if told := advice(what):
        raise DataError(f"{what} can't be read{told}")


def check_folder(what: str, folder: str | None) -> None:
    """Raise UsageError if --data is given with data other than mnist."""
    if folder is not None and what != "mnist":
        raise click.UsageError(f"--data says where MNIST lies, and the data set is {what}")


def rows_to_predict(what: str, folder: str | None) -> np.ndarray[Any, Any]:
    """X of an .npz file, or the test rows of digits or mnist."""
    if what in NAMED:
        X = load_data(what, folder).X_test
        assert X is not None
        return X
    if not Path(what).is_file():
        raise DataError(f"{_missing(what)}; give an .npz file with X in it, or an .npy file")
    return read_npz(what, required=("X",))["X"]


def check_model(path: str) -> None:
    """Raise ModelFileError if a data file, or a model of another library, is given in place of the model."""
    if told := ELSEWHERE.get(Path(path).suffix.lower()):
        raise ModelFileError(f"{path} is {told.format(path=path)}; see docs/interop.md")
    if not path.endswith(".safetensors") and (
        is_table(path) or is_sounds(path) or Path(path).suffix.lower() in (".npz", ".npy", *SOUNDS)
    ):
        raise ModelFileError(f"{path} is data; first comes the model, as gpubp train saved it, and then the data")


def check_output(
    path: str | None, option: str, endings: Sequence[str] = (), not_over: Sequence[str | None] = ()
) -> None:
    """Raise UsageError, before any work, for a file that could not be written after it.

    endings: how the name may end. not_over: files that are read, or written otherwise, in the same run.
    """
    if path is None:
        return
    target = Path(path)
    if target.is_dir() or path.endswith(("/", os.sep)):
        raise click.UsageError(f"{option} {path} is a folder; name a file in it")
    if endings and target.suffix.lower() not in endings:
        raise click.UsageError(f"{option} {path}: the name must end in {' or '.join(endings)}")
    if not target.parent.is_dir():
        raise click.UsageError(f"{option} {path}: there is no folder {target.parent}; make it first")
    try:
        with (
            tempfile.TemporaryFile(dir=target.parent) if together.leads() else nullcontext()
        ):  # what permissions say is not all: full, read-only, network
            pass
    except OSError as problem:
        raise click.UsageError(
            f"{option} {path}: {target.parent} can't be written to ({problem.strerror})"
        ) from problem
    for other in not_over:
        if other is not None and target.resolve() == Path(other).resolve():
            raise click.UsageError(f"{option} {path} would write over {other}, which this command needs as well")


def check_picture(path: str | None, option: str, not_over: Sequence[str | None]) -> None:
    """The same for a picture. Raises MissingDependencyError without matplotlib."""
    check_output(path, option, PICTURES, not_over)
    if path is not None:
        from ..analysis.plots.figures import require_matplotlib

        require_matplotlib()


@contextmanager
def replacing(path: str) -> Iterator[Path]:
    """A temporary file beside `path` to write; it replaces `path` at the end, or is removed after an error.

    Raises ClickException where it can't be written.
    """
    raise_on_interrupt()
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as problem:
        raise failure(path, problem, temporary.stat().st_size if temporary.exists() else None) from problem
    finally:
        temporary.unlink(missing_ok=True)


def draw(name: str, path: str, plot: Callable[[Path], Any]) -> None:
    """Draw into a file that replaces `path` when it is complete, and print `name` and the path."""
    with replacing(path) as file:
        plot(file)
    fact(name, path)


def _missing(what: str) -> str:
    if Path(what).is_dir() and what:
        return f"{what} is a folder with neither Parquet files nor folders of .wav files in it"
    return f"there is no {'file' if Path(what).suffix or os.sep in what else 'data set or file'} {what or repr(what)}"

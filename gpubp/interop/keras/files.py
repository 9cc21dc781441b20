"""Files: what is in a `.keras` archive or an HDF5 file of Keras, opened without trusting it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ModelFileError
from .described import LARGEST, Described, described
from .groups import Group
from .process import opened

WEIGHTS = "model.weights.h5"
ROOM = 64 << 20  # bytes that a small archive may unpack to


@contextmanager
def read_keras(path: Path) -> Iterator[tuple[Group, Described | None]]:
    """(the root of the arrays, the model as its configuration describes it) of a file of Keras.

    Raises ModelFileError for a file that is none, is damaged, or unpacks to more than it should.

    >>> with read_keras(Path("nothing.keras")):
    ...     pass
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.keras
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
    try:
        with path.open("rb") as file:
            first, size = file.read(8), path.stat().st_size
        if first[:4] == b"PK\x03\x04":
            content, config = _unpacked(path, size)
            with opened(content, str(path)) as root:
                yield root, None if config is None else described(config, str(path))
            return
        if first != b"\x89HDF\r\n\x1a\n":
            raise ModelFileError(
                f"{path} is no file of Keras: neither a .keras archive nor an HDF5 file, as .weights.h5 and .h5 are"
            )
        with opened(path, str(path)) as root:
            text = root.text("model_config")
            yield root, described(text, str(path)) if text else None
    except OSError as problem:
        raise ModelFileError(f"{path} can't be read: {problem.strerror or problem}") from problem


def _unpacked(path: Path, size: int) -> tuple[bytes, bytes | None]:
    """(the HDF5 file, the configuration) in an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if WEIGHTS not in names:
                hint = "; it is a file of PyTorch: see net.load_torch" if any("data.pkl" in n for n in names) else ""
                raise ModelFileError(f"{path} is no file of Keras, because there is no {WEIGHTS} in it{hint}")
            for name in (WEIGHTS, "config.json"):
                if names.count(name) > 1:
                    raise ModelFileError(f"{path} is refused: {name} stands in it twice")
            config = _member(archive, path, "config.json", LARGEST) if "config.json" in names else None
            return _member(archive, path, WEIGHTS, 8 * size + ROOM), config
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError) as problem:
        if isinstance(problem, ModelFileError):
            raise
        raise ModelFileError(f"{path} is no whole .keras archive ({str(problem)[:100]})") from problem


def _member(archive: zipfile.ZipFile, path: Path, name: str, most: int) -> bytes:
    found = archive.getinfo(name)
    if found.file_size > most:
        raise ModelFileError(f"{path} is refused: {name} unpacks to {found.file_size} bytes, and may have {most}")
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelFileError(f"{path} is refused: {name} is packed otherwise than by zip's own way")
    with archive.open(found) as file:
        content = file.read(found.file_size + 1)
    if len(content) != found.file_size:
        raise ModelFileError(f"{path} is no whole .keras archive: {name} has not the length that it says")
    return content

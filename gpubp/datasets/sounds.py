"""Folders of sounds: a folder of .wav files for each class, as rows of samples of one length.

    spoken/            sound_folder("spoken") gives
      no/a.wav         X (3, samples) float32, y = 0, 0, 1, and the names "no" and "yes"
      no/b.wav
      yes/a.wav

Sounds shorter than the others are filled up with silence, 0, and longer ones are cut. So rows have one length, and
need no mask: silence is a sound like any other.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..endings import OTHER_SOUNDS, SOUNDS, advice, ending, files_in, folders_in
from ..errors import DataError, MissingDependencyError
from .dataset import Dataset
from .files import Array, FilePath
from .wav import WavHeader, read_header, read_wav, resampled

RATE = 16_000  # samples a second, at most, if nothing else is asked for: the sounds of speech lie below 8000 Hz
SHARE = 0.98  # of the sounds, which are not cut
LONGEST, SHORTEST = 10.0, 0.13  # seconds, if nothing else is asked for; a spectrogram needs some frames of 32 ms
NAMED = 5  # files, in a message

_EACH = "; each class is a folder of .wav files"


@dataclass(frozen=True)
class SoundFiles:
    """The .wav files of a folder of sounds, and their classes.

    names: of the classes, in the order of their numbers. files: their paths, by classes and names. y: the class of each
    file. headers: what each says of itself. left_out: sentences about files and folders that are no sounds.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    y: Array
    headers: tuple[WavHeader, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class SoundDataset(Dataset):
    """A Dataset of sounds. rate: samples a second. files: the path of each row of X."""

    rate: int = 0
    files: tuple[str, ...] = ()


def sound_folder(path: FilePath, rate: int | None = None, seconds: float | None = None) -> SoundDataset:
    """The sounds of a folder that has a folder of .wav files for each class.

    X is (rows, samples) float32 in -1 … 1, y the number of the class, and `names` are those of the folders. rate:
    samples a second, to which other sounds are resampled; None for the rate that most have, at most 16,000. seconds:
    the length of all rows; None for the longest, if it is not much longer than the others, and 10 s at most.

    Raises `DataError` for a folder that is not so, and for files that can't be read, all of them together;
    `MissingDependencyError` where a file must be resampled and SciPy is not installed.

    >>> import os, tempfile, wave
    >>> folder = tempfile.mkdtemp()
    >>> for name, tone in (("high", 800), ("low", 200)):
    ...     os.mkdir(os.path.join(folder, name))
    ...     with wave.open(os.path.join(folder, name, "a.wav"), "wb") as file:
    ...         file.setparams((1, 2, 8000, 0, "NONE", ""))
    ...         _ = file.writeframes((9000 * np.sin(tone * np.arange(4000) / 1273)).astype("<i2").tobytes())
    >>> data = sound_folder(folder)
    >>> data.X.shape, data.y, data.names, data.rate
    ((2, 4000), array([0, 1]), ('high', 'low'), 8000)
    """
    found = find_sounds(path)
    rate = usual_rate(found.headers) if rate is None else rate
    samples = usual_samples(found.headers, rate) if seconds is None else max(1, round(seconds * rate))
    X = read_sounds(found.files, rate, samples)
    return SoundDataset(Path(path).resolve().name, X, found.y, names=found.names, rate=rate, files=found.files)


def find_sounds(path: FilePath, least: int = 2) -> SoundFiles:
    """The sounds of a folder that has a folder of .wav files for each class; their headers are read, and no samples.

    least: how many classes there must be.

    Raises `DataError` as `sound_folder` does.
    """
    folder = os.fspath(path)
    if not os.path.isdir(folder):
        raise DataError(f"there is no folder {folder}" if not os.path.exists(folder) else f"{folder} is no folder")
    classes = _classes(folder)
    by_class = [_sounds_of_class(c) for c in classes]
    if len(classes) < least:
        raise DataError(f"{folder} has one class, {Path(classes[0]).name}, and there is nothing to tell apart{_EACH}")
    left_out = [f"{c} is left out, because its name begins with _" for c in folders_in(folder) if c not in classes]
    others = [file for c in classes for file in files_in(c) if not ending(file, SOUNDS)]
    if others:
        are = "are left out, because they are" if len(others) > 1 else "is left out, because it is"
        left_out.append(f"{_count(len(others), 'file')} in {folder} {are} no .wav ({_some(others)})")
    files = tuple(file for sounds in by_class for file in sounds)
    y = np.repeat(np.arange(len(classes)), [len(sounds) for sounds in by_class])
    names = tuple(Path(c).name for c in classes)
    return SoundFiles(names, files, y, tuple(read_headers(files)), tuple(left_out))


def wav_files(path: FilePath) -> list[str]:
    """A .wav file itself, or all in a folder and the folders in it, in sorted order.

    Raises `DataError` where there are none.

    >>> wav_files("a.wav")
    ['a.wav']
    """
    given = os.fspath(path)
    if not os.path.isdir(given):
        if not ending(given, SOUNDS):
            raise DataError(f"{given} is no .wav file by its name{advice(given)}")
        return [given]
    found = _sounds_of(files_in(given))
    for folder in folders_in(given):
        found += [file for file in _all_files(folder, (os.path.realpath(given),)) if ending(file, SOUNDS)]
    if not found:
        raise DataError(f"{given} has no .wav files in it")
    return found


def usual_rate(headers: Sequence[WavHeader]) -> int:
    """The rate that most of the sounds have, or 16,000 if that is less; of several, the highest.

    >>> usual_rate([WavHeader(44100, 2, 2, False, 1000, 44)])
    16000
    """
    counts = Counter(header.rate for header in headers)
    return min(RATE, max(counts, key=lambda rate: (counts[rate], rate)))


def usual_samples(headers: Sequence[WavHeader], rate: int) -> int:
    """The length in which 98% of the sounds are whole, or that of the longest if it is at most half longer.

    In hundredths of a second, not below 0.13 s and not above 10.

    >>> usual_samples([WavHeader(8000, 1, 2, False, n, 44) for n in (4000, 4100, 4401)], 8000)
    4480
    """
    lengths = sorted(header.seconds for header in headers)
    most = lengths[math.ceil(SHARE * len(lengths)) - 1]
    longest = lengths[-1] if lengths[-1] <= 1.5 * most else most
    hundredths = math.ceil(100 * round(min(max(longest, SHORTEST), LONGEST), 9))
    return max(1, round(hundredths * rate / 100))


def read_headers(files: Sequence[str]) -> list[WavHeader]:
    """The headers of .wav files. Raises one `DataError` that names those that can't be read."""
    return _all_or_none(files, read_header)


def read_sounds(files: Sequence[str], rate: int, samples: int) -> Array:
    """X (files, samples) float32 of .wav files, resampled to `rate`, filled up with silence or cut.

    Raises one `DataError` that names the files that can't be read, and `MissingDependencyError` without SciPy where it
    is needed.
    """
    X = np.zeros((len(files), samples), np.float32)

    def read(file: str) -> None:
        x, own = read_wav(file, samples / rate)
        x = resampled(x, own, rate, file)[:samples]
        X[at[file], : len(x)] = x

    at = {file: i for i, file in enumerate(files)}
    _all_or_none(files, read)
    return X


def readable(path: str) -> str:
    r"""A path as text that can be written; bytes that are no UTF-8 become such as \xff.

    >>> readable("yes/a\udcff.wav")
    'yes/a\\xff.wav'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _all_or_none(files: Sequence[str], read: Callable[[str], Any]) -> list[Any]:
    made, problems = [], []
    for file in files:
        try:
            made.append(read(file))
        except MissingDependencyError:
            raise
        except DataError as problem:
            problems.append(readable(str(problem)))
    if len(problems) > 1:
        more = f"; and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        told = "; ".join(problems[:NAMED])
        raise DataError(f"{len(problems):,} of {len(files):,} files can't be used: {told}{more}")
    if problems:
        raise DataError(problems[0])
    return made


def _classes(folder: str) -> list[str]:
    """The folders of the classes, in the order of their numbers or names."""
    classes = [c for c in folders_in(folder) if not Path(c).name.startswith("_")]
    if strange := [c for c in classes if readable(Path(c).name) != Path(c).name]:
        name = readable(Path(strange[0]).name)
        raise DataError(f"{folder} has a folder whose name is no text, {name}; rename it, as it names a class")
    loose = _sounds_of(files_in(folder))
    if loose and not classes:
        place = Path(folder) / "CLASS" / Path(loose[0]).name
        raise DataError(f"{folder} has {_count(len(loose), '.wav file')} and no folders{_EACH}: {place}")
    if loose:
        raise DataError(f"{folder} has .wav files beside its folders ({_some(loose)}); put each into that of its class")
    if not classes:
        raise DataError(f"{folder} has no folders in it{_EACH}")
    return sorted(classes, key=lambda c: (int(name), name) if (name := Path(c).name).isdecimal() else (math.inf, name))


def _sounds_of_class(folder: str) -> list[str]:
    """The .wav files of one class."""
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} can't be read; change who may read it")
    files = files_in(folder)
    if inner := folders_in(folder):
        raise DataError(f"{folder} has folders in it ({_some(inner)}){_EACH}; if each of those is one, give {folder}")
    if others := [file for file in files if ending(file, OTHER_SOUNDS)]:
        are = "are" if len(others) > 1 else "is"
        told = f"{folder} has {_count(len(others), 'sound')} that {are} no .wav ({_some(others)})"
        raise DataError(f"{told}{advice(Path(others[0]).name)}")
    sounds = _sounds_of(files)
    if not sounds:
        raise DataError(f"{folder} has no .wav files in it; remove the folder, or put the sounds of its class into it")
    return sounds


def _sounds_of(files: Sequence[str]) -> list[str]:
    return [file for file in files if ending(file, SOUNDS)]


def _all_files(folder: str, above: tuple[str, ...]) -> list[str]:
    """The files in a folder and the folders in it, but for links back to those above, which would have no end."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    return files_in(folder) + [file for inner in folders_in(folder) for file in _all_files(inner, (*above, real))]


def _some(paths: Sequence[str]) -> str:
    return ", ".join(Path(path).name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"

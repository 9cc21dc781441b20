"""A reader of WAV files that is safe with damaged or hostile files.

A WAV file is "RIFF", a size, "WAVE", and chunks: a name of four letters, the size of what follows as a little-endian
32-bit integer, the content, and a zero byte after an odd size. Chunk "fmt " says how samples are written, and "data"
has them, those of all channels side by side (Microsoft and IBM, Multimedia Programming Interface and Data
Specifications 1.0, 1991; WAVE_FORMAT_EXTENSIBLE in the documentation of Windows, mmreg.h). The module `wave` of Python
reads whole numbers only. No memory is taken on the header's word: what it declares is compared with the file first.
Whatever is wrong becomes one `DataError` that names the file.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..errors import DataError, MissingDependencyError
from .files import Array, FilePath

RATES = (1_000, 1_000_000)  # samples a second, of files that are read: whales to bats
LOUDEST = 2.0**31  # of fractions: some programs write whole numbers as such
CHUNKS = 1000  # before the samples
AT_ONCE = 2**20  # bytes that become numbers at a time
FINEST = 10_000  # of a resampling, as a fraction of whole numbers

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_OTHER_FORMATS = {
    0x02: "Microsoft ADPCM", 0x06: "A-law", 0x07: "µ-law", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG",
    0x55: "MP3", 0xFF: "AAC", 0x160: "Windows Media", 0x161: "Windows Media", 0x1610: "AAC", 0x2000: "AC-3",
    0xF1AC: "FLAC",
}  # fmt: skip
_EXTENDED = bytes.fromhex("000000001000800000aa00389b71")  # of a GUID, after the two bytes of a format of the list
_OTHER_FILES = {
    b"RF64": "RF64, the WAV of more than 4 GB", b"BW64": "BW64, the WAV of more than 4 GB", b"RIFX": "a big-endian WAV",
    b"FORM": "AIFF", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"\xff\xfb": "MP3", b"\xff\xf3": "MP3",
    b"\xff\xf1": "AAC", b".snd": "AU", b"caff": "CAF", b"wvpk": "WavPack", b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"riff": "Wave64", b"NIST_1A": "NIST SPHERE", b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "packed by gzip",
    b"version http": "a placeholder of Git LFS, whose content was not fetched",
}  # fmt: skip
_UNKNOWN_SIZE = 0x7FFFF000  # and larger: written into a pipe, by programs that can't go back and set it


class WavHeader(NamedTuple):
    """What a WAV file says of itself.

    rate: samples a second. channels: 1 for mono. width: bytes of a sample. fractions: whether samples are IEEE floats,
    and not whole numbers. frames: samples of each channel. start: where they begin in the file.

    >>> WavHeader(8000, channels=1, width=2, fractions=False, frames=4000, start=44).seconds
    0.5
    """

    rate: int
    channels: int
    width: int
    fractions: bool
    frames: int
    start: int

    @property
    def seconds(self) -> float:
        """The length."""
        return self.frames / self.rate


def read_wav(path: FilePath, seconds: float | None = None) -> tuple[Array, int]:
    """The sound in a WAV file as samples (n,) float32 in -1 … 1, the mean of its channels, and samples a second.

    Samples are whole numbers of 8, 16, 24 or 32 bits, or floats of 32 or 64. seconds: no more than the first are read.
    Raises `DataError` for files that are none, are damaged or compressed, or hold NaN or no samples.

    >>> import os, tempfile, wave
    >>> path = os.path.join(tempfile.mkdtemp(), "a.wav")
    >>> with wave.open(path, "wb") as file:
    ...     file.setparams((1, 2, 8000, 0, "NONE", ""))
    ...     file.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())
    >>> read_wav(path)
    (array([ 0. ,  0.5, -1. ], dtype=float32), 8000)
    """
    header = read_header(path)
    count = header.frames if seconds is None else min(header.frames, max(1, math.ceil(seconds * header.rate)))
    x = np.empty(count, np.float32)
    size = header.channels * header.width
    step = max(1, AT_ONCE // size)
    try:
        with open(path, "rb") as file:
            file.seek(header.start)
            for first in range(0, count, step):
                part = x[first : first + step]
                content = file.read(len(part) * size)
                if len(content) < len(part) * size:
                    raise DataError(f"{path} became shorter while it was read")
                with np.errstate(over="ignore", invalid="ignore"):
                    part[:] = _samples(content, header).reshape(-1, header.channels).mean(axis=1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): is the path right?") from error
    if header.fractions and not np.abs(x).max() <= LOUDEST:  # which NaN is not
        raise DataError(f"{path} holds NaN, infinity, or numbers above {LOUDEST:.0f}; samples lie in -1 … 1")
    return x, header.rate


def read_header(path: FilePath) -> WavHeader:
    """What a WAV file says of itself, compared with the size of the file. Raises `DataError` as `read_wav` does.

    >>> read_header("no/such.wav")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: there is no file no/such.wav
    """
    if not Path(path).is_file():
        raise DataError(_no_file(path))
    try:
        with open(path, "rb") as file:
            return _header(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): is the path right?") from error


def resampled(x: Array, rate: int, wanted: int, name: FilePath = "the sound") -> Array:
    """The sound x (n,) with `wanted` samples a second in place of `rate`, (n wanted / rate,) rounded up.

    By `scipy.signal.resample_poly`, whose filter leaves out what is too high for the new rate. name: of the sound.
    Raises `MissingDependencyError` without SciPy.

    >>> resampled(np.zeros(441, np.float32), 44100, 8000).shape
    (80,)
    """
    if rate == wanted:
        return x
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} has {rate:,} samples a second and not {wanted:,}; making it so needs SciPy: pip install "
            "'gpubp[sound]'; or convert the file by other means, as sox a.wav -r "
            f"{wanted} b.wav"
        ) from error
    up, down = _ratio(rate, wanted)
    return np.asarray(resample_poly(x.astype(np.float64), up, down), np.float32)


def _ratio(rate: int, wanted: int) -> tuple[int, int]:
    """wanted / rate as a fraction; rates without common factors would need a filter of millions of numbers, and get the
    nearest fraction of smaller numbers, which is wrong by less than one in 10,000."""
    if wanted > rate:
        return _ratio(wanted, rate)[::-1]
    found = Fraction(wanted, rate).limit_denominator(FINEST)
    return found.numerator, found.denominator


def _header(path: FilePath, file: BinaryIO, size: int) -> WavHeader:
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise DataError(f"{path} is no WAV file{_what(path, start)}")
    made: tuple[int, int, int, bool] | None = None
    for _ in range(CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, declared = chunk[:4], int.from_bytes(chunk[4:], "little")
        at = file.tell()
        if name == b"data":
            if made is None:
                raise DataError(f"{path} is damaged: its samples come before the chunk that says how they are written")
            return _with_frames(path, made, at, declared, size - at)
        if name == b"fmt " and made is None:
            made = _format(path, file.read(min(declared, 40)))
        file.seek(at + declared + declared % 2)
    raise DataError(f"{path} is cut short or damaged: there are no samples in it")


def _with_frames(path: FilePath, made: tuple[int, int, int, bool], at: int, declared: int, there: int) -> WavHeader:
    if declared >= _UNKNOWN_SIZE and there < declared:
        declared = there
    if declared > there:
        raise DataError(f"{path} is cut short: it declares {declared:,} bytes of samples and has {there:,}")
    _, channels, width, _ = made
    frames = declared // (channels * width)
    if not frames:
        raise DataError(f"{path} has no samples in it")
    return WavHeader(*made, frames, at)


def _format(path: FilePath, content: bytes) -> tuple[int, int, int, bool]:
    """(rate, channels, bytes of a sample, whether they are floats) of a chunk "fmt "."""
    if len(content) < 16:
        raise DataError(f"{path} is damaged: {len(content)} bytes say how its samples are written, and not 16 or more")
    whole = [int.from_bytes(content[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))]
    kind, channels, rate, frame, bits = whole
    if kind == _EXTENSIBLE:
        if len(content) < 40 or content[26:] != _EXTENDED:
            raise DataError(f"{path} has an extended format that is not known here; {_convert(path)}")
        kind = int.from_bytes(content[24:26], "little")
    if kind not in (_PCM, _FLOAT):
        named = _OTHER_FORMATS.get(kind, f"number {kind}")
        raise DataError(f"{path} has the format {named}, and only uncompressed samples are read; {_convert(path)}")
    if not channels or frame % channels:
        raise DataError(f"{path} is damaged: it declares {channels} channels in {frame} bytes")
    width = frame // channels
    written = f"{bits} bits in {width} bytes"
    if not (8 * (width - 1) < bits <= 8 * width and width in ((4, 8) if kind == _FLOAT else (1, 2, 3, 4))):
        kinds = "floats of 32 or 64 bits" if kind == _FLOAT else "whole numbers of 8, 16, 24 or 32 bits"
        raise DataError(f"{path} has samples of {written}; {kinds} are read; {_convert(path)}")
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{path} declares {rate:,} samples a second; from {RATES[0]:,} to {RATES[1]:,} are read")
    return rate, channels, width, kind == _FLOAT


def _samples(content: bytes, header: WavHeader) -> Array:
    """Numbers in -1 … 1, float64."""
    width = header.width
    if header.fractions:
        return np.frombuffer(content, f"<f{width}").astype(np.float64)
    if width == 1:
        return (np.frombuffer(content, "u1") - 128.0) / 128
    if width == 3:  # the upper three bytes of four
        wide = np.zeros((len(content) // 3, 4), "u1")
        wide[:, 1:] = np.frombuffer(content, "u1").reshape(-1, 3)
        return wide.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(content, f"<i{width}") / 2.0 ** (8 * width - 1)


def _no_file(path: FilePath) -> str:
    if Path(path).is_dir():
        return f"{path} is a folder and no file"
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path} is a link to {os.readlink(path)}, which is not there; put the file there, or remove the link"
    return f"{path} is a pipe or a device and no file" if os.path.exists(path) else f"there is no file {path}"


def _what(path: FilePath, start: bytes) -> str:
    """What a file is that begins so, and what to do with it."""
    if not start:
        return ": it is empty"
    known = next((name for first, name in _OTHER_FILES.items() if start.startswith(first)), None)
    if start[4:8] == b"ftyp":
        known = "MP4"
    if start[:4] == b"RIFF":
        known = f"a RIFF file of the kind {start[8:].decode('ascii', 'replace')!r}" if len(start) == 12 else None
    if known is None:
        return f": it begins with {start!r}, and not with RIFF and WAVE"
    return f" but {known}; {_convert(path)}"


def _convert(path: FilePath) -> str:
    return f"convert it, as ffmpeg -i {Path(path).name} -c:a pcm_s16le new.wav"

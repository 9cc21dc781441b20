"""WAV files of every kind that is read, and damaged, hostile and foreign ones, which are refused in words."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.datasets import read_wav
from gpubp.datasets.wav import read_header, resampled
from waves import chunk, form, tone, wav, written

X = np.array([0.0, 0.25, -0.5, 0.75, -1.0, 0.125])
DATA = chunk(b"data", np.round(X * 32767).astype("<i2").tobytes())
MONO = chunk(b"fmt ", form(1, 1, 8000, 16))


def at(path: Path, content: bytes) -> Path:
    file = path / "a.wav"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("extended", [False, True], ids=["plain", "extended"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("bits", "floats", "step"),
    [(8, False, 2**-8), (16, False, 2**-16), (24, False, 2**-24), (32, False, 2**-24), (32, True, 0), (64, True, 0)],
)
def test_every_kind_is_read(
    tmp_path: Path, rng: np.random.Generator, bits: int, floats: bool, step: float, channels: int, extended: bool
) -> None:
    x = rng.uniform(-1, 1, size=(101, channels)).astype("float32")
    file = at(tmp_path, written(x if channels > 1 else x[:, 0], 11025, bits, floats, extended))
    found, rate = read_wav(file)
    assert rate == 11025 and found.dtype == np.float32 and found.shape == (101,)
    np.testing.assert_allclose(found, x.mean(axis=1), atol=step + 2e-7)
    header = read_header(file)
    assert (header.channels, header.width, header.fractions, header.frames) == (channels, bits // 8, floats, 101)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_scipy_writes_is_read(tmp_path: Path, rng: np.random.Generator, dtype: str, channels: int) -> None:
    wavfile = pytest.importorskip("scipy.io.wavfile")
    x = rng.uniform(-0.9, 0.9, size=(50, channels))
    most = {"uint8": 128, "int16": 2**15, "int32": 2**31}.get(dtype, 1)
    wavfile.write(tmp_path / "a.wav", 44100, (x * most + 128 * (dtype == "uint8")).astype(dtype))
    found, rate = read_wav(tmp_path / "a.wav")
    assert rate == 44100
    np.testing.assert_allclose(found, x.mean(axis=1), atol=1 / most if most > 1 else 1e-6)


def test_what_python_writes_is_read(tmp_path: Path) -> None:
    for width, written_as in ((1, "u1"), (2, "<i2"), (4, "<i4")):
        with wave.open(str(tmp_path / "a.wav"), "wb") as file:
            file.setparams((2, width, 22050, 0, "NONE", ""))
            file.writeframes(np.array([[100, 50], [0, 1]], written_as).tobytes())
        found, rate = read_wav(tmp_path / "a.wav")
        middle = 128 if width == 1 else 0
        assert rate == 22050
        np.testing.assert_allclose(found, (np.array([75, 0.5]) - middle) / 2 ** (8 * width - 1), rtol=1e-6)


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    """LIST before the samples, odd sizes, a longer fmt, what follows the samples, and a wrong size of the whole."""
    longer = chunk(b"fmt ", form(1, 1, 8000, 16) + b"\0\0")
    odd = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")
    plain, _ = read_wav(at(tmp_path, wav(MONO, DATA)))
    for content in (
        wav(odd, MONO, DATA),
        wav(longer, odd, chunk(b"junk", b""), DATA, odd),
        wav(MONO, chunk(b"fact", b"abc"), DATA, b"trailing"),
        b"RIFF\0\0\0\0" + wav(MONO, DATA)[8:],
        b"RIFF\xff\xff\xff\xff" + wav(MONO, DATA)[8:],
    ):
        assert np.array_equal(read_wav(at(tmp_path, content))[0], plain)


@pytest.mark.parametrize("declared", [2**32 - 1, 0x7FFFF000, 2**32 - 37])
def test_sizes_that_a_pipe_left_open_reach_to_the_end(tmp_path: Path, declared: int) -> None:
    data = DATA[:4] + struct.pack("<I", declared) + DATA[8:]
    assert len(read_wav(at(tmp_path, wav(MONO, data)))[0]) == len(X)


def test_a_part_of_the_last_frame_is_left_out(tmp_path: Path) -> None:
    assert len(read_wav(at(tmp_path, wav(MONO, chunk(b"data", b"\1\0\2\0\3"))))[0]) == 2


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    file = at(tmp_path, written(np.linspace(-1, 1, 800), bits=24))
    whole, _ = read_wav(file)
    for seconds, samples in ((0.01, 80), (0.1, 800), (9.0, 800), (1e-9, 1)):
        assert np.array_equal(read_wav(file, seconds)[0], whole[:samples])


def test_long_sounds_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = at(tmp_path, written(np.linspace(-1, 1, 999).reshape(333, 3)))
    whole, _ = read_wav(file)
    monkeypatch.setattr("gpubp.datasets.wav.AT_ONCE", 50)
    assert np.array_equal(read_wav(file)[0], whole)


PCM = form(1, 1, 8000, 16)
WRONG = {
    "empty": (b"", "no WAV file: it is empty"),
    "text": (b"hello, this is a text", "begins with b'hello, this ', and not with RIFF"),
    "mp3": (b"ID3\x04" + bytes(50), "no WAV file but MP3; convert it, as ffmpeg -i"),
    "flac": (b"fLaC" + bytes(50), "but FLAC"),
    "ogg": (b"OggS" + bytes(50), "but Ogg"),
    "m4a": (b"\0\0\0\x20ftypM4A " + bytes(50), "but MP4"),
    "aiff": (b"FORM" + bytes(50), "but AIFF"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "placeholder of Git LFS"),
    "rf64": (wav(MONO, DATA, start=b"RF64"), "but RF64, the WAV of more than 4 GB"),
    "rifx": (wav(MONO, DATA, start=b"RIFX"), "but a big-endian WAV"),
    "avi": (wav(MONO, DATA, kind=b"AVI "), "a RIFF file of the kind 'AVI '"),
    "start alone": (b"RIFF", "no WAV file"),
    "no chunks": (wav(), "cut short or damaged: there are no samples"),
    "no samples": (wav(MONO), "there are no samples in it"),
    "half a chunk": (wav(MONO) + b"data", "there are no samples in it"),
    "0 samples": (wav(MONO, chunk(b"data", b"")), "no samples in it"),
    "half a sample": (wav(MONO, chunk(b"data", b"\0")), "no samples in it"),
    "samples first": (wav(DATA, MONO), "its samples come before the chunk"),
    "cut short": (wav(MONO, DATA)[:-4], "declares 12 bytes of samples and has 8"),
    "too large": (wav(MONO, chunk(b"data", b"\0\0", 2**31 - 2**20)), "declares 2,146,435,072 bytes of"),
    "chunk too large": (wav(chunk(b"LIST", b"", 2**32 - 1), MONO, DATA), "there are no samples in it"),
    "a thousand chunks": (wav(*[chunk(b"junk", b"")] * 1500, MONO, DATA), "there are no samples in it"),
    "short fmt": (wav(chunk(b"fmt ", PCM[:14]), DATA), "14 bytes say how its samples are written"),
    "0 channels": (wav(chunk(b"fmt ", form(1, 0, 8000, 16)), DATA), "declares 0 channels in 0 bytes"),
    "wrong frame": (wav(chunk(b"fmt ", form(1, 2, 8000, 16, frame=3)), DATA), "declares 2 channels in 3 bytes"),
    "no frame": (wav(chunk(b"fmt ", form(1, 1, 8000, 16, frame=0)), DATA), "16 bits in 0 bytes"),
    "wide frame": (wav(chunk(b"fmt ", form(1, 1, 8000, 16, frame=4)), DATA), "16 bits in 4 bytes"),
    "0 bits": (wav(chunk(b"fmt ", form(1, 1, 8000, 0, frame=2)), DATA), "0 bits in 2 bytes"),
    "64 bits": (wav(chunk(b"fmt ", form(1, 1, 8000, 64)), DATA), "whole numbers of 8, 16, 24 or 32 bits are read"),
    "half floats": (wav(chunk(b"fmt ", form(3, 1, 8000, 16)), DATA), "floats of 32 or 64 bits are read"),
    "0 a second": (wav(chunk(b"fmt ", form(1, 1, 0, 16)), DATA), "0 samples a second; from 1,000 to 1,000,000"),
    "too fast": (wav(chunk(b"fmt ", form(1, 1, 2**32 - 1, 16)), DATA), "declares 4,294,967,295 samples a second"),
    "µ-law": (wav(chunk(b"fmt ", form(7, 1, 8000, 8)), DATA), "the format µ-law, and only uncompressed"),
    "A-law": (wav(chunk(b"fmt ", form(6, 1, 8000, 8)), DATA), "the format A-law"),
    "ADPCM": (wav(chunk(b"fmt ", form(2, 1, 8000, 4, frame=256)), DATA), "the format Microsoft ADPCM"),
    "IMA": (wav(chunk(b"fmt ", form(17, 1, 8000, 4, frame=256)), DATA), "the format IMA ADPCM"),
    "extended µ-law": (wav(chunk(b"fmt ", form(7, 1, 8000, 8, extended=True)), DATA), "the format µ-law"),
    "unknown": (wav(chunk(b"fmt ", form(1234, 1, 8000, 16)), DATA), "the format number 1234"),
    "short extended": (wav(chunk(b"fmt ", form(1, 1, 8000, 16, extended=True)[:30]), DATA), "an extended format"),
    "other GUID": (wav(chunk(b"fmt ", form(1, 1, 8000, 16, extended=True)[:-1] + b"!"), DATA), "an extended format"),
    "NaN": (written([0.0, np.nan], bits=32, floats=True), "holds NaN, infinity"),
    "infinity": (written([0.0, np.inf], bits=64, floats=True), "holds NaN, infinity"),
    "enormous": (written([0.0, 1e300], bits=64, floats=True), "numbers above 2147483648"),
    "cancelling": (written([[1e308, 1e308]], bits=64, floats=True), "numbers above 2147483648"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_other_and_damaged_files_are_refused(tmp_path: Path, kind: str) -> None:
    content, words = WRONG[kind]
    with pytest.raises(bp.DataError) as refused:
        read_wav(at(tmp_path, content))
    told = str(refused.value)
    assert words in told and told.startswith(str(tmp_path / "a.wav")) and "\n" not in told


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.DataError, match="there is no file"):
        read_wav(tmp_path / "b.wav")
    with pytest.raises(bp.DataError, match="is a folder and no file"):
        read_wav(tmp_path)


def test_every_cut_is_refused_or_read(tmp_path: Path) -> None:
    """A file that ends anywhere; only one without its last sample's chunk's end is whole."""
    content = wav(chunk(b"LIST", b"abc"), MONO, DATA)
    for end in range(len(content)):
        with pytest.raises(bp.DataError):
            read_wav(at(tmp_path, content[:end]))


def test_memory_follows_the_file_and_not_its_header(tmp_path: Path) -> None:
    """Of a file of 3 MB of samples in 200 channels, and of one that declares 2 GB."""
    large = wav(chunk(b"fmt ", form(1, 200, 8000, 8)), chunk(b"data", bytes(3_000_000)))
    hostile = wav(MONO, chunk(b"data", b"\0\0", 2**31 - 2**20))
    for content in (large, hostile):
        file = at(tmp_path, content)
        tracemalloc.start()
        try:
            read_wav(file)
        except bp.DataError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 24 * 2**20


RATES = [(44100, 8000), (11025, 16000), (8000, 8000), (48000, 7919), (1000, 999_999)]


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_a_tone_is_the_same_tone_at_another_rate(rate: int, wanted: int) -> None:
    pytest.importorskip("scipy")
    x = tone(200, 0.5, rate)
    found = resampled(x.astype("float32"), rate, wanted)
    assert found.dtype == np.float32 and len(found) == pytest.approx(0.5 * wanted, rel=1e-3, abs=1)
    inside = slice(len(found) // 4, len(found) // 2)
    expected = 0.5 * np.sin(2 * np.pi * 200 * np.arange(len(found)) / wanted)
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.99


def test_what_is_too_high_for_the_new_rate_is_left_out() -> None:
    """A tone of 6000 Hz, which at 8000 samples a second would become one of 2000 Hz."""
    pytest.importorskip("scipy")
    high, low = (resampled(tone(hertz, 0.5, 44100).astype("float32"), 44100, 8000) for hertz in (6000, 2000))
    assert np.std(high[400:3600]) < 0.03 * np.std(low[400:3600])


def test_without_scipy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scipy", "scipy.signal"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(bp.MissingDependencyError, match=r"a.wav has 44,100 .* and not 8,000; .* 'gpubp\[sound\]'"):
        resampled(np.zeros(10, np.float32), 44100, 8000, "a.wav")
    assert resampled(np.zeros(10, np.float32), 8000, 8000).shape == (10,)


def test_bytes_written_by_the_helper_are_pythons() -> None:
    """The tests' own writer agrees with the standard library's."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([0, 8192, -16384], "<i2").tobytes())
    assert held.getvalue() == written([0, 0.25, -0.5])

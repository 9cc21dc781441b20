"""WAV files for tests, written byte by byte, so that any of them can be wrong."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

GUID = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, content: bytes, declared: int | None = None) -> bytes:
    """A chunk with its size, or with another size, and a zero byte after an odd one."""
    size = len(content) if declared is None else declared
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def form(kind: int, channels: int, rate: int, bits: int, extended: bool = False, **wrong: int) -> bytes:
    """The content of a chunk "fmt ". wrong: frame, bytes of a frame, if not the right ones."""
    width = -(-bits // 8)
    frame = wrong.get("frame", width * channels)
    numbers = (0xFFFE if extended else kind, channels, rate, rate * frame % 2**32, frame, bits)
    content = struct.pack("<HHIIHH", *numbers)
    return content + struct.pack("<HHIH", 22, bits, 0, kind) + GUID if extended else content


def wav(*chunks: bytes, start: bytes = b"RIFF", kind: bytes = b"WAVE") -> bytes:
    """A file of these chunks."""
    body = kind + b"".join(chunks)
    return start + struct.pack("<I", len(body) % 2**32) + body


def written(x: Any, rate: int = 8000, bits: int = 16, floats: bool = False, extended: bool = False) -> bytes:
    """The file of samples x (n,) or (n, channels) in -1 … 1."""
    x = np.asarray(x, np.float64)
    channels = 1 if x.ndim == 1 else x.shape[1]
    if floats:
        data = x.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = np.clip(np.round(x * 128) + 128, 0, 255).astype("u1").tobytes()
    else:
        most = 2.0 ** (bits - 1)
        whole = np.clip(np.round(x * most), -most, most - 1).astype("<i4").reshape(-1, 1)
        data = whole.view("u1")[:, : bits // 8].tobytes()
    return wav(chunk(b"fmt ", form(3 if floats else 1, channels, rate, bits, extended)), chunk(b"data", data))


def tone(hertz: float, seconds: float = 0.2, rate: int = 8000, seed: int = 0) -> np.ndarray[Any, Any]:
    """A tone with some noise."""
    t = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * hertz * t) + np.random.default_rng(seed).normal(scale=0.01, size=len(t))


def folder_of_tones(path: Path, count: int = 6, rate: int = 8000, **more: Any) -> Path:
    """A folder with `count` low and as many high tones. more: of `written`."""
    for k, (name, hertz) in enumerate((("high", 1500), ("low", 300))):
        (path / name).mkdir(parents=True)
        for i in range(count):
            x = tone(hertz * (1 + 0.02 * i), 0.2 + 0.005 * i, rate, seed=100 * k + i)
            (path / name / f"{i}.wav").write_bytes(written(x, rate, **more))
    return path

"""Pixels: the channels of an image as a small picture inside a drawing."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

from ...backends import Array

MOST = 64  # rows and columns of an image that is drawn
CHANNELS = 8
RED = (196, 30, 22)


def is_images(shape: tuple[Any, ...]) -> bool:
    """Whether rows of a shape (H, W, C) are images that can be drawn.

    >>> is_images((28, 28, 1)), is_images((1, 1, 64)), is_images((10,))
    (True, False, False)
    """
    return len(shape) == 3 and all(n is not None for n in shape) and 2 <= min(shape[:2]) and max(shape[:2]) <= MOST


def channels(a: Array, red: bool = False) -> list[str]:
    """A picture of each of the first channels of an image (H, W, C), as the address of an `<image>`.

    In grey, from the smallest number of all channels to the largest; in red, by the size of the number, and nothing
    where it is 0.

    >>> channels(np.zeros((4, 4, 2)))[0][:22]
    'data:image/png;base64,'
    """
    found = a[..., :CHANNELS].astype(np.float64)
    found = np.abs(found) if red else found
    low, high = (0.0 if red else found.min(), found.max())
    with np.errstate(all="ignore"):
        share = (found - low) / (high - low) if high > low else np.zeros_like(found)
    bright = np.clip(np.nan_to_num(255 * share), 0, 255).round().astype(np.uint8)
    return [
        "data:image/png;base64," + base64.b64encode(_png(bright[..., k], red)).decode() for k in range(bright.shape[2])
    ]


def _png(bright: Array, red: bool) -> bytes:
    """A PNG file of bytes (H, W): in shades of grey, or in 16 of red over what lies below."""
    rows, columns = bright.shape
    colours = b""
    if red:
        steps = np.zeros((rows, columns + columns % 2), np.uint8)
        steps[:, :columns] = (bright.astype(np.uint16) + 8) // 17
        bright = steps[:, ::2] * 16 + steps[:, 1::2]  # two pixels a byte
        colours = _part(b"PLTE", bytes(RED) * 16) + _part(b"tRNS", bytes(range(0, 256, 17)))
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), bright], axis=1)  # 0: no filter
    head = struct.pack(">IIBBBBB", columns, rows, *((4, 3) if red else (8, 0)), 0, 0, 0)
    # not compressed, because other versions of zlib would write other bytes
    data = _part(b"IHDR", head) + colours + _part(b"IDAT", zlib.compress(lines.tobytes(), 0)) + _part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

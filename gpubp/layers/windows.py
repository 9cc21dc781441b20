"""Windows: which pixels of an image each output of a convolution or pooling reads.

Along one axis of n places, a window of k places that moves by s over an image with p places added in front has its
output o looking at

    (1)  i = o s + t - p,    t = 0 … k-1, "taps"; where i < 0 or i ≥ n there is no image, and zeros (or nothing) count

The paddings:  "valid": p = 0, windows lie wholly inside.  A whole number: that many places on either side.
"same": ⌈n/s⌉ outputs, as in Keras and TensorFlow; the places that this lacks are halved, an odd one stands at the end.
"causal": as many, all lacking places in front, p = k - 1: no window reaches beyond its output's place.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..backends import Shape
from ..config import Count, CountOrZero
from ..errors import ShapeError
from .time_steps import check_sequences

Pair = Count | tuple[Count, Count]
Padding = Literal["valid", "same"] | CountOrZero | tuple[CountOrZero, CountOrZero]
PaddingOfAxis = Literal["valid", "same", "causal"] | CountOrZero


class Axis(NamedTuple):
    """(1) along one axis: n places, windows of k moving by s, p places in front, and so many outputs.

    >>> Axis(n=5, k=3, s=2, p=1, outputs=3).tap(0)      # outputs 1 and 2 have their tap 0 at places 1 and 3
    (slice(1, 3, None), slice(1, 4, 2))
    """

    n: int
    k: int
    s: int
    p: int
    outputs: int

    @property
    def padded(self) -> int:
        """Places that the windows span, or the image if that is more."""
        return max(self.p + self.n, (self.outputs - 1) * self.s + self.k)

    def tap(self, t: int, first: int = 0, end: int | None = None) -> tuple[slice, slice]:
        """The outputs, among first … end-1, whose tap t lies in the image, and the places where it lies."""
        low = max(first, -((t - self.p) // self.s))  # o s + t - p ≥ 0
        high = min(self.outputs if end is None else end, (self.n - 1 - t + self.p) // self.s + 1)  # o s + t - p ≤ n-1
        if high <= low:
            return slice(0, 0), slice(0, 0)
        start = low * self.s + t - self.p
        return slice(low, high), slice(start, start + (high - low - 1) * self.s + 1, self.s if self.s > 1 else None)

    def inside(self, o: int) -> int:
        """How many taps of output o lie in the image."""
        start = o * self.s - self.p
        return min(start + self.k, self.n) - max(start, 0)


class Windows(NamedTuple):
    """(1) along height and width of images (batch, height, width, channels).

    >>> windows_of((32, 28, 28, 1), (3, 3), (1, 1), "valid").shape
    (26, 26)
    """

    rows: Axis
    columns: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs (height, width)."""
        return self.rows.outputs, self.columns.outputs

    @property
    def padding(self) -> bool:
        """Whether some window reaches beyond the image."""
        return any(axis.p or axis.padded > axis.n for axis in self)

    @property
    def taps(self) -> list[tuple[int, int]]:
        """All (i, j) of the kernel, row by row."""
        return [(i, j) for i in range(self.rows.k) for j in range(self.columns.k)]

    @property
    def apart(self) -> bool:
        """Whether no place is in two windows."""
        return all(axis.s >= axis.k for axis in self)

    @property
    def tiled(self) -> bool:
        """Whether every place is in one window."""
        return all(axis.s == axis.k and axis.n == axis.outputs * axis.k and not axis.p for axis in self)


def windows_of(x: Shape, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Windows:
    """The windows on images of shape `x`; raises ShapeError if there are none."""
    if len(x) != 4:
        hint = {
            2: "; Reshape((height, width, channels)) before it makes images of rows",
            3: f"; grey images want a channel axis: Reshape(({x[1]}, {x[2]}, 1)) before it, or X[..., None]"
            if len(x) == 3
            else "",
        }.get(len(x), "")
        raise ShapeError(f"expects images (batch, height, width, channels) and got {x}{hint}")
    paddings = padding if isinstance(padding, tuple) else (padding, padding)
    axes = [_axis(x[1 + a], kernel[a], stride[a], paddings[a]) for a in (0, 1)]
    if min(axis.outputs for axis in axes) < 1:
        raise ShapeError(
            f"has windows of {kernel[0]} x {kernel[1]} and got images of {x[1]} x {x[2]}, which are smaller; "
            'take smaller windows, or padding="same"'
        )
    return Windows(*axes)


def windows_over_time(x: Shape, kernel: int, stride: int, padding: PaddingOfAxis) -> Windows:
    """The windows on sequences of shape `x`, as on images of height 1; raises ShapeError if there are none.

    >>> windows_over_time((32, 50, 8), 3, 1, "valid").columns.outputs
    48
    """
    T = as_images(x)[2]
    windows = Windows(Axis(1, 1, 1, 0, 1), _axis(T, kernel, stride, padding))
    if windows.columns.outputs < 1:
        raise ShapeError(
            f"has windows of {kernel} steps and got sequences of {T}, which are shorter; take smaller windows, or "
            'padding="same"'
        )
    return windows


def as_images(x: Shape) -> Shape:
    """The shape of sequences (B, T, C) as images of height 1; raises ShapeError for other shapes.

    >>> as_images((32, 50, 8))
    (32, 1, 50, 8)
    """
    check_sequences(x)
    return x[0], 1, x[1], x[2]


def _axis(n: int, k: int, s: int, padding: PaddingOfAxis) -> Axis:
    if padding in ("same", "causal"):
        outputs = -(-n // s)
        p = k - 1 if padding == "causal" else max((outputs - 1) * s + k - n, 0) // 2
        return Axis(n, k, s, p, outputs)
    p = 0 if padding == "valid" else int(padding)
    return Axis(n, k, s, p, (n + 2 * p - k) // s + 1)


def blocks(images: int, rows: int, numbers: int, piece: int) -> list[tuple[slice, slice]]:
    """(images, rows) in parts of at most `piece` numbers, each row having `numbers`: whole images, or rows of one, and
    never less than a row.

    >>> [(images.stop, rows.stop) for images, rows in blocks(5, 10, 7, piece=140)]
    [(2, 10), (4, 10), (5, 10)]
    >>> [(images.stop, rows.stop) for images, rows in blocks(1, 10, 7, piece=35)]
    [(1, 5), (1, 10)]
    """
    if rows * numbers <= piece:
        return [(part, slice(0, rows)) for part in parts(images, piece // (rows * numbers))]
    return [(slice(n, n + 1), part) for n in range(images) for part in parts(rows, max(1, piece // numbers))]


def parts(whole: int, most: int) -> list[slice]:
    """0 … whole-1 in as few parts of at most `most` as can be, nearly equal ones, a largest first.

    >>> parts(10, 4)
    [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
    """
    count = -(-whole // most)
    ends = [-(-whole * (n + 1) // count) for n in range(count)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def pair(value: Pair) -> tuple[int, int]:
    """(height, width) from one whole number or two.

    >>> pair(3), pair((2, 4))
    ((3, 3), (2, 4))
    """
    return value if isinstance(value, tuple) else (value, value)

"""Windows: which places of an image each output of a convolution or pooling reads.

Along one axis of n places, a window of k places, each d behind the one before ("dilation"), that moves by s over an
image with p places added in front, has its output o looking at

    (1)  i = o s + t d - p,    t = 0 … k-1, "taps"; where i < 0 or i ≥ n there is no image, and zeros (or nothing) count

A window spans e = (k-1) d + 1 places. With q places added behind, as many outputs as have their window inside:

    (2)  ⌊(n + p + q - e)/s⌋ + 1;  with ceil_mode ⌈ ⌉ in place of ⌊ ⌋, and without a last window that begins behind the
         image (ONNX's and PyTorch's rule)

The paddings:  "valid": p = q = 0.  A whole number: p = q.  A pair (p, q): in front and behind.
"same": ⌈n/s⌉ outputs, as in Keras and TensorFlow; the places that this lacks are halved, an odd one stands behind, and
with "same_lower" (ONNX's SAME_LOWER) in front.
"causal": as many, all lacking places in front, p = e - 1: no window reaches beyond its output's place.

A transposed convolution has the outputs, m of them, and gives the image: (2) the other way round, with r places more
("output_padding"), of several n with the same (2):

    (3) n = (m-1) s + e - p - q + r      "valid": p = q = 0, (m-1) s + max(e, s) if r is not given.
        "same": n = m s, and (m-1) s + e mod 2 + r if r is given; p and q as those of n places with m outputs. (Keras)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Literal, NamedTuple

from ..backends import Shape
from ..config import Count, CountOrZero
from ..errors import ShapeError
from .time_steps import check_sequences

Pair = Count | tuple[Count, Count]
Triple = Count | tuple[Count, Count, Count]
Sides = tuple[CountOrZero, CountOrZero]  # places in front and behind
Named = Literal["valid", "same", "same_lower"]
PaddingOfAxis = Literal["valid", "same", "same_lower", "causal"] | CountOrZero | Sides
Padding = Named | CountOrZero | tuple[CountOrZero, CountOrZero] | tuple[Sides, Sides]
PaddingOfVolume = Named | CountOrZero | tuple[CountOrZero, CountOrZero, CountOrZero] | tuple[Sides, Sides, Sides]


class Axis(NamedTuple):
    """(1) along one axis: n places, windows of k moving by s, p places in front, so many outputs, dilation d, and q
    places of padding behind, which count in (2) alone: windows may reach further, or less far.

    >>> Axis(n=5, k=3, s=2, p=1, outputs=3).tap(0)      # outputs 1 and 2 have their tap 0 at places 1 and 3
    (slice(1, 3, None), slice(1, 4, 2))
    """

    n: int
    k: int
    s: int
    p: int
    outputs: int
    d: int = 1
    q: int = 0

    @property
    def span(self) -> int:
        """Places from the first tap of a window to its last, e."""
        return (self.k - 1) * self.d + 1

    @property
    def padded(self) -> int:
        """Places that the windows span, or the image if that is more."""
        return max(self.p + self.n, (self.outputs - 1) * self.s + self.span)

    @property
    def apart(self) -> bool:
        """Whether no place is in two windows: o s = t d for no t < k but 0."""
        return self.s // math.gcd(self.s, self.d) >= self.k

    @property
    def tiled(self) -> bool:
        """Whether every place is in one window."""
        return self.s == self.k == self.span and self.n == self.outputs * self.k and not self.p

    def tap(self, t: int, first: int = 0, end: int | None = None) -> tuple[slice, slice]:
        """The outputs, among first … end-1, whose tap t lies in the image, and the places where it lies."""
        at = t * self.d - self.p
        low = max(first, -(at // self.s))  # o s + at ≥ 0
        high = min(self.outputs if end is None else end, (self.n - 1 - at) // self.s + 1)  # o s + at ≤ n-1
        if high <= low:
            return slice(0, 0), slice(0, 0)
        start = low * self.s + at
        return slice(low, high), slice(start, start + (high - low - 1) * self.s + 1, self.s if self.s > 1 else None)

    def inside(self, o: int, padding: bool = False) -> int:
        """How many taps of output o lie in the image; padding: or among the p places in front and the q behind.

        >>> axis = Axis(n=5, k=3, s=2, p=1, outputs=4, q=1)          # the last window begins at place 5
        >>> [axis.inside(o) for o in range(4)], [axis.inside(o, padding=True) for o in range(4)]
        ([2, 3, 2, 0], [3, 3, 3, 1])
        """
        front, behind = (self.p, self.q) if padding else (0, 0)
        start = o * self.s - self.p
        low, high = max(-((start + front) // self.d), 0), min((self.n + behind - 1 - start) // self.d + 1, self.k)
        return max(high - low, 0)


class Windows(tuple[Axis, ...]):
    """(1) along each axis of space, such as height and width of images (batch, height, width, channels).

    >>> windows_of((32, 28, 28, 1), (3, 3), (1, 1), "valid").shape
    (26, 26)
    """

    __slots__ = ()

    @property
    def rows(self) -> Axis:
        """Along the height."""
        return self[-2]

    @property
    def columns(self) -> Axis:
        """Along the width, or the time."""
        return self[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs along each axis."""
        return tuple(axis.outputs for axis in self)

    @property
    def padding(self) -> bool:
        """Whether some window reaches beyond the image."""
        return any(axis.p or axis.padded > axis.n for axis in self)

    @property
    def taps(self) -> list[tuple[int, ...]]:
        """All places (i, j) of the kernel, row by row."""
        return list(product(*(range(axis.k) for axis in self)))

    @property
    def apart(self) -> bool:
        """Whether no place is in two windows."""
        return all(axis.apart for axis in self)

    @property
    def tiled(self) -> bool:
        """Whether every place is in one window."""
        return all(axis.tiled for axis in self)


def windows_of(
    x: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Padding | PaddingOfAxis | PaddingOfVolume,
    dilation: tuple[int, ...] | int = 1,
    ceil_mode: bool = False,
) -> Windows:
    """The windows on images of shape `x`, or on sequences or volumes where `kernel` has one size or three; raises
    ShapeError if there are none.

    >>> windows_of((32, 28, 28, 1), (3, 3), (2, 2), ((0, 1), (2, 0)), dilation=2).shape
    (13, 13)
    """
    n = len(kernel)
    check_rank(x, n)
    of_axes = zip(x[1:-1], kernel, stride, each_padding(padding, n), each(dilation, n), strict=True)
    windows = Windows(axis_of(*of_axis, ceil_mode) for of_axis in of_axes)
    if min(windows.shape) < 1:
        what, spans, small = _WORDS[n][0], [axis.span for axis in windows], "shorter" if n == 1 else "smaller"
        spread = f", which the dilation spreads over {_sizes(spans)}" if spans != list(kernel) else ""
        raise ShapeError(
            f"has windows of {_sizes(kernel)}{' steps' * (n == 1)}{spread} and got {what} of {_sizes(x[1:-1])}, "
            f'which are {small}; take smaller windows, or padding="same"'
        )
    return windows


def windows_over_time(
    x: Shape, kernel: int, stride: int, padding: PaddingOfAxis, dilation: int = 1, ceil_mode: bool = False
) -> Windows:
    """The windows on sequences of shape `x`, as on images of height 1; raises ShapeError if there are none.

    >>> windows_over_time((32, 50, 8), 3, 1, "valid").columns.outputs
    48
    """
    return Windows((Axis(1, 1, 1, 0, 1), *windows_of(x, (kernel,), (stride,), padding, dilation, ceil_mode)))


def axis_of(n: int, k: int, s: int, padding: PaddingOfAxis, d: int = 1, ceil_mode: bool = False) -> Axis:
    """The windows along an axis of n places; they may have no outputs, or fewer.

    >>> axis_of(n=6, k=3, s=2, padding=(0, 1), d=2)
    Axis(n=6, k=3, s=2, p=0, outputs=2, d=2, q=1)
    """
    d = d if k > 1 else 1
    span = (k - 1) * d + 1
    if isinstance(padding, str) and padding != "valid":
        outputs = -(-n // s)
        lacking = max((outputs - 1) * s + span - n, 0)
        p = {"same": lacking // 2, "same_lower": -(-lacking // 2), "causal": span - 1}[padding]
        return Axis(n, k, s, p, outputs, d, 0 if padding == "causal" else lacking - p)
    p, q = (0, 0) if isinstance(padding, str) else padding if isinstance(padding, tuple) else (padding, padding)
    room = n + p + q - span
    outputs = (-(-room // s) if ceil_mode else room // s) + 1
    if ceil_mode and (outputs - 1) * s >= n + p:
        outputs -= 1  # a window must begin in the image, or in the padding in front
    return Axis(n, k, s, p, outputs, d, q)


def transposed_windows(
    x: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Padding | PaddingOfAxis | PaddingOfVolume,
    dilation: tuple[int, ...] | int = 1,
    output_padding: tuple[int, ...] | int | None = None,
) -> Windows:
    """The windows whose outputs are as many as `x` has places: of a transposed convolution, on its output. Raises
    ShapeError if that has no places.

    >>> [axis.n for axis in transposed_windows((32, 7, 7, 8), (3, 3), (2, 2), "same")]
    [14, 14]
    """
    n = len(kernel)
    check_rank(x, n)
    more = (None,) * n if output_padding is None else each(output_padding, n)
    of_axes = zip(x[1:-1], kernel, stride, each_padding(padding, n), each(dilation, n), more, strict=True)
    windows = Windows(transposed_axis(*of_axis) for of_axis in of_axes)
    if min(axis.n for axis in windows) < 1:
        raise ShapeError(
            f"gives {_WORDS[n][0]} of {_sizes(axis.n for axis in windows)} for {_sizes(x[1:-1])}, which are none: its "
            "padding takes away all of them; take less padding"
        )
    return windows


def transposed_axis(outputs: int, k: int, s: int, padding: PaddingOfAxis, d: int = 1, more: int | None = None) -> Axis:
    """The windows with so many outputs. more: places behind, which may have no window; None for as many as Keras takes
    where the padding is "same" or "valid", and 0 for numbers.

    >>> transposed_axis(7, k=3, s=2, padding=1, more=1)
    Axis(n=14, k=3, s=2, p=1, outputs=7, d=1, q=0)
    """
    d = d if k > 1 else 1
    span = (k - 1) * d + 1
    last = (outputs - 1) * s  # where the last window begins
    if isinstance(padding, str) and padding != "valid":
        n = outputs * s if more is None else last + span % 2 + more
        lacking = max(last + span - n, 0)
        p = -(-lacking // 2) if padding == "same_lower" else lacking // 2
    elif isinstance(padding, str):
        n, p = last + (max(span, s) if more is None else span + more), 0
    else:
        p, q = padding if isinstance(padding, tuple) else (padding, padding)
        n = last + span - p - q + (more or 0)
    return Axis(n, k, s, p, outputs, d, max(last + span - p - n, 0))


def each(value: int | tuple[int, ...], n: int) -> tuple[int, ...]:
    """A number for each of n axes.

    >>> each(3, 2), each((2, 4), 2)
    ((3, 3), (2, 4))
    """
    return value if isinstance(value, tuple) else (value,) * n


def each_padding(padding: Padding | PaddingOfAxis | PaddingOfVolume, n: int) -> tuple[PaddingOfAxis, ...]:
    """The padding of each of n axes. Of one axis, (2, 0) is a pair, in front and behind.

    >>> each_padding("same", 2), each_padding((1, 2), 2), each_padding((2, 0), 1)
    (('same', 'same'), (1, 2), ((2, 0),))
    """
    return padding if isinstance(padding, tuple) and n > 1 else (padding,) * n  # type: ignore[return-value]


def largest_padding(padding: Padding | PaddingOfAxis | PaddingOfVolume, n: int) -> tuple[int, ...]:
    """The places that are added on one side of each of n axes, where the padding says so in numbers, else 0.

    >>> largest_padding(((0, 1), (2, 0)), 2), largest_padding(1, 1), largest_padding("same", 2)
    ((1, 2), (1,), (0, 0))
    """
    sides = each_padding(padding, n)
    return tuple(0 if isinstance(p, str) else max(p) if isinstance(p, tuple) else p for p in sides)


_WORDS = {1: ("sequences", ""), 2: ("images", "height, width"), 3: ("volumes", "depth, height, width")}


def check_rank(x: Shape, n: int) -> None:
    """Raise ShapeError unless x is a shape of rows with n axes of space, and channels last.

    >>> check_rank((32, 28, 28, 1), 2)
    """
    if n == 1:
        check_sequences(x)
    elif len(x) != n + 2:
        what, axes = _WORDS[n]
        grey = (
            f"; grey {what} want a channel axis: Reshape(({', '.join(map(str, x[1:]))}, 1)) before it, or X[..., None]"
        )
        hints = {2: f"; Reshape(({axes}, channels)) before it makes {what} of rows", n + 1: grey}
        raise ShapeError(f"expects {what} (batch, {axes}, channels) and got {x}{hints.get(len(x), '')}")


def _sizes(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def as_images(x: Shape) -> Shape:
    """The shape of sequences (B, T, C) as images of height 1; raises ShapeError for other shapes.

    >>> as_images((32, 50, 8))
    (32, 1, 50, 8)
    """
    check_sequences(x)
    return x[0], 1, x[1], x[2]


def blocks(images: int, rows: int, numbers: int, piece: int, first: bool = False) -> list[tuple[slice, slice]]:
    """(images, rows) in parts of at most `piece` numbers, each row having `numbers`: whole images, or rows of one, and
    never less than a row. first: the first alone, a largest one, which is known at once of any number of them.

    >>> [(images.stop, rows.stop) for images, rows in blocks(5, 10, 7, piece=140)]
    [(2, 10), (4, 10), (5, 10)]
    >>> [(images.stop, rows.stop) for images, rows in blocks(1, 10, 7, piece=35)]
    [(1, 5), (1, 10)]
    """
    if rows * numbers <= piece:
        return [(part, slice(0, rows)) for part in parts(images, piece // (rows * numbers), first)]
    some = range(1 if first else images)
    return [(slice(n, n + 1), part) for n in some for part in parts(rows, max(1, piece // numbers), first)]


def parts(whole: int, most: int, first: bool = False) -> list[slice]:
    """0 … whole-1 in as few parts of at most `most` as can be, nearly equal ones, a largest first; `first`: that alone.

    >>> parts(10, 4), parts(10**18, 4, first=True)
    ([slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)], [slice(0, 4, None)])
    """
    count = -(-whole // most)
    ends = [-(-whole * (n + 1) // count) for n in range(1 if first else count)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def pair(value: Pair) -> tuple[int, int]:
    """(height, width) from one whole number or two.

    >>> pair(3), pair((2, 4))
    ((3, 3), (2, 4))
    """
    return value if isinstance(value, tuple) else (value, value)

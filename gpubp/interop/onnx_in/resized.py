"""Pad, Resize, Upsample, and slices of images: layers that make the axes of space longer or shorter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...layers import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Layer,
    Padding1D,
    Padding2D,
    Padding3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from .elementwise import shortest
from .layout import Axis, Layout, Part, length
from .model import Node
from .reader import Reader, makes, reads
from .refused import Refused
from .sizes import Size
from .values import Data, Padded, Piece, Value

CROPPING: Any = (Cropping1D, Cropping2D, Cropping3D)
PADDING: Any = (Padding1D, Padding2D, Padding3D)
ZEROS: Any = (ZeroPadding1D, ZeroPadding2D, ZeroPadding3D)
UPSAMPLING: Any = (UpSampling1D, UpSampling2D, UpSampling3D)
LINEAR = ("linear", "bilinear", "trilinear")
MODES = ("constant", "reflect", "edge", "wrap")
Pairs = list[tuple[int, int]]


@reads("Pad")
def pad(r: Reader, node: Node) -> Value:
    """Places around images; zeros may go into the padding of a convolution behind them."""
    x = r.data(r.needed(node, 0))
    mode = node.text("mode", "constant")
    pads = r.list_of(node, "pads", None) or r.list_of(node, "paddings", 1)
    axes = r.list_of(node, "", 3)
    value = r.numbers(node, 2, "value")
    number = node.number("value", 0.0) if value is None or not value.size else float(value.reshape(-1)[0])
    rank = len(x.layout.ox)
    if pads is None or any(not isinstance(n, int) for n in pads) or len(pads) != 2 * (len(axes) if axes else rank):
        raise Refused(f"pads {pads} of a tensor of {rank} axes")
    sides = [(0, 0)] * rank
    for i, n in enumerate(axes if axes is not None else range(rank)):
        sides[x.layout.axis(n)] = pads[i], pads[i + len(pads) // 2]
    if not any(map(any, sides)):
        return x
    if mode not in MODES or not np.isfinite(number):
        raise Refused(f"mode={mode!r}, value {number:g}; gpubp pads with finite numbers, by {', '.join(MODES)}")
    if mode == "constant" and number == 0.0 and rank > 2 and sides[:2] == [(0, 0)] * 2 and min(map(min, sides)) >= 0:
        longer = {n: _known(x.layout, n) + sum(sides[n]) for n in range(2, rank) if any(sides[n])}
        before, after = zip(*sides[2:], strict=True)
        return Padded(x, before, after, _with_lengths(x.layout, longer), node)
    less = [(max(-p, 0), max(-q, 0)) for p, q in sides]
    if any(map(any, less)):
        x = _changed(r, node, x, less, lambda pairs: CROPPING[len(pairs) - 1](_plainest(pairs)), -1)
    return _padding(r, node, x, [(max(p, 0), max(q, 0)) for p, q in sides], mode, number)


@makes(Padded)
def _padded(r: Reader, value: Padded) -> Data:
    """Zeros around images, where no convolution takes them as its padding."""
    sides = [(0, 0), (0, 0), *zip(value.before, value.after, strict=True)]
    return _padding(r, value.node, value.x, sides, "constant", 0.0, value.layout)


def _padding(
    r: Reader, node: Node, x: Data, sides: Pairs, mode: str, number: float, layout: Layout | None = None
) -> Data:
    def layer(pairs: Pairs) -> Layer:
        d = len(pairs) - 1
        plain = mode == "constant" and number == 0.0
        made: Layer = ZEROS[d](_plainest(pairs)) if plain else PADDING[d](_plainest(pairs), mode, shortest(number))
        return made

    return _changed(r, node, x, sides, layer, 1, layout) if any(map(any, sides)) else x


@makes(Piece)
def _piece(r: Reader, value: Piece) -> Data:
    """Some of the places of an axis of space."""
    x, n = value.whole, value.axis
    whole = length(x.layout.ox[n])
    refusal = Refused("it takes a part of its input, and gpubp has no layer that does", value.node, value.layout)
    if isinstance(whole, Size):
        raise refusal
    sides = [(0, 0)] * len(x.layout.ox)
    sides[n] = value.start, whole - value.stop
    try:
        places = _places(r, x.layout, [n])
    except Refused:
        raise refusal from None
    pairs = _of_space(x.layout, sides, places)
    return r.step(CROPPING[len(pairs) - 1](_plainest(pairs)), [x], value.layout, (value.node,))


@reads("Resize", "Upsample")
def resize(r: Reader, node: Node) -> Value:
    """Images of several times the size."""
    x = r.data(r.needed(node, 0))
    l = x.layout
    factors = _factors(r, node, l)
    named = {n: f for n, f in enumerate(factors) if f != 1}
    if not named:
        return x
    places = _places(r, l, list(named))
    mode = node.text("mode", "nearest")
    old = node.op == "Upsample" or r.opset < 11
    transform = "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else node.text("nearest_mode", "round_prefer_floor")
    if mode == "nearest":
        fits = all(repeats(_known(l, n), f, transform, rounding) for n, f in named.items())
        interpolation = "nearest"
    else:
        fits = mode in ("linear", "bilinear", "trilinear") and transform in CENTRES
        interpolation = LINEAR[len(l.gp) - 3] if 3 <= len(l.gp) <= 5 else ""
    if not fits:
        raise Refused(
            f"mode={mode!r}, coordinate_transformation_mode={transform!r}, nearest_mode={rounding!r}; gpubp's "
            "UpSampling repeats each pixel, or goes straight from the centre of one to the next (half_pixel)"
        )
    size = tuple(named.get(places.get(g, -1), 1) for g in range(1, len(l.gp) - 1))
    layer = UPSAMPLING[len(size) - 1](size[0] if len(set(size)) == 1 else size, interpolation)
    return r.step(layer, [x], _with_lengths(l, {n: _known(l, n) * f for n, f in named.items()}))


CENTRES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")  # the same where sizes are multiples


def repeats(n: int, f: int, transform: str, rounding: str) -> bool:
    """Whether Resize by these attributes repeats each of n places f times.

    >>> repeats(4, 2, "asymmetric", "floor"), repeats(4, 3, "half_pixel", "round_prefer_ceil")
    (True, True)
    >>> repeats(4, 2, "align_corners", "floor"), repeats(4, 3, "asymmetric", "round_prefer_floor")
    (False, False)
    """
    o = np.arange(n * f)
    at: dict[str, Any] = {
        "asymmetric": o / f,
        **dict.fromkeys(CENTRES, (o + 0.5) / f - 0.5),
        "align_corners": o * (n - 1) / max(n * f - 1, 1),
        "tf_half_pixel_for_nn": (o + 0.5) / f,
    }
    rounded: dict[str, Any] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda a: np.ceil(a - 0.5),
        "round_prefer_ceil": lambda a: np.floor(a + 0.5),
    }
    if transform not in at or rounding not in rounded:
        return False
    return bool((np.clip(rounded[rounding](at[transform]), 0, n - 1) == o // f).all())


def _factors(r: Reader, node: Node, l: Layout) -> list[int]:
    """How many times as long each axis of the file's tensor becomes."""
    rank = len(l.ox)
    first = 1 if node.op == "Upsample" or r.opset < 11 else 2
    scales = node.attributes.get("scales") if "scales" in node.attributes else r.numbers(node, first, "scales")
    given = None if scales is None else np.asarray(scales, np.float64).reshape(-1)
    counts = r.list_of(node, "", 3) if first == 2 else None
    axes = node.list("axes") or list(range(rank))
    places = [l.axis(n) for n in axes]
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("keep_aspect_ratio_policy; gpubp's UpSampling has a factor for each axis")
    if given is None or not given.size:
        if counts is None or len(counts) != len(places) or any(not isinstance(n, int) for n in counts):
            raise Refused("it says neither scales nor sizes that do not depend on the input")
        given = np.array([
            1.0 if n == length(l.ox[p]) else n / _known(l, p) for p, n in zip(places, counts, strict=True)
        ])  # fmt: skip
    if len(given) != len(places) or not (np.isfinite(given).all() and (given >= 1).all() and (given % 1 == 0).all()):
        raise Refused(f"scales {given.tolist()}; gpubp's UpSampling takes whole numbers", layout=None)
    found = [1] * rank
    for p, f in zip(places, given.tolist(), strict=True):
        found[p] = int(f)
    return found


def _changed(r: Reader, node: Node, x: Data, sides: Pairs, layer: Any, sign: int, layout: Layout | None = None) -> Data:
    """A step that makes axes longer (sign 1) or shorter (-1) at both sides. layer: from pairs of axes of space."""
    l = x.layout
    named = [n for n, pair in enumerate(sides) if any(pair)]
    pairs = _of_space(l, sides, _places(r, l, named))
    lengths = {n: _known(l, n) + sign * sum(sides[n]) for n in named}
    if min(lengths.values()) < 1:
        raise Refused(f"it leaves nothing of its input, {l.shape}")
    return r.step(layer(pairs), [x], layout or _with_lengths(l, lengths), (node,))


def _places(r: Reader, l: Layout, named: Sequence[int]) -> dict[int, int]:
    """For gpubp's axes of space that are named, which axes of the file's tensor they are; Refused for other axes."""
    found = {}
    for n in named:
        g = next((g for g, axis in enumerate(l.gp[1:-1], 1) if axis == l.ox[n]), None)
        if g is None or not 3 <= len(l.gp) <= 5:
            raise Refused(
                f"it changes the length of axis {n}, and gpubp's layers those of time, height, width and depth",
                order=True,
            )
        found[g] = n
    r.unusual += len(l.ox) > 1 and l.ox[1] != l.gp[-1]
    return found


def _of_space(l: Layout, sides: Pairs, places: Mapping[int, int]) -> Pairs:
    return [sides[places[g]] if g in places else (0, 0) for g in range(1, len(l.gp) - 1)]


def _plainest(pairs: Pairs) -> Any:
    """The shortest way to say how many places there are in front of and behind each axis."""
    if any(p != q for p, q in pairs):
        return pairs[0] if len(pairs) == 1 else tuple(pairs)
    return pairs[0][0] if len(set(pairs)) == 1 else tuple(p for p, _ in pairs)


def _known(l: Layout, n: int) -> int:
    size = length(l.ox[n])
    if isinstance(size, Size):
        raise Refused(f"it changes the length {size} of an axis; say the length: from_onnx(..., input_shape=...)")
    return int(size)


def _with_lengths(l: Layout, lengths: Mapping[int, int]) -> Layout:
    """The layout with other lengths of axes of the file's tensor."""
    by: dict[Axis, Axis] = {l.ox[n]: (Part(size),) for n, size in lengths.items()}
    return Layout(tuple(by.get(axis, axis) for axis in l.gp), tuple(by.get(axis, axis) for axis in l.ox), l.batch)

"""Patches: the pixels under the windows of a convolution, as a matrix, and the products with it.

    x (B, H, W, C)   P (B H' W', kh kw C)   W (kh kw C, O)   y (B H' W', O)

P has a row for each output pixel, its patch: the pixels of x under its window, side by side, and 0 outside the image.
P is kh kw times as large as x. So it is made and used in pieces, a few images or a few rows of one image at a time
(`Workspace.piece`); on a CPU this is faster too, because a piece stays in the cache. Volumes have three axes of space
in place of two: a piece is a few of them, or a few layers of one.

    (1) y = P W + b      (2) dW = Pᵀ dy      (3) dx = scatter of dP = dy Wᵀ, each number to the pixel it was copied from

Where a quicker way gives the same, it is taken. A 1 x 1 kernel with stride 1 has P = x: nothing is copied.

With stride 1, (3) is a convolution of dy with the kernel turned by half a turn, its channels exchanged and e - 1 - p
pixels of padding, where a window spans e = (k-1) d + 1: dx = Q V, with Q (B H W, kh kw O) the patches of dy and
V[i,j] = W[kh-1-i, kw-1-j]ᵀ. The same Q gives (2) without another copy of P, as U = Qᵀ x: in the row of x[n,h,w] it has
each dy that W[i,j] reached from there, so dW[i,j,c,o] = U[kh-1-i, kw-1-j, o, c].

Otherwise dP is made tap by tap. The pixels under one tap are all different, so the sums have a fixed order, and no two
threads meet.

With g groups, group k has part k of the channels of x and of y, and a P of its own.

A transposed convolution has (3) as its forward pass, and (1) and (2) as its backward pass: see `convolution_transpose`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..backends import Array, Shape
from ..backends.order import rows_of_group
from ..backends.over_rows import sum_of_parts
from ..errors import ShapeError
from .base import Workspace
from .dense import rows as matrix
from .windows import Axis, Windows, blocks

BESIDE = 100  # times as large as the patches of a piece the matrices may be that they are multiplied with, or give
LINES = 512  # that a piece has, where twice the numbers allow it: dW is read and written again for each piece
Block = tuple[slice, slice]  # images, and rows of outputs


def check_filters(of: str, filters: int, groups: int) -> None:
    """Raise ValueError if the groups of a convolution do not divide its filters. of: the name of its class.

    >>> check_filters("Conv2D", 8, 2)
    """
    if filters % groups:
        raise ValueError(f"{of} needs filters that its groups divide, and got {filters} filters in {groups} groups")


def check_channels(x: Shape, groups: int) -> None:
    """Raise ShapeError if the groups of a convolution do not divide the channels of inputs of shape x.

    >>> check_channels((32, 28, 28, 4), 2)
    """
    if x[-1] % groups:
        raise ShapeError(f"expects channels that its {groups} groups divide, and got {x[-1]} of them, in {x}")


class PatchMatrix(NamedTuple):
    """The matrix P of images of one shape, which is never in memory as a whole.

    windows: where the kernel looks. x: shape of the images. filters: O, all groups together. groups: g.

    >>> from .windows import windows_of
    >>> P = PatchMatrix(windows_of((32, 28, 28, 1), (3, 3), (1, 1), "same"), (32, 28, 28, 1), 8, 1)
    >>> P.memory(piece=2**19, scatters=False)["patches"]           # of 32 images at once
    (225792,)
    """

    windows: Windows
    x: Shape
    filters: int
    groups: int

    def times(self, ws: Workspace, x: Array, W: Array, b: Array | None, out: Array, there: bool = False) -> None:
        """(1)  out = P W + b; b may be None. there: (2) has just been made of this x."""
        parts = self.blocks(ws.piece)
        for images, rows in parts:
            y = matrix(out[images, rows])
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, x[images, ..., of_x], rows, there and self._has_left(ws, parts))
                _product(ws, P, matrix(W)[:, of_y], out=y[:, of_y])
            if b is not None:
                ws.be.add_row(y, b, out=y)

    def transposed_times(self, ws: Workspace, x: Array, dy: Array, out: Array, there: bool = False) -> None:
        """(2)  out = Pᵀ dy. there: (1) has just been made of this x."""
        parts, dW = self.blocks(ws.piece), matrix(out)
        if ws.be.numerics == "exact":
            self._by_images(ws, x, dy, dW)
            return
        for images, rows in parts:
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, x[images, ..., of_x], rows, there and self._has_left(ws, parts))
                part = matrix(dy[images, rows])[:, of_y]
                _product(ws, P.T, part, out=dW[:, of_y], add=(images, rows) != parts[0])

    def _has_left(self, ws: Workspace, parts: list[Block]) -> bool:
        """Whether (1) or (2) leaves P as the other one wants it."""
        return len(parts) == self.groups == 1 and ws.be.numerics != "exact"

    def _by_images(self, ws: Workspace, x: Array, dy: Array, dW: Array) -> None:
        """(2) in the order of `order.py`, which goes by images and not by pieces: it is always a product with P, and a
        piece is a number of whole images that has one number in the tree."""
        be, parts = ws.be, self.image_blocks(ws.piece)

        def write(k: int, place: Array) -> None:
            images, rows = parts[k]
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, x[images, ..., of_x], rows, in_scratch=True)
                part = place if self.groups == 1 else be.scratch("part", (P.shape[1], of_y.stop - of_y.start), ws.dtype)
                be.gemm_over_rows(P, matrix(dy[images])[:, of_y], out=part, rows=images.stop - images.start)
                if part is not place:
                    be.xp.copyto(place[:, of_y], part)

        sum_of_parts(be, len(parts), write, dW)

    def scattered(self, ws: Workspace, dy: Array, W: Array, out: Array, b: Array | None = None) -> None:
        """(3)  out = scatter of dy Wᵀ, + b where one is given"""
        if _pointwise(self.windows):
            for of_x, of_y in self._channels():
                _product(ws, matrix(dy)[:, of_y], matrix(W)[:, of_y].T, out=matrix(out)[:, of_x])
            if b is not None:
                ws.be.add_row(matrix(out), b, out=matrix(out))
        elif self._turned() is not None:
            self._convolved(ws, dy, W, out, b)
        else:
            self._tap_by_tap(ws, dy, W, out, b)

    def scattered_with_weights(self, ws: Workspace, x: Array, dy: Array, W: Array, out: Array, dW: Array) -> None:
        """(3), and (2) as U = Qᵀ x, where it `serves_both`"""
        self._convolved(ws, dy, W, out, None, x)
        n = len(self.windows)
        ws.xp.copyto(dW, ws.U[_TURN * n].transpose(*range(n), n + 1, n))

    def _convolved(
        self, ws: Workspace, dy: Array, W: Array, out: Array, b: Array | None, x: Array | None = None
    ) -> None:
        """(3) as dx = Q V, and if x is given U = Qᵀ x."""
        turned, n = self._turned(), len(self.windows)
        assert turned is not None
        ws.xp.copyto(ws.V, W[_TURN * n].transpose(*range(n), n + 1, n))
        for k, (images, rows) in enumerate(self.turned_blocks(ws.piece)):
            Q, dx = _patches(ws, turned, dy[images], rows), matrix(out[images, rows])
            ws.be.gemm(Q, matrix(ws.V), out=dx)  # dx = Q V
            if b is not None:
                ws.be.add_row(dx, b, out=dx)
            if x is not None:
                _product(ws, Q.T, matrix(x[images, rows]), out=matrix(ws.U), add=k > 0)  # U = Qᵀ x

    def _tap_by_tap(self, ws: Workspace, dy: Array, W: Array, out: Array, b: Array | None) -> None:
        """(3) as dx = Σ_ij dy W[i,j]ᵀ, each added to the pixels under tap (i, j)."""
        whole = ws.be.numerics == "exact"  # images, because the sums of a pixel must not depend on the piece
        for images, rows in self.tap_blocks(ws.piece, whole):
            if rows.start == 0:
                ws.xp.copyto(out[images], ws.be.constant(0.0, ws.dtype) if b is None else b)
            for of_x, of_y in self._channels():
                part, C = matrix(dy[images, rows])[:, of_y], W.shape[-2]
                memory = ws.be.scratch("part", (len(part) * C,), ws.dtype) if whole else ws.part
                dP = memory[: len(part) * C].reshape(len(part), C)
                pixels = dP.reshape(-1, rows.stop - rows.start, *self.windows.shape[1:], C)
                for taps in self.windows.taps:
                    under, seen = _under(self.windows, taps, rows)
                    pixel = out[(images, *under, of_x)]
                    if pixel.size:
                        ws.be.gemm(part, W[taps][:, of_y].T, out=dP)
                        ws.xp.add(pixel, pixels[(slice(None), *seen)], out=pixel)

    def arrays(self, both: bool = True) -> dict[str, Shape]:
        """V, and U if (2) may be made with (3), where (3) is a convolution."""
        if self._turned() is None:
            return {}
        kernel, C, O = tuple(axis.k for axis in self.windows), self.x[-1], self.filters
        return {"V": (*kernel, O, C), **({"U": (*kernel, O, C)} if both else {})}

    def memory(self, piece: int, scatters: bool) -> dict[str, Shape]:
        """What pieces of about `piece` numbers need; scatters: for (3) too. patches: P, and in its place Q. part:
        products to be added, or to go between other columns. "within zeros", for images whose windows reach beyond
        them, is the backend's own."""
        windows, turned, x = self.windows, self._turned(), self.x
        taps, C, O = len(windows.taps), x[-1] // self.groups, self.filters // self.groups
        images, rows = self.blocks(piece, first=True)[0]  # a largest one
        width = math.prod(windows.shape[1:])
        pixels = images.stop * rows.stop * width
        found: dict[str, Shape] = {}
        patches, part = pixels * taps * C, max(taps * C * O, pixels * O if self.groups > 1 else 0)
        if windows.padding:
            found["within zeros"] = (images.stop, *(axis.padded for axis in windows), x[-1])
        if scatters and turned is not None:
            images, rows = self.turned_blocks(piece, first=True)[0]
            patches = max(patches, images.stop * rows.stop * math.prod(x[2:-1]) * taps * O)
            found["dy within zeros"] = (images.stop, *(axis.padded for axis in turned), O)
        if scatters:
            images, rows = self.tap_blocks(piece, first=True)[0]
            part = max(part, images.stop * rows.stop * width * C)
        if not _pointwise(self.windows):
            found["patches"] = (patches,)
        if not _pointwise(self.windows) or self.groups > 1:
            found["part"] = (part,)
        return found

    def memory_of_both(self, piece: int, wants_dx: bool) -> dict[str, Shape]:
        """`memory` of a layer that scatters in its forward pass."""
        return self.memory(piece, scatters=True)

    def blocks(self, piece: int, first: bool = False) -> list[Block]:
        """The pieces of P in (1) and (2). first: the first alone, as in all that follow."""
        numbers = len(self.windows.taps) * (self.x[-1] // self.groups)
        return self._blocks(numbers, _with_lines(piece, numbers), first)

    def image_blocks(self, piece: int) -> list[Block]:
        """Pieces of P that are whole images, as many as a number of groups that is a power of two."""
        numbers = math.prod(self.windows.shape) * len(self.windows.taps) * (self.x[-1] // self.groups)
        images, group = max(1, piece // numbers), rows_of_group(math.prod(self.windows.shape))
        most = self.x[0] if _pointwise(self.windows) else max(group, 1 << (images.bit_length() - 1))
        ends = [(n, min(n + most, self.x[0])) for n in range(0, self.x[0], max(1, most))]
        return [(slice(first, end), slice(0, self.windows.shape[0])) for first, end in ends]

    def tap_blocks(self, piece: int, whole: bool = False, first: bool = False) -> list[Block]:
        """The pieces of dP tap by tap. One has the pixels of a single tap, so it can be larger: fewer products. whole:
        a piece is at least one image."""
        numbers = 2 * (self.x[-1] // self.groups)
        least = math.prod(self.windows.shape) * max(numbers, self.filters // BESIDE) if whole else 0
        return self._blocks(numbers, max(piece, least), first)

    def turned_blocks(self, piece: int, first: bool = False) -> list[Block]:
        """The pieces of Q."""
        B, height, *others, C = self.x
        numbers = max(len(self.windows.taps) * self.filters, C // BESIDE)
        return blocks(B, height, math.prod(others) * numbers, _with_lines(piece, numbers), first)

    def _blocks(self, numbers: int, piece: int, first: bool) -> list[Block]:
        height, *others = self.windows.shape
        if _pointwise(self.windows):
            return [(slice(0, self.x[0]), slice(0, height))]
        return blocks(self.x[0], height, math.prod(others) * max(numbers, self.filters // BESIDE), piece, first)

    def _turned(self) -> Windows | None:
        """The windows on dy whose patches are Q, where there are such."""
        axes = [Axis(axis.outputs, axis.k, 1, axis.span - 1 - axis.p, axis.n, axis.d) for axis in self.windows]
        strided = any(axis.s > 1 for axis in self.windows)
        if self.groups > 1 or _pointwise(self.windows) or strided or min(axis.p for axis in axes) < 0:
            return None
        return Windows(axes)

    def serves_both(self, ws: Workspace) -> bool:
        """Whether (2) is quicker with (3): dx is wanted too, and Q is no longer than P, which would be copied again."""
        if not (ws.trainable and ws.wants_dx) or self._turned() is None or ws.be.numerics == "exact":
            return False
        longer = self.x[-1] < self.filters or math.prod(self.x[1:-1]) > math.prod(self.windows.shape)
        return not longer and len(self.blocks(ws.piece)) > 1

    def _channels(self) -> list[Block]:
        """The channels of x and of y that belong together."""
        C, O = self.x[-1] // self.groups, self.filters // self.groups
        return [(slice(k * C, k * C + C), slice(k * O, k * O + O)) for k in range(self.groups)]


_TURN = (slice(None, None, -1),)


def _with_lines(piece: int, numbers: int) -> int:
    """Numbers of a piece whose lines have so many."""
    return max(piece, min(2 * piece, LINES * numbers))


def _pointwise(windows: Windows) -> bool:
    """Whether y = x W, pixel by pixel."""
    return not windows.padding and all(axis.k == axis.s == 1 and axis.n == axis.outputs for axis in windows)


def _under(windows: Windows, taps: tuple[int, ...], rows: slice) -> tuple[list[slice], list[slice]]:
    """The pixels under a tap of each axis, of the windows in `rows`, and these windows, counted from the first row."""
    (of_rows, row), *others = (
        axis.tap(t, rows.start, rows.stop) if m == 0 else axis.tap(t)
        for m, (axis, t) in enumerate(zip(windows, taps, strict=True))
    )
    first = slice(of_rows.start - rows.start, of_rows.stop - rows.start)
    return [row, *(place for _, place in others)], [first, *(seen for seen, _ in others)]


def _patches(
    ws: Workspace, windows: Windows, x: Array, rows: slice, there: bool = False, in_scratch: bool = False
) -> Array:
    """What lies under the windows in `rows`, a line for each. there: it has been copied before."""
    if _pointwise(windows):
        return matrix(x)
    n, (first, *others) = len(windows), windows
    places = (len(x), rows.stop - rows.start, *(axis.outputs for axis in others))
    taps = (*(axis.k for axis in windows), x.shape[-1])
    pixels, width = math.prod(places), math.prod(taps)
    memory = ws.be.scratch("patches", (pixels * width,), ws.dtype) if in_scratch else ws.patches[: pixels * width]
    if x.shape[-1] == 1:  # short runs of numbers copy slowly: let the pixels under one tap be neighbours
        out = memory.reshape(taps + places).transpose(*range(n + 1, 2 * n + 2), *range(n + 1))
        P = memory.reshape(width, pixels).T
    else:
        P, out = memory.reshape(pixels, width), memory.reshape(places + taps)
    if not there:
        padding = (first.p - rows.start * first.s, *(axis.p for axis in others))
        dilation = tuple(axis.d for axis in windows)
        ws.be.patches(x, out=out, stride=tuple(axis.s for axis in windows), padding=padding, dilation=dilation)
    return P


def _product(ws: Workspace, a: Array, b: Array, out: Array, add: bool = False) -> None:
    """out = a b, or out + a b. BLAS through NumPy neither adds nor writes between other columns."""
    if out.flags.c_contiguous and not add:
        ws.be.gemm(a, b, out=out)
        return
    part = ws.part[: out.size].reshape(out.shape)
    ws.be.gemm(a, b, out=part)
    if add:
        ws.xp.add(out, part, out=out)
    else:
        ws.xp.copyto(out, part)

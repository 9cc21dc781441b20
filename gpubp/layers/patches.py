"""Patches: the pixels under the windows of a convolution, as a matrix, and the products with it.

    x (B, H, W, C)   P (B H' W', kh kw C)   W (kh kw C, O)   y (B H' W', O)

P has a row for each output pixel, its patch: the pixels of x under its window, side by side, and 0 outside the image.
P is kh kw times as large as x. So it is made and used in pieces, a few images or a few rows of one image at a time
(`Workspace.piece`); on a CPU this is faster too, because a piece stays in the cache. x is `ws.x`.

    (1) y = P W + b      (2) dW = Pᵀ dy      (3) dx = scatter of dP = dy Wᵀ, each number to the pixel it was copied from

Where a quicker way gives the same, it is taken. A 1 x 1 kernel with stride 1 has P = x: nothing is copied.

With stride 1, (3) is a convolution of dy with the kernel turned by half a turn, its channels exchanged and k - 1 - p
pixels of padding: dx = Q V, with Q (B H W, kh kw O) the patches of dy and V[i,j] = W[kh-1-i, kw-1-j]ᵀ. The same Q gives
(2) without another copy of P, as U = xᵀ Q: in the row of x[n,h,w] it has each dy that W[i,j] reached from there, so
dW[i,j,c,o] = U[c, kh-1-i, kw-1-j, o].

Otherwise dP is made tap by tap. The pixels under one tap are all different, so the sums have a fixed order, and no two
threads meet.

With g groups, group k has part k of the channels of x and of y, and a P of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..backends import Array, Shape
from ..backends.order import rows_of_group
from ..backends.over_rows import sum_of_parts
from .base import Workspace
from .dense import rows as matrix
from .windows import Axis, Windows, blocks

BESIDE = 100  # times as large as the patches of a piece the matrices may be that they are multiplied with, or give
Block = tuple[slice, slice]  # images, and rows of outputs


class PatchMatrix(NamedTuple):
    """The matrix P of images of one shape, which is never in memory as a whole.

    windows: where the kernel looks. x: shape of the images. filters: O, all groups together. groups: g.

    >>> from .windows import windows_of
    >>> P = PatchMatrix(windows_of((32, 28, 28, 1), (3, 3), (1, 1), "same"), (32, 28, 28, 1), 8, 1)
    >>> P.memory(piece=2**19, wants_dx=False)["patches"]           # of 32 images at once
    (225792,)
    """

    windows: Windows
    x: Shape
    filters: int
    groups: int

    def times(self, ws: Workspace, W: Array, b: Array | None, out: Array) -> None:
        """(1)  out = P W + b; b may be None."""
        for images, rows in self.blocks(ws.piece):
            y = matrix(out[images, rows])
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, ws.x[images, ..., of_x], rows)
                _product(ws, P, matrix(W)[:, of_y], out=y[:, of_y])
            if b is not None:
                ws.be.add_row(y, b, out=y)

    def transposed_times(self, ws: Workspace, dy: Array, out: Array) -> None:
        """(2)  out = Pᵀ dy; nothing where `scattered` gives that as well, because it has the patches of dy."""
        if ws.be.numerics == "exact":
            self._by_images(ws, dy, matrix(out))
            return
        if self._serves_both(ws):
            return
        parts, dW = self.blocks(ws.piece), matrix(out)
        there = len(parts) == self.groups == 1  # forward has left P as it is wanted here
        for images, rows in parts:
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, ws.x[images, ..., of_x], rows, there)
                part = matrix(dy[images, rows])[:, of_y]
                _product(ws, P.T, part, out=dW[:, of_y], add=(images, rows) != parts[0])

    def _by_images(self, ws: Workspace, dy: Array, dW: Array) -> None:
        """(2) in the order of `order.py`, which goes by images and not by pieces: it is always a product with P, and a
        piece is a number of whole images that has one number in the tree."""
        be, parts = ws.be, self.image_blocks(ws.piece)

        def write(k: int, place: Array) -> None:
            images, rows = parts[k]
            for of_x, of_y in self._channels():
                P = _patches(ws, self.windows, ws.x[images, ..., of_x], rows, in_scratch=True)
                part = place if self.groups == 1 else be.scratch("part", (P.shape[1], of_y.stop - of_y.start), ws.dtype)
                be.gemm_over_rows(P, matrix(dy[images])[:, of_y], out=part, rows=images.stop - images.start)
                if part is not place:
                    be.xp.copyto(place[:, of_y], part)

        sum_of_parts(be, len(parts), write, dW)

    def scattered(self, ws: Workspace, dy: Array, W: Array, out: Array) -> None:
        """(3)  out = scatter of dy Wᵀ"""
        if _pointwise(self.windows):
            for of_x, of_y in self._channels():
                _product(ws, matrix(dy)[:, of_y], matrix(W)[:, of_y].T, out=matrix(out)[:, of_x])
        elif self._turned() is not None:
            self._convolved(ws, dy, W, out)
        else:
            self._tap_by_tap(ws, dy, W, out)

    def _convolved(self, ws: Workspace, dy: Array, W: Array, out: Array) -> None:
        """(3) as dx = Q V, and where it serves both, (2) as U = xᵀ Q."""
        turned, both = self._turned(), self._serves_both(ws)
        assert turned is not None
        ws.xp.copyto(ws.V, W[::-1, ::-1].transpose(0, 1, 3, 2))
        for k, (images, rows) in enumerate(self.turned_blocks(ws.piece)):
            Q = _patches(ws, turned, dy[images], rows)
            ws.be.gemm(Q, matrix(ws.V), out=matrix(out[images, rows]))  # dx = Q V
            if both:
                _product(ws, matrix(ws.x[images, rows]).T, Q, out=ws.U.reshape(len(ws.U), -1), add=k > 0)  # U = xᵀ Q
        if both:
            ws.xp.copyto(ws.dW.reshape(W.shape), ws.U.transpose(1, 2, 0, 3)[::-1, ::-1])

    def _tap_by_tap(self, ws: Workspace, dy: Array, W: Array, out: Array) -> None:
        """(3) as dx = Σ_ij dy W[i,j]ᵀ, each added to the pixels under tap (i, j)."""
        tall, wide = self.windows
        whole = ws.be.numerics == "exact"  # images, because the sums of a pixel must not depend on the piece
        for images, rows in self.tap_blocks(ws.piece, whole):
            if rows.start == 0:
                ws.xp.copyto(out[images], ws.be.constant(0.0, ws.dtype))
            for of_x, of_y in self._channels():
                part, C = matrix(dy[images, rows])[:, of_y], W.shape[2]
                memory = ws.be.scratch("part", (len(part) * C,), ws.dtype) if whole else ws.part
                dP = memory[: len(part) * C].reshape(len(part), C)
                pixels = dP.reshape(-1, rows.stop - rows.start, wide.outputs, C)
                for i, j in self.windows.taps:
                    (from_h, h), (from_w, w) = tall.tap(i, rows.start, rows.stop), wide.tap(j)
                    from_h = slice(from_h.start - rows.start, from_h.stop - rows.start)
                    under = out[images, h, w, of_x]
                    if under.size:
                        ws.be.gemm(part, W[i, j][:, of_y].T, out=dP)
                        ws.xp.add(under, pixels[:, from_h, from_w], out=under)

    def arrays(self) -> dict[str, Shape]:
        """V and U, where (3) is a convolution."""
        if self._turned() is None:
            return {}
        kh, kw, C, O = self.windows.rows.k, self.windows.columns.k, self.x[3], self.filters
        return {"V": (kh, kw, O, C), "U": (C, kh, kw, O)}

    def memory(self, piece: int, wants_dx: bool) -> dict[str, Shape]:
        """What pieces of about `piece` numbers need. patches: P, and in its place Q. part: products to be added, or to
        go between other columns. "within zeros", for images whose windows reach beyond them, is the backend's own."""
        windows, turned, x = self.windows, self._turned(), self.x
        taps, C, O = len(windows.taps), x[3] // self.groups, self.filters // self.groups
        images, rows = self.blocks(piece)[0]  # a largest one
        pixels = images.stop * rows.stop * windows.columns.outputs
        found: dict[str, Shape] = {}
        patches, part = pixels * taps * C, max(taps * C * O, pixels * O if self.groups > 1 else 0)
        if windows.padding:
            found["within zeros"] = (images.stop, windows.rows.padded, windows.columns.padded, x[3])
        if wants_dx and turned is not None:
            images, rows = self.turned_blocks(piece)[0]
            patches = max(patches, images.stop * rows.stop * x[2] * taps * O)
            found["dy within zeros"] = (images.stop, turned.rows.padded, turned.columns.padded, O)
        if wants_dx:
            images, rows = self.tap_blocks(piece)[0]
            part = max(part, images.stop * rows.stop * windows.columns.outputs * C)
        if not _pointwise(self.windows):
            found["patches"] = (patches,)
        if not _pointwise(self.windows) or self.groups > 1:
            found["part"] = (part,)
        return found

    def blocks(self, piece: int) -> list[Block]:
        """The pieces of P in (1) and (2)."""
        return self._blocks(len(self.windows.taps) * (self.x[3] // self.groups), piece)

    def image_blocks(self, piece: int) -> list[Block]:
        """Pieces of P that are whole images, as many as a number of groups that is a power of two."""
        numbers = math.prod(self.windows.shape) * len(self.windows.taps) * (self.x[3] // self.groups)
        images, group = max(1, piece // numbers), rows_of_group(math.prod(self.windows.shape))
        most = self.x[0] if _pointwise(self.windows) else max(group, 1 << (images.bit_length() - 1))
        ends = [(n, min(n + most, self.x[0])) for n in range(0, self.x[0], max(1, most))]
        return [(slice(first, end), slice(0, self.windows.shape[0])) for first, end in ends]

    def tap_blocks(self, piece: int, whole: bool = False) -> list[Block]:
        """The pieces of dP tap by tap. One has the pixels of a single tap, so it can be larger: fewer products. whole:
        a piece is at least one image."""
        numbers = 2 * (self.x[3] // self.groups)
        least = math.prod(self.windows.shape) * max(numbers, self.filters // BESIDE) if whole else 0
        return self._blocks(numbers, max(piece, least))

    def turned_blocks(self, piece: int) -> list[Block]:
        """The pieces of Q."""
        _, height, width, C = self.x
        return blocks(self.x[0], height, width * max(len(self.windows.taps) * self.filters, C // BESIDE), piece)

    def _blocks(self, numbers: int, piece: int) -> list[Block]:
        height, width = self.windows.shape
        if _pointwise(self.windows):
            return [(slice(0, self.x[0]), slice(0, height))]
        return blocks(self.x[0], height, width * max(numbers, self.filters // BESIDE), piece)

    def _turned(self) -> Windows | None:
        """The windows on dy whose patches are Q, where there are such."""
        axes = [Axis(axis.outputs, axis.k, 1, axis.k - 1 - axis.p, axis.n) for axis in self.windows]
        strided = any(axis.s > 1 for axis in self.windows)
        if self.groups > 1 or _pointwise(self.windows) or strided or min(axis.p for axis in axes) < 0:
            return None
        return Windows(axes)

    def _serves_both(self, ws: Workspace) -> bool:
        """Whether (2) is quicker by Q: dx is wanted too, and Q is no longer than P, which would be copied again."""
        if not (ws.trainable and ws.wants_dx) or self._turned() is None or ws.be.numerics == "exact":
            return False
        longer = self.x[3] < self.filters or self.x[1] * self.x[2] > math.prod(self.windows.shape)
        return not longer and len(self.blocks(ws.piece)) > 1

    def _channels(self) -> list[Block]:
        """The channels of x and of y that belong together."""
        C, O = self.x[3] // self.groups, self.filters // self.groups
        return [(slice(k * C, k * C + C), slice(k * O, k * O + O)) for k in range(self.groups)]


def _pointwise(windows: Windows) -> bool:
    """Whether y = x W, pixel by pixel."""
    return len(windows.taps) == 1 and not windows.padding and all(axis.s == 1 for axis in windows)


def _patches(
    ws: Workspace, windows: Windows, x: Array, rows: slice, there: bool = False, in_scratch: bool = False
) -> Array:
    """What lies under the windows in `rows`, a line for each. there: it has been copied before."""
    if _pointwise(windows):
        return matrix(x)
    tall, wide = windows
    places, taps = (len(x), rows.stop - rows.start, wide.outputs), (tall.k, wide.k, x.shape[3])
    pixels, width = math.prod(places), math.prod(taps)
    memory = ws.be.scratch("patches", (pixels * width,), ws.dtype) if in_scratch else ws.patches[: pixels * width]
    if x.shape[3] == 1:  # short runs of numbers copy slowly: let the pixels under one tap be neighbours
        P, out = memory.reshape(width, pixels).T, memory.reshape(taps + places).transpose(3, 4, 5, 0, 1, 2)
    else:
        P, out = memory.reshape(pixels, width), memory.reshape(places + taps)
    if not there:
        ws.be.patches(x, out=out, stride=(tall.s, wide.s), padding=(tall.p - rows.start * tall.s, wide.p))
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

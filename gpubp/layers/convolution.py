"""Convolution: every output pixel is a weighted sum of a patch of the input, with the same weights everywhere.

    x (B, H, W, C)   weights (kh, kw, C, O)   b (O,)   y (B, H', W', O)          B images, C channels in, O out

With h = h's + i - p and w = w's + j - q for output pixel (h', w'), tap (i, j) of the kernel, stride s and padding
(p, q); outside the image x is 0 (see `windows`); n stands for the image:

    Forward   (1) y[n,h',w',o] = Σ_ijc x[n,h,w,c] W[i,j,c,o] + b[o]
    Backward  (2) dW[i,j,c,o]  = Σ_nh'w' x[n,h,w,c] dy[n,h',w',o]    W reaches every output pixel, each through the
                                                                    input pixel that lies under its tap
              (3) db[o]        = Σ_nh'w' dy[n,h',w',o]
              (4) dx[n,h,w,c]  = Σ_ij Σ_o dy[n,h',w',o] W[i,j,c,o]   x reaches one output pixel through each tap, if
                                                                    there is an h' with h's + i - p = h, and a w'

(It is a correlation: the kernel is not flipped, as everywhere in deep learning.)

As matrix products. The windows of x, copied side by side, are a matrix of patches P (B H' W', kh kw C); then (1) is
y = P W + b and (2) is dW = Pᵀ dy, one product each, as in `Dense`. With stride 1, (4) is a convolution of dy with the
kernel turned by half a turn, its channels exchanged and k - 1 - p pixels of padding: dx = Q V, with Q (B H W, kh kw O)
the patches of dy and V[i,j] = W[kh-1-i, kw-1-j]ᵀ. The same Q gives (2) without another copy of P, as U = xᵀ Q: in the
row of x[n,h,w] it has each dy[n,h',w'] that W[i,j] reached from there, so dW[i,j,c,o] = U[c, kh-1-i, kw-1-j, o].
With other strides each tap's product dy W[i,j]ᵀ (B H' W', C) is added to the pixels under that tap: those of one tap
are all different, so the sums have a fixed order, and no two threads meet. P is kh kw times as large as x; it is made
and used a few images at a time (`Backend.piece`), which on a CPU is faster too, because it stays in the cache. A 1 x 1
kernel with stride 1 has P = x and needs no copy.

With g groups, inputs and outputs fall into g parts of C/g and O/g channels, and part k of y sees part k of x alone:
g convolutions side by side, weights (kh, kw, C/g, O).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from ..backends import Array, Shape
from ..errors import ShapeError
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Parameter, Plan, Workspace
from .dense import rows as matrix
from .windows import Axis, Pair, Windows, blocks, check_padding, pair, windows_of

__all__ = ["Conv2D"]

BESIDE = 100  # times as large as the patches of a piece the matrices may be that they are multiplied with, or give


@dataclass(frozen=True, repr=False)
class Conv2D(Layer):
    """y = W * x + b on images (batch, height, width, channels).

    filters: output channels. kernel_size, stride: a number, or (height, width). padding: "valid" for none, "same" for
    ⌈size/stride⌉ outputs as in Keras, or a number of zero pixels on every side. groups: parts that the channels fall
    into, each output seeing its own part of the input. use_bias: whether b is there. weight_initializer,
    bias_initializer: first values. W is (kh, kw, channels/groups, filters); PyTorch's is (filters, channels/groups,
    kh, kw), so W = its `permute(2, 3, 1, 0)`.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Conv2D(8, 3, padding="same"), input_shape=(28, 28, 1), device="cpu")
    >>> net.parameters["W"].shape, net.output_shape
    ((3, 3, 1, 8), (28, 28, 8))
    """

    filters: int
    kernel_size: Pair
    stride: Pair = 1
    padding: str | int = "valid"
    groups: int = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def __post_init__(self) -> None:
        for name in ("filters", "groups"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Conv2D needs {name} to be a whole number, 1 or more, and got {value!r}")
        for name in ("kernel_size", "stride"):
            two = pair("Conv2D", name, getattr(self, name))
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, two)
        check_padding("Conv2D", self.padding)
        if self.filters % self.groups:
            raise ValueError(
                f"Conv2D needs filters that its groups divide, and got {self.filters} filters in {self.groups} groups"
            )

    def plan(self, x: Shape) -> Plan:
        """W (kh, kw, C/g, O), b (O,)"""
        windows = self._windows(x)
        if x[3] % self.groups:
            raise ShapeError(f"expects channels that its {self.groups} groups divide, and got {x[3]} of them, in {x}")
        kh, kw, C, O = windows.rows.k, windows.columns.k, x[3] // self.groups, self.filters // self.groups
        y = (x[0], *windows.shape, self.filters)
        parameters = {"W": Parameter((kh, kw, C, self.filters), self.weight_initializer)}
        if self.use_bias:
            parameters["b"] = Parameter((self.filters,), self.bias_initializer, decay=False)
        arrays: dict[str, Shape] = {"y": y, "dx": x}
        if self._back(windows) is not None:
            arrays |= {"V": (kh, kw, O, C), "U": (C, kh, kw, O)}
        return Plan(
            output=y,
            parameters=parameters,
            arrays=arrays,
            overwrites=("y", "dx"),
            reads=("x",),
            pieces=partial(self._pieces, windows, x),
        )

    def _pieces(self, windows: Windows, x: Shape, piece: int, wants_dx: bool) -> dict[str, Shape]:
        """patches: P, and in its place Q. part: products to be added, or to go between other columns. Within zeros are
        images whose windows reach beyond them: they count, and it is the backend that keeps them."""
        taps, C, O = len(windows.taps), x[3] // self.groups, self.filters // self.groups
        images, rows = self._blocks(windows, x, piece)[0]  # a largest one
        pixels, back = images.stop * rows.stop * windows.columns.outputs, self._back(windows)
        found: dict[str, Shape] = {}
        patches, part = pixels * taps * C, max(taps * C * O, pixels * O if self.groups > 1 else 0)
        if windows.padding:
            found["within zeros"] = (images.stop, windows.rows.padded, windows.columns.padded, x[3])
        if wants_dx and back is not None:
            images, rows = self._back_blocks(windows, x, piece)[0]
            patches = max(patches, images.stop * rows.stop * x[2] * taps * O)
            found["dy within zeros"] = (images.stop, back.rows.padded, back.columns.padded, O)
        if wants_dx:
            images, rows = self._tap_blocks(windows, x, piece)[0]
            part = max(part, images.stop * rows.stop * windows.columns.outputs * C)
        if not _pointwise(windows):
            found["patches"] = (patches,)
        if not _pointwise(windows) or self.groups > 1:
            found["part"] = (part,)
        return found

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.x = x  # dW will need it
        windows = self._windows(x.shape)
        for images, rows in self._blocks(windows, x.shape, ws.be.piece):
            y = matrix(ws.y[images, rows])
            for of_x, of_y in self._groups(x):
                P = _patches(ws, windows, x[images, ..., of_x], rows)
                _product(ws, P, matrix(ws.W)[:, of_y], out=y[:, of_y])
            if self.use_bias:
                ws.be.add_row(y, ws.b, out=y)  # (1)  y = P W + b
        return ws.y

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(2), (3), (4)"""
        windows = self._windows(ws.x.shape)
        back = self._back(windows) if ws.wants_dx else None
        by_inputs = ws.trainable and back is not None and self._by_inputs(windows, ws.x.shape, ws.be.piece)
        if ws.trainable:
            if not by_inputs:
                self._weights(ws, dy)
            if self.use_bias:
                ws.be.sum_rows(dy, out=ws.db)  # (3)  db = Σ dy
        if back is not None:
            return self._turned(ws, dy, back, by_inputs)
        return self._inputs(ws, dy) if ws.wants_dx else None

    def _weights(self, ws: Workspace, dy: Array) -> None:
        windows, dW = self._windows(ws.x.shape), matrix(ws.dW)
        parts = self._blocks(windows, ws.x.shape, ws.be.piece)
        there = len(parts) == self.groups == 1  # forward has left P as it is wanted here
        for images, rows in parts:
            for of_x, of_y in self._groups(ws.x):
                P = _patches(ws, windows, ws.x[images, ..., of_x], rows, there)
                dy_ = matrix(dy[images, rows])[:, of_y]
                _product(ws, P.T, dy_, out=dW[:, of_y], add=(images, rows) != parts[0])  # (2)  dW = Σ Pᵀ dy

    def _turned(self, ws: Workspace, dy: Array, back: Windows, by_inputs: bool) -> Array:
        """(4) with the kernel turned, and by_inputs (2) on the way."""
        ws.xp.copyto(ws.V, ws.W[::-1, ::-1].transpose(0, 1, 3, 2))
        V, U = matrix(ws.V), ws.U.reshape(len(ws.U), -1) if by_inputs else None
        for k, (images, rows) in enumerate(self._back_blocks(back, ws.x.shape, ws.be.piece)):
            Q = _patches(ws, back, dy[images], rows)
            ws.be.gemm(Q, V, out=matrix(ws.dx[images, rows]))  # (4)  dx = Q V
            if by_inputs:
                _product(ws, matrix(ws.x[images, rows]).T, Q, out=U, add=k > 0)  # (2)  U = Σ xᵀ Q
        if by_inputs:
            ws.xp.copyto(ws.dW, ws.U.transpose(1, 2, 0, 3)[::-1, ::-1])
        return ws.dx

    def _inputs(self, ws: Workspace, dy: Array) -> Array:
        windows = self._windows(ws.x.shape)
        if _pointwise(windows):
            for of_x, of_y in self._groups(ws.x):
                W = matrix(ws.W)[:, of_y]
                _product(ws, matrix(dy)[:, of_y], W.T, out=matrix(ws.dx)[:, of_x])  # (4)  dx = dy Wᵀ
            return ws.dx
        for images, rows in self._tap_blocks(windows, ws.x.shape, ws.be.piece):
            if rows.start == 0:
                ws.xp.copyto(ws.dx[images], ws.be.constant(0.0, ws.dtype))
            for of_x, of_y in self._groups(ws.x):
                dy_ = matrix(dy[images, rows])[:, of_y]
                C = ws.W.shape[2]
                part = ws.part[: len(dy_) * C].reshape(len(dy_), C)
                pixels = part.reshape(-1, rows.stop - rows.start, windows.columns.outputs, C)
                for i, j in windows.taps:
                    (from_h, h), (from_w, w) = windows.rows.tap(i, rows.start, rows.stop), windows.columns.tap(j)
                    from_h = slice(from_h.start - rows.start, from_h.stop - rows.start)
                    under = ws.dx[images, h, w, of_x]
                    if under.size:
                        ws.be.gemm(dy_, ws.W[i, j][:, of_y].T, out=part)
                        ws.xp.add(under, pixels[:, from_h, from_w], out=under)  # (4)  dx = Σ_ij dy W[i,j]ᵀ
        return ws.dx

    def _windows(self, x: Shape) -> Windows:
        kernel, stride = (pair("Conv2D", n, getattr(self, n)) for n in ("kernel_size", "stride"))
        return windows_of(x, kernel, stride, self.padding)

    def _blocks(self, windows: Windows, x: Shape, piece: int) -> list[tuple[slice, slice]]:
        height, width = windows.shape
        if _pointwise(windows):
            return [(slice(0, x[0]), slice(0, height))]
        C, y = x[3] // self.groups, self.filters // BESIDE
        return blocks(x[0], height, width * max(len(windows.taps) * C, y), piece)

    def _tap_blocks(self, windows: Windows, x: Shape, piece: int) -> list[tuple[slice, slice]]:
        """In (4) a block has one tap's pixels and not whole patches, so it can be larger: fewer products to start."""
        height, width = windows.shape
        if _pointwise(windows):
            return self._blocks(windows, x, piece)
        C, dy = x[3] // self.groups, self.filters // BESIDE
        return blocks(x[0], height, width * max(2 * C, dy), piece)

    def _back_blocks(self, windows: Windows, x: Shape, piece: int) -> list[tuple[slice, slice]]:
        """In (4) with the kernel turned a block has patches of dy."""
        return blocks(x[0], x[1], x[2] * max(len(windows.taps) * self.filters, x[3] // BESIDE), piece)

    def _back(self, windows: Windows) -> Windows | None:
        """The windows on dy whose patches give dx, where there are such."""
        axes = [Axis(axis.outputs, axis.k, 1, axis.k - 1 - axis.p, axis.n) for axis in windows]
        if self.groups > 1 or _pointwise(windows) or any(axis.s > 1 for axis in windows) or min(a.p for a in axes) < 0:
            return None
        return Windows(*axes)

    def _by_inputs(self, windows: Windows, x: Shape, piece: int) -> bool:
        """Whether (2) is quicker by Q: it is no longer than P, which would have to be copied again."""
        longer = x[3] < self.filters or x[1] * x[2] > math.prod(windows.shape)
        return not longer and len(self._blocks(windows, x, piece)) > 1

    def _groups(self, x: Array) -> list[tuple[slice, slice]]:
        """The channels of x and of y that belong together."""
        C, O = x.shape[3] // self.groups, self.filters // self.groups
        return [(slice(k * C, k * C + C), slice(k * O, k * O + O)) for k in range(self.groups)]


def _pointwise(windows: Windows) -> bool:
    """Whether y = x W, pixel by pixel."""
    return len(windows.taps) == 1 and not windows.padding and all(axis.s == 1 for axis in windows)


def _patches(ws: Workspace, windows: Windows, x: Array, rows: slice, there: bool = False) -> Array:
    """P: what lies under the windows in `rows`, a line for each. there: it has been copied before."""
    if _pointwise(windows):
        return matrix(x)
    tall, wide = windows
    places, taps = (len(x), rows.stop - rows.start, wide.outputs), (tall.k, wide.k, x.shape[3])
    pixels, width = math.prod(places), math.prod(taps)
    memory = ws.patches[: pixels * width]
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

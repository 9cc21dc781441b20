"""Convolution: every output pixel is a weighted sum of a patch of the input, with the same weights everywhere.

    x (B, H, W, C)   weights (kh, kw, C, O)   b (O,)   y (B, H', W', O)          B images, C channels in, O out

With h = h's + i d - p and w = w's + j d - q for output pixel (h', w'), tap (i, j) of the kernel, stride s, dilation d
and padding (p, q); outside the image x is 0 (see `windows`); n stands for the image:

    y[n,h',w',o] = Σ_ijc x[n,h,w,c] W[i,j,c,o] + b[o]

The pixels x[n,h,w,c] that one output pixel sees are its patch. With the patches as the rows of a matrix this is a
product as in `Dense`: P (B H' W', kh kw C), W as (kh kw C, O), y as (B H' W', O).

    Forward   (1) P  = patches(x)           P[(n,h',w'), (i,j,c)] = x[n,h,w,c], or 0 outside the image
              (2) y  = P W + b
    Backward  (3) dW = Pᵀ dy                as in Dense: W[i,j,c,o] reaches every output pixel, each through the input
                                            pixel that lies under its tap
              (4) db = Σ dy                 over images and pixels
              (5) dP = dy Wᵀ
              (6) dx = scatter of dP        each number of dP is added to the pixel x[n,h,w,c] that (1) copied it from:
                                            a pixel is in one patch for each tap that can lie on it, and derivatives
                                            along several paths add up

P is never in memory as a whole, and is not copied where that can be saved: `patches.py` has how.
(It is a correlation: the kernel is not flipped, as everywhere in deep learning.)

With g groups, inputs and outputs fall into g parts of C/g and O/g channels, and part k of y sees part k of x alone:
g convolutions side by side, weights (kh, kw, C/g, O).

Volumes (B, D, H, W, C) have a third axis of space, with l = l's + m d - r: sums go over its taps m, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..backends import Array, Shape
from ..config import Count
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Workspace
from .patches import PatchMatrix, check_channels, check_filters
from .plan import Parameter, Plan
from .windows import Padding, PaddingOfVolume, Pair, Triple, each, windows_of


class _Convolution(Layer):
    """What convolutions of images and of volumes share."""

    axes: ClassVar[int]
    filters: Count
    kernel_size: Any
    stride: Any
    padding: Any
    groups: Count
    use_bias: bool
    weight_initializer: Initializer
    bias_initializer: Initializer
    dilation: Any

    def __post_init__(self) -> None:
        check_filters(type(self).__name__, self.filters, self.groups)

    def plan(self, x: Shape) -> Plan:
        """W (kh, kw, C/g, O), b (O,)"""
        P = self._patches(x)
        check_channels(x, self.groups)
        kernel = tuple(axis.k for axis in P.windows)
        parameters = {"W": Parameter((*kernel, x[-1] // self.groups, self.filters), self.weight_initializer)}
        if self.use_bias:
            parameters["b"] = Parameter((self.filters,), self.bias_initializer, decay=False)
        y = (x[0], *P.windows.shape, self.filters)
        arrays = {"y": y, "dx": x, **P.arrays()}
        return Plan(y, parameters, arrays=arrays, overwrites=("y", "dx"), reads=("x",), pieces=P.memory)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1), (2)"""
        ws.x = x  # dW will need it
        P = self._patches(x.shape)  # (1)  P = patches(x)
        P.times(ws, x, ws.W, ws.b if self.use_bias else None, out=ws.y)  # (2)  y = P W + b
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(3), (4)"""
        P = self._patches(ws.x.shape)
        if not P.serves_both(ws):
            P.transposed_times(ws, ws.x, dy, out=ws.dW, there=True)  # (3)  dW = Pᵀ dy
        if self.use_bias:
            ws.be.sum_rows(dy, out=ws.db)  # (4)  db = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(5), (6), and (3) where one copy of patches serves both"""
        P = self._patches(ws.x.shape)
        if P.serves_both(ws):
            P.scattered_with_weights(ws, ws.x, dy, ws.W, out=ws.dx, dW=ws.dW)
        else:
            P.scattered(ws, dy, ws.W, out=ws.dx)  # (5)  dP = dy Wᵀ   (6)  dx = scatter of dP
        return ws.dx

    def _patches(self, x: Shape) -> PatchMatrix:
        kernel, stride, dilation = (each(of, self.axes) for of in (self.kernel_size, self.stride, self.dilation))
        windows = windows_of(x, kernel, stride, self.padding, dilation)
        return PatchMatrix(windows, x, self.filters, self.groups)


@dataclass(frozen=True, repr=False)
class Conv2D(_Convolution):
    """y = W * x + b on images (batch, height, width, channels).

    filters: output channels. kernel_size, stride: a number, or (height, width). padding: "valid" for none, "same" for
    ⌈size/stride⌉ outputs as in Keras ("same_lower": an odd pixel in front, as ONNX's SAME_LOWER), or a number of zero
    pixels on every side, or (above and below, left and right), or ((above, below), (left, right)). groups: parts that
    the channels fall into, each output seeing its own part of the input. use_bias: whether b is there.
    weight_initializer, bias_initializer: first values. dilation: how far apart neighbouring taps of the kernel lie, a
    number, or (height, width) (Yu, Koltun 2016). W is (kh, kw, channels/groups, filters); PyTorch's is (filters,
    channels/groups, kh, kw), so W = its `permute(2, 3, 1, 0)`. Raises ShapeError for inputs that are no images, and
    where a window is larger than an image with its padding.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Conv2D(8, 3, padding="same"), input_shape=(28, 28, 1), device="cpu")
    >>> net.parameters["W"].shape, net.output_shape
    ((3, 3, 1, 8), (28, 28, 8))
    >>> bp.Conv2D(8, 3, padding=((0, 1), (2, 0)), dilation=2).plan((32, 28, 28, 1)).output
    (32, 25, 26, 8)
    """

    axes = 2
    filters: Count
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    dilation: Pair = 1
    exact = True


@dataclass(frozen=True, repr=False)
class Conv3D(_Convolution):
    """y = W * x + b on volumes (batch, depth, height, width, channels), as films and scans are.

    Arguments: as those of Conv2D, with three numbers in place of two. W is (kd, kh, kw, channels/groups, filters);
    PyTorch's is (filters, channels/groups, kd, kh, kw), so W = its `permute(2, 3, 4, 1, 0)`. Raises ShapeError for
    inputs that are no volumes, and where a window is larger than a volume with its padding.

    >>> import gpubp as bp
    >>> bp.Conv3D(8, 3, stride=(1, 2, 2), padding="same").plan((4, 9, 28, 28, 1)).output
    (4, 9, 14, 14, 8)
    """

    axes = 3
    filters: Count
    kernel_size: Triple
    stride: Triple = 1
    padding: PaddingOfVolume = "valid"
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    dilation: Triple = 1
    exact = True

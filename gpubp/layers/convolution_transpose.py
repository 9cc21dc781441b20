"""Transposed convolution: every input pixel is written, with weights, to a patch of the output, where patches add up.

    x (B, H, W, C)   weights (kh, kw, O, C)   b (O,)   y (B, H', W', O)          B images, C channels in, O out

With h' = h s + i d - p and w' = w s + j d - q for input pixel (h, w), tap (i, j) of the kernel, stride s, dilation d,
and padding (p, q), which is cut off here:

    y[n,h',w',o] = Σ x[n,h,w,c] W[i,j,o,c] + b[o]       over c, and over the h, w, i, j that meet in (h', w')

So it is the backward pass of a convolution of y, which makes images larger where that makes them smaller (Zeiler,
Krishnan, Taylor, Fergus 2010; Dumoulin, Visin 2016). And its backward pass is the forward pass of that convolution:

    Forward   (1) y  = scatter of x Wᵀ + b     as (5) and (6) of `convolution`, with x in place of dy
    Backward  (2) P  = patches(dy)
              (3) dW = Pᵀ x                    as (3) there, with dy in place of x, and x in place of dy
              (4) db = Σ dy                    over images and pixels
              (5) dx = P W                     as (2) there

Of sequences with a mask μ (B, T), see `time_steps`, where y has T steps as x has:

              (6) x ← μ x before (1), dx ← μ dx behind (5)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..backends import Array, Shape
from ..config import Count, CountOrZero
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Workspace
from .patches import PatchMatrix, check_channels, check_filters
from .plan import Parameter, Plan
from .windows import Named, Padding, PaddingOfVolume, Pair, Sides, Triple, each, transposed_axis, transposed_windows

PaddingOverTime = Named | CountOrZero | Sides


class _ConvolutionTranspose(Layer):
    """What transposed convolutions of sequences, images and volumes share."""

    axes: ClassVar[int]
    filters: Count
    kernel_size: Any
    stride: Any
    padding: Any
    output_padding: Any
    dilation: Any
    groups: Count
    use_bias: bool
    weight_initializer: Initializer
    bias_initializer: Initializer

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_filters(name, self.filters, self.groups)
        more = each(0 if self.output_padding is None else self.output_padding, self.axes)
        steps = zip(each(self.stride, self.axes), each(self.dilation, self.axes), strict=True)
        if any(r >= max(step) for r, step in zip(more, steps, strict=True)):
            raise ValueError(
                f"{name} needs output_padding below its stride or its dilation, since more places would never have a "
                f"window, and got output_padding={self.output_padding} for stride={self.stride}"
            )

    def plan(self, x: Shape) -> Plan:
        """W (kh, kw, O/g, C), b (O,)"""
        P = self._patches(x)
        check_channels(x, self.groups)
        kernel = tuple(axis.k for axis in P.windows)
        parameters = {"W": Parameter((*kernel, self.filters // self.groups, x[-1]), self.weight_initializer)}
        if self.use_bias:
            parameters["b"] = Parameter((self.filters,), self.bias_initializer, decay=False)
        arrays = {"y": P.x, "dx": x, **P.arrays(both=False)}
        return Plan(P.x, parameters, arrays=arrays, overwrites=("y", "dx"), reads=("x",), pieces=P.memory_of_both)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.x = x  # dW will need it
        P = self._patches(x.shape)
        P.scattered(ws, x, ws.W, out=ws.y, b=ws.b if self.use_bias else None)  # (1)  y = scatter of x Wᵀ + b
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2), (3), (4)"""
        P = self._patches(ws.x.shape)  # (2)  P = patches(dy)
        P.transposed_times(ws, dy, ws.x, out=ws.dW)  # (3)  dW = Pᵀ x
        if self.use_bias:
            ws.be.sum_rows(dy, out=ws.db)  # (4)  db = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(5)"""
        P = self._patches(ws.x.shape)
        P.times(ws, dy, ws.W, None, out=ws.dx, there=ws.trainable)  # (5)  dx = P W
        return ws.dx

    def _patches(self, x: Shape) -> PatchMatrix:
        kernel, stride, dilation = (each(of, self.axes) for of in (self.kernel_size, self.stride, self.dilation))
        windows = transposed_windows(x, kernel, stride, self.padding, dilation, self.output_padding)
        y = (x[0], *(axis.n for axis in windows), self.filters)
        return PatchMatrix(windows, y, x[-1], self.groups)


@dataclass(frozen=True, repr=False)
class Conv2DTranspose(_ConvolutionTranspose):
    """The transposed convolution of images (batch, height, width, channels), which can make them larger.

    filters: output channels. kernel_size: a number, or (height, width). stride: how many pixels of the output lie
    between the patches of neighbouring input pixels. padding: "valid" for none, "same" for image · stride outputs as in
    Keras ("same_lower": an odd pixel in front, as ONNX's SAME_LOWER), or a number of pixels that are cut off on every
    side as in PyTorch, or (above and below, left and right), or ((above, below), (left, right)). output_padding: rows
    and columns more, below and on the right, a number or (height, width); with a number as padding, None is 0, and with
    "same" and "valid" None is what gives Keras's sizes:

        a number p   (m-1) s + (k-1) d + 1 - 2 p + output_padding        for m pixels; a pair: less both
        "valid"      (m-1) s + max((k-1) d + 1, s)
        "same"       m s

    dilation: how far apart neighbouring taps of the kernel lie. groups: parts that the channels fall into, each output
    seeing its own part of the input. use_bias: whether b is there. weight_initializer, bias_initializer: first values.
    W is (kh, kw, filters/groups, channels), as Keras has it (kh, kw, out, in); PyTorch's is (channels, filters/groups,
    kh, kw), so W = its `permute(2, 3, 1, 0)`. Raises ValueError for output_padding that is not below the stride or the
    dilation, and ShapeError for inputs that are no images, or of which the padding leaves nothing.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Conv2DTranspose(8, 3, stride=2, padding="same"), input_shape=(7, 7, 16), device="cpu")
    >>> net.parameters["W"].shape, net.output_shape
    ((3, 3, 8, 16), (14, 14, 8))
    """

    axes = 2
    filters: Count
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    output_padding: CountOrZero | tuple[CountOrZero, CountOrZero] | None = None
    dilation: Pair = 1
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    exact = True


@dataclass(frozen=True, repr=False)
class Conv3DTranspose(_ConvolutionTranspose):
    """The transposed convolution of volumes (batch, depth, height, width, channels).

    Arguments and errors: as those of Conv2DTranspose, with three numbers in place of two. W is (kd, kh, kw,
    filters/groups, channels); PyTorch's is (channels, filters/groups, kd, kh, kw), so W = its
    `permute(2, 3, 4, 1, 0)`.

    >>> import gpubp as bp
    >>> bp.Conv3DTranspose(8, 2, stride=2).plan((4, 5, 7, 7, 16)).output
    (4, 10, 14, 14, 8)
    """

    axes = 3
    filters: Count
    kernel_size: Triple
    stride: Triple = 1
    padding: PaddingOfVolume = "valid"
    output_padding: CountOrZero | tuple[CountOrZero, CountOrZero, CountOrZero] | None = None
    dilation: Triple = 1
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    exact = True


@dataclass(frozen=True, repr=False)
class Conv1DTranspose(_ConvolutionTranspose):
    """The transposed convolution of sequences (batch, time, channels), which can make them longer.

    Arguments and errors: as those of Conv2DTranspose, with one number in place of two; padding may be (before, behind).
    W is (k, filters/groups, channels), as in Keras; PyTorch's is (channels, filters/groups, k), so W = its
    `permute(2, 1, 0)`. Sequences of different lengths are possible where the output has the steps of the input: "same",
    with stride 1.

    >>> import gpubp as bp
    >>> bp.Conv1DTranspose(8, 4, stride=2, padding=1).plan((32, 50, 16)).output
    (32, 100, 8)
    """

    axes = 1
    filters: Count
    kernel_size: Count
    stride: Count = 1
    padding: PaddingOverTime = "valid"
    output_padding: CountOrZero | None = None
    dilation: Count = 1
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    exact = True

    @property
    def over_time(self) -> str:
        """Whether each step of the output belongs to one of the input."""
        axis = transposed_axis(9, self.kernel_size, 1, self.padding, self.dilation, self.output_padding)
        return "keeps" if self.stride == 1 and axis.n == axis.outputs else "mixes"

    def plan(self, x: Shape) -> Plan:
        """W (k, O/g, C), b (O,)"""
        plan = super().plan(x)
        return replace(plan, arrays={**plan.arrays, "masked": x})

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        if ws.mask is not None:
            x = ws.xp.multiply(x, ws.mask[:, :, None], out=ws.masked)  # (6)
        return super().forward(ws, x)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(5)"""
        dx = super().input_gradient(ws, dy)
        return dx if ws.mask is None else ws.xp.multiply(dx, ws.mask[:, :, None], out=dx)  # (6)

"""Convolution over time: every step of y is a weighted sum of some steps of x, with the same weights everywhere.

    x (B, T, C)   weights (k, C, O)   b (O,)   y (B, T', O)        B rows, T steps, C numbers a step, O filters

With t = t's + j d - p for the output step t', tap j of the kernel, stride s, dilation d and padding p; outside the
sequence x is 0:

    Forward   (1) y[n,t',o] = Σ_jc x[n,t,c] W[j,c,o] + b[o]
    Backward  (2) dW[j,c,o] = Σ_nt' x[n,t,c] dy[n,t',o]      db[o] = Σ_nt' dy[n,t',o]
              (3) dx[n,t,c] = Σ_jo dy[n,t',o] W[j,c,o]       over the t' that tap j connects with t

It is the convolution of images of height 1, and is computed as such: see `convolution` and `patches`.

Where y has T steps as x has, each row's padding behind its own end counts as the padding of the sequence does: with the
mask μ (B, T) of `time_steps`

              (4) x ← μ x before (1), dx ← μ dx behind (3)
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backends import Array, Shape
from ..config import Count
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Workspace
from .patches import PatchMatrix, check_channels, check_filters
from .plan import Parameter, Plan
from .windows import PaddingOfAxis, axis_of, windows_over_time


@dataclass(frozen=True, repr=False)
class Conv1D(Layer):
    """y = W * x + b on sequences (batch, time, channels).

    filters: output channels. kernel_size: steps that an output sees. stride: steps from one to the next. padding:
    "valid" for none, "same" for ⌈T/stride⌉ outputs as in Keras ("same_lower": an odd step in front, as ONNX's
    SAME_LOWER), "causal" for as many, of which none sees a later step, or a number of zero steps on both sides, or
    (before, behind). groups: parts that the channels fall into, each output seeing its own part of the input. use_bias:
    whether b is there. weight_initializer, bias_initializer: first values. dilation: how many steps apart neighbouring
    taps of the kernel lie; causal layers with 1, 2, 4, 8, ... see far back (WaveNet; van den Oord and others 2016).
    W is (k, channels/groups, filters); PyTorch's is (filters, channels/groups, k), so W = its `permute(2, 1, 0)`.
    Sequences of different lengths are possible where the output has the steps of the input: "same" or "causal", with
    stride 1. Raises ShapeError for inputs that are no sequences, and where a window is longer than a sequence.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Conv1D(8, 3, padding="same"), input_shape=(50, 4), device="cpu")
    >>> net.parameters["W"].shape, net.output_shape
    ((3, 4, 8), (50, 8))
    >>> bp.Conv1D(8, 2, padding="causal", dilation=8).plan((32, 50, 4)).output
    (32, 50, 8)
    """

    filters: Count
    kernel_size: Count
    stride: Count = 1
    padding: PaddingOfAxis = "valid"
    groups: Count = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    dilation: Count = 1
    exact = True

    def __post_init__(self) -> None:
        check_filters("Conv1D", self.filters, self.groups)

    @property
    def over_time(self) -> str:
        """Whether each step of the output belongs to one of the input."""
        axis = axis_of(1, self.kernel_size, 1, self.padding, self.dilation)
        return "keeps" if self.stride == 1 and axis.outputs == axis.n else "mixes"

    def plan(self, x: Shape) -> Plan:
        """W (k, C/g, O), b (O,)"""
        P = self._patches(x)
        check_channels(x, self.groups)
        parameters = {"W": Parameter((self.kernel_size, x[2] // self.groups, self.filters), self.weight_initializer)}
        if self.use_bias:
            parameters["b"] = Parameter((self.filters,), self.bias_initializer, decay=False)
        y = (x[0], P.windows.columns.outputs, self.filters)
        arrays = {"y": y, "masked": x, "dx": x, **P.arrays()}
        return Plan(y, parameters, arrays=arrays, overwrites=("y", "dx"), reads=("x",), pieces=P.memory)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        P = self._patches(x.shape)
        if ws.mask is not None:
            x = ws.xp.multiply(x, ws.mask[:, :, None], out=ws.masked)  # (4)
        ws.x = x[:, None]  # dW will need it
        P.times(ws, ws.x, ws.W[None], ws.b if self.use_bias else None, out=ws.y[:, None])  # (1)  y = W * x + b
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2)"""
        P = self._patches_of(ws)
        if not P.serves_both(ws):
            P.transposed_times(ws, ws.x, dy[:, None], out=ws.dW[None], there=True)  # (2)  dW = Σ x dy
        if self.use_bias:
            ws.be.sum_rows(dy, out=ws.db)  # (2)  db = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3), and (2) where one copy of patches serves both"""
        P, dx = self._patches_of(ws), ws.dx[:, None]
        if P.serves_both(ws):
            P.scattered_with_weights(ws, ws.x, dy[:, None], ws.W[None], out=dx, dW=ws.dW[None])
        else:
            P.scattered(ws, dy[:, None], ws.W[None], out=dx)  # (3)  dx = Σ dy W
        if ws.mask is not None:
            ws.xp.multiply(ws.dx, ws.mask[:, :, None], out=ws.dx)  # (4)
        return ws.dx

    def _patches(self, x: Shape) -> PatchMatrix:
        windows = windows_over_time(x, self.kernel_size, self.stride, self.padding, self.dilation)
        return PatchMatrix(windows, (x[0], 1, *x[1:]), self.filters, self.groups)

    def _patches_of(self, ws: Workspace) -> PatchMatrix:
        return self._patches((len(ws.x), *ws.x.shape[2:]))

"""Dense: every output is a weighted sum of every input.

    x (B, n)   W (n, m)   b (m,)   y (B, m)          B rows, n inputs, m units

    Forward   (1) y  = x W + b
    Backward  (2) dW = xᵀ dy        y_ij = Σ_k x_ik W_kj + b_j: W_kj is in y_ij with the factor x_ik, in every row i
              (3) db = Σ_i dy_i     b_j is in y_ij of every row with the factor 1
              (4) dx = dy Wᵀ        x_ik is in y_ij with the factor W_kj, for every unit j

Inputs with more axes, (B, ..., n), are reshaped to a matrix with n columns. `ws` is the workspace: it holds the arrays
that `plan` declares, the parameters W and b, and their gradients dW and db.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backends import Array, Shape
from ..config import Count
from ..errors import ShapeError
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Workspace
from .plan import Parameter, Plan


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """y = x W + b, with W (inputs, units).

    units: number of outputs of a row. use_bias: whether to add b. weight_initializer, bias_initializer: initial values.
    Input (B, ..., inputs), output (B, ..., units).

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
    >>> net.parameters["W"].shape, net.parameters["b"].shape
    ((3, 2), (2,))
    """

    units: Count
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    over_time = "each"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """The arrays that the layer needs: W (inputs, units), b (units,), y and dx."""
        if len(x) < 2:
            raise ShapeError(f"expects rows of numbers, (batch, inputs), and got the shape {x}")
        y = (*x[:-1], self.units)
        parameters = {"W": Parameter((x[-1], self.units), self.weight_initializer)}
        if self.use_bias:
            parameters["b"] = Parameter((self.units,), self.bias_initializer, decay=False)
        return Plan(output=y, parameters=parameters, arrays={"y": y, "dx": x}, overwrites=("y", "dx"), reads=("x",))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """Formula (1)."""
        ws.x = x  # dW will need it
        ws.be.gemm(rows(x), ws.W, out=rows(ws.y))
        if self.use_bias:
            ws.xp.add(ws.y, ws.b, out=ws.y)  # (1)  y = x W + b
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """Formulas (2) and (3); called by `Layer.backward` if W and b are trained."""
        ws.be.gemm_over_rows(rows(ws.x), rows(dy), out=ws.dW, rows=len(dy))  # (2)  dW = xᵀ dy
        if self.use_bias:
            ws.be.sum_rows(dy, out=ws.db)  # (3)  db = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """Formula (4); called by `Layer.backward` if a layer below needs dx."""
        ws.be.gemm(rows(dy), ws.W.T, out=rows(ws.dx))  # (4)  dx = dy Wᵀ
        return ws.dx


def rows(a: Array) -> Array:
    """(B, ..., n) as a matrix with n columns."""
    return a if a.ndim == 2 else a.reshape(-1, a.shape[-1])

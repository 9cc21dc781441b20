"""Recurrent layers: the same formula at every time step, of the input and of the state that the step before left.

    x (B, T, n)   W (n, k m)   U (m, k m)   b (k m,)   h_t (B, m)      B rows, T time steps, n inputs, m units
    y = h_T (B, m), or all states h_1 ... h_T (B, T, m)                a cell has k parts, such as gates

A cell (`SimpleRNN`, `GRU`, `LSTM`) makes the state h_t of a_t = x_t W + b and u_t = h_{t-1} U. What does not depend on
a state is done for all time steps at once, and what does, step by step:

    Forward   (1) a = x W + b                                   one product
              (2) u_t = h_{t-1} U,  h_t = cell(a_t, u_t)        t = 1, 2, ... T: a product and a formula at each step
    Backward  (3) dh_t = dy_t + du_{t+1} Uᵀ + d̄h_t              t = T, ... 2, 1: h_t is the layer's output y_t, and the
                                                                next step reads it, by (2) and maybe elsewhere, d̄h_t
                  da_t, du_t from dh_t                          the derivative of the cell's formula
              (4) dW = Σ_t x_tᵀ da_t   db = Σ_t Σ_B da_t        one product, one sum: the weights are the same at every
              (5) dU = Σ_t h_{t-1}ᵀ du_t                        step, so what they do to the loss is a sum over steps
              (6) dx_t = da_t Wᵀ                                one product

This is backpropagation through time (Rumelhart, Hinton and Williams 1986; Werbos 1990): the chain rule on the network
that one gets by writing the T steps one below the other.

Rows that have fewer than T steps have μ_t (B, 1) = 1 where there is a step and 0 behind their end. There a state stays
what it was, so that y = h_T is each row's own last state:

              (7) h_t = μ_t ĥ_t + (1 - μ_t) h_{t-1},  ĥ_t = cell(a_t, u_t)
              (8) dĥ_t = μ_t dh_t,  and (1 - μ_t) dh_t is part of d̄h_{t-1}

A reversed layer reads the steps from T to 1; y_t is then the state behind step t, and y = h_1. The state before all
steps, h_0, is 0, or a parameter for all rows alike, whose gradient is Σ_B dh_0.

Inside, time is the first axis: then what belongs to one step lies in one stretch of memory. What a cell keeps has the
parts as its second axis, (T, k, B, m), because elementwise operations are quicker on one stretch than on columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..backends import Array, Shape
from ..backends.over_rows import rows_first
from ..config import Count
from ..initializers import GlorotUniform, Initializer, Orthogonal, Zeros
from .base import Layer, Workspace
from .plan import Parameter, Plan
from .time_steps import check_sequences

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class Recurrent(Layer):
    """What all recurrent layers share: the products before and behind the loop over time, and the loop.

    A cell declares the arrays that it keeps (`kept`) and does one step forward (`step`) and backward (`step_back`).
    parts: k of (1). carried: names of its states, which the next step reads.
    """

    units: Count
    return_sequences: bool = False
    reverse: bool = False
    initial_state: Literal["zeros", "learned"] = "zeros"
    weight_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = Orthogonal()
    parts: ClassVar[int]
    carried: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def over_time(self) -> str:
        """All states keep the time steps, the last one ends them."""
        return "keeps" if self.return_sequences else "ends"

    def plan(self, x: Shape) -> Plan:
        """W (n, k m), U (m, k m), b (k m,), the initial states if they are learned; arrays with the time first"""
        check_sequences(x)
        (B, T, n), m, k = x, self.units, self.parts
        y = (B, T, m) if self.return_sequences else (B, m)
        parameters = {
            "W": Parameter((n, k * m), self.weight_initializer),
            "U": Parameter((m, k * m), self.recurrent_initializer),
            "b": Parameter((k * m,), self.bias(), decay=False),
        }
        if self.initial_state == "learned":
            parameters |= {f"{name}0": Parameter((m,), Zeros(), decay=False) for name in self.carried}
        arrays = {"xt": (T, B, n), "mu": (T, B, 1), "a": (T, B, k * m), "u": (B, k * m), "y": y}
        arrays |= {name: (T + 1, B, m) for name in self.carried} | self.kept(T, B)
        arrays |= {"dyt": (T, B, m), "Ut": (k * m, m), "through_U": (B, m), "dxt": (T, B, n), "dx": x}
        arrays |= {f"{name}_on": (B, m) for name in self.carried}
        return Plan(y, parameters | self.further(), arrays=arrays, overwrites=("y", "dx"), reads=(), in_turn=("U",))

    @abstractmethod
    def kept(self, T: int, B: int) -> dict[str, Shape]:
        """The arrays that the cell's formulas write, by name."""

    def bias(self) -> Initializer:
        """The first values of b."""
        return Zeros()

    def further(self) -> dict[str, Parameter]:
        """Parameters beside those that all cells have."""
        return {}

    @abstractmethod
    def step(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(2) and (7): write the states number `after`, of a[t], u and the states number `before`."""

    @abstractmethod
    def step_back(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(3) and (8): write da[t] and du[t], and what goes straight on to the states before, as h_on."""

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1), and (2) step after step"""
        ws.xp.copyto(ws.xt, x.transpose(1, 0, 2))
        if ws.mask is not None:
            ws.xp.copyto(ws.mu, ws.mask.T[:, :, None])
        a = rows(ws.a)
        ws.be.gemm(rows(ws.xt), ws.W, out=a)
        ws.be.add_row(a, ws.b, out=a)  # (1)  a = x W + b
        steps = self._steps(len(ws.xt))
        first, last = steps[0][1], steps[-1][2]
        if self.initial_state == "learned":
            for name in self.carried:
                ws.xp.copyto(getattr(ws, name)[first], getattr(ws, f"{name}0"))
        for t, before, after in steps:
            ws.be.gemm(ws.h[before], ws.U, out=ws.u)
            self.step(ws, t, before, after)  # (2)  h_t = cell(a_t, h_{t-1} U)
        if self.return_sequences:
            ws.xp.copyto(ws.y, self._behind(ws.h).transpose(1, 0, 2))
        else:
            ws.xp.copyto(ws.y, ws.h[last])
        return ws.y

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(3) step before step, and then (4), (5), (6)"""
        steps = self._steps(len(ws.xt))
        if self.return_sequences:
            ws.xp.copyto(ws.dyt, dy.transpose(1, 0, 2))
        else:
            ws.xp.copyto(ws.dyt[steps[-1][0]], dy)  # all others stay 0
        ws.xp.copyto(ws.Ut, ws.U.T)  # BLAS is slower on the transposed view, and would be at every step
        zero = ws.be.constant(0.0, ws.dtype)
        for name in ("through_U", *(f"{name}_on" for name in self.carried)):
            ws.xp.copyto(getattr(ws, name), zero)  # nothing comes from behind the last step
        for t, before, after in reversed(steps):
            self.step_back(ws, t, before, after)
            if t != steps[0][0] or self._learns_state(ws):
                ws.be.gemm(self.du(ws)[t], ws.Ut, out=ws.through_U)  # (3)  du_{t+1} Uᵀ
        if ws.trainable:
            self.parameter_gradients(ws, dy)
        return self.input_gradient(ws, dy) if ws.wants_dx else None

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(4), (5), and the gradients of initial states"""
        be, B = ws.be, len(dy)
        xt, h, da = (
            rows_first(be, a, name) for a, name in ((ws.xt, "x"), (self._ahead(ws.h), "h"), (self.da(ws), "da"))
        )
        du = da if self.du(ws) is self.da(ws) else rows_first(be, self.du(ws), "du")
        be.gemm_over_rows(rows(xt), rows(da), out=ws.dW, rows=B)  # (4)  dW = Σ x_tᵀ da_t
        be.sum_rows(da, out=ws.db)  # (4)  db = Σ da_t
        be.gemm_over_rows(rows(h), rows(du), out=ws.dU, rows=B)  # (5)  dU = Σ h_{t-1}ᵀ du_t
        if self.initial_state == "learned":
            ws.xp.add(ws.h_on, ws.through_U, out=ws.h_on)
            for name in self.carried:
                ws.be.sum_rows(getattr(ws, f"{name}_on"), out=getattr(ws, f"d{name}0"))  # Σ_B dh_0

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6)"""
        ws.be.gemm(rows(self.da(ws)), ws.W.T, out=rows(ws.dxt))  # (6)  dx_t = da_t Wᵀ
        ws.xp.copyto(ws.dx, ws.dxt.transpose(1, 0, 2))
        return ws.dx

    def da(self, ws: Workspace) -> Array:
        """Where da_t lies: in the place of a_t, which is not read any more."""
        return ws.a

    def du(self, ws: Workspace) -> Array:
        """Where du_t lies: it is da_t where the cell reads only their sum."""
        return ws.a

    def _learns_state(self, ws: Workspace) -> bool:
        return self.initial_state == "learned" and ws.trainable

    def _steps(self, T: int) -> Sequence[tuple[int, int, int]]:
        """(t, number of the state before, number of the state behind) in the order in which the steps are read."""
        forward = [(t, t, t + 1) for t in range(T)]
        return forward if not self.reverse else [(t, t + 1, t) for t in reversed(range(T))]

    def _ahead(self, states: Array) -> Array:
        """Of all states, those that the steps read."""
        return states[1:] if self.reverse else states[:-1]

    def _behind(self, states: Array) -> Array:
        """Of all states, those that the steps write."""
        return states[:-1] if self.reverse else states[1:]


def rows(a: Array) -> Array:
    """(T, B, n) as a matrix with n columns."""
    return a.reshape(-1, a.shape[-1])


def parts_of(a: Array, k: int) -> list[Array]:
    """The k parts of the columns of a.

    >>> import numpy as np
    >>> [part.tolist() for part in parts_of(np.arange(6).reshape(1, 6), 3)]
    [[[0, 1]], [[2, 3]], [[4, 5]]]
    """
    m = a.shape[-1] // k
    return [a[..., j * m : (j + 1) * m] for j in range(k)]


def carried_over(mu: Value, new: Value, before: Value) -> Value:
    """(7): the new state where there is a step, and the one before where there is none

    >>> carried_over(1.0, 2.0, 3.0), carried_over(0.0, 2.0, 3.0)
    (2.0, 3.0)
    """
    return mu * new + (1.0 - mu) * before

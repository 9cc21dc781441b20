"""Attention: every time step looks at all steps of its row, and takes most of the values whose keys fit its query.

B rows, T time steps, n numbers a step (d_model in Vaswani et al. 2017), h heads of d = n/h numbers (d_k = d_v there):

    x (B, T, n)   WQKV = [W^Q W^K W^V] (n, 3 n)   bQ (n,)   WO (n, n)   bO (n,)   y (B, T, n)
    Q, K, V, O (B, h, T, d): one head has d of the n columns      S, P (B, h, T, T): a row for each query

    Forward   (1) [Q K V] = x WQKV,  Q ← (Q + bQ) / √d
              (2) S = Q Kᵀ + m          m is 0, and -10³⁰ where a query may not look: behind the end of its row, and,
                                        if causal, at steps after its own
              (3) P = softmax(S)        P_ij = exp S_ij / Σ_k exp S_ik; a row whose m is -10³⁰ everywhere is 0
              (4) O = P V
              (5) y = O WO + bO         of all heads side by side, (B, T, n)

    Backward  (6) dO = dy WOᵀ,  dWO = Oᵀ dy,  dbO = Σ dy
                                        (5) is a Dense layer, whose derivatives these are
              (7) dP = dO Vᵀ,  dV = Pᵀ dO
                                        O_ic = Σ_j P_ij V_jc: P_ij is in O_ic with the factor V_jc, for every column c,
                                        and V_jc is in O_ic with the factor P_ij, for every query i
              (8) dS_ij = P_ij (dP_ij - Σ_k P_ik dP_ik)
                                        ∂P_ik/∂S_ij = P_ik ([j = k] - P_ij), summed with dP_ik over k; where P is 0
                                        dS is 0
              (9) dQ = dS K,  dK = dSᵀ Q
                                        S_ij = Σ_c Q_ic K_jc, as in (7); m is constant
             (10) dQ ← dQ / √d,  dbQ = Σ dQ
                                        to x WQ + bQ of (1)
             (11) dWQKV = xᵀ [dQ dK dV],  dx = [dQ dK dV] WQKVᵀ
                                        [Q K V] is one Dense layer's output

Keys and values have no biases. One of the keys would add the same number to all scores of a query, which the softmax
takes out again: its derivative is 0, and an optimizer such as Adam would follow the rounding errors. One of the values
would add itself to O, because a row of P sums to 1, and bO does that already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from ..errors import ShapeError
from ..formula import exp, maximum, row_max, row_sum
from ..initializers import GlorotUniform, Initializer, Zeros
from .base import Layer, Workspace
from .dense import rows
from .plan import Parameter, Plan
from .time_steps import check_sequences

Value = Any  # a number, an array, or a symbol of a formula
NEVER = -1e30  # more than any score, and in float32 too the sum with one is not infinite


@dataclass(frozen=True, repr=False)
class MultiHeadAttention(Layer):
    """Self-attention of sequences, in several heads (Vaswani et al. 2017).

    heads: into how many heads the numbers of a step are divided. causal: whether a step looks only at itself and the
    steps before it, as in a model that predicts the next step. weight_initializer: first values of WQKV and WO.
    Input (B, T, n), output (B, T, n), for n that the heads divide. Padding is not looked at; y of a row without steps
    is bO.
    Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MultiHeadAttention(heads=2), input_shape=(5, 8), device="cpu")
    >>> {name: a.shape for name, a in net.parameters.items()}
    {'WQKV': (8, 24), 'WO': (8, 8), 'bQ': (8,), 'bO': (8,)}
    """

    heads: Count
    causal: bool = False
    weight_initializer: Initializer = GlorotUniform()
    over_time = "keeps"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """WQKV, bQ, WO, bO; P and its derivative have T² numbers for each row and head"""
        check_sequences(x)
        B, T, n = x
        if n % self.heads:
            raise ShapeError(f"has {self.heads} heads, which must divide the numbers of a step, and these are {n}")
        parameters = {
            "WQKV": Parameter((n, 3 * n), self.weight_initializer),
            "WO": Parameter((n, n), self.weight_initializer),
            "bQ": Parameter((n,), Zeros(), decay=False),
            "bO": Parameter((n,), Zeros(), decay=False),
        }
        P = (B, self.heads, T, T)
        arrays = {
            "QKV": (B, T, 3 * n), "P": P, "O": x, "y": x,
            "dO": x, "dP": P, "dQKV": (B, T, 3 * n), "dx": x, "db": (3 * n,),
            "m_keys": (B, 1, 1, T), "m_ahead": (1, 1, T, T), "m_both": (B, 1, T, T),
        }  # fmt: skip
        constants = {"ahead": np.triu(np.full((T, T), NEVER, "float32"), 1)} if self.causal else {}
        return Plan(
            output=x,
            parameters=parameters,
            arrays=arrays,
            constants=constants,
            overwrites=("y", "dx"),
            reads=("x",),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        ws.x = x
        n = x.shape[-1]
        ws.be.gemm(rows(x), ws.WQKV, out=rows(ws.QKV))
        columns = ws.QKV[:, :, :n]
        ws.be.apply(_query, columns, ws.bQ, self._scale(ws, n), out=columns)  # (1)  [Q K V] = x WQKV
        Q, K, V = self._heads(ws.QKV, 3)
        m = self._mask(ws)
        ws.be.batched_gemm(Q, K.swapaxes(-1, -2), out=ws.P)
        if m is None:
            ws.be.apply(_softmax, ws.P, out=ws.P)
        elif ws.mask is None:
            ws.be.apply(_masked_softmax, ws.P, m, out=ws.P)
        else:
            ws.be.apply(_softmax_or_0, ws.P, m, out=ws.P)  # (2), (3)  P = softmax(Q Kᵀ + m)
        (O,) = self._heads(ws.O, 1)
        ws.be.batched_gemm(ws.P, V, out=O)  # (4)  O = P V
        ws.be.gemm(rows(ws.O), ws.WO, out=rows(ws.y))
        ws.be.add_row(ws.y, ws.bO, out=ws.y)  # (5)  y = O WO + bO
        return ws.y

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(6) to (11)"""
        n = dy.shape[-1]
        if ws.trainable:
            ws.be.gemm_over_rows(rows(ws.O), rows(dy), out=ws.dWO, rows=len(dy))
            ws.be.sum_rows(dy, out=ws.dbO)
        ws.be.gemm(rows(dy), ws.WO.T, out=rows(ws.dO))  # (6)  dO = dy WOᵀ
        (Q, K, V), (dQ, dK, dV), (dO,) = self._heads(ws.QKV, 3), self._heads(ws.dQKV, 3), self._heads(ws.dO, 1)
        ws.be.batched_gemm(dO, V.swapaxes(-1, -2), out=ws.dP)
        ws.be.batched_gemm(ws.P.swapaxes(-1, -2), dO, out=dV)  # (7)  dP = dO Vᵀ,  dV = Pᵀ dO
        dS = ws.be.apply(_softmax_gradient, ws.P, ws.dP, out=ws.dP)  # (8)  dS = P (dP - Σ P dP)
        ws.be.batched_gemm(dS, K, out=dQ)
        ws.be.batched_gemm(dS.swapaxes(-1, -2), Q, out=dK)  # (9)  dQ = dS K,  dK = dSᵀ Q
        columns = ws.dQKV[:, :, :n]
        ws.be.apply(_scaled, columns, self._scale(ws, n), out=columns)  # (10)  dQ ← dQ / √d
        if ws.trainable:
            ws.be.gemm_over_rows(rows(ws.x), rows(ws.dQKV), out=ws.dWQKV, rows=len(dy))
            ws.be.sum_rows(ws.dQKV, out=ws.db)
            ws.xp.copyto(ws.dbQ, ws.db[:n])
        if not ws.wants_dx:
            return None
        ws.be.gemm(rows(ws.dQKV), ws.WQKV.T, out=rows(ws.dx))  # (11)  dx = [dQ dK dV] WQKVᵀ
        return ws.dx

    def _heads(self, a: Array, parts: int) -> list[Array]:
        """Parts (B, T, n) that lie side by side, each as its heads (B, h, T, d)."""
        B, T, n = a.shape
        whole = a.reshape(B, T, parts, self.heads, n // (parts * self.heads))
        return [whole[:, :, j].transpose(0, 2, 1, 3) for j in range(parts)]

    def _scale(self, ws: Workspace, n: int) -> Any:
        return ws.be.constant(1.0 / math.sqrt(n // self.heads), ws.dtype)

    def _mask(self, ws: Workspace) -> Array | None:
        """m of (2), in a shape that goes with (B, h, T, T); None where every query may look at every step."""
        if ws.mask is None:
            if not self.causal:
                return None
            ws.xp.copyto(ws.m_ahead, ws.ahead)  # in the network's precision
            return ws.m_ahead
        keys = ws.mask.reshape(ws.m_keys.shape)
        if not self.causal:
            return ws.be.apply(_never, keys, out=ws.m_keys)
        ws.xp.copyto(ws.m_ahead, ws.ahead)
        return ws.be.apply(_never_or_ahead, keys, ws.m_ahead, out=ws.m_both)


def _query(q: Value, b: Value, scale: Value) -> Value:
    return (q + b) * scale


def _scaled(q: Value, scale: Value) -> Value:
    return q * scale


def _never(mask: Value) -> Value:
    return (1.0 - mask) * NEVER


def _never_or_ahead(mask: Value, ahead: Value) -> Value:
    return (1.0 - mask) * NEVER + ahead


def _softmax(s: Value) -> Value:
    e = exp(s - row_max(s))
    return e / row_sum(e)


def _masked_softmax(s: Value, m: Value) -> Value:
    return _softmax(s + m)


def _softmax_or_0(s: Value, m: Value) -> Value:
    """Where all is masked, e is 0 and divided by 1; elsewhere the largest e is 1, and the sum not less."""
    t = s + m
    e = exp(t - maximum(row_max(t), 0.5 * NEVER))
    return e / maximum(row_sum(e), 1.0)


def _softmax_gradient(p: Value, dp: Value) -> Value:
    return p * (dp - row_sum(p * dp))

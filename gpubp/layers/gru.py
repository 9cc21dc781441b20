"""GRU: a state of which a gate says how much is kept and how much is new (Cho et al. 2014).

    x (B, T, n)   W (n, 3m)   U (m, 3m)   b (3m,)   b_U (m,)   h_t (B, m)      see `recurrent` for products and masks

    Forward   (1) a_t = x_t W + b   u_t = h_{t-1} U, whose three parts of m columns belong to r, z, n
              (2) r = σ(a_r + u_r)   z = σ(a_z + u_z)                          reset gate, update gate
              (3) n = tanh(a_n + r q),  q = u_n + b_U                          new content (h̃ in the paper)
              (4) h_t = z h_{t-1} + (1 - z) n
    Backward  (5) dh_t = dy_t + du_{t+1} Uᵀ + dh_{t+1} z_{t+1}                 by (1) and by (4) of the next step
              (6) da_n = dh_t (1 - z) (1 - n²)
                  da_r = da_n q r (1 - r)
                  da_z = dh_t (h_{t-1} - n) z (1 - z)
              (7) du_r = da_r   du_z = da_z   du_n = dq = da_n r               u_n is behind the reset gate
              (8) db_U = Σ_t Σ_B dq

The reset gate stands behind the product, as in PyTorch, cuDNN and Keras: with r in front of it, (r h_{t-1}) U_n as in
the paper, a step would need a second product. There b_U would be one with b.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backends import Array, Shape
from ..backends.over_rows import rows_first
from ..formula import sigmoid, tanh
from ..initializers import Zeros
from .base import Workspace
from .plan import Parameter
from .recurrent import Recurrent, Value, carried_over, parts_of


@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """Gated recurrent unit: a gate says at every time step how much of the state before is kept, and how much is new.

    units: m, the numbers of a state. return_sequences: whether the output is all states, (B, T, m), and not the last,
    (B, m). reverse: whether steps are read from the last to the first; the output keeps their order. initial_state:
    "zeros", or "learned": h_0 is a parameter, the same for all rows. weight_initializer, recurrent_initializer: first
    values of W (n, 3m) and U (m, 3m).
    The parts of W, U and b are in the order r, z, n, as in PyTorch; Keras has z, r, n.
    Input (B, T, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.GRU(4), input_shape=(10, 3), device="cpu")
    >>> net.output_shape, {name: a.shape for name, a in net.parameters.items()}
    ((4,), {'W': (3, 12), 'U': (4, 12), 'b': (12,), 'b_U': (4,)})
    """

    parts = 3
    exact = True

    def kept(self, T: int, B: int) -> dict[str, Shape]:
        """r, z, n and q of every step; du; Σ du"""
        m = self.units
        return {"gates": (T, 3, B, m), "q": (T, B, m), "du": (T, B, 3 * m), "sum_du": (3 * m,)}

    def further(self) -> dict[str, Parameter]:
        """b_U (m,)"""
        return {"b_U": Parameter((self.units,), Zeros(), decay=False)}

    def du(self, ws: Workspace) -> Array:
        """Beside da: their last parts differ."""
        return ws.du

    def step(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(2) to (4)"""
        given = (*parts_of(ws.a[t], 3), *parts_of(ws.u, 3), ws.b_U, ws.h[before])
        out = (*ws.gates[t], ws.q[t], ws.h[after])
        if ws.mask is None:
            ws.be.apply(_gru, *given, out=out)
        else:
            ws.be.apply(_masked_gru, ws.mu[t], *given, out=out)

    def step_back(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(5) to (7)"""
        given = (*ws.gates[t], ws.q[t], ws.h[before], ws.dyt[t], ws.through_U, ws.h_on)
        out = (*parts_of(ws.a[t], 3), *parts_of(ws.du[t], 3), ws.h_on)
        if ws.mask is None:
            ws.be.apply(_gru_back, *given, out=out)
        else:
            ws.be.apply(_masked_gru_back, ws.mu[t], *given, out=out)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """Those that all cells have, and (8)"""
        super().parameter_gradients(ws, dy)
        ws.be.sum_rows(rows_first(ws.be, ws.du, "du"), out=ws.sum_du)
        ws.xp.copyto(ws.db_U, parts_of(ws.sum_du, 3)[2])  # (8)  db_U = Σ dq


def _gru(
    ar: Value, az: Value, an: Value, ur: Value, uz: Value, un: Value, b_U: Value, before: Value
) -> tuple[Value, ...]:
    r, z, q = sigmoid(ar + ur), sigmoid(az + uz), un + b_U  # (2)
    n = tanh(an + r * q)  # (3)
    return r, z, n, q, n + z * (before - n)  # (4)


def _masked_gru(mu: Value, *given: Value) -> tuple[Value, ...]:
    *kept, h = _gru(*given)
    return (*kept, carried_over(mu, h, given[-1]))


def _gru_back(
    r: Value, z: Value, n: Value, q: Value, before: Value, dy: Value, through_U: Value, on: Value
) -> tuple[Value, ...]:
    dh = dy + through_U + on  # (5)
    return (*_gradients(r, z, n, q, before, dh), dh * z)


def _masked_gru_back(
    mu: Value, r: Value, z: Value, n: Value, q: Value, before: Value, dy: Value, through_U: Value, on: Value
) -> tuple[Value, ...]:
    dh = dy + through_U + on
    return (*_gradients(r, z, n, q, before, mu * dh), mu * dh * z + (1.0 - mu) * dh)


def _gradients(r: Value, z: Value, n: Value, q: Value, before: Value, dh: Value) -> tuple[Value, ...]:
    """da and du by their parts"""
    da_n = dh * (1.0 - z) * (1.0 - n * n)  # (6)
    da_r = da_n * q * (r * (1.0 - r))
    da_z = dh * (before - n) * (z * (1.0 - z))
    return da_r, da_z, da_n, da_r, da_z, da_n * r  # (7)

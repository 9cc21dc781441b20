"""SimpleRNN: a state that each step makes of the input and of the state before (Elman 1990).

    x (B, T, n)   W (n, m)   U (m, m)   b (m,)   h_t (B, m)        see `recurrent` for products and masks

    Forward   (1) z_t = x_t W + h_{t-1} U + b
              (2) h_t = tanh z_t
    Backward  (3) dh_t = dy_t + dz_{t+1} Uᵀ         h_t is an output, and by (1) in the next z
              (4) dz_t = dh_t (1 - h_t²)            tanh' = 1 - tanh²

By (3) and (4) a gradient that goes back over s steps is multiplied s times by Uᵀ and by 1 - h²: it vanishes, or grows,
as the s-th power (Hochreiter 1991; Bengio, Simard and Frasconi 1994). `LSTM` and `GRU` were made to avoid that.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backends import Shape
from ..formula import tanh
from .base import Workspace
from .recurrent import Recurrent, Value, carried_over


@dataclass(frozen=True, repr=False)
class SimpleRNN(Recurrent):
    """h_t = tanh(x_t W + h_{t-1} U + b) at every time step.

    units: m, the numbers of a state. return_sequences: whether the output is all states, (B, T, m), and not the last,
    (B, m). reverse: whether steps are read from the last to the first; the output keeps their order. initial_state:
    "zeros", or "learned": h_0 is a parameter, the same for all rows. weight_initializer, recurrent_initializer: first
    values of W (n, m) and U (m, m).
    Input (B, T, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.SimpleRNN(4), input_shape=(10, 3), device="cpu")
    >>> net.output_shape, {name: a.shape for name, a in net.parameters.items()}
    ((4,), {'W': (3, 4), 'U': (4, 4), 'b': (4,)})
    """

    parts = 1
    exact = True

    def kept(self, T: int, B: int) -> dict[str, Shape]:
        """Nothing beside the states."""
        return {}

    def step(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(1), (2)"""
        if ws.mask is None:
            ws.be.apply(_simple_rnn, ws.a[t], ws.u, out=ws.h[after])
        else:
            ws.be.apply(_masked_simple_rnn, ws.mu[t], ws.a[t], ws.u, ws.h[before], out=ws.h[after])

    def step_back(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(3), (4)"""
        given = (ws.h[after], ws.dyt[t], ws.through_U)
        if ws.mask is None:
            ws.be.apply(_simple_rnn_back, *given, out=ws.a[t])
        else:
            ws.be.apply(_masked_simple_rnn_back, ws.mu[t], *given, ws.h_on, out=(ws.a[t], ws.h_on))


def _simple_rnn(a: Value, u: Value) -> Value:
    return tanh(a + u)  # (2)


def _simple_rnn_back(h: Value, dy: Value, through_U: Value) -> Value:
    return (dy + through_U) * (1.0 - h * h)  # (3), (4)


def _masked_simple_rnn(mu: Value, a: Value, u: Value, before: Value) -> Value:
    return carried_over(mu, tanh(a + u), before)


def _masked_simple_rnn_back(mu: Value, h: Value, dy: Value, through_U: Value, on: Value) -> tuple[Value, Value]:
    dh = dy + through_U + on
    return mu * dh * (1.0 - h * h), (1.0 - mu) * dh

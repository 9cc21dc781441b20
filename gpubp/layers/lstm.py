"""LSTM: a state with a memory beside it, which is added to and not multiplied (Hochreiter and Schmidhuber 1997).

    x (B, T, n)   W (n, 4m)   U (m, 4m)   b (4m,)   h_t, c_t (B, m)        see `recurrent` for products and masks

    Forward   (1) z_t = x_t W + h_{t-1} U + b, whose four parts of m columns belong to i, f, g, o
              (2) i = σ(z_i)   f = σ(z_f)   g = tanh z_g   o = σ(z_o)      input gate, forget gate (Gers, Schmidhuber
                                                                           and Cummins 2000), new content, output gate
              (3) c_t = f c_{t-1} + i g                                    the memory
              (4) h_t = o s,  s = tanh c_t
    Backward  (5) dh_t = dy_t + dz_{t+1} Uᵀ                                as in `SimpleRNN`
              (6) dc_t = dh_t o (1 - s²) + dc_{t+1} f_{t+1}                by (4), and by (3) of the next step
              (7) dz_i = dc_t g i (1 - i)         σ' = σ (1 - σ)
                  dz_f = dc_t c_{t-1} f (1 - f)
                  dz_g = dc_t i (1 - g²)
                  dz_o = dh_t s o (1 - o)

In (6) the gradient of the memory goes back one step by a product with f alone, number by number, and so it lasts as
long as the forget gates are near 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends import Shape
from ..formula import sigmoid, tanh
from ..initializers import Initializer, Values
from .base import Workspace
from .recurrent import Recurrent, Value, carried_over, parts_of


@dataclass(frozen=True, repr=False)
class LSTM(Recurrent):
    """Long short-term memory: gates decide what a memory c keeps, takes in and shows at every time step.

    units: m, the numbers of a state. return_sequences: whether the output is all states, (B, T, m), and not the last,
    (B, m). reverse: whether steps are read from the last to the first; the output keeps their order. initial_state:
    "zeros", or "learned": h_0 and c_0 are parameters, the same for all rows. weight_initializer, recurrent_initializer:
    first values of W (n, 4m) and U (m, 4m). forget_bias: first value of b for the forget gate; 1 lets the memory last
    from the beginning (Jozefowicz, Zaremba and Sutskever 2015).
    The parts of W, U and b are in the order i, f, g, o, as in PyTorch and Keras.
    Input (B, T, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LSTM(4, return_sequences=True), input_shape=(10, 3), device="cpu")
    >>> net.output_shape, {name: a.shape for name, a in net.parameters.items()}
    ((10, 4), {'W': (3, 16), 'U': (4, 16), 'b': (16,)})
    """

    forget_bias: float = 1.0
    parts = 4
    carried = ("h", "c")
    exact = True

    def kept(self, T: int, B: int) -> dict[str, Shape]:
        """i, f, g, o and s of every step"""
        return {"gates": (T, 4, B, self.units), "s": (T, B, self.units)}

    def bias(self) -> Initializer:
        """0, and forget_bias for the second of four parts."""
        return _ForgetBias(self.forget_bias)

    def step(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(1) to (4)"""
        given = (*parts_of(ws.a[t], 4), *parts_of(ws.u, 4), ws.c[before])
        out = (*ws.gates[t], ws.s[t], ws.c[after], ws.h[after])
        if ws.mask is None:
            ws.be.apply(_lstm, *given, out=out)
        else:
            ws.be.apply(_masked_lstm, ws.mu[t], ws.h[before], *given, out=out)

    def step_back(self, ws: Workspace, t: int, before: int, after: int) -> None:
        """(5) to (7)"""
        given = (*ws.gates[t], ws.s[t], ws.c[before], ws.c_on, ws.dyt[t], ws.through_U)
        dz = parts_of(ws.a[t], 4)
        if ws.mask is None:
            ws.be.apply(_lstm_back, *given, out=(*dz, ws.c_on))
        else:
            ws.be.apply(_masked_lstm_back, ws.mu[t], *given, ws.h_on, out=(*dz, ws.c_on, ws.h_on))


@dataclass(frozen=True, repr=False)
class _ForgetBias(Initializer):
    """0, and `value` for the second of four parts."""

    value: float
    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """The same every time."""
        b = np.zeros(shape)
        b[shape[0] // 4 : shape[0] // 2] = self.value
        return b


def _lstm(
    ai: Value, af: Value, ag: Value, ao: Value, ui: Value, uf: Value, ug: Value, uo: Value, before: Value
) -> tuple[Value, ...]:
    i, f, g, o = sigmoid(ai + ui), sigmoid(af + uf), tanh(ag + ug), sigmoid(ao + uo)  # (1), (2)
    c = f * before + i * g  # (3)
    s = tanh(c)
    return i, f, g, o, s, c, o * s  # (4)


def _masked_lstm(mu: Value, h_before: Value, *given: Value) -> tuple[Value, ...]:
    *gates, s, c, h = _lstm(*given)
    return (*gates, s, carried_over(mu, c, given[-1]), carried_over(mu, h, h_before))


def _lstm_back(
    i: Value, f: Value, g: Value, o: Value, s: Value, before: Value, c_on: Value, dy: Value, through_U: Value
) -> tuple[Value, ...]:
    return _gradients(i, f, g, o, s, before, c_on, dy + through_U)  # (5)


def _masked_lstm_back(
    mu: Value, i: Value, f: Value, g: Value, o: Value, s: Value, before: Value, c_on: Value, dy: Value,
    through_U: Value, h_on: Value,
) -> tuple[Value, ...]:  # fmt: skip
    dh = dy + through_U + h_on
    *dz, through_cell = _gradients(i, f, g, o, s, before, mu * c_on, mu * dh)
    return (*dz, through_cell + (1.0 - mu) * c_on, (1.0 - mu) * dh)


def _gradients(
    i: Value, f: Value, g: Value, o: Value, s: Value, before: Value, c_on: Value, dh: Value
) -> tuple[Value, ...]:
    """dz by its parts, and dc_t f_t for the step before"""
    dc = dh * o * (1.0 - s * s) + c_on  # (6)
    return (
        dc * g * (i * (1.0 - i)),
        dc * before * (f * (1.0 - f)),
        dc * i * (1.0 - g * g),
        dh * s * (o * (1.0 - o)),
        dc * f,
    )  # (7)

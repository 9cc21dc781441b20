"""Bidirectional: a recurrent layer and its reverse, side by side (Schuster and Paliwal 1997).

    x (B, T, n)   y (B, 2m), or y (B, T, 2m)

    Forward   (1) y = [f(x), r(x)]            f reads the steps from first to last, r from last to first, each with
                                              parameters of its own
    Backward  (2) dx = f'ᵀ dy_f + r'ᵀ dy_r    as in `Parallel`

With all states y_t knows the steps before t by f and those behind it by r. Without, y has the last state of each: f's
behind the last step, and r's behind the first.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..config import as_call
from .composition import Parallel
from .recurrent import Recurrent


@dataclass(frozen=True, repr=False, init=False)
class Bidirectional(Parallel):
    """A recurrent layer beside the same with its steps reversed, their outputs side by side.

    layer: a `SimpleRNN`, `GRU` or `LSTM`. Its parameters are "0.W" and so on, those of its reverse "1.W".
    Input (B, T, n), output (B, 2 units) or (B, T, 2 units). Raises TypeError for other layers.

    >>> import gpubp as bp
    >>> bp.Bidirectional(bp.GRU(8, return_sequences=True)).plan((32, 20, 3)).output
    (32, 20, 16)
    """

    layer: Recurrent
    exact = True

    def __init__(self, layer: Recurrent) -> None:
        if not isinstance(layer, Recurrent):
            hint = as_call(layer)
            raise TypeError(f"Bidirectional needs a recurrent layer, such as GRU(64), and got {layer!r:.200}{hint}")
        super().__init__(layer, dataclasses.replace(layer, reverse=not layer.reverse))
        object.__setattr__(self, "layer", layer)

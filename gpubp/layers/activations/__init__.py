"""Activations: elementwise functions y = f(x), so dx = dy · f'(x).

Each is two lines of mathematics: `f` gives y, and `df` gives dx from x, y and dy. They are formulas (see
`gpubp.formula`): one kernel each on a GPU. Called with numbers they just compute:

    >>> float(SiLU().f(0.0))
    0.0

σ(x) = 1/(1 + e⁻ˣ), with σ' = σ(1 - σ);  tanh' = 1 - tanh²;  [x > 0] is 1 where x > 0 and else 0.

    rectified.py    0, or nearly, below 0 and x above: ReLU and its kin
    smooth.py       with derivatives of all orders: Sigmoid, Tanh, Softplus, SiLU, GELU, Mish
    straight.py     of straight pieces: HardSigmoid, Hardtanh, and functions that shrink
"""

from __future__ import annotations

from .base import Activation
from .rectified import CELU, ELU, SELU, LeakyReLU, ReLU, ThresholdedReLU
from .smooth import GELU, LogSigmoid, Mish, Sigmoid, SiLU, Softplus, Softsign, Tanh, Tanhshrink
from .straight import Hardshrink, HardSigmoid, HardSwish, Hardtanh, Softshrink

__all__ = [
    "CELU", "ELU", "GELU", "SELU", "Activation", "HardSigmoid", "HardSwish", "Hardshrink", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "ReLU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink",
    "ThresholdedReLU",
]  # fmt: skip

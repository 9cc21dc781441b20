"""Activations by name, as estimators and the command line know them."""

from __future__ import annotations

from .activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from .base import Layer
from .prelu import PReLU

NAMED_ACTIVATIONS: dict[str, Layer] = {
    "relu": ReLU(),
    "relu6": ReLU(6.0),
    "leaky_relu": LeakyReLU(),
    "prelu": PReLU(),
    "elu": ELU(),
    "selu": SELU(),
    "celu": CELU(),
    "gelu": GELU(),
    "gelu_tanh": GELU("tanh"),
    "silu": SiLU(),
    "mish": Mish(),
    "hard_swish": HardSwish(),
    "softplus": Softplus(),
    "softsign": Softsign(),
    "sigmoid": Sigmoid(),
    "hard_sigmoid": HardSigmoid(),
    "tanh": Tanh(),
    "hardtanh": Hardtanh(),
}

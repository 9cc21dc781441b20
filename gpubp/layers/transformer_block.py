"""The block that encoders and transformers repeat: attention, and two dense layers for each time step."""

from __future__ import annotations

from ..initializers import Normal
from .activations import ReLU
from .attention import MultiHeadAttention
from .base import Layer
from .composition import Residual, Sequential
from .dense import Dense
from .dropout import dropout_layers
from .row_norms import LayerNorm

WORDS = Normal(0.3)  # with 1.0 and with 0.05, beside positions of 0.7, models learned to look back more slowly


def transformer_block(
    width: int,
    heads: int,
    hidden: int,
    *,
    activation: Layer | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> list[Layer]:
    """MultiHeadAttention, and then two Dense, both in a Residual that begins with LayerNorm (Xiong et al. 2020).

    width: numbers of a time step. heads, causal: of the attention. hidden: units of the first Dense. activation: behind
    it, ReLU by default. dropout: its rate, at the end of each Residual, 0 for none.

    >>> transformer_block(8, 2, 32, dropout=0.1)
    [Residual(Sequential(LayerNorm(), MultiHeadAttention(2), Dropout(0.1))),
    Residual(Sequential(LayerNorm(), Dense(32), ReLU(), Dense(8), Dropout(0.1)))]
    """
    two = [Dense(hidden), activation or ReLU(), Dense(width), *dropout_layers(dropout)]
    return [
        Residual(Sequential(LayerNorm(), MultiHeadAttention(heads, causal), *dropout_layers(dropout))),
        Residual(Sequential(LayerNorm(), *two)),
    ]

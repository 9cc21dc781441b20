"""Ready-made layers for sequences: `encoder`, one answer a sequence, and `transformer`, one for every time step."""

from __future__ import annotations

from ..config import Count, argument, instance
from ..layers import Dense, Embedding, Layer, LayerNorm, MeanOverTime, PositionalEncoding, ReLU, Sequential
from ..layers.dropout import dropout_layers
from ..layers.transformer_block import WORDS, transformer_block


def encoder(
    outputs: int,
    width: int = 64,
    blocks: int = 2,
    heads: int = 4,
    *,
    vocabulary: int | None = None,
    hidden: int | None = None,
    activation: Layer | None = None,
    dropout: float = 0.0,
    positions: bool = True,
) -> Sequential:
    """A transformer's encoder (Vaswani et al. 2017) and the mean over time: one answer for each sequence.

    outputs: of the last Dense. width: numbers of a time step between the blocks. blocks: how many; each is
    MultiHeadAttention, and then two Dense, both in a Residual that begins with LayerNorm (Xiong et al. 2020). heads:
    of attention; they divide width. vocabulary: for sequences of words, (T,), how many words there are; None for
    sequences of numbers, (T, n). hidden: units of the first of the two Dense, 4 · width by default. activation: behind
    it, ReLU by default. dropout: its rate, behind the positions and in each Residual, 0 for none. positions: whether
    the order of the steps counts.

    Raises ValueError if heads don't divide width.

    >>> encoder(2, width=8, blocks=1, heads=2, vocabulary=100, positions=False)
    Sequential(Embedding(100, 8, weight_initializer=Normal(0.3)),
    Residual(Sequential(LayerNorm(), MultiHeadAttention(2))),
    Residual(Sequential(LayerNorm(), Dense(32), ReLU(), Dense(8))), LayerNorm(), MeanOverTime(), Dense(2))
    """
    shared = (width, blocks, heads, vocabulary, hidden, activation, dropout, positions)
    return Sequential(*_layers("encoder", False, *shared), MeanOverTime(), Dense(outputs))


def transformer(
    outputs: int,
    width: int = 64,
    blocks: int = 2,
    heads: int = 4,
    *,
    vocabulary: int | None = None,
    hidden: int | None = None,
    activation: Layer | None = None,
    dropout: float = 0.0,
    positions: bool = True,
) -> Sequential:
    """A transformer that looks back: an answer for every time step, from it and the steps before it.

    With a vocabulary and as many outputs it is a language model: its targets are the same words one step later. The
    arguments are those of `encoder`; the answers are (T, outputs).

    Raises ValueError if heads don't divide width.

    >>> transformer(27, width=8, blocks=1, heads=2, vocabulary=27)
    Sequential(Embedding(27, 8, weight_initializer=Normal(0.3)), PositionalEncoding(), Residual(Sequential(LayerNorm(),
    MultiHeadAttention(2, causal=True))), Residual(Sequential(LayerNorm(), Dense(32), ReLU(), Dense(8))), LayerNorm(),
    Dense(27))
    """
    shared = (width, blocks, heads, vocabulary, hidden, activation, dropout, positions)
    return Sequential(*_layers("transformer", True, *shared), Dense(outputs))


def _layers(
    of: str,
    causal: bool,
    width: int,
    blocks: int,
    heads: int,
    vocabulary: int | None,
    hidden: int | None,
    activation: Layer | None,
    dropout: float,
    positions: bool,
) -> list[Layer]:
    """What both begin with: inputs as `width` numbers a step, the blocks, and a LayerNorm of their sum."""
    width, blocks, heads = (
        argument(of, name, Count, value) for name, value in (("width", width), ("blocks", blocks), ("heads", heads))
    )
    hidden = argument(of, "hidden", Count | None, hidden) or 4 * width
    positions = argument(of, "positions", bool, positions)
    activation = ReLU() if activation is None else instance(of, "activation", Layer, activation)
    if width % heads:
        raise ValueError(f"{of} needs heads that divide width, and {heads} does not divide {width}")
    layers: list[Layer] = [Dense(width) if vocabulary is None else Embedding(vocabulary, width, WORDS)]
    layers += [PositionalEncoding()] if positions else []
    layers += dropout_layers(dropout)
    for _ in range(blocks):
        layers += transformer_block(width, heads, hidden, activation=activation, dropout=dropout, causal=causal)
    return [*layers, LayerNorm()]

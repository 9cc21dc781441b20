"""Readers of texts: the layers that make a vector of the words of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..layers import (
    GRU,
    Bidirectional,
    Embedding,
    Layer,
    LayerNorm,
    MeanOverTime,
    PositionalEncoding,
    Sequential,
    WordColumns,
)
from ..layers.transformer_block import WORDS, transformer_block
from .columns import TextColumn

DIM = 32  # numbers of a word's vector
HEADS = 4  # of an encoder's attention
SCALE = 10.0  # see (3) in `layers.texts`: with it the penalties that suit other columns suit texts


def bag(column: TextColumn) -> Layer:
    """The mean of the vectors of all words, in whatever order they are.

    >>> from gpubp.text import Vocabulary
    >>> bag(TextColumn("review", Vocabulary(("good", "bad")), 3))
    Sequential(Embedding(4, 32), MeanOverTime())
    """
    return Sequential(Embedding(len(column.vocabulary), DIM), MeanOverTime())


def gru(column: TextColumn) -> Layer:
    """What a GRU knows behind each word, from both ends of the text, in the mean.

    >>> from gpubp.text import Vocabulary
    >>> gru(TextColumn("review", Vocabulary(("good", "bad")), 3))
    Sequential(Embedding(4, 32), Bidirectional(GRU(32, return_sequences=True)), MeanOverTime())
    """
    read = Bidirectional(GRU(DIM, return_sequences=True))
    return Sequential(Embedding(len(column.vocabulary), DIM), read, MeanOverTime())


def encoder(column: TextColumn) -> Layer:
    """A transformer's encoder: each word looks at all others of its text, and then the mean.

    >>> from gpubp.text import Vocabulary
    >>> len(encoder(TextColumn("review", Vocabulary(("good", "bad")), 3)).children)
    6
    """
    words = Embedding(len(column.vocabulary), DIM, WORDS)
    return Sequential(words, PositionalEncoding(), *transformer_block(DIM, HEADS, 4 * DIM), LayerNorm(), MeanOverTime())


READERS: dict[str, tuple[Callable[[TextColumn], Layer], float]] = {
    "bag": (bag, 0.5),
    "gru": (gru, 0.2),
    "encoder": (encoder, 0.2),
}  # each with the share of the words that are left out in a step of the training


def word_columns(texts: Sequence[TextColumn], columns: Layer | None, model: str = "bag") -> WordColumns:
    """The layer that a network of rows with these texts begins with. columns: the layer of the columns before them.

    model: how texts are read, one of READERS. Raises ValueError for another.

    >>> from gpubp.text import Vocabulary
    >>> word_columns([TextColumn("review", Vocabulary(("good", "bad")), 3)], None).lengths
    (3,)
    """
    if model not in READERS:
        raise ValueError(f"texts are read by {', '.join(READERS)}, and got {model!r}")
    read, dropout = READERS[model]
    readers = [read(text) for text in texts]
    lengths = tuple(text.length for text in texts)
    return WordColumns(*readers, lengths=lengths, columns=columns, dropout=dropout, scale=SCALE)

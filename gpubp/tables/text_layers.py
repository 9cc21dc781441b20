"""Readers of texts: the layers that make a vector of the words of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

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


def bag(column: TextColumn) -> Layer:
    """The sum of the vectors of all T words, in whatever order they are, divided by √T.

    >>> from gpubp.text import Vocabulary
    >>> bag(TextColumn("review", Vocabulary(("good", "bad")), 3))
    Sequential(Embedding(4, 32), MeanOverTime(root=True))
    """
    return Sequential(Embedding(len(column.vocabulary), DIM), MeanOverTime(root=True))


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


class Reading(NamedTuple):
    """How texts are read: the layers, the factor s of (3) in `layers.texts`, and the dropout of its (1).

    The factor is such that the penalties that suit other columns suit texts.
    """

    layers: Callable[[TextColumn], Layer]
    scale: float
    dropout: float


READERS = {"bag": Reading(bag, 3.0, 0.5), "gru": Reading(gru, 10.0, 0.2), "encoder": Reading(encoder, 10.0, 0.2)}
# Where words are left out, a network expects numbers nearer to their mean than they are; classes it finds as well.
OF_NUMBERS = READERS | {"bag": Reading(bag, 0.5, 0.0)}


def word_columns(
    texts: Sequence[TextColumn], columns: Layer | None, model: str = "bag", numbers: bool = False
) -> WordColumns:
    """The layer that a network of rows with these texts begins with. columns: the layer of the columns before them.

    model: how texts are read, one of READERS. numbers: whether numbers are predicted, and not classes. Raises
    ValueError for another model.

    >>> from gpubp.text import Vocabulary
    >>> word_columns([TextColumn("review", Vocabulary(("good", "bad")), 3)], None).lengths
    (3,)
    """
    if model not in READERS:
        raise ValueError(f"texts are read by {', '.join(READERS)}, and got {model!r}")
    reading = (OF_NUMBERS if numbers else READERS)[model]
    readers = [reading.layers(text) for text in texts]
    lengths = tuple(text.length for text in texts)
    return WordColumns(*readers, lengths=lengths, columns=columns, dropout=reading.dropout, scale=reading.scale)

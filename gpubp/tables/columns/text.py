"""Columns of text: numbers of words, which an Embedding turns into vectors (see `layers.texts`)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ...config import Count, NotNegative
from ...text import Vocabulary, words_of
from ...text.vocabulary import OTHER
from .. import values
from .base import Array, Column, Notes, check_name, check_note, refuse

MOST_LENGTH = 100_000  # words of a text, in a model file


@dataclass(frozen=True, repr=False)
class TextColumn(Column):
    """A column of texts: y_t = the number of word t in the vocabulary, t = 1 ... T; 0 behind the end of a text.

    vocabulary: the words, with 1 for all others. length: T; what follows in longer texts is left out. words: how many a
    text has in the mean. known: the share of them that is in the vocabulary. A cell without a value is a text without
    words. note: why it is taken for text.

    >>> import pyarrow
    >>> column, out = TextColumn("review", Vocabulary(("good", "bad")), 3), np.zeros((2, 3))
    >>> column.fill(out, pyarrow.array(["Very good, not bad", None]), 0, Notes())
    >>> out.tolist()
    [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]
    """

    name: str
    vocabulary: Vocabulary
    length: Count
    words: NotNegative = 0.0
    known: NotNegative = 1.0
    note: str = ""

    kind = "text"

    def __post_init__(self) -> None:
        check_name(self)
        check_note(self)
        if not isinstance(self.vocabulary, Vocabulary) or not self.vocabulary.words:
            raise ValueError(f"{self.name} is read by a vocabulary with words, and got {self.vocabulary!r:.100}")
        if self.length > MOST_LENGTH:
            raise ValueError(f"{self.name} can't be read in {self.length:,} words")

    @property
    def width(self) -> int:
        """One a word."""
        return self.length

    @property
    def outputs(self) -> list[str]:
        """The column and the place of the word."""
        return [f"{self.name} word {t + 1}" for t in range(self.length)]

    def describe(self) -> str:
        """How long texts are, and how many words are known."""
        several = "1 word" if self.length == 1 else f"{self.length} words"
        known = f"{len(self.vocabulary.words):,} different ones are known"
        return f"{self.words:g} words in the mean, the first {several} are read; {known}, {self.known:.0%} of all"

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """The numbers of the words"""
        if values.kind_of(array.type) == "":
            refuse(self.name, np.ones(len(array), bool), array, first, f"of type {array.type}, which is no text")
        texts, numbers = values.texts(array).to_pylist(), self.vocabulary.numbers
        strange = np.zeros(len(texts), bool)
        out[...] = 0
        for i, text in enumerate(texts):
            if text is not None:
                row = [numbers.get(word, OTHER) for word in islice(words_of(text), self.length)]
                out[i, : len(row)] = row
                strange[i] = bool(row) and max(row) == OTHER
        notes.add(self.name, "no known word", strange, first, texts)

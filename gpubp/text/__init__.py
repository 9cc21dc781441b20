"""Text: words, and vocabularies that turn words into whole numbers.

    vocabulary = Vocabulary().fit(texts)
    X = vocabulary.transform(texts, length=50)      (rows, 50) numbers of words, 0 behind the end of a text

`gpubp.tables` finds columns of text and does this by itself.
"""

from __future__ import annotations

from .vocabulary import Vocabulary, WordCounts
from .words import words_of

__all__ = ["Vocabulary", "WordCounts", "words_of"]

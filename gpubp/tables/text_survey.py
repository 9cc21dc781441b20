"""TextSurvey: statistics of a column as texts, in one pass and bounded memory, before its kind is known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..text import Vocabulary, WordCounts
from ..text.words import UNSPACED
from .columns import TextColumn

MOST_WORDS = 512  # of a text that are read; the others are left out
READ = 0.99  # of the texts are read to their end, if they have no more words
SEVERAL = 3.0  # words that a text has in the mean; fewer are names
MANY = 5.0  # words in the mean, where a tenth of the texts or more come again
KNOWN = 0.5  # of the words must come again: others are numbers of articles, or names
LONG = 100  # characters a value has in the mean: no category
BEGINNING = 1000  # characters of a text in which parts are counted
# two letters that begin a word, and all up to the next space: an address of the web is one part, and a number is none
PART = re.compile(r"(?<![^\W_])[^\W\d_]{2}\S*")
CLOSE = re.compile(rf"[{UNSPACED}]")  # words of these scripts have about two characters
SYMBOL = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
TRIED = 1000  # texts; if they have hardly more than one word each, the others are not read


@dataclass
class TextSurvey:
    """The words of a column, and how many its texts have.

    asked: whether the column was called text, so that it is read to its end whatever it looks like.

    >>> import pyarrow
    >>> survey = TextSurvey()
    >>> survey.add(pyarrow.array(["good food", None, "good and cheap food"]))
    >>> survey.mean, survey.known
    (3.0, 0.6666666666666666)
    """

    asked: bool = False
    counts: WordCounts = field(default_factory=WordCounts)
    lengths: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(MOST_WORDS + 1, np.int64))
    given_up: bool = False
    all_parts: float = 0.0

    def add(self, text: Any) -> None:
        """Add a batch, an Arrow array of strings."""
        if self.given_up:
            return
        for one in text.drop_null().to_pylist():
            self.lengths[self.counts.add(one, MOST_WORDS)] += 1
            self.all_parts += parts(one[:BEGINNING])
            if self.texts == TRIED:
                self.give_up(self.mean < SEVERAL / 2)
                if self.given_up:
                    return

    def give_up(self, no_text: bool) -> None:
        """Count no more words if the column is no text, and was not called so."""
        if no_text and not self.asked:
            self.given_up, self.counts = True, WordCounts()

    @property
    def texts(self) -> int:
        """How many were read."""
        return int(self.lengths.sum())

    @property
    def mean(self) -> float:
        """Words of a text."""
        return self.counts.words / max(1, self.texts)

    @property
    def parts(self) -> float:
        """Parts of a text: words with letters between spaces, as `parts` counts them."""
        return self.all_parts / max(1, self.texts)

    @property
    def known(self) -> float:
        """The share of the words that are in the vocabulary."""
        kept = Vocabulary()
        counted = [count for _, count in self.counts.ordered()[: kept.most] if count >= kept.least]
        return sum(counted) / max(1, self.counts.words)

    def column(self, name: str, note: str) -> TextColumn | None:
        """The description of the column; None if no word comes again."""
        settings = Vocabulary()
        words = self.counts.known(settings.most, settings.least)
        if not words:
            return None
        up_to = np.cumsum(self.lengths)
        length = max(1, int(np.searchsorted(up_to, READ * up_to[-1])))
        return TextColumn(name, Vocabulary(words), length, round(self.mean, 1), round(self.known, 3), note)


def parts(text: str) -> float:
    """How many words of two letters or more stand between spaces; emojis are words, and characters without spaces half.

    A text has several. Codes, addresses of the web and of mail, paths of files, and names in Chinese have not.

    >>> [parts(text) for text in ("The soup was cold", "https://docs.org/soup/was/cold", "B 12 34 X", "汤很好喝，再来")]
    [4.0, 1.0, 0.0, 4.0]
    """
    found = len(PART.findall(text))
    return float(found) if text.isascii() else found + len(CLOSE.findall(text)) / 2 + len(SYMBOL.findall(text))

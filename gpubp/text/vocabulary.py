"""Vocabulary: the words that texts have in common, each with a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from ..config import Configurable, Count
from ..errors import DataError
from .words import words_of

NOTHING, OTHER = 0, 1  # the numbers of padding, and of words that are not in the vocabulary
OTHER_WORD = "<other>"  # which no word of a text is
LONGEST = 64  # characters of a word in a vocabulary: longer ones are addresses, or no words
COUNTED = 200_000  # different words, counted at once

Array = np.ndarray[Any, Any]


class WordCounts:
    """How often each word comes, in bounded memory: of more than 200,000 different ones the rarer half is forgotten.

    words: how many were counted, with those that come again. What is found does not depend on how texts are divided
    among calls.

    >>> counts = WordCounts()
    >>> counts.add("to be or not to be")
    6
    >>> counts.ordered()[:2], counts.words
    ([('be', 2), ('to', 2)], 6)
    """

    def __init__(self, counted: int = COUNTED) -> None:
        self.counts: Counter[str] = Counter()
        self.words, self._counted = 0, counted

    def add(self, text: str, most: int | None = None) -> int:
        """Count the words of a text, at most the first `most`; returns how many there were."""
        found = list(islice(words_of(text), most))
        self.words += len(found)
        self.counts.update(word for word in found if len(word) <= LONGEST)
        if len(self.counts) > self._counted:
            self.counts = Counter(dict(self.ordered()[: self._counted // 2]))
        return len(found)

    def ordered(self) -> list[tuple[str, int]]:
        """(word, count), the most frequent first, equally frequent ones in alphabetical order."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    def known(self, most: int, least: int) -> tuple[str, ...]:
        """The `most` most frequent words that come `least` times or more."""
        return tuple(word for word, count in self.ordered()[:most] if count >= least)


@dataclass(frozen=True, repr=False)
class Vocabulary(Configurable):
    """The most frequent words of texts, and their numbers: 0 is nothing, 1 any other word, 2 the most frequent, ...

    words: the words in the order of their numbers; `fit` finds them. most: how many words `fit` takes at most. least:
    how often one must come in all texts together. Equally frequent words are in alphabetical order. What a word is says
    `gpubp.text.words`: letters and digits in lower case, emojis. Its length is how many numbers there are, as an
    `Embedding` takes it. It is immutable: `fit` returns a vocabulary with words.

    >>> import gpubp as bp
    >>> vocabulary = bp.text.Vocabulary().fit(["Good food", "good service, good food", "bad"])
    >>> vocabulary.words, len(vocabulary)
    (('good', 'food'), 4)
    >>> vocabulary.transform(["Good, not bad", "good food"], length=4).tolist()
    [[2, 1, 1, 0], [2, 3, 0, 0]]
    >>> bp.Embedding(len(vocabulary), 8)
    Embedding(4, 8)
    """

    words: tuple[str, ...] = ()
    most: Count = 20_000
    least: Count = 2

    def __post_init__(self) -> None:
        words = self.words
        if len(set(words)) != len(words) or "" in words:
            raise ValueError(f"the {len(words):,} words of a vocabulary are not all different, or one is empty")

    def __len__(self) -> int:
        return len(self.words) + 2

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.words[:3])) + (", ..." if len(self.words) > 3 else "")
        return f"Vocabulary({len(self.words):,} words: {shown})" if self.words else "Vocabulary()"

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words, 2)}

    def fit(self, texts: Iterable[str | None]) -> Vocabulary:
        """A vocabulary of the words of these texts, with the same settings. None and NaN are texts without words.

        Reads the texts one by one, in bounded memory. Raises TypeError for what is no text, DataError if no word comes
        often enough.
        """
        counts = WordCounts()
        for text in _texts(texts):
            counts.add(text)
        words = counts.known(self.most, self.least)
        if not words:
            raise DataError(
                f"no word comes {self.least} times in these texts, which have {counts.words:,} words in all: "
                "give more texts, or a smaller least"
            )
        return replace(self, words=words)

    def encode(self, text: str, most: int | None = None) -> list[int]:
        """The numbers of the words of a text, of the first `most` if it is given. Raises ValueError without words.

        >>> Vocabulary(("good", "bad")).encode("Good, very good")
        [2, 1, 2]
        """
        numbers = self._known()
        return [numbers.get(word, OTHER) for word in islice(words_of(text), most)]

    def decode(self, numbers: Iterable[Any]) -> list[str]:
        """The words of these numbers; "<other>" for 1, and none for 0. Raises ValueError for other numbers.

        >>> Vocabulary(("good", "bad")).decode([2, 1, 3, 0])
        ['good', '<other>', 'bad']
        """
        found = [OTHER_WORD, *self.words]
        numbers = [int(number) for number in numbers]
        wrong = [number for number in numbers if not 0 <= number <= len(self.words) + 1]
        if wrong:
            raise ValueError(
                f"a vocabulary of {len(self.words):,} words has the numbers 0 to {len(self) - 1}, and got {wrong[0]}"
            )
        return [found[number - 1] for number in numbers if number]

    def transform(self, texts: Iterable[str | None], length: int | None = None) -> Array:
        """The texts as (n, T) int32: the numbers of their first T words, 0 behind the end of a text.

        length: T; by default that of the longest text, 1 at least. Raises as `fit` and `encode` do.
        """
        self._known()
        if length is not None and (isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1):
            raise ValueError(f"length is a whole number of words, 1 or more, and got {length!r}")
        rows = [self.encode(text, length) for text in _texts(texts)]
        T = length or max([1, *map(len, rows)])
        return padded(rows, T)

    def _known(self) -> dict[str, int]:
        if not self.words:
            raise ValueError("this vocabulary has no words; fit returns one that has: v = Vocabulary().fit(texts)")
        return self.numbers


def padded(rows: Sequence[Sequence[int]], length: int) -> Array:
    """Rows of at most `length` numbers as (n, length) int32, with 0 behind them.

    >>> padded([[5, 6], []], 3).tolist()
    [[5, 6, 0], [0, 0, 0]]
    """
    X = np.zeros((len(rows), length), np.int32)
    for place, row in zip(X, rows, strict=True):
        place[: len(row)] = row
    return X


def _texts(texts: Iterable[Any]) -> Iterable[str]:
    """The texts one by one; "" for None and NaN. Raises TypeError."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"texts are a list of strings, and got {texts!r:.60}")
    for i, text in enumerate(texts):
        if isinstance(text, str):
            yield text
        elif text is None or text != text:
            yield ""
        else:
            raise TypeError(f"texts are strings, and number {i} is {text!r:.60}, a {type(text).__name__}")

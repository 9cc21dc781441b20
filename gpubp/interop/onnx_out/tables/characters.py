"""What each character does to the words of a text, as `gpubp.text.words` has it, and how words may be written.

Tests compare these kinds with what `words_of` does. A character is

    a letter      between letters it is part of their word, as it is      é, я, 7, 한
    a capital     the same, in lower case; the lower case is a letter     É, Я
    a mark        a letter that begins no word, as vowels of Hindi are
    a symbol      a word by itself                                        👍, ♥
    hard          all others: what they do depends on others beside them, or a graph can't do it

Letters of scripts without spaces between words are hard, and so are accents that are characters of their own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

from ....text import words, words_of
from ....text.words import FLAGS, UNSPACED

APOSTROPHES = "’ʼ"  # which are '
CHANGED = {"İ": "i", "ﬁ": "fi", "ﬂ": "fl", "²": "2", "³": "3", "ª": "a", "º": "o", "µ": "μ", "™": "tm", "½": "1 2"}
UNSEEN = "\u00ad\u200c\u200e\u200f\u2060\ufe0e\ufe0f\ufeff\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
ASCII_SEPARATORS = ' .,\n!?:-"()/;\t#@&%*+=_$[]<>|~\\^`{}\r'
SEPARATORS = (
    "…“”„–—«»‘\u00a0‚‛‟‹›•·¡¿‐‑‒―−→←↑↓⇒°§©®±×÷¢£¤¥¦¨¬¯´¶¸€₹₽₺₴₩†‡‰′″⁄≈≤≥≠∞√\u2002\u2003\u2009\u200a\u200b\u202f\u2028"
    "\u2029\u3000、。「」！？（）：；，؟،؛।\v\f"
)
MOST_LETTERS = 3  # of a word that have a capital outside ASCII, for each to be in any case
LAST = 0x20000


class Kinds(NamedTuple):
    """The letters, capitals, marks and symbols among the characters that are not ASCII, and halves of flags.

    larger: the capitals of which each letter is the lower case. composing: characters that may become one with the
    letter before them.
    """

    letters: frozenset[str]
    larger: dict[str, str]
    capitals: frozenset[str]
    marks: frozenset[str]
    symbols: frozenset[str]
    flags: frozenset[str]
    composing: frozenset[str]


@cache
def kinds() -> Kinds:
    """The kinds of all characters.

    >>> found = kinds()
    >>> "é" in found.letters, "É" in found.capitals, "👍" in found.symbols, "東" in found.letters
    (True, True, True, False)
    """
    composing, flags = _composing(), members(FLAGS)
    others = {*composing, *flags, *members(UNSPACED), *members(words.UNSEEN), *APOSTROPHES}
    letters: set[str] = set()
    marks: set[str] = set()
    symbols: set[str] = set()
    capitals: set[str] = set()
    for code in range(0x80, LAST):
        one = chr(code)
        if one in others or unicodedata.combining(one):
            continue
        kind = unicodedata.category(one)
        if kind == "So":
            symbols.update([one] if list(words_of(f"a{one}b")) == ["a", one, "b"] else [])
        elif unicodedata.is_normalized("NFKC", one) and (one.isalnum() or kind[0] == "M"):
            part = marks if kind[0] == "M" else letters if one.lower() == one else capitals
            part.add(one)
    larger: dict[str, str] = {"ς": "Σ"}  # at the end of a word
    for one in sorted(capitals):
        if one.lower() in letters:
            larger[one.lower()] = larger.get(one.lower(), "") + one
        else:
            capitals.remove(one)
    sets = (capitals, marks, symbols, flags, composing)
    return Kinds(frozenset(letters), larger, *map(frozenset, sets))


def members(inside: str) -> set[str]:
    """The characters of the inside of a class.

    >>> sorted(members("a-cx"))
    ['a', 'b', 'c', 'x']
    """
    found: set[str] = set()
    letters = list(inside)
    while letters:
        first = letters.pop(0)
        last = first
        if len(letters) > 1 and letters[0] == "-":
            last = letters[1]
            del letters[:2]
        found.update(map(chr, range(ord(first), min(ord(last), LAST) + 1)))
    return found


def _composing() -> set[str]:
    """Characters that normalisation may make one with the character before them."""
    found = set(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))  # vowels and ends of Korean syllables
    for code in range(0x80, LAST):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            found.add(chr(int(parts[1], 16)))
    return found


def spellings(word: str) -> Iterator[str]:
    """The ways in which a word of a vocabulary may stand in a text whose ASCII letters are in lower case.

    Its letters outside ASCII are capitals or not, each if they are few, else the first, all, or all σ and ς; accents
    are characters of their own or not. An apostrophe is '.

    >>> list(spellings("москва")), len(list(spellings("été")))
    (['москва', 'Москва', 'МОСКВА'], 8)
    """
    larger = kinds().larger
    cased = [i for i, letter in enumerate(word) if letter in larger]
    choices: Iterable[tuple[bool, ...]] = product((False, True), repeat=len(cased))
    if len(cased) > MOST_LETTERS:
        rest = len(cased) - 1
        choices = [(False, *[False] * rest), (True, *[False] * rest), (True, *[True] * rest)]
    capitals = [frozenset(i for i, large in zip(cased, choice, strict=True) if large) for choice in choices]
    sigmas = frozenset(i for i, letter in enumerate(word) if letter in "σς")
    for at in dict.fromkeys([*capitals, sigmas]):
        for letters in product(*(larger[letter] if i in at else letter for i, letter in enumerate(word))):
            written = "".join(letters)
            for form in dict.fromkeys((written, unicodedata.normalize("NFD", written))):
                if list(words_of(form)) == [word]:
                    yield form

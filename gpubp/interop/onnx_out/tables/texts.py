"""Nodes of columns of text: the numbers of words, found by the rule of `gpubp.text.words`.

    1  what is not seen is taken out, ’ becomes ', a few ligatures become letters, and A to Z become small
    2  symbols of the vocabulary get blanks around them, and the text is split at what is between words
    3  apostrophes at the ends of the pieces go: those between letters stay
    4  a piece is looked up among all spellings of all words; see `characters.spellings`
    5  a piece that is not found counts as another word, or as several if it is symbols

A piece that is not found and has hard characters, or capitals that no spelling foresees, could be a known word all the
same. So the graph fails where one of these is among the words that count.
"""

from __future__ import annotations

import numpy as np

from ....tables import TextColumn
from ....text.words import UNSPACED
from ..graph import BATCH, ML, Value
from .categories import WHOLE
from .cells import missing
from .characters import (
    APOSTROPHES,
    ASCII_SEPARATORS,
    CHANGED,
    MOST_LETTERS,
    SEPARATORS,
    UNSEEN,
    kinds,
    members,
    spellings,
)
from .rows import Rows
from .strings import W, inside, one_of, parts, places, replaced, tokens, without

MOST_SYMBOLS = 32  # of a vocabulary, and others that come often, found wherever they stand
POPULAR = "😂❤🤣👍😭🙏😘🥰😍😊🎉😁🥺😅🔥♥🙄😉🤔👏💪✨💖👀"
MOST_TOGETHER = 8  # symbols that are not known, without anything between them
PRIVATE = "\ue000"  # stands for Σ for a while
UNSPACED_SHARE = 0.05  # of a vocabulary


def unspaced(column: TextColumn) -> bool:
    """Whether words of scripts without spaces between them are a part of the vocabulary that matters.

    >>> from gpubp.text import Vocabulary
    >>> unspaced(TextColumn("review", Vocabulary(("東", "good")), 3))
    True
    """
    words, letters = column.vocabulary.words, members(UNSPACED)
    return sum(word[0] in letters for word in words) > UNSPACED_SHARE * len(words)


def text_column(rows: Rows, column: TextColumn, given: Value, marks: tuple[str, ...]) -> Value:
    """The numbers of the first T words of texts (n, 1) as (n, T) float32.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> from gpubp.text import Vocabulary
    >>> column = TextColumn("review", Vocabulary(("good", "bad")), 3)
    >>> text_column(rows, column, Value("review", ("batch", 1)), ()).shape
    ('batch', 3)
    """
    name, known = column.name, kinds()
    text = rows.flat(given)
    text = rows.where(missing(rows, text, marks), "", text)
    whole = rows.matches(text, f"{W}{WHOLE}{W}")
    text = rows.where(whole, parts(rows, text, ".", 2)[0], text)  # a whole number with a fraction is one word
    accents = rows.matches(text, f"(?s:.*{one_of(UNSEEN)}{one_of(known.composing)}.*)")
    rows.refuse(accents, f"column {name}: a text has an accent behind a character that is not seen; take that out")
    text = _small(rows, column, text)
    symbols = [word for word in column.vocabulary.words if word[0] in known.symbols or word[0] in known.flags]
    often = list(dict.fromkeys([*symbols, *POPULAR]))[:MOST_SYMBOLS]
    for symbol in sorted(often, key=len, reverse=True):
        text = replaced(rows, text, symbol, f" {symbol} ")
    pieces, of = tokens(rows, text, ASCII_SEPARATORS)
    pieces, of = tokens(rows, pieces, SEPARATORS, 6, of)
    pieces, of = tokens(rows, pieces, ["''"], 1, of)
    pieces = rows.op("StringConcat", rows.op("StringConcat", " ", pieces, shape=of.shape), " ", shape=of.shape)
    pieces, of = tokens(rows, pieces, [" '", "' ", " "], 3, of)
    return _numbers(rows, column, pieces, of, symbols)


def _small(rows: Rows, column: TextColumn, text: Value) -> Value:
    """The text in small letters of ASCII, and without what is not seen."""
    text = without(rows, text, UNSEEN)
    for old, new in (*dict.fromkeys(APOSTROPHES, "'").items(), *CHANGED.items()):
        text = replaced(rows, text, old, new)
    sigma = any("ς" in word or "σ" in word for word in column.vocabulary.words)
    if sigma:  # some runtimes make small letters beyond ASCII too, and that of Σ depends on its place in the word
        private = rows.matches(text, f"(?s:.*{PRIVATE}.*)")
        rows.refuse(private, f"column {column.name}: a text has the character {PRIVATE!a}, which stands for nothing")
        text = replaced(rows, text, "Σ", PRIVATE)
    text = rows.op("StringConcat", " ", text)  # some runtimes leave empty texts out
    small = rows.op("StringNormalizer", text, case_change_action="LOWER", is_case_sensitive=1, locale="C")
    return replaced(rows, small, PRIVATE, "Σ") if sigma else small


def _numbers(rows: Rows, column: TextColumn, pieces: Value, of: Value, symbols: list[str]) -> Value:
    """The numbers of words (n, T) float32, of pieces (m,) in the rows `of`. symbols: of the vocabulary."""
    T, m, op = column.length, of.shape, rows.op
    keys: dict[str, int] = {}
    for word, number in column.vocabulary.numbers.items():
        for written in spellings(word):
            keys[written] = number
    keys = keys or {" ": 1}  # no piece is a blank
    code = op("LabelEncoder", pieces, shape=m, domain=ML, default_int64=-1,
              keys_strings=list(keys), values_int64s=list(keys.values()))  # fmt: skip
    found = op("GreaterOrEqual", code, 0, shape=m)
    lengths, several = _symbols(rows, pieces, symbols)
    clear = op("Or", found, op("Or", several, _foreseen(rows, pieces), shape=m), shape=m)
    place, counts = places(rows, of, op("Where", found, 1, lengths, shape=m))
    within = op("Less", place, T, shape=m)
    hard = rows.cast(op("And", op("Not", clear, shape=m), within, shape=m), "INT64")
    none = op("Mul", rows.numbers(), 0)
    rows.refuse(
        op("Greater", op("ScatterElements", none, of, hard, axis=0, reduction="add"), 0),
        f"column {column.name}: a text has characters of which ONNX can't make words as gpubp does",
    )
    others = op("Less", Value(rows.g.constant(np.arange(T)), (T,)), rows.side_by_side([counts]), shape=(BATCH, T))
    numbers = op("Reshape", rows.cast(others, "FLOAT"), Value(rows.g.whole(-1), (1,)), shape=("words",))
    kept = op("And", found, within, shape=m)
    at = op("Add", op("Mul", of, T, shape=m), place, shape=m)
    at, code = (op("Compress", x, kept, shape=("words",), axis=0) for x in (at, code))
    numbers = op("ScatterElements", numbers, at, rows.cast(code, "FLOAT"), shape=("words",), axis=0)
    return op("Reshape", numbers, Value(rows.g.whole(-1, T), (2,)), shape=(BATCH, T))


def _symbols(rows: Rows, pieces: Value, symbols: list[str]) -> tuple[Value, Value]:
    """How many words pieces (m,) are if they are symbols that are not known, else 1; and whether they are symbols."""
    known, m = kinds(), pieces.shape
    one = one_of(known.symbols - {letter for symbol in symbols for letter in symbol})
    if not any(symbol[0] in known.flags for symbol in symbols[MOST_SYMBOLS:]):
        one = f"(?:{one}|{one_of(known.flags)}{{2}})"
    more = [rows.matches(pieces, f"{one}{{{k},{MOST_TOGETHER}}}") for k in range(1, MOST_TOGETHER + 1)]
    lengths: Value = rows.cast(more[1], "INT64")
    for longer in more[2:]:
        lengths = rows.op("Add", lengths, rows.cast(longer, "INT64"), shape=m)
    return rows.op("Add", lengths, 1, shape=m), more[0]


def _foreseen(rows: Rows, pieces: Value) -> Value:
    """Which pieces (m,) are letters such that they are found if they are a known word."""
    known = kinds()
    letter = f"[0-9a-z{inside(known.letters | known.capitals)}]"
    part = f"{letter}[0-9a-z{inside(known.letters | known.capitals | known.marks)}]*"
    word = rows.matches(pieces, f"{part}(?:'{part})*")
    large, small = inside(known.capitals), inside(known.larger)
    few = f"[^{large}{small}]*(?:[{large}{small}][^{large}{small}]*){{0,{MOST_LETTERS}}}"
    sigma = f"[^{inside(known.capitals - {'Σ'})}σς]*"
    case = rows.matches(pieces, f"[^{large}]*|[^{small}]*|[^{large}{small}]*[{large}][^{large}]*|{few}|{sigma}")
    return rows.op("And", word, case, shape=pieces.shape)

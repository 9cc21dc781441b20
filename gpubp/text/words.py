"""words_of: the words of a text.

The text is first normalised by Unicode's NFKC, which makes full-width letters and ligatures the usual ones, and put
into lower case. Then

* letters, digits and the marks on them make a word: "naïve", "हिन्दी", "2024". All else ends it, hyphens and
  underscores too.
* an apostrophe between letters belongs to the word, and ’ is one: "don't", "l'eau".
* a character of a script without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) is a word by
  itself, with its marks. Korean has spaces.
* an emoji, or another symbol that is no punctuation such as ♥, is a word by itself; so is a flag, and a group such as
  a family. Colours of skin make no difference.
* what is not seen, such as soft hyphens and marks of direction, is left out, and does not end a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
JOINER = "\u200d"  # in emojis, and between letters
# Han, Hiragana and Katakana; Thai and Lao; Burmese; Khmer
UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
UNSEEN = (
    "\u00ad\u061c\u180e\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    "\ufe00-\ufe0f\ufeff\U0001f3fb-\U0001f3ff\U000e0000-\U000e01ef"
)
FLAGS = "\U0001f1e6-\U0001f1ff"
LINES = range(0x2500, 0x25A0), range(0x2800, 0x2900)  # drawings of boxes, and dots, are symbols that mean nothing
LAST = 0x1FFFF  # marks and symbols are not beyond it


def words_of(text: str) -> Iterator[str]:
    """The words of a text in their order, by the rule at the top of this file.

    >>> list(words_of("Don't stop: it’s SO good!! 👍🏽👍 C'est l'été, 2024"))
    ["don't", 'stop', "it's", 'so', 'good', '👍', '👍', "c'est", "l'été", '2024']
    >>> list(words_of("東京 🇯🇵 ﬁne"))
    ['東', '京', '🇯🇵', 'fine']
    """
    text = text.replace("\u2019", "'")
    if text.isascii():
        for found in ASCII.finditer(text.lower()):
            yield found[0]
        return
    for form in ("NFKC", "NFKC"):  # twice: lower case letters may have to be put together again
        text = unicodedata.normalize(form, text).lower().replace("i\u0307", "i")  # of the Turkish İ
    unseen, word = _patterns()
    for found in word.finditer(unseen.sub("", text.replace("\u02bc", "'"))):
        one = found[0]
        yield one if found.lastgroup == "symbol" else one.replace(JOINER, "")


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What is not seen, and a word in a text that is normalised."""
    marks, symbols = [], []
    for code in range(128, LAST):
        kind = unicodedata.category(chr(code))
        if kind[0] == "M":
            marks.append(code)
        elif kind == "So" and code > 0x2000 and not any(code in lines for lines in LINES):
            symbols.append(code)
    letter, mark, symbol = rf"[^\W_{UNSPACED}]", _class(marks), _class(symbols)
    beyond = r"(?![\0-\x7f])"  # a quick way past spaces
    word = (
        rf"{letter}(?:{letter}+|'(?={letter})|{beyond}[{mark}{JOINER}])*"
        rf"|{beyond}(?:(?=[{UNSPACED}])[^\W_][{mark}]*"
        rf"|(?P<symbol>[{FLAGS}]{{2}}|[{symbol}](?:{JOINER}[{symbol}])*))"
    )
    return re.compile(f"[{UNSEEN}]"), re.compile(word)


def _class(codes: list[int]) -> str:
    """Characters as the inside of a class of a regular expression, neighbours as a range."""
    parts: list[list[int]] = []
    for code in codes:
        if parts and parts[-1][1] == code - 1:
            parts[-1][1] = code
        else:
            parts.append([code, code])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in parts)

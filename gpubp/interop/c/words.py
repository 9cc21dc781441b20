"""How numbers, comments and names are spelled in C."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

WIDTH = 110  # characters of a line of numbers, at most
LETTER = {"float32": "f", "float64": ""}
TYPE = {"float32": "float", "float64": "double"}


def literal(value: float, dtype: Any) -> str:
    """A number of the type in C, exact to the bit: decimal where that is short and exact, else hexadecimal.

    >>> literal(0.5, "float32"), literal(0.1, "float32"), literal(-3.0, "float64"), literal(float("inf"), "float32")
    ('0.5f', '0x1.99999ap-4f', '-3.0', 'INFINITY')
    """
    kind = np.dtype(dtype)
    return _literal(float(kind.type(value)), LETTER[kind.name])


def _literal(number: float, letter: str) -> str:
    if number - number != 0.0:  # infinite, or not a number
        return "NAN" if math.isnan(number) else "INFINITY" if number > 0 else "-INFINITY"
    if -1e6 < number < 1e6 and (number * 64.0).is_integer():
        return f"{number!r}{letter}"
    digits, _, power = number.hex().partition("p")
    return f"{digits.rstrip('0').rstrip('.')}p{int(power)}{letter}"


def number_lines(array: np.ndarray[Any, Any]) -> Iterator[str]:
    """The numbers of an array as lines of literals, each behind a comma but the last.

    >>> list(number_lines(np.array([0.5, 1.0, 0.1], np.float32)))
    ['    0.5f, 1.0f, 0x1.99999ap-4f']
    """
    letter, numbers = LETTER[array.dtype.name], array.ravel().tolist()
    words: list[str] = []
    length = 3
    for number in numbers:
        word = _literal(number, letter)
        length += len(word) + 2
        if length > WIDTH:
            yield f"    {', '.join(words)},"
            words, length = [], len(word) + 5
        words.append(word)
    yield f"    {', '.join(words)}"


def plain(text: str) -> str:
    """Text that can stand in a comment of C: ASCII without line breaks, comment marks and trigraphs.

    >>> print(plain("a */ b\\n ??/ é"))
    a * / b\\n ? ?/ \\xe9
    """
    text = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)
    text = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", text)
    return text.rstrip("\\") if text.endswith("\\") else text


def quoted(value: Any) -> str:
    """The name of a class, in a comment of C; numbers without quotes.

    >>> quoted('say "a"'), quoted(3)
    ('"say \\\\"a\\\\""', '3')
    """
    return plain(json.dumps(value if isinstance(value, int) else str(value), ensure_ascii=False))


def identifier(text: str) -> str:
    """Text as part of a name in C: letters, digits and single underscores.

    >>> identifier("LeakyReLU"), identifier("0.W"), identifier("Größe")
    ('leakyrelu', '0_w', 'gr_e')
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower())


def comment_lines(words: Iterable[str], indent: str = "") -> Iterator[str]:
    """Words, joined to lines that are not too long.

    >>> list(comment_lines(["0: a,", "1: b"]))
    ['0: a, 1: b']
    """
    line = indent
    for word in words:
        if line != indent and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = indent
        line += word if line == indent else f" {word}"
    if line != indent:
        yield line

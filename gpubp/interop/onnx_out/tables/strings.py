"""Operations on texts that ONNX has no node for, made of those that it has: StringSplit, StringConcat, Loop.

A text is split at a character, and its pieces are joined again, with another text between or with nothing. Characters
are classes of regular expressions as RE2 writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from ..graph import Value
from .rows import Rows

SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
SPACES += "\u2028\u2029\u202f\u205f\u3000"  # what str.strip takes away


def escaped(text: str) -> str:
    """A text as a regular expression of RE2 that matches it alone.

    >>> escaped("a.b"), escaped("é ")
    ('a\\\\.b', 'é\\\\x20')
    """
    return "".join(_one(letter) for letter in text)


def _one(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    if letter.isascii() and letter.isprintable() and letter != " ":
        return f"\\{letter}"
    return f"\\x{ord(letter):02x}" if letter.isascii() else letter


def one_of(letters: Iterable[str]) -> str:
    """A class of characters, neighbours as a range.

    >>> one_of("abcz")
    '[a-cz]'
    """
    return f"[{inside(letters)}]"


def inside(letters: Iterable[str]) -> str:
    """The same without brackets."""
    parts: list[list[int]] = []
    for code in sorted(map(ord, set(letters))):
        if parts and parts[-1][1] == code - 1:
            parts[-1][1] = code
        else:
            parts.append([code, code])
    return "".join(_one(chr(a)) if a == b else f"{_one(chr(a))}-{_one(chr(b))}" for a, b in parts)


W = f"{one_of(SPACES)}*"  # spaces around a value


@cache
def _upper() -> dict[str, list[str]]:
    """For each letter those of which it is the lower case."""
    found: dict[str, list[str]] = {}
    for code in range(65, 0x1E944):
        low = "i" if code == 0x130 else chr(code).lower()
        if low != chr(code):
            found.setdefault(low, []).append(chr(code))
    return found


def any_case(text: str) -> str:
    """A regular expression of texts whose lower case is `text`, which is in lower case.

    >>> any_case("no/")
    '[Nn][Oo]\\\\/'
    """
    parts = [[letter, *_upper().get(letter, [])] for letter in text]
    return "".join(one_of(part) if len(part) > 1 else escaped(part[0]) for part in parts)


def words(texts: Iterable[str]) -> str:
    """A regular expression of texts whose lower case is one of these, with spaces around them.

    >>> words(["no"]).count("[Nn][Oo]")
    1
    """
    return f"{W}(?:{'|'.join(any_case(text) for text in texts)}){W}"


def split(rows: Rows, text: Value, delimiter: str) -> tuple[Value, Value]:
    """(..., k) pieces of texts (...), filled up with empty texts, and how many there are (...).

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> [value.shape for value in split(rows, Value("text", ("batch",)), ",")]
    [('batch', 'pieces'), ('batch',)]
    """
    pieces, counts = rows.g.node_of_several(
        "StringSplit", [text], [(*text.shape, "pieces"), text.shape], delimiter=delimiter
    )
    return pieces, counts


def joined(rows: Rows, pieces: Value, between: str = "", counts: Value | None = None) -> Value:
    """The pieces (..., k) of each text one after the other, with `between` between them.

    counts: how many there are of each; without it, empty pieces have nothing beside them.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> joined(rows, split(rows, Value("text", ("batch",)), ",")[0], " ")
    Value(name='Loop', shape=('batch',), channels_first=False)
    """
    g = rows.g
    shape = pieces.shape[:-1]
    count = rows.op("Squeeze", rows.op("Shape", pieces, shape=(1,), start=len(shape)), shape=())
    sizes = rows.op("Shape", pieces, shape=(len(shape),), start=0, end=len(shape))
    empty = rows.op("Expand", "", sizes, shape=shape)
    i, running, text = (g.named(f"{g.path}/{name}") for name in ("i", "running", "text"))
    begun, nodes = len(g.nodes), g.nodes
    at, so_far = Value(i, ()), Value(text, shape)
    piece = rows.op("Gather", pieces, at, shape=shape, axis=len(shape))
    if between:
        apart = rows.op("Equal", at, 0, shape=())
        if counts is None:
            none = [rows.op("Equal", x, "", shape=shape) for x in (piece, so_far)]
            apart = rows.op("Or", *none, shape=shape)
        beside = rows.op("Where", apart, "", between, shape=apart.shape)
        piece = rows.op("StringConcat", beside, piece, shape=shape)
    longer = rows.op("StringConcat", so_far, piece, shape=shape)
    if counts is not None and between:
        longer = rows.op("Where", rows.op("Less", at, counts, shape=shape), longer, so_far, shape=shape)
    goes_on = rows.op("Identity", Value(running, ()), shape=())
    inner, nodes[begun:] = nodes[begun:], []
    T, helper = g.onnx.TensorProto, g.onnx.helper
    told = helper.make_tensor_value_info
    body = helper.make_graph(
        inner,
        g.named("join"),
        [told(i, T.INT64, []), told(running, T.BOOL, []), told(text, T.STRING, None)],
        [told(goes_on.name, T.BOOL, []), told(longer.name, T.STRING, None)],
    )
    return rows.op("Loop", count, True, empty, shape=shape, body=body)


def replaced(rows: Rows, text: Value, old: str, new: str) -> Value:
    """Texts with `new` in place of `old`.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> replaced(rows, Value("text", ("batch",)), "’", "'").name
    'Loop'
    """
    pieces, counts = split(rows, text, old)
    return joined(rows, pieces, new, counts)


def without(rows: Rows, text: Value, letters: Sequence[str], together: int = 3) -> Value:
    """Texts (n, ...) without these characters.

    together: how many of them are split at before the pieces are joined: pieces are padded to the most of any text, for
    each character, so that their number is a product.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> without(rows, Value("text", ("batch",)), "()").shape
    ('batch',)
    """
    for start in range(0, len(letters), together):
        text = joined(rows, pieces_of(rows, text, letters[start : start + together]))
    return text


def pieces_of(rows: Rows, text: Value, letters: Iterable[str]) -> Value:
    """The pieces (n, ..., k) of texts (n, ...) between these characters; some are empty.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> pieces_of(rows, Value("text", ("batch", 3)), "()").shape
    ('batch', 3, 'pieces')
    """
    pieces, rank = text, len(text.shape)
    for letter in letters:
        pieces, _ = split(rows, pieces, letter)
    sizes = Value(rows.g.whole(*([0] * rank), -1), (rank + 1,))
    return rows.op("Reshape", pieces, sizes, shape=(*text.shape, "pieces"))


def parts(rows: Rows, text: Value, delimiter: str, count: int) -> list[Value]:
    """The first pieces of texts (n,), empty ones where there are not so many.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> [part.shape for part in parts(rows, Value("text", ("batch",)), ".", 2)]
    [('batch',), ('batch',)]
    """
    enough = rows.op("StringConcat", text, delimiter * (count - 1))
    pieces, _ = split(rows, enough, delimiter)
    return [rows.column(pieces, k) for k in range(count)]


def tokens(
    rows: Rows, text: Value, delimiters: Sequence[str], together: int = 3, of: Value | None = None
) -> tuple[Value, Value]:
    """Pieces of all texts (n,) that are not empty, one list (m,), and the row of each (m,), counted from 0.

    delimiters: at which texts are split. together: how many of them are split at before empty pieces are left out. of:
    the row of each text, if these are tokens already.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> [found.shape for found in tokens(rows, Value("text", ("batch",)), [" ", ","])]
    [('tokens',), ('tokens',)]
    """
    of = rows.numbers() if of is None else of
    for start in range(0, len(delimiters), together):
        pieces = text
        for delimiter in delimiters[start : start + together]:
            pieces, _ = split(rows, pieces, delimiter)
        text, at = compact(rows, pieces)
        of = rows.op("Gather", of, at, shape=("tokens",))
    return text, of


def compact(rows: Rows, pieces: Value) -> tuple[Value, Value]:
    """The pieces (m, ...) that are not empty, one list, and the place of each on the first axis.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> compact(rows, split(rows, Value("text", ("batch",)), ",")[0])[0].shape
    ('tokens',)
    """
    there = rows.op("Not", rows.op("Equal", pieces, "", shape=pieces.shape), shape=pieces.shape)
    at = rows.op("NonZero", there, shape=(len(pieces.shape), "tokens"))
    places = rows.op("Transpose", at, shape=("tokens", len(pieces.shape)), perm=[1, 0])
    kept = rows.op("GatherND", pieces, places, shape=("tokens",))
    return kept, rows.op("Gather", at, 0, shape=("tokens",), axis=0)


def places(rows: Rows, of: Value, lengths: Value | None = None) -> tuple[Value, Value]:
    """The place of each token (m,) in its row, and how many each row has (n,). of: the row of each, which rise.

    lengths: how many places a token takes, if not one.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> pieces, of = tokens(rows, Value("text", ("batch",)), [" "])
    >>> [found.shape for found in places(rows, of)]
    [('tokens',), ('batch',)]
    """
    none, start = rows.op("Mul", rows.numbers(), 0), Value(rows.g.constant(np.int64(0)), ())
    if lengths is None:
        lengths = rows.op("Add", rows.op("Mul", of, 0, shape=of.shape), 1, shape=of.shape)
    counts = rows.op("ScatterElements", none, of, lengths, axis=0, reduction="add")
    before = rows.op("CumSum", counts, start, exclusive=1)
    index = rows.op("CumSum", lengths, start, shape=of.shape, exclusive=1)
    return rows.op("Sub", index, rows.op("Gather", before, of, shape=of.shape), shape=of.shape), counts

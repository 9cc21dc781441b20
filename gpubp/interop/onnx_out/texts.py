"""ONNX nodes of WordColumns: rows that end in the words of texts."""

from __future__ import annotations

from ...layers import WordColumns
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lower, lowers
from .time_mask import mask_of_words


@lowers(WordColumns)
def word_columns(g: Graph, layer: WordColumns, x: Value, path: str) -> Value:
    """y = [g(n), e₁ … e_k], each reader with the mask of its own words"""
    rows, width = x.shape[0], int(x.shape[1])
    start, first, before = width - sum(layer.lengths), len(layer.children) - len(layer.readers), g.mask

    def columns(begin: int, end: int) -> Value:
        return g.node("Slice", [x, g.whole(begin), g.whole(end), g.whole(1)], (rows, end - begin))

    parts: list[Value] = []
    g.mask = None
    if layer.columns is not None:
        parts.append(lower(g, layer.columns, columns(0, start), join(path, "0")))
    elif start:
        parts.append(columns(0, start))
    for i, (reader, length) in enumerate(zip(layer.readers, layer.lengths, strict=True), first):
        words = columns(start, start + length)
        start += length
        g.mask = mask_of_words(g, words)
        e = lower(g, reader, words, join(path, str(i)))
        parts.append(g.node("Mul", [e, g.number(layer.scale)], e.shape) if layer.scale != 1.0 else e)
    g.mask = before
    shape = (rows, sum(int(part.shape[1]) for part in parts))
    return g.node("Concat", parts, shape, axis=1) if len(parts) > 1 else parts[0]

"""ONNX nodes of embeddings: numbers of words, given in the network's type, become vectors.

ONNX's Gather counts a negative number from the end, and a fraction would be cut off in silence. So what is no whole
number, or below 0, is replaced by a number beyond every vocabulary, which the specification of Gather calls an error:
onnxruntime then stops on a CPU, as it does for numbers that are too large.
"""

from __future__ import annotations

from ...layers import EmbedColumns, Embedding
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lowers

NO_WORD = 2.0**31  # more than the rows of any W that fits in a file


@lowers(Embedding)
def embedding(g: Graph, layer: Embedding, x: Value, path: str) -> Value:
    """y = W[x]"""
    return vectors(g, layer, word_numbers(g, g.channels_last(x)), path)


@lowers(EmbedColumns)
def embed_columns(g: Graph, layer: EmbedColumns, x: Value, path: str) -> Value:
    """y = [n, W₁[c₁], W₂[c₂], ...]"""
    rows, k = x.shape[0], len(layer.embeddings)
    m = int(x.shape[1]) - k
    parts, columns = [], x
    if m:
        numbers, columns = g.node_of_several("Split", [x, g.whole(m, k)], [(rows, m), (rows, k)], axis=1)
        parts = [numbers]
    words = word_numbers(g, columns)
    for j, inner in enumerate(layer.embeddings):
        column = g.node("Gather", [words, g.constant(j)], (rows,), axis=1)
        parts.append(vectors(g, inner, column, join(path, str(j))))
    if len(parts) == 1:
        return parts[0]
    return g.node("Concat", parts, (rows, m + sum(e.dim for e in layer.embeddings)), axis=1)


def word_numbers(g: Graph, x: Value) -> Value:
    """The words of x as int64; a number beyond every vocabulary for what is none.

    >>> import numpy as np
    >>> g = Graph({}, np.dtype(np.float32))
    >>> words = word_numbers(g, Value("x", ("batch", 5)))
    >>> [node.op_type for node in g.nodes]
    ['Floor', 'Abs', 'Equal', 'Where', 'Cast']
    """
    size = g.node("Abs", [g.node("Floor", [x], x.shape)], x.shape)  # |⌊x⌋| is x for whole numbers from 0 on alone
    is_word = g.node("Equal", [size, x], x.shape)
    at = g.node("Where", [is_word, x, g.number(NO_WORD)], x.shape)
    return g.node("Cast", [at], x.shape, to=int(g.onnx.TensorProto.INT64))


def vectors(g: Graph, layer: Embedding, words: Value, path: str) -> Value:
    """The rows of the embedding's W that `words`, what `word_numbers` gives, stand for."""
    return g.node("Gather", [g.parameter(join(path, "W")), words], (*words.shape, layer.dim), axis=0)

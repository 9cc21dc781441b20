"""WordColumns: the last columns of a row hold the words of texts, each of which becomes a vector.

    x (B, m + Σ Tⱼ) = [n, x₁ … x_k]      n (B, m) other columns, xⱼ (B, Tⱼ) numbers of words, 0 behind the end of a text
    y (B, q + Σ dⱼ) = [g(n), e₁ … e_k]   eⱼ (B, dⱼ)

    Forward   (1) xⱼ ← xⱼ κⱼ             in training: κ is 0 with probability p, else 1: a word that is left out is 0
              (2) μⱼ[i, t] = [xⱼ[i, t] > 0]        the mask of text j (see `time_steps`)
              (3) eⱼ = s fⱼ(xⱼ; μⱼ)      fⱼ reads the words that are there, such as the mean of their vectors
              (4) y = [g(n), e₁ … e_k]
    Backward  (5) fⱼ learns from s dyⱼ, dyⱼ being eⱼ's part of dy; words have no derivative
              (6) dn = g'ᵀ dy_g, or dy_g itself without g

(1) makes a network rely on no word alone. With the mean as f it is the word dropout of Iyyer, Manjunatha, Boyd-Graber
and Daumé, Deep Unordered Composition Rivals Syntactic Methods for Text Classification (ACL 2015). In (3), a penalty
½ l2 (Σ W² + Σ V²) on the vectors W and the layer V above them is as weak as one of strength l2 / s with s = 1.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..backends.philox import threshold_of
from ..config import BelowOne, Count, Positive, as_call
from ..errors import ShapeError
from .base import Layer, Look, Workspace
from .composition import plan_child
from .plan import Buffer, Plan, join

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False, init=False)
class WordColumns(Layer):
    """The last columns of a row are the words of one or more texts; each text becomes a vector, beside the others.

    readers: for each text a layer from (B, T) numbers of words to (B, d), such as Sequential(Embedding(V, d),
    MeanOverTime()). They get a mask of the words that are not 0. lengths: T of each text, in the order of the columns.
    columns: a layer for the columns before the texts; None if these stay. dropout: p, the share of words that are left
    out in training. scale: s. Input (B, m + Σ T), output (B, q + Σ d). It stands lowest: words have no derivative.
    Raises ShapeError for rows with fewer columns, and for readers that give no vectors; DataError for numbers that are
    no words.

    >>> import gpubp as bp
    >>> read = bp.Sequential(bp.Embedding(1000, 8), bp.MeanOverTime())
    >>> layer = bp.WordColumns(read, lengths=4)
    >>> net = bp.Network(layer, input_shape=6, device="cpu")
    >>> y = net.predict([[0.5, -1.0, 7, 9, 0, 0], [0.5, -1.0, 9, 7, 0, 0], [0.5, -1.0, 0, 0, 0, 0]])
    >>> y.shape, bool((y[0] == y[1]).all()), bool(y[2, 2:].any())
    ((3, 10), True, False)
    """

    readers: tuple[Layer, ...]
    lengths: tuple[Count, ...]
    columns: Layer | None
    dropout: BelowOne
    scale: Positive
    exact = True

    def __init__(
        self,
        *readers: Layer,
        lengths: Any,
        columns: Layer | None = None,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        for reader in (*readers, *([] if columns is None else [columns])):
            if not isinstance(reader, Layer):
                raise TypeError(f"WordColumns reads texts by layers, and got {reader!r:.200}{as_call(reader)}")
        given = {"readers": readers, "lengths": lengths, "columns": columns, "dropout": dropout, "scale": scale}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self.__post_init__()
        if isinstance(self.lengths, int):
            object.__setattr__(self, "lengths", (self.lengths,))
        if not readers or len(self.lengths) != len(readers):
            raise ValueError(
                f"WordColumns needs a length for each reader: it has {len(readers)}, and lengths {lengths!r}"
            )
        object.__setattr__(self, "lengths", tuple(self.lengths))

    @property
    def children(self) -> tuple[Layer, ...]:
        """The layer of the other columns, if there is one, and the readers."""
        return self.readers if self.columns is None else (self.columns, *self.readers)

    def _texts(self, width: int) -> Iterator[tuple[int, slice]]:
        """The number of each reader among the children, and its columns of rows of this width."""
        start, first = width - sum(self.lengths), len(self.children) - len(self.readers)
        for i, length in enumerate(self.lengths, first):
            yield i, slice(start, start + length)
            start += length

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """To the readers, and to the layer of the other columns. A word that is left out is 0, a word too."""
        if self.columns is not None:
            self.columns.follow_inputs(X[:, : X.shape[1] - sum(self.lengths)], look, join(path, "0"), training)
        for i, columns in self._texts(X.shape[1]):
            self.children[i].follow_inputs(X[:, columns], look, join(path, str(i)), training)
        return None

    def plan(self, x: Shape) -> Plan:
        """A mask and a gradient for each text; the kept words of training."""
        T = sum(self.lengths)
        if len(x) != 2 or x[1] < T + (self.columns is not None):
            more = " after other columns" if self.columns is not None else ""
            raise ShapeError(f"expects rows that end in {T} columns of words{more}, and got rows of shape {x[1:]}")
        B, m = x[0], x[1] - T
        plans = [] if self.columns is None else [plan_child(self.columns, 0, (B, m))]
        arrays: dict[str, Any] = {"kept": Buffer((B, T), "bool"), "dx": x}
        for i, length in enumerate(self.lengths, len(plans)):
            plans.append(plan_child(self.children[i], i, (B, length)))
            arrays |= {f"words{i}": (B, length), f"mu{i}": (B, length)}
        for i, p in enumerate(plans):
            if len(p.output) != 2:
                raise ShapeError(
                    f"expects a vector of each text, and layer {i} gives rows of shape {p.output[1:]}; end it with "
                    "MeanOverTime(), or a GRU(units)"
                )
            arrays[f"dy{i}"] = p.output
        y = (B, sum(p.output[1] for p in plans) + (m if self.columns is None else 0))
        return Plan(output=y, arrays=arrays | {"y": y}, children=plans)

    def masks_of_children(self, ws: Workspace) -> Sequence[Array | None]:
        """Of each text its own."""
        masks = [getattr(ws, f"mu{i}") for i in range(len(self.children) - len(self.readers), len(self.children))]
        return [*([] if self.columns is None else [None]), *masks]

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (4)"""
        m = ws.m = x.shape[1] - sum(self.lengths)
        if self.columns is not None:
            others = ws.children[0].run_forward(x[:, :m])
            m = others.shape[1]
            ws.xp.copyto(ws.y[:, :m], others)
        elif m:
            ws.xp.copyto(ws.y[:, :m], x[:, :m])
        rate = threshold_of(self.dropout) if ws.training else 0
        if rate:
            key = (ws.context.seed, zlib.crc32(ws.path.encode()))
            ws.be.random_mask(ws.kept, rate, key, ws.context.step, ws.context.first * math.prod(ws.kept.shape[1:]))
        ws.start, s = m, ws.be.constant(self.scale, ws.dtype)
        for i, columns in self._texts(x.shape[1]):
            words, start = getattr(ws, f"words{i}"), x.shape[1] - sum(self.lengths)
            if rate:
                kept = ws.kept[:, columns.start - start : columns.stop - start]
                ws.xp.multiply(x[:, columns], kept, out=words)  # (1)  xⱼ ← xⱼ κⱼ
            else:
                ws.xp.copyto(words, x[:, columns])
            ws.be.apply(_there, words, out=getattr(ws, f"mu{i}"))  # (2)  μⱼ = [xⱼ > 0]
            e = ws.children[i].run_forward(words)
            ws.xp.multiply(e, s, out=ws.y[:, m : m + e.shape[1]])  # (3)  eⱼ = s fⱼ
            m += e.shape[1]
        return ws.y  # (4)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(5), and what g learns"""
        if self.columns is not None and ws.children[0].trainable:
            ws.xp.copyto(ws.dy0, dy[:, : ws.start])
            ws.dn = ws.children[0].run_backward(ws.dy0)
        start, s = ws.start, ws.be.constant(self.scale, ws.dtype)
        for i, _ in self._texts(ws.m + sum(self.lengths)):
            de = getattr(ws, f"dy{i}")
            if ws.children[i].trainable:
                ws.xp.multiply(dy[:, start : start + de.shape[1]], s, out=de)
                ws.children[i].run_backward(de)  # (5)
            start += de.shape[1]

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6), and 0 where the words are"""
        dn = dy[:, : ws.start]
        if self.columns is not None:
            if not ws.children[0].trainable:
                ws.xp.copyto(ws.dy0, dn)
                ws.dn = ws.children[0].run_backward(ws.dy0)
            dn = ws.dn
        if ws.m:
            ws.xp.copyto(ws.dx[:, : ws.m], dn)  # (6)
        return ws.dx

    def wanted_by_children(self, wants_dx: bool, trainable: Sequence[bool]) -> list[bool]:
        """That of the other columns' layer: words have no derivative."""
        return [wants_dx and i < len(trainable) - len(self.readers) for i in range(len(trainable))]


def _there(x: Value) -> Value:
    return (x > 0.0) * 1.0

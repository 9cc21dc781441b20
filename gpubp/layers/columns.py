"""EmbedColumns: the last columns of a row hold category numbers, which become embedding vectors.

x (B, m + k) = [n, c₁ … c_k]      n (B, m) numbers, cⱼ (B,) numbers of words, Wⱼ (Vⱼ, dⱼ)
y (B, m + Σ dⱼ) = [n, e₁ … e_k]

Forward   (1) eⱼ = Wⱼ[cⱼ]              each column of words becomes vectors of its own; the numbers stay
Backward  (2) dWⱼ[v] = Σ_i [cⱼᵢ = v] deⱼᵢ     as in `embedding`, deⱼ being eⱼ's part of dy
          (3) dn = the first m of dy          and the words have no derivative
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..config import as_call
from ..errors import ShapeError
from .base import Layer, Look, Workspace
from .embedding import Embedding
from .plan import Plan, join


@dataclass(frozen=True, repr=False, init=False)
class EmbedColumns(Layer):
    """The last columns of a row, numbers of words, become vectors beside the columns before them.

    embeddings: an Embedding for each of these columns, in their order. Input (B, m + k), output (B, m + Σ dim). It
    stands lowest: the words have no derivative. Raises ShapeError for rows with fewer columns than embeddings, and
    DataError for numbers that are no words.

    >>> import gpubp as bp
    >>> layer = bp.EmbedColumns(bp.Embedding(1000, 8), bp.Embedding(40, 4))
    >>> bp.Network(layer, input_shape=5, device="cpu").predict([[0.5, 1.0, -1.0, 999, 39]]).shape
    (1, 15)
    """

    embeddings: tuple[Embedding, ...]
    exact = True

    def __init__(self, *embeddings: Embedding) -> None:
        if not embeddings or not all(isinstance(e, Embedding) for e in embeddings):
            raise TypeError(
                f"EmbedColumns needs an Embedding for each column of words, and got {embeddings!r}"
                f"{next(filter(None, map(as_call, embeddings)), '')}"
            )
        object.__setattr__(self, "embeddings", tuple(embeddings))

    @property
    def children(self) -> tuple[Layer, ...]:
        """The embeddings."""
        return self.embeddings

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """To the embeddings, each of which reads a column."""
        first = X.shape[-1] - len(self.embeddings)
        for j, embedding in enumerate(self.embeddings):
            look(embedding, X, join(path, str(j)), first + j)
        return None

    def plan(self, x: Shape) -> Plan:
        """The columns that stay, and the vectors."""
        k = len(self.embeddings)
        if len(x) != 2 or x[1] < k:
            raise ShapeError(
                f"expects rows that end in {k} column{'s' if k > 1 else ''} of words and got rows of shape {x[1:]}"
            )
        plans = [e.plan((x[0],)) for e in self.embeddings]
        y = (x[0], x[1] - k + sum(e.dim for e in self.embeddings))
        parts = {f"dy{j}": p.output for j, p in enumerate(plans)}
        return Plan(output=y, arrays={"y": y, "dx": x, **parts}, children=plans)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        m = ws.m = x.shape[1] - len(self.embeddings)
        if m:
            ws.xp.copyto(ws.y[:, :m], x[:, :m])
        for j, part in enumerate(self._parts(ws.y, m)):
            ws.xp.copyto(part, ws.children[j].run_forward(x[:, m + j]))  # (1)  eⱼ = Wⱼ[cⱼ]
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2)"""
        for j, part in enumerate(self._parts(dy, ws.m)):
            if ws.children[j].trainable:
                de = getattr(ws, f"dy{j}")
                ws.xp.copyto(de, part)
                ws.children[j].run_backward(de)  # (2)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3)"""
        if ws.m:
            ws.xp.copyto(ws.dx[:, : ws.m], dy[:, : ws.m])  # (3), and 0 stays where the words are
        return ws.dx

    def wanted_by_children(self, wants_dx: bool, trainable: Sequence[bool]) -> list[bool]:
        """None of them: words have no derivative."""
        return [False] * len(trainable)

    def _parts(self, whole: Array, start: int) -> list[Array]:
        views = []
        for embedding in self.embeddings:
            views.append(whole[:, start : start + embedding.dim])
            start += embedding.dim
        return views

"""Rows: short ways to write nodes on vectors with one entry a row, and errors that a graph raises in words.

ONNX has no operation that raises an error. So a bad row picks entry number r > 0 of a list that has entry 0 alone. The
runtime then names the node that failed, and the name is the message. r is the number of the row, counted from 1.
The list holds a text, because GPUs have no texts, and leave such nodes to the processor, which checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import BATCH, Graph, Value

Given = Value | float | str | bool
N = (BATCH,)


class Rows:
    """Nodes on the rows of a batch. g: the graph. like: an input of the graph whose first axis is the batch.

    Operands are values, or numbers, texts and truths of Python, which become constants in float64, int64, string and
    bool. All results are (n,) unless a shape is given.

    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> rows.op("Mul", Value("y", ("batch",)), 2.0)
    Value(name='Mul', shape=('batch',), channels_first=False)
    """

    def __init__(self, g: Graph, like: Value) -> None:
        self.g, self._like = g, like
        self._numbers: Value | None = None
        self._from_one: Value | None = None
        self._mark: Value | None = None
        self._guards: list[Value] = []

    def op(self, op: str, *inputs: Given, shape: Sequence[int | str] = N, **attributes: Any) -> Value:
        """The result of one node."""
        return self.g.node(op, [self.given(x) for x in inputs], shape, **attributes)

    def given(self, x: Given) -> Value | str:
        """A value, or the name of a constant."""
        if isinstance(x, Value):
            return x
        kind: Any = {str: object, bool: np.bool_, int: np.int64, float: np.float64}[type(x)]
        return self.g.constant(np.asarray(x, kind))

    def cast(self, x: Value, to: str) -> Value:
        """x in another type: "DOUBLE", "FLOAT", "INT64", "BOOL" or "STRING"."""
        return self.op("Cast", x, shape=x.shape, to=int(getattr(self.g.onnx.TensorProto, to)))

    def where(self, condition: Value, yes: Given, no: Given) -> Value:
        """Of each row `yes` or `no`."""
        return self.op("Where", condition, yes, no)

    def any(self, *truths: Value) -> Value:
        """Whether one of these is true."""
        first, *rest = truths
        for one in rest:
            first = self.op("Or", first, one)
        return first

    def all(self, *truths: Value) -> Value:
        """Whether all of these are true."""
        first, *rest = truths
        for one in rest:
            first = self.op("And", first, one)
        return first

    def no(self, truth: Value) -> Value:
        """The opposite."""
        return self.op("Not", truth)

    def matches(self, text: Value, pattern: str) -> Value:
        """Whether the whole of a text matches a regular expression of RE2."""
        return self.op("RegexFullMatch", text, shape=text.shape, pattern=pattern)

    def flat(self, x: Value) -> Value:
        """(n, 1) as (n,)"""
        return self.op("Reshape", x, Value(self.g.whole(-1), (1,)))

    def column(self, x: Value, at: int) -> Value:
        """Column number `at` of a matrix."""
        return self.op("Gather", x, at, axis=1)

    def side_by_side(self, columns: Sequence[Value]) -> Value:
        """Vectors as the columns of a matrix."""
        wide = [self.op("Unsqueeze", c, Value(self.g.whole(1), (1,)), shape=(BATCH, 1)) for c in columns]
        return wide[0] if len(wide) == 1 else self.op("Concat", *wide, shape=(BATCH, len(wide)), axis=1)

    def count(self) -> Value:
        """How many rows there are, (1,)."""
        return self.op("Shape", self._like, shape=(1,), start=0, end=1)

    def numbers(self) -> Value:
        """0, 1, 2, ..."""
        if self._numbers is None:
            count = self.op("Squeeze", self.count(), shape=())
            self._numbers = self.op("Range", 0, count, 1)
        return self._numbers

    def always(self) -> Value:
        """True for each row."""
        return self.op("Equal", self.numbers(), self.numbers())

    def mark(self) -> Value:
        """The mark of decimals, (1,), in texts that the runtime casts to numbers.

        It is a comma where the program around the runtime has set the locale of such a country: then 1.5 becomes 1.
        """
        if self._mark is None:
            always = self.op("Equal", self.count(), self.count(), shape=(1,))  # so that the mark is found in each run
            one = self.op("Where", always, "1.5", "1.5", shape=(1,))
            point = self.op("Greater", self.cast(one, "DOUBLE"), 1.25, shape=(1,))
            self._mark = self.op("Where", point, ".", ",", shape=(1,))
            one = self.op("StringConcat", self.op("StringConcat", "1", self._mark, shape=(1,)), "5", shape=(1,))
            wrong = self.op("Less", self.cast(one, "DOUBLE"), 1.25, shape=(1,))
            self.refuse(wrong, "the locale of this program has a mark of decimals that is neither . nor ,")
        return self._mark

    def refuse(self, bad: Value, message: str) -> None:
        """Let the graph fail with this message where a row is bad."""
        g = self.g
        if self._from_one is None:
            self._from_one = self.op("Add", self.numbers(), 1)
        at = self.op("Where", bad, self._from_one, 0)
        alone = g.constant(np.array(["0"], object))
        told = g.node("Gather", [alone, at], N, axis=0)
        g.nodes[-1].name = g.named(f"{message}; idx is the row, counted from 1")
        self._guards.append(self.cast(told, "DOUBLE"))

    def checked(self, x: Value) -> Value:
        """x (n, m) float32, which can be had where no row is bad."""
        if not self._guards:
            return x
        g = self._guards
        zero = self.op("Sum", *g) if len(g) > 1 else g[0]
        wide = self.op("Unsqueeze", self.cast(zero, "FLOAT"), Value(self.g.whole(1), (1,)), shape=(BATCH, 1))
        return self.op("Add", x, wide, shape=x.shape)

"""TimeMask: which time steps of each row are there, as nodes of a graph.

The layers inside a network with input_shape (None, ...), and the readers of texts, go by a mask (batch, time), as they
do in gpubp: see `layers/time_steps.py`. It is `Graph.mask`; None where all rows have all steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph, Value

TIME = "time"  # the name of the axis of time steps, where it has any length


class TimeMask:
    """Which time steps are there, and what layers make of that; each is made once.

    there: (batch, T), bool. places: (T,), 0 ... T-1. ends: whether no step is missing before one that is there.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> mask = mask_of_lengths(g, Value("x", ("batch", TIME, 3)), Value("lengths", ("batch",)))
    >>> mask.there.shape, mask.column(g, Value("x", ("batch", TIME, 3), channels_first=True)).shape
    (('batch', 'time'), ('batch', 1, 'time'))
    """

    def __init__(self, there: Value, places: Value | str, ends: bool, counts: Value | None = None) -> None:
        self.there, self.places, self.ends = there, places, ends
        self._made: dict[str, Value] = {} if counts is None else {"counts": counts}

    def column(self, g: Graph, x: Value) -> Value:
        """The mask in a shape that goes with x, (batch, T, 1, ...), or (batch, 1, T, ...) where channels are first."""
        if (ones := len(x.shape) - 2) == 0:
            return self.there
        (rows, T), before = self.there.shape, int(x.channels_first)
        shape = (rows, *[1] * before, T, *[1] * (ones - before))
        axes = g.whole(*(i for i in range(1, len(x.shape)) if i != 1 + before))
        return self._once(g, f"{ones} {before}", "Unsqueeze", [self.there, axes], shape)

    def counts(self, g: Graph) -> Value:
        """How many steps each row has, (batch,), int64."""
        whole = self.as_whole(g)
        return self._once(g, "counts", "ReduceSum", [whole, g.whole(1)], whole.shape[:1], keepdims=0)

    def as_whole(self, g: Graph) -> Value:
        """The mask as whole numbers, int64."""
        return self._once(g, "whole", "Cast", [self.there], self.there.shape, to=int(g.onnx.TensorProto.INT64))

    def at_least_one(self, g: Graph) -> Value:
        """The larger of `counts` and 1, (batch,), int64."""
        counts = self.counts(g)
        return self._once(g, "at_least_one", "Max", [counts, g.whole(1)], counts.shape)

    def some(self, g: Graph) -> Value:
        """Whether a row has any step, (batch, 1), bool."""
        counts = self.counts(g)
        some = self._once(g, "some", "Greater", [counts, g.whole(0)], counts.shape)
        return self._once(g, "some_column", "Unsqueeze", [some, g.whole(1)], (*some.shape, 1))

    def without_padding(self, g: Graph, x: Value, instead: float = 0.0) -> Value:
        """x with `instead` where there is no step, whatever stands there."""
        return g.node("Where", [self.column(g, x), x, g.number(instead)], x.shape, x.channels_first)

    def _once(self, g: Graph, name: str, op: str, inputs: Any, shape: Any, **more: Any) -> Value:
        if name not in self._made:
            self._made[name] = g.node(op, inputs, shape, **more)
        return self._made[name]


def mask_of_lengths(g: Graph, x: Value, lengths: Value) -> TimeMask:
    """The mask of rows x (batch, time, ...) with so many steps, (batch,) int64.

    Lengths below 0, and more steps than x has, are read from a place that a list does not have, which is an error of
    the runtime.
    """
    zero, one = (g.constant(np.asarray(n, np.int64)) for n in (0, 1))
    T = g.node("Squeeze", [g.node("Shape", [x], (1,), start=1, end=2)], ())
    beyond = g.node("Add", [T, one], ())
    all_lengths = g.node("Range", [zero, beyond, one], ("time + 1",))
    wrong = g.node("Less", [lengths, zero], lengths.shape)
    place = g.node("Where", [wrong, beyond, lengths], lengths.shape)
    checked = g.node("Gather", [all_lengths, place], lengths.shape, axis=0)
    places = g.node("Range", [zero, T, one], (TIME,))
    column = g.node("Unsqueeze", [checked, g.whole(1)], (x.shape[0], 1))
    return TimeMask(g.node("Less", [places, column], x.shape[:2]), places, ends=True, counts=checked)


def mask_of_words(g: Graph, words: Value) -> TimeMask:
    """The mask of texts (batch, T), in which 0 is no word; one may be missing between others.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> mask_of_words(g, Value("x", ("batch", 5))).ends
    False
    """
    there = g.node("Greater", [words, g.number(0.0)], words.shape)
    return TimeMask(there, g.whole(*range(int(words.shape[1]))), ends=False)


def places_of(g: Graph, x: Value) -> Value | str:
    """0 ... T-1 for the T time steps of x (batch, T, ...), (T,) int64.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> g.constants[places_of(g, Value("x", ("batch", 3, 2)))].tolist()
    [0, 1, 2]
    """
    if isinstance(x.shape[1], int):
        return g.whole(*range(x.shape[1]))
    mask: TimeMask = g.mask  # an axis of any length comes with the lengths of its rows
    return mask.places

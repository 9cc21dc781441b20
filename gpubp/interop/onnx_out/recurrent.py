"""ONNX nodes of recurrent layers: one node RNN, GRU or LSTM for a layer, and one for both directions.

ONNX has time first, x (T, B, n), and weights (D, k m, n), (D, k m, m), (D, 2 k m) of D directions, whose k parts are in
the order z r h of a GRU and i o f c of an LSTM; gpubp has r z n, and i f g o. The two biases of ONNX belong to x and to
the state. The GRU's reset gate stands behind the product, which is linear_before_reset=1.

Where rows end at different lengths, the node is told the lengths. Where steps may be missing in the middle, as in a
text, those that are there are first put side by side, and afterwards each state is put behind its step again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...layers import GRU, LSTM, Bidirectional, SimpleRNN
from ...layers.plan import join
from ...layers.recurrent import Recurrent, parts_of
from .graph import Array, Graph, Value
from .lowering import lowers
from .time_mask import TimeMask

CELLS: dict[type[Recurrent], tuple[str, tuple[int, ...]]] = {
    SimpleRNN: ("RNN", (0,)),
    GRU: ("GRU", (1, 0, 2)),
    LSTM: ("LSTM", (0, 3, 1, 2)),
}  # the operation, and which part of gpubp's each of its parts is
Cells = Sequence[tuple[Recurrent, str]]  # a layer for each direction, and its path


@lowers(SimpleRNN, GRU, LSTM)
def recurrent(g: Graph, layer: Recurrent, x: Value, path: str) -> Value:
    """A layer that reads in one direction."""
    return _node(g, [(layer, path)], x, path, "reverse" if layer.reverse else "forward")


@lowers(Bidirectional)
def bidirectional(g: Graph, layer: Bidirectional, x: Value, path: str) -> Value:
    """Both directions in one node; ONNX has the states of the forward one first."""
    cells = [(child, join(path, str(i))) for i, child in enumerate(layer.branches) if isinstance(child, Recurrent)]
    return _node(g, cells, x, path, "bidirectional")


def _node(g: Graph, cells: Cells, x: Value, path: str, direction: str) -> Value:
    layer, D = cells[0][0], len(cells)
    mask: TimeMask | None = g.mask
    (rows, T, _), m = x.shape, layer.units
    op, order = next(found for cls, found in CELLS.items() if isinstance(layer, cls))
    turned = D == 2 and layer.reverse
    in_order = cells[::-1] if turned else cells
    arrays = zip(*(_weights(g, at, order) for _, at in in_order), strict=True)
    weights = [g.changed(join(path, name), np.stack(of_all)) for name, of_all in zip("WUb", arrays, strict=True)]
    scattered = mask if mask is not None and not mask.ends else None
    if scattered is not None:
        x = _side_by_side(g, scattered, g.channels_last(x))
    of_x = g.node("Transpose", [x], (T, rows, x.shape[2]), perm=[2, 0, 1] if x.channels_first else [1, 0, 2])
    ends: Value | str = ""
    if mask is not None:
        known = mask.at_least_one(g)
        ends = g.node("Cast", [known], known.shape, to=int(g.onnx.TensorProto.INT32))
    inputs = [of_x, *weights, ends, *_states(g, in_order, x, path)]
    while inputs[-1] == "":
        inputs.pop()
    all_states, last = (T, D, rows, m), (D, rows, m)
    keeps = layer.return_sequences
    made = g.node_of_several(
        op, inputs, [all_states] if keeps else [None, last], hidden_size=m, direction=direction,
        linear_before_reset=1 if op == "GRU" else None,
    )  # fmt: skip
    y = made[-1]
    if keeps:
        y = g.node("Transpose", [y], (rows, T, D, m), perm=[2, 0, 1, 3])
        return _joined(g, y, turned) if scattered is None else _apart(g, scattered, y, cells, turned)
    y = _joined(g, g.node("Transpose", [y], (rows, D, m), perm=[1, 0, 2]), turned)
    if mask is None:
        return y
    learned = layer.initial_state == "learned"
    first = g.constant(_first(g, cells, "h").reshape(-1), "state") if learned else g.number(0.0)
    return g.node("Where", [mask.some(g), y, first], y.shape)  # of a row without any step


def _states(g: Graph, cells: Cells, x: Value, path: str) -> list[Value]:
    """The learned states before all steps, (D, batch, m) each; none where they are 0."""
    layer = cells[0][0]
    if layer.initial_state != "learned":
        return []
    count = g.node("Shape", [x], (1,), start=0, end=1)
    wide = g.node("Concat", [g.whole(1), count, g.whole(1)], (3,), axis=0)
    shape = (len(cells), x.shape[0], layer.units)
    first = [g.changed(join(path, f"{name}0"), _first(g, cells, name)[:, None]) for name in layer.carried]
    return [g.node("Expand", [state, wide], shape) for state in first]


def _weights(g: Graph, path: str, order: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """W (k m, n), U (k m, m) and the two biases (2 k m,), as ONNX has them, of the layer at `path`."""
    W, U, b = (
        np.concatenate([parts_of(g.array(join(path, name)), len(order))[k] for k in order], axis=-1) for name in "WUb"
    )
    of_state = np.zeros_like(b)
    if len(order) == 3:
        of_state[-(len(b) // 3) :] = g.array(join(path, "b_U"))  # n is the last part in both
    return W.T, U.T, np.concatenate([b, of_state])


def _first(g: Graph, cells: Cells, name: str) -> Array:
    """The learned states before all steps, (D, m)."""
    return np.stack([g.array(join(path, f"{name}0")) for _, path in cells])


def _joined(g: Graph, y: Value, turned: bool) -> Value:
    """(..., D, m) as (..., D m). turned: whether the direction that comes second is to be first."""
    if turned:
        y = g.node("Gather", [y, g.whole(1, 0)], y.shape, axis=len(y.shape) - 2)
    *outer, D, m = y.shape
    shape = (*outer, int(D) * int(m))
    return g.node("Reshape", [y, g.whole(*[0] * len(outer), int(shape[-1]))], shape)


def _side_by_side(g: Graph, mask: TimeMask, x: Value) -> Value:
    """x (batch, T, n) with the steps that are there first, in their order, and then the others."""
    T = int(x.shape[1])
    early = g.node("Where", [mask.there, g.whole(*range(T, 0, -1)), g.whole(*range(0, -T, -1))], x.shape[:2])
    _, places = g.node_of_several("TopK", [early, g.whole(T)], [x.shape[:2], x.shape[:2]], axis=1)
    return _picked(g, x, places)


def _apart(g: Graph, mask: TimeMask, y: Value, cells: Cells, turned: bool) -> Value:
    """The states y (batch, T, D, m) of `_side_by_side` behind their steps again, (batch, T, D m); where there is no
    step, the state that was carried over."""
    rows, (T, D, m) = y.shape[0], (int(n) for n in y.shape[1:])
    read = g.node("CumSum", [mask.as_whole(g), g.constant(np.asarray(1, np.int64))], (rows, T))  # steps up to each
    counts = g.node("Unsqueeze", [mask.counts(g), g.whole(1)], (rows, 1))
    parts = []
    for i, (layer, path) in enumerate(cells):
        direction = g.constant(np.asarray(D - 1 - i if turned else i, np.int64))
        states = g.node("Gather", [y, direction], (rows, T, m), axis=2)
        if layer.reverse:
            before = g.node("Sub", [read, mask.as_whole(g)], (rows, T))
            some = g.node("Less", [before, counts], (rows, T))
            place = g.node("Min", [before, g.whole(T - 1)], (rows, T))
        else:
            some = g.node("Greater", [read, g.whole(0)], (rows, T))
            place = g.node("Sub", [g.node("Max", [read, g.whole(1)], (rows, T)), g.whole(1)], (rows, T))
        learned = layer.initial_state == "learned"
        first = g.constant(g.array(join(path, "h0")), "state") if learned else g.number(0.0)
        column = g.node("Unsqueeze", [some, g.whole(-1)], (rows, T, 1))
        parts.append(g.node("Where", [column, _picked(g, states, place), first], (rows, T, m)))
    return g.node("Concat", parts, (rows, T, D * m), axis=2) if len(parts) > 1 else parts[0]


def _picked(g: Graph, x: Value, places: Value) -> Value:
    """x[i, places[i, t]] for every row i."""
    column = g.node("Unsqueeze", [places, g.whole(-1)], (*places.shape, 1))
    return g.node("GatherND", [x, column], x.shape, batch_dims=1)

"""LSTM, GRU and RNN, and both directions of them, in the order of gates that gpubp has."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers import GRU, LSTM, Bidirectional, LastStep, SimpleRNN
from .layout import Layout, Part, length
from .model import Node
from .reader import Reader, expanded, reads
from .refused import Refused
from .sizes import Size
from .values import Array, Const, Data, Filled, Later, Unknown, Value

# The parts of the weights: where gpubp's first, second, ... part stands in the file.
ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # i o f c -> i f g o; z r h -> r z n
CELLS: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": SimpleRNN}
FUNCTIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@reads("LSTM", "GRU", "RNN")
def recurrent(r: Reader, node: Node) -> list[Value]:
    """All states (Y), and the last (Y_h)."""
    directions = _directions(node)
    D = len(directions)
    _check_attributes(node, D)
    W, R = r.numbers(node, 1, "W"), r.numbers(node, 2, "R")
    if W is None or R is None or W.ndim != 3 or R.ndim != 3 or len(W) != D or len(R) != D:
        raise Refused("its weights W and R must have three axes, the first of them for the directions")
    k, m = len(ORDER[node.op]), R.shape[2]
    if R.shape[1] != k * m or W.shape[1] != k * m or node.whole("hidden_size", m) != m:
        raise Refused(f"W of shape {W.shape} and R of shape {R.shape} do not fit each other")
    B = r.numbers(node, 3, "B")
    B = np.zeros((D, 2 * k * m), W.dtype) if B is None else B
    if B.shape != (D, 2 * k * m):
        raise Refused(f"B of shape {B.shape}, for {D} directions of {m} units")
    x, time, ox_of = _input(r, node, W.shape[2])
    _check_lengths(r, node, length(time))
    states = {name: _state(r, node, n, D, m) for n, name in ((5, "h0"), (6, "c0")) if name == "h0" or node.op == "LSTM"}
    learned = any(s is not None for s in states.values())
    parameters = []
    for d in range(D):
        arrays = {"W": _gates(W[d], node.op).T, "U": _gates(R[d], node.op).T, **_biases(B[d], node, k, m)}
        if learned:
            arrays |= {name: np.zeros(m, W.dtype) if s is None else s[d] for name, s in states.items()}
        parameters.append(arrays)
    state = "learned" if learned else "zeros"
    unit = Part(m)
    both = (Part(2),) if D == 2 else ()
    b = (r.batch,)

    def layer(all_states: bool) -> tuple[Any, dict[str, Array]]:
        cell = CELLS[node.op](m, all_states, directions[0] == "reverse", state)
        if D == 1:
            return cell, parameters[0]
        named = {f"{d}.{name}": a for d, of in enumerate(parameters) for name, a in of.items()}
        return Bidirectional(cell), named

    used = [name in r.readers if name else False for name in (*node.outputs, "", "", "")[:3]]
    if used[2]:
        raise Refused("its last memory Y_c is used; gpubp's LSTM gives its states alone")
    gp = (b, time, (*both, unit))
    every = Layout(gp, ox_of(time, both, b, (unit,)), r.batch)
    last = Layout((b, (*both, unit)), ox_of(None, both, b, (unit,)), r.batch)

    def made(all_states: bool) -> Any:
        cell, arrays = layer(all_states)
        return lambda r: r.step(cell, [x], every if all_states else last, (node,), arrays)

    Y, Y_h = Later(made(True), every), Later(made(False), last)
    if used[0] and D == 1 and directions[0] == "forward":  # all states have the last among them
        Y_h = Later(lambda r: r.step(LastStep(), [r.data(Y)], last, (node,)), last)
    return [Y, Y_h, Unknown()]


def _directions(node: Node) -> list[str]:
    given = node.text("direction", "forward")
    known = {"forward": ["forward"], "reverse": ["reverse"], "bidirectional": ["forward", "reverse"]}
    if given not in known:
        raise Refused(f"direction={given!r}")
    return known[given]


def _check_attributes(node: Node, D: int) -> None:
    functions = node.list("activations", str)
    if functions and [f.lower() for f in functions] != [f.lower() for f in FUNCTIONS[node.op] * D]:
        raise Refused(f"activations {functions}; gpubp's {CELLS[node.op].__name__} has {FUNCTIONS[node.op]}")
    if "clip" in node.attributes:
        raise Refused("clip; gpubp's recurrent layers do not clip")
    if node.op == "LSTM" and node.whole("input_forget", 0):
        raise Refused("input_forget=1; gpubp's LSTM has a forget gate of its own")
    if len(node.inputs) > 7 and node.inputs[7]:
        raise Refused("peepholes P; gpubp's LSTM has none")
    if node.op == "GRU" and not node.whole("linear_before_reset", 0):
        raise Refused("linear_before_reset=0; gpubp's GRU has the reset gate behind the product, as PyTorch and Keras")
    if node.whole("output_sequence", 1) == 0 and node.outputs and node.outputs[0]:
        raise Refused("output_sequence=0")


def _input(r: Reader, node: Node, n: int) -> tuple[Data, Any, Any]:
    """(the data, as gpubp has sequences; the axis of time; how the axes of outputs stand in the file)"""
    x = r.data(r.needed(node, 0))
    if len(x.layout.ox) != 3:
        raise Refused(f"X has {len(x.layout.ox)} axes, and must have 3")
    rows_first = node.whole("layout", 0) == 1
    batch, time = x.layout.ox[:2] if rows_first else x.layout.ox[1::-1]
    if batch != (r.batch,):
        raise Refused(
            f"its input has the axes {'rows, time' if rows_first else 'time, rows'}, numbers, and rows are elsewhere",
            order=True,
        )
    if length(x.layout.ox[2]) != n:
        raise Refused(f"its weights are for {n} numbers a step, and get {length(x.layout.ox[2])}")
    x = r.regrouped(x, (batch, time, x.layout.ox[2]))

    def ox_of(steps: Any, both: Any, b: Any, unit: Any) -> Any:
        if rows_first:
            return (b, steps, both, unit) if steps is not None else (b, both, unit)
        return (steps, both, b, unit) if steps is not None else (both, b, unit)

    return x, time, ox_of


def _check_lengths(r: Reader, node: Node, T: Any) -> None:
    given = r.value(node, 4)
    if given is None:
        return
    array = given.array if isinstance(given, Const | Filled) else None
    if array is None or isinstance(T, Size) or array.dtype.kind not in "iu" or (array != T).any():
        raise Refused("sequence_lens; gpubp knows the lengths of rows from the rows themselves")


def _state(r: Reader, node: Node, number: int, D: int, m: int) -> list[Array] | None:
    """The initial state of each direction, the same for all rows; None for zeros."""
    given = r.value(node, number)
    if given is None:
        return None
    if not isinstance(given, Const | Filled):
        raise Refused("its initial state depends on the input")
    array = given.array
    if not array.any():
        return None
    if isinstance(given, Filled) and not any(isinstance(n, Size) for n in given.shape):
        array = expanded(given).array
    rows = 0 if node.whole("layout", 0) == 1 else 1
    if array.ndim != 3 or array.shape[2] not in (1, m) or array.shape[1 - rows] not in (1, D):
        raise Refused(f"its initial state has the shape {array.shape}")
    first = np.take(array, 0, rows)
    if (array != np.expand_dims(first, rows)).any():
        raise Refused("its initial state differs from row to row")
    return list(np.broadcast_to(first, (D, m)))


def _gates(a: Array, op: str) -> Array:
    """The parts of the first axis in gpubp's order."""
    parts = a.reshape(len(ORDER[op]), -1, *a.shape[1:])
    return parts[list(ORDER[op])].reshape(a.shape)


def _biases(B: Array, node: Node, k: int, m: int) -> dict[str, Array]:
    """b, which is the sum of ONNX's two; a GRU has the second of its new content apart."""
    of_x, of_h = (_gates(part, node.op) for part in (B[: k * m], B[k * m :]))
    if node.op != "GRU":
        return {"b": of_x + of_h}
    b = of_x.copy()
    b[: 2 * m] += of_h[: 2 * m]
    return {"b": b, "b_U": of_h[2 * m :]}

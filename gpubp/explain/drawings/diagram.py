"""Diagram: what a drawing of a network shows, apart from how it looks: its layers and, of a step, their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...backends import Array
from ...layers import (
    Activation,
    AlphaDropout,
    BatchNorm,
    Bidirectional,
    Dropout,
    Ensemble,
    GaussianNoise,
    Layer,
    Parallel,
    Plan,
    PReLU,
    Recurrent,
    Residual,
    Sequential,
)
from ...layers.bound import BoundLayers, Row
from ...layers.plan import join
from ...layers.time_steps import FEWEST, bucket
from ..watch import Frame
from ..watched import Watched


class Weights(NamedTuple):
    """A parameter before the update, and ∂L/∂ of it; None where it was not computed.

    >>> Weights(np.ones((2, 3)), None).value.size
    6
    """

    value: Array
    gradient: Array | None


@dataclass(frozen=True, eq=False)
class Node:
    """A layer in the drawing.

    path: as "1.0". layer: as it is printed. kind: the name of its class. inputs, output: shapes of a row, None standing
    for time steps of any number. parameters: its own, by name. y: what it gave, batch first, and dy: ∂L/∂y; None where
    no step was computed, or the step does not know them.

    flow: how its children lie: "chain", one after the other, or "paths", side by side; "" without children. sign: what
    is done where paths meet. bypass: whether x itself is one of the paths. unitwise: whether unit j of y is computed of
    unit j of x alone. steps: of time, of a recurrent layer; 0 for others.
    """

    path: str
    layer: str
    kind: str
    inputs: Row
    output: Row
    parameters: dict[str, Weights]
    y: Array | None = None
    dy: Array | None = None
    children: tuple[Node, ...] = ()
    flow: str = ""
    sign: str = ""
    bypass: bool = False
    unitwise: bool = False
    steps: int | None = 0

    def walk(self) -> Iterator[Node]:
        """This node and all inside."""
        yield self
        for child in self.children:
            yield from child.walk()

    def without_gradients(self) -> Node:
        """The same of a forward pass alone."""
        parameters = {name: Weights(w.value, None) for name, w in self.parameters.items()}
        children = tuple(child.without_gradients() for child in self.children)
        return replace(self, parameters=parameters, dy=None, children=children)

    @property
    def count(self) -> int:
        """How many numbers its parameters hold, those of layers inside included."""
        return sum(w.value.size for node in self.walk() for w in node.parameters.values())


@dataclass(frozen=True, eq=False)
class Diagram:
    """A network, and what a step has computed; None for what there is without a step.

    root: its layers. inputs: the shape of a row. rows: of the step. x, dx: inputs, and ∂L/∂ of them. loss: as it is
    printed. t: targets. losses: ℓ of each row. value: L, the mean of ℓ by the weights of the rows. lengths: of rows in
    time steps; None where all are as long as the arrays.
    """

    root: Node
    inputs: Row
    rows: int = 0
    x: Array | None = None
    dx: Array | None = None
    loss: str = ""
    t: Array | None = None
    losses: Array | None = None
    value: float | None = None
    lengths: Array | None = None

    def real(self, a: Array | None) -> Array | None:
        """The numbers of an array (rows, ...) without those of time steps that are padding."""
        if a is None or self.lengths is None or a.shape[1:2] != self.inputs[:1]:
            return a
        if a.ndim < 3 and a is not self.x and a is not self.dx:  # of units that are as many as time steps
            return a
        kept: Array = a[np.arange(a.shape[1]) < self.lengths[:, None]]
        return kept

    def chain(self) -> list[Node]:
        """The layers that follow each other, with those of a Sequential inside a Sequential in its place."""
        return list(_chain(self.root))

    def without_gradients(self) -> Diagram:
        """The same of a forward pass alone, without targets and loss."""
        return Diagram(self.root.without_gradients(), self.inputs, self.rows, self.x, lengths=self.lengths)


def diagram_of_network(net: BoundLayers) -> Diagram:
    """The layers of a network and their parameters.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh()), 2, device="cpu")
    >>> [(node.layer, node.count) for node in diagram_of_network(net).chain()]
    [('Dense(3)', 9), ('Tanh()', 0)]
    """
    plan = net.plan(1)
    other = net.of_steps(bucket(FEWEST + 1)).plan(1) if net.has_lengths else plan
    values = {name: Weights(net.backend.to_host(a), None) for name, a in net.parameters.items()}
    return Diagram(_Nodes(values, {}, {}).of(net.layers, "", net.input_shape, plan, other), net.input_shape)


def diagram_of_step(watched: Watched) -> Diagram:
    """The layers of a network, with what a step has computed.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), 2, device="cpu")
    >>> found = diagram_of_step(Watched(net, [[1.0, 2.0]], [3.0], bp.HalfMeanSquaredError()))
    >>> found.root.dy, found.root.parameters["W"].gradient.ravel(), found.value
    (array([[-3.]], dtype=float32), array([-3., -6.], dtype=float32), 4.5)
    """
    numbers, one = watched.origins, watched.step.passes[0]
    y, dy, loss, values = {}, {}, {}, {}
    dx: Array | None = None
    last = len(watched.be.events)
    for frame in _frames(watched.be.top):
        if frame.path == "loss":
            loss[frame.method] = frame
        elif frame.method == "forward" and frame.path not in y and isinstance(frame.result, np.ndarray):
            y[frame.path] = numbers.array(frame.result, frame.last)
        elif frame.method == "backward" and isinstance(frame.arguments[0], np.ndarray):
            dy[frame.path] = numbers.array(frame.arguments[0], frame.first)
            if frame.path == "" and isinstance(frame.result, np.ndarray):
                dx = numbers.array(frame.result, frame.last)
    for ws in one.ws.walk():
        for name in ws._plan.parameters:
            gradient = ws.__dict__.get(f"d{name}") if ws.path in dy and ws.trainable else None
            value = numbers.array(getattr(ws, name), 0)
            made = None if gradient is None else numbers.array(gradient, _end_of_backward(watched.be.top, last))
            values[join(ws.path, name)] = Weights(value, made)
    shape = one.x.shape[1:]
    forward = loss["forward"]
    return Diagram(
        _Nodes(values, y, dy).of(watched.net.layers, "", shape, one.ws._plan, one.ws._plan),
        shape,
        watched.rows,
        numbers.array(one.x, 0),
        dx,
        repr(one.job.loss),
        numbers.array(one.t, 0),
        numbers.array(forward.result, forward.last),
        watched.loss,
        watched.batch.lengths,
    )


def _end_of_backward(top: Frame, last: int) -> int:
    """Before the update, which may write into the gradients."""
    return max((frame.last for frame in top.inner if frame.method == "backward"), default=last)


class _Nodes:
    """values, y, dy: of a step, by full name and by path."""

    def __init__(self, values: dict[str, Weights], y: dict[str, Array], dy: dict[str, Array]) -> None:
        self._values, self._y, self._dy = values, y, dy

    def of(self, layer: Layer, path: str, inputs: Row, plan: Plan, other: Plan) -> Node:
        """other: the plan for another number of time steps, where rows have lengths."""
        output: Row = tuple(a if a == b else None for a, b in zip(plan.output[1:], other.output[1:], strict=True))
        children: list[Node] = []
        flow = flow_of(layer)
        for i, (child, *plans) in enumerate(zip(layer.children, plan.children, other.children, strict=True)):
            of = children[-1].output if children and flow == "chain" else inputs
            children.append(self.of(child, join(path, str(i)), of, *plans))
        return Node(
            path=path,
            layer=repr(layer),
            kind=type(layer).__name__,
            inputs=inputs,
            output=output,
            parameters={name: self._values[join(path, name)] for name in plan.parameters},
            y=self._y.get(path),
            dy=self._dy.get(path),
            children=tuple(children),
            flow=flow,
            sign=_sign(layer),
            bypass=isinstance(layer, Residual) and layer.shortcut is None,
            unitwise=isinstance(layer, Activation | Dropout | AlphaDropout | GaussianNoise | BatchNorm | PReLU),
            steps=inputs[0] if isinstance(layer, Recurrent) else 0,
        )


def flow_of(layer: Layer) -> str:
    """How the layers inside a layer lie: "chain", "paths", or "" without any.

    In a chain the dx of a layer is used where one below it is trained, which each composition says of its own.

    >>> import gpubp as bp
    >>> a, b = bp.Dense(3), bp.Dense(3)
    >>> flow_of(bp.Sequential(a, b)), flow_of(bp.Parallel(a, b)), flow_of(a)
    ('chain', 'paths', '')
    """
    count = len(layer.children)
    if not count:
        return ""
    if isinstance(layer, Sequential):
        return "chain"
    return "chain" if any(layer.wanted_by_children(False, [True] * count)[1:]) else "paths"


def _sign(layer: Layer) -> str:
    if isinstance(layer, Residual) or (isinstance(layer, Parallel) and layer.merge == "add"):
        return "+"
    if isinstance(layer, Ensemble):
        return "mean"
    if isinstance(layer, Bidirectional | Parallel):
        return "side by side"
    return ""


def _chain(node: Node) -> Iterator[Node]:
    if node.kind != "Sequential":
        yield node
    else:
        for child in node.children:
            yield from _chain(child)


def _frames(frame: Frame) -> Iterator[Frame]:
    """All inside a frame, each after those inside it."""
    for inner in frame.inner:
        yield from _frames(inner)
        yield inner

"""Examples: four small networks whose every number can be checked with a pocket calculator.

`gpubp explain --example chain` explains a step of one of them. Parameters, inputs and targets are short decimal
numbers; everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

from ..backends import get_backend
from ..errors import DataError
from ..layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sequential, Sigmoid
from ..layers.bound import BoundLayers
from ..losses import HalfMeanSquaredError, Loss, SoftmaxCrossEntropy
from ..optimizers import SGD, Optimizer

Net = TypeVar("Net", bound=BoundLayers)


@dataclass(frozen=True)
class Example:
    """A small network with its first parameters, and the step that is explained.

    name: for `example`. title: what it shows. look: two sentences that say what to look at. layers, input_shape: of the
    network. parameters: name -> first values, as nested lists of the parameter's shape. X, y: the rows, y as the loss
    takes it. loss, optimizer: of the step. classes: names of the outputs, where these are classes. written: how many
    numbers of an array are written out, so that all of its numbers are.

    >>> one = example("neuron")
    >>> one.X, one.y, one.parameters
    ([[2.0]], [[1.0]], {'0.W': [[0.5]]})
    """

    name: str
    title: str
    look: str
    layers: Layer
    input_shape: tuple[int, ...]
    parameters: Mapping[str, Any]
    X: Any
    y: Any
    loss: Loss
    optimizer: Optimizer
    classes: tuple[str, ...] = ()
    written: int = 24

    def network(self, make: Callable[..., Net]) -> Net:
        """The network, on the CPU in float64, with its first parameters. make: `Network`, or a class like it.

        >>> import gpubp as bp
        >>> net = example("chain").network(bp.Network)
        >>> net.predict([[3.0], [10.0], [7.0]]).ravel().tolist()
        [18.0, 60.0, 42.0]
        """
        return self.fill(make(self.layers, self.input_shape, device="cpu", dtype="float64"))

    def bound(self) -> BoundLayers:
        """The same without what predicts: layers with parameters.

        >>> example("xor").bound().parameters["2.W"].tolist()
        [[0.9], [0.7]]
        """
        return self.fill(BoundLayers(self.layers, self.input_shape, get_backend("cpu"), "float64"))

    def fill(self, net: Net) -> Net:
        """Give a network of these layers the first parameters; the same network is returned."""
        for name, values in self.parameters.items():
            net.parameters[name][...] = np.array(values, net.dtype)
        return net


def neuron() -> Example:
    """One neuron: E = ½(t - y)², y = σ(wx).

    >>> neuron().title
    'One neuron: y = σ(w x), E = ½ (t - y)²'
    """
    return Example(
        "neuron",
        "One neuron: y = σ(w x), E = ½ (t - y)²",
        "Forward, x becomes w x, then y, then E. Backward, the three factors of dE/dw appear one after the other: "
        "y - t, then y (1 - y), then x.",
        Sequential(Dense(1, use_bias=False), Sigmoid()),
        (1,),
        {"0.W": [[0.5]]},
        [[2.0]],
        [[1.0]],
        HalfMeanSquaredError(),
        SGD(0.5),
    )


def chain() -> Example:
    """A → B → C → D: three weights one behind the other, three rows; section 2 of docs/backprop.md.

    >>> chain().X, chain().y
    ([[3.0], [10.0], [7.0]], [[17.0], [200.0], [-17.0]])
    """
    edge = Dense(1, use_bias=False)
    return Example(
        "chain",
        "A chain A → B → C → D: b = 2 a, c = 1 b, d = 3 c",
        "Each edge multiplies what comes from above twice: by its input, which gives the gradient of its weight, and "
        "by its weight, which gives what goes on to the edge before. A weight serves all three rows, so its gradient "
        "is a sum of three terms.",
        Sequential(edge, edge, edge),
        (1,),
        {"0.W": [[2.0]], "1.W": [[1.0]], "2.W": [[3.0]]},
        [[3.0], [10.0], [7.0]],
        [[17.0], [200.0], [-17.0]],
        HalfMeanSquaredError(),
        SGD(0.0002),
    )


def xor() -> Example:
    """Exclusive or: two inputs, two hidden neurons, one output, all with σ.

    >>> [int(t) for t, in xor().y]
    [0, 1, 1, 0]
    """
    return Example(
        "xor",
        "Exclusive or: 2 inputs, 2 hidden neurons, 1 output",
        "The gradient of a weight of layer 0 is small, because it has passed through two factors y (1 - y), each of "
        "which is at most ¼. After 2000 such steps the outputs for the four rows are 0.07, 0.94, 0.94 and 0.08.",
        Sequential(Dense(2), Sigmoid(), Dense(1), Sigmoid()),
        (2,),
        {"0.W": [[1.0, -0.8], [0.6, -1.0]], "0.b": [-0.5, 0.4], "2.W": [[0.9], [0.7]], "2.b": [-0.4]},
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]],
        [[0.0], [1.0], [1.0], [0.0]],
        HalfMeanSquaredError(),
        SGD(2.0),
    )


def conv() -> Example:
    """A convolution: an image of 5x5 pixels, a filter of 2x2, ReLU, pooling, Dense, softmax.

    >>> np.array(conv().X).shape, conv().classes
    ((1, 5, 5, 1), ('falling', 'rising'))
    """
    image = [
        [0.9, 0.1, 0.0, 0.2, 0.0],
        [0.2, 0.8, 0.3, 0.0, 0.1],
        [0.0, 0.1, 1.0, 0.2, 0.0],
        [0.1, 0.0, 0.2, 0.7, 0.3],
        [0.0, 0.3, 0.0, 0.1, 0.9],
    ]
    return Example(
        "conv",
        "A convolution: does the line in the image fall or rise?",
        "The filter gives a large number where bright pixels lie on a falling diagonal, and ReLU sets nearly all other "
        "windows to 0. Backward, max pooling sends each gradient to one place of its window, and the gradient of a "
        "filter weight is a sum over all windows that it has looked at.",
        Sequential(Conv2D(1, 2), ReLU(), MaxPool2D(2), Flatten(), Dense(2)),
        (5, 5, 1),
        {
            "0.W": np.reshape([0.8, -0.5, -0.4, 0.6], (2, 2, 1, 1)).tolist(),
            "0.b": [-0.2],
            "4.W": [[0.3, -0.2], [-0.4, 0.5], [0.1, 0.4], [0.6, -0.3]],
            "4.b": [0.1, 0.0],
        },
        np.reshape(image, (1, 5, 5, 1)).tolist(),
        [0],
        SoftmaxCrossEntropy(),
        SGD(0.1),
        ("falling", "rising"),
        written=25,
    )


EXAMPLES: dict[str, Callable[[], Example]] = {"neuron": neuron, "chain": chain, "xor": xor, "conv": conv}


def example(name: str) -> Example:
    """The example of this name: "neuron", "chain", "xor" or "conv". Raises DataError for another name.

    >>> example("chian")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: there is no example 'chian' (did you mean chain?); there are neuron, chain, xor, conv
    """
    if name not in EXAMPLES:
        near = get_close_matches(name, EXAMPLES, 1)
        did = f" (did you mean {near[0]}?)" if near else ""
        raise DataError(f"there is no example {name!r}{did}; there are {', '.join(EXAMPLES)}")
    return EXAMPLES[name]()

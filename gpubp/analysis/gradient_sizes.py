"""The size of the gradient in each layer, and whether it vanishes, explodes or reaches every layer.

A size is a root mean square over the numbers of an array, so that layers of different widths compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..layers import Embedding
from ..layers.bound import BoundLayers

STARVING = 1e-3  # of the largest layer's gradient
EXPLODING = 1e3  # times the first epoch's gradient, or its size


class Weight(NamedTuple):
    """A parameter that is trained, and that weight decay reaches: the weights of layers, and not their biases.

    name: "0.W". layer: the name of its layer, "0", or "the layer" where the network has only one. lookup: whether it is
    a table of words.

    >>> Weight("0.W", "0", False).layer
    '0'
    """

    name: str
    layer: str
    lookup: bool


def weights_of(network: BoundLayers) -> list[Weight]:
    """The weights of a network that are trained, lowest layer first.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), input_shape=4, device="cpu")
    >>> [weight.name for weight in weights_of(net)]
    ['0.W', '2.W']
    """
    layers, trained = dict(network.layers.walk()), set(network.trainable)
    names = [name for name, declared in network.declared.items() if declared.decay and name in trained]
    return [Weight(n, path or "the layer", isinstance(layers[path], Embedding)) for n in names for path in [_path(n)]]


def starving(sizes: Any, lookups: Sequence[bool]) -> np.ndarray[Any, Any]:
    """Whether each layer's gradient, of sizes (layers,), has vanished: it is less than a thousandth of the largest.

    lookups: which layers are tables of words. They are not judged beside others: a table of words that say nothing has
    no gradient, however shallow the network is.

    >>> starving([1e-5, 1.0], [False, False]).tolist()
    [True, False]
    """
    found: np.ndarray[Any, Any] = judged(lookups) & (np.asarray(sizes) < STARVING * np.max(sizes, initial=0.0))
    return found


def judged(lookups: Sequence[bool]) -> np.ndarray[Any, Any]:
    """Whether each layer is judged: see `starving`.

    >>> judged([True, False]).tolist()
    [False, True]
    """
    return np.array([all(lookups) or not lookup for lookup in lookups], np.bool_)


def findings(layers: Sequence[tuple[str, str]], lookups: Sequence[bool], last: Any, first: Any = None) -> Iterator[str]:
    """What the sizes of gradients say, and what usually mends it, each a sentence.

    layers: (name, layer as text) of each. last: its size now, (layers,). first: in the first epoch, if that is known.

    >>> print(*findings([("0", "Dense(8)"), ("2", "Dense(1)")], [False, False], [0.1, 0.2]))
    The gradient reaches every layer: the smallest is 0.5 times the largest.
    """
    last = np.asarray(last, np.float64)
    least = 1.0 if first is None else np.maximum(1.0, np.minimum(np.asarray(first, np.float64), 1.0))
    bad = np.flatnonzero(~np.isfinite(last) | (last > EXPLODING * least))
    called = [f'"{name}", {text}' for name, text in layers]
    if len(bad):
        yield f"The gradient explodes: that of layer {called[int(bad[-1])]}, is {last[bad[-1]]:.3g}."
        yield "What usually mends it: clip_norm=1.0, a lower learning rate, or smaller first weights, as of HeNormal."
        return
    largest, few = int(last.argmax()), np.flatnonzero(starving(last, lookups))
    if len(few):
        share = last[few[0]] / last[largest]
        times = np.format_float_positional(share, precision=2, fractional=False, trim="-") if share else "0"
        yield (
            f"The gradient vanishes: that of layer {called[int(few[0])]}, is {times} times that of "
            f'layer "{layers[largest][0]}".'
        )
        yield (
            "What usually mends it: ReLU or a kin of it with HeNormal first weights, BatchNorm after each Dense, "
            "or Residual blocks."
        )
        return
    yield "The gradient reaches every layer: the smallest is " + (
        f"{last[judged(lookups)].min() / last[largest]:.2g} times the largest." if last[largest] else "0, as all are."
    )


def size_of(a: Any) -> float:
    """The root mean square of an array's numbers, 0 for none.

    >>> size_of([3.0, -3.0])
    3.0
    """
    numbers = np.asarray(a, np.float64)
    with np.errstate(all="ignore"):
        return math.sqrt(float(np.mean(np.square(numbers)))) if numbers.size else 0.0


def _path(name: str) -> str:
    return name.rpartition(".")[0]

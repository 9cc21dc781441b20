"""From outputs to probabilities and classes: what outputs are, by the loss or the last layer, and the formulas.

outputs z are           of one class among K (B, ..., K)      of labels, each a yes or no of its own
logits                  p = softmax z                         p = σ(z)
log-probabilities       p = eᶻ                                p = eᶻ
probabilities           p = z                                 p = z
scores                  no probabilities                      no probabilities
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..backends import Array, Backend, as_numpy
from ..backends.order import exact_sum
from ..config import is_own
from ..formula.elementary import into
from ..layers import (
    AlphaDropout,
    Dense,
    Dropout,
    Ensemble,
    GaussianNoise,
    Layer,
    LogSigmoid,
    LogSoftmax,
    Sequential,
    Sigmoid,
    Softmax,
    SpatialDropout,
)
from ..layers.bound import Row
from ..losses import Loss, outputs_are
from .purpose import told_loss

ENDS: dict[type[Layer], tuple[str, str]] = {
    Softmax: ("classes", "probabilities"),
    LogSoftmax: ("classes", "log-probabilities"),
    Sigmoid: ("labels", "probabilities"),
    LogSigmoid: ("labels", "log-probabilities"),
}

IN_TRAINING = (AlphaDropout, Dropout, GaussianNoise, SpatialDropout)  # which give their input in prediction


class Meaning(NamedTuple):
    """What outputs stand for. kind: "classes" or "labels". are: "logits", "probabilities", "log-probabilities" or
    "scores". by: what says so, for messages.

    >>> Meaning("classes", "logits", "SoftmaxCrossEntropy()").probabilities(np, np.zeros((1, 2))).tolist()
    [[0.5, 0.5]]
    """

    kind: str
    are: str
    by: str

    def probabilities(self, xp: Any, z: Array) -> Array:
        """p of outputs z, in their shape. xp: their library."""
        if self.are == "logits":
            return softmax(xp, z) if self.kind == "classes" else sigmoid(xp, z)
        return xp.exp(z) if self.are == "log-probabilities" else z

    def check_probabilities(self) -> None:
        """Raise ValueError where there are none."""
        if self.are == "scores":
            raise ValueError(
                f"{self.by} makes outputs scores, of which the largest counts and which are no probabilities; "
                "net.predict gives the scores and net.predict_classes the answers"
            )

    def answers(self, xp: Any, z: Array, threshold: float) -> Array:
        """Class indices (B, ...); or whether each label's probability is above the threshold, 1 or 0, (B, ..., K), and
        (B, ...) of a single one."""
        if self.kind == "classes":
            return xp.argmax(z, axis=-1)
        yes = (z > self._bound(threshold)).astype(np.int64)
        return yes[..., 0] if z.ndim > 1 and z.shape[-1] == 1 else yes

    def _bound(self, threshold: float) -> float:
        """The output whose probability is the threshold, so that a half is 0 to the last bit."""
        with np.errstate(divide="ignore"):
            t = np.float64(threshold)
            if self.are == "logits":
                return float(np.log(t) - np.log1p(-t))
            return float(np.log(t) if self.are == "log-probabilities" else 0.0 if self.are == "scores" else t)


class Outputs(Protocol):
    """A network, as far as its outputs go."""

    layers: Layer
    output_shape: Row
    metadata: dict[str, Any]


def meaning_of(network: Outputs, loss: Loss | None, called: str) -> Meaning:
    """What the outputs of a network stand for: by this loss, or by that which it was trained for, or its last layer.

    A loss of numbers has probabilities where the last layer gives them, and so has a network without a loss. called:
    the method that asks, for messages. Raises ValueError where outputs are no answers of classes or labels, and where
    nothing says what they are; ModelFileError if the loss that the metadata tell is none.

    >>> import gpubp as bp
    >>> meaning_of(bp.Network(bp.Sequential(bp.Dense(3), bp.Softmax()), 4, device="cpu"), None, "predict_proba")
    Meaning(kind='classes', are='probabilities', by='Softmax()')
    """
    loss = told_loss(network) if loss is None else loss
    end = ending_of(network.layers, len(network.output_shape))
    task = network.metadata.get("task")
    if loss is not None and loss.predicts != "numbers" and not (end and _says_nothing(loss)):
        found = Meaning(loss.predicts, outputs_are(loss), repr(loss))
    elif end is not None:
        found = Meaning(*ENDS[type(end)], repr(end))
    elif loss is None and task in ("classes", "labels"):
        found = Meaning(task, "logits", f'net.metadata["task"] = {task!r}')
    elif loss is not None or task == "numbers":
        why = "this network was trained for numbers" if loss is None else f"{loss!r} is a loss of numbers"
        raise ValueError(
            f"{called} gives answers of classes or labels, and {why}; net.predict gives them. "
            "If outputs are logits of classes all the same, say so: "
            f"net.{called}(X, loss=gpubp.SoftmaxCrossEntropy())"
        )
    else:
        raise ValueError(
            f"{called} can't know what the outputs of this network stand for: net.metadata name no loss that "
            "it was trained by, and it does not end in Softmax or Sigmoid. Say it: "
            f"net.{called}(X, loss=gpubp.SoftmaxCrossEntropy()) where they are logits of classes, "
            "loss=gpubp.BinaryCrossEntropy() where each is a yes or no"
        )
    if len(network.output_shape) - (network.output_shape[:1] == (None,)) < (found.kind == "classes"):
        raise ValueError(f"classes need an output each, and a row's outputs have the shape {network.output_shape}")
    return found


def ending_of(layers: Layer, axes: int | None = None) -> Layer | None:
    """The Softmax, LogSoftmax, Sigmoid or LogSigmoid whose results are the outputs; None where there is none.

    A softmax must be along the last axis; axes: how many a row of outputs has, where that is known.

    >>> import gpubp as bp
    >>> ending_of(bp.Sequential(bp.Dense(3), bp.Sequential(bp.Softmax(), bp.Dropout(0.1)))), ending_of(bp.Dense(3))
    (Softmax(), None)
    """
    layers = _last(layers)
    if isinstance(layers, Ensemble) and layers.average == "numbers":
        ends = [ending_of(member, axes) for member in layers.members]
        of_each = {type(end) for end in ends}
        return ends[0] if of_each <= {Softmax} or of_each <= {Sigmoid} else None  # a mean of logarithms is none of them
    if isinstance(layers, Softmax | LogSoftmax) and layers.axis != -1 and layers.axis != axes:
        return None
    return layers if type(layers) in ENDS else None


def doubt_of(layers: Layer, loss: Loss) -> str:
    """What is doubtful where layers end in a function that the loss contains, or that it does not take; "" if nothing.

    >>> import gpubp as bp
    >>> doubt_of(bp.Sequential(bp.Dense(3), bp.Softmax()), bp.SoftmaxCrossEntropy())[:70]
    'the network ends in Softmax(), and SoftmaxCrossEntropy() contains that'
    >>> doubt_of(bp.Sequential(bp.Dense(3), bp.Sigmoid()), bp.MeanSquaredError())
    ''
    """
    if _says_nothing(loss) or loss.predicts == "numbers":
        return ""
    end, taken = ending_of(layers), outputs_are(loss)
    if end is None:
        last = _last(layers)
        if taken not in ("probabilities", "log-probabilities") or type(last) is not Dense:
            return ""
        return f"the network ends in {last!r}, whose outputs are any numbers, and {loss!r} takes {taken}: {_mend(loss)}"
    kind, given = ENDS[type(end)]
    same = given == "log-probabilities" and kind == loss.predicts == "classes"  # softmax of log p is p
    if given == taken or taken == "scores" or (taken == "logits" and same):
        return ""
    if taken == "logits":
        return (
            f"the network ends in {end!r}, and {loss!r} contains that function: it takes outputs for logits, so that "
            "both are applied, one to the other. No probability can come near 0 and 1 then, and gradients are small. "
            f"Leave {end!r} out; net.predict_proba gives the probabilities"
        )
    return f"the network ends in {end!r}, which gives {given}, and {loss!r} takes {taken}: {_mend(loss)}"


def _mend(loss: Loss) -> str:
    """How a network should end for a loss of probabilities or of their logarithms."""
    wanted = next(cls.__name__ for cls, of in ENDS.items() if of == (loss.predicts, outputs_are(loss)))
    return f"end it in {wanted}()"


def _last(layers: Layer) -> Layer:
    """The last layer of a chain that computes in prediction; or the layer itself"""
    inner = layers.layers if isinstance(layers, Sequential) else ()
    above = [layer for layer in inner if not isinstance(layer, IN_TRAINING)]
    return _last(above[-1]) if above else layers


def _says_nothing(loss: Loss) -> bool:
    """Whether it is a loss of the user's own that does not say what outputs are."""
    return is_own(type(loss)) and not hasattr(loss, "outputs_are")


def softmax(xp: Any, z: Array) -> Array:
    """p = eˢ / Σ eˢ with s = z - max z, over the last axis

    >>> softmax(np, np.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def sigmoid(xp: Any, z: Array) -> Array:
    """σ(z) = e^min(z, 0) / (1 + e^-|z|), where no exponential overflows, and small p are exact

    >>> sigmoid(np, np.array([0.0, 1000.0, -1000.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    return xp.exp(xp.minimum(z, 0)) / (1 + xp.exp(-xp.absolute(z)))


def computed(function: Callable[[Any, Array], Array], z: Array, backend: Backend) -> Array:
    """function(xp, z), where xp is the library that z belongs to. In exact numerics it is computed on the host, with
    the same bits everywhere, and z may be on a GPU: the result is where z is.

    >>> from gpubp.backends import get_backend
    >>> computed(lambda xp, z: xp.exp(z), np.zeros(2), get_backend("cpu")).tolist()
    [1.0, 1.0]
    """
    here, exact = isinstance(z, np.ndarray), backend.numerics == "exact"
    with backend.active():
        if not exact:
            return function(np if here else backend.xp, z)
        found = function(EXACT, as_numpy(z))
        return found if here else backend.to_device(found)


class _Exact:
    """NumPy, with exp, log and sums over an axis that have the same bits everywhere."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def exp(self, x: Array) -> Array:
        return into("exp", x, np.empty_like(x))

    def log(self, x: Array) -> Array:
        return into("log", x, np.empty_like(x))

    def sum(self, x: Array, axis: int, keepdims: bool) -> Array:
        found: Array = np.asarray(exact_sum(x, axis)).astype(x.dtype)
        return np.expand_dims(found, axis) if keepdims else found


EXACT = _Exact()

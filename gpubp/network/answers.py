"""Answers: the methods of a network that give probabilities and classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..backends import Array
from ..config import UpToOne, argument, instance
from ..data.sequences import Sequences
from ..layers.bound import BoundLayers
from ..losses import Loss
from .probabilities import computed, meaning_of


class Answers(BoundLayers):
    """A network whose outputs stand for classes or labels: see `network/probabilities.py`.

    >>> import gpubp as bp
    >>> issubclass(bp.Network, Answers)
    True
    """

    metadata: dict[str, Any]

    if TYPE_CHECKING:

        def predict(self, X: Any) -> Any:
            """The outputs."""

    def predict_proba(self, X: Any, loss: Loss | None = None) -> Any:
        """The probability of every class, or of every label, in the shape of the outputs.

        X: as for `predict`. The result is (n, ..., K): of classes, one for each, which sum to 1; of labels, where each
        output is a yes or no of its own, the probability of yes. A single output has the probability of its yes alone,
        (n, 1), and not two columns, which scikit-learn's classifiers have: gpubp's estimators, too.

        What outputs are is said by the loss that the network was trained for, which its file holds too: softmax of
        logits for SoftmaxCrossEntropy, σ for BinaryCrossEntropy. Outputs are taken as they are where a loss of
        probabilities says so; and where the network ends in Softmax or Sigmoid, and was trained for numbers, or by
        nobody. loss: say it yourself, such as SoftmaxCrossEntropy(), for a network that does not know its loss, or for
        another reading.

        Raises ValueError for a network that was trained for numbers, or by a loss of scores, such as Hinge, and for one
        that does not know its loss; DataError as `predict` does, TypeError for what is no loss.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
        >>> net.predict_proba(np.ones((1, 2)), loss=bp.BinaryCrossEntropy()).tolist()
        [[0.5, 0.5, 0.5]]
        >>> trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(learning_rate=0.0))
        >>> trainer.step(np.ones((1, 2)), [0])
        >>> net.predict_proba(np.ones((1, 2))).round(3).tolist()
        [[0.333, 0.333, 0.333]]
        """
        loss = None if loss is None else instance("predict_proba", "loss", Loss, loss)
        meaning = meaning_of(self, loss, "predict_proba")
        meaning.check_probabilities()
        return _of_outputs(self, X, meaning.probabilities)

    def predict_classes(self, X: Any, threshold: float | None = None, loss: Loss | None = None) -> Any:
        """The number of the likeliest class, 0 ... K - 1; or of labels, 1 where the probability is above `threshold`.

        X: as for `predict`. The result is of whole numbers: (n, ...) for classes; for labels (n, ..., K), and (n, ...)
        where there is one. Of a network that `gpubp train` made, `net.metadata["classes"]` and `["names"]` have what
        the classes are called, in this order. threshold: of the probability of labels, 0.5 by default. loss: as for
        `predict_proba`.

        Raises ValueError as `predict_proba` does, but not for scores, of which labels are those above 0; for a
        threshold that is none, and for one with classes or scores.

        >>> import numpy as np, gpubp as bp
        >>> W = bp.Network(bp.Dense(2), input_shape=2, device="cpu")
        >>> W.parameters["W"][...] = [[1.0, 0.0], [0.0, 1.0]]
        >>> W.predict_classes([[1.0, 2.0], [3.0, -1.0]], loss=bp.SoftmaxCrossEntropy()).tolist()
        [1, 0]
        >>> W.predict_classes([[1.0, 2.0], [3.0, -1.0]], 0.8, loss=bp.BinaryCrossEntropy()).tolist()
        [[0, 1], [1, 0]]
        """
        loss = None if loss is None else instance("predict_classes", "loss", Loss, loss)
        meaning = meaning_of(self, loss, "predict_classes")
        t = 0.5 if threshold is None else argument("predict_classes", "threshold", UpToOne, threshold)
        if threshold is not None and (meaning.kind == "classes" or meaning.are == "scores"):
            what = "the likeliest of several classes is taken" if meaning.kind == "classes" else "scores have none"
            raise ValueError(
                f"threshold={threshold!r} is of the probability of a label, and by {meaning.by} {what}; compare "
                "columns of net.predict_proba(X), or scores of net.predict(X), yourself"
            )
        return _of_outputs(self, X, lambda xp, z: meaning.answers(xp, z, t))


def _of_outputs(network: Answers, X: Any, function: Callable[[Any, Array], Array]) -> Any:
    """function(xp, z) of the network's outputs, of every time step where rows have lengths."""
    z: Array | Sequences = network.predict(X)
    if isinstance(z, Sequences):
        return Sequences.of(computed(function, z.flat, network.backend), z.lengths)
    return computed(function, z, network.backend)

"""What the outputs of a network are to its loss, so that whoever shows answers reads them right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config import ConfigError, from_config
from ..formula.elementary import exp64, log64
from ..formula.host import is_exact_here
from .base import Loss


def outputs_are(loss: Loss) -> str:
    """What outputs are, as the loss says in `outputs_are`.

    Of classes and labels: "logits", where it says nothing; "probabilities", "log-probabilities", or "scores", of which
    the largest or those above 0 are the answers and which are no probabilities. Of numbers: "numbers", where it says
    nothing; "logarithms" or "means" of counts; "means and log-variances".

    >>> import gpubp as bp
    >>> outputs_are(bp.SoftmaxCrossEntropy()), outputs_are(bp.Hinge()), outputs_are(bp.Huber())
    ('logits', 'scores', 'numbers')
    """
    return str(getattr(loss, "outputs_are", "numbers" if loss.predicts == "numbers" else "logits"))


def told_outputs(metadata: Mapping[str, Any]) -> str:
    """What outputs are to the loss that a network's metadata tell; "logits" where they tell none that is known.

    >>> import gpubp as bp
    >>> told_outputs({"loss": bp.Hinge().config()}), told_outputs({})
    ('scores', 'logits')
    """
    try:
        loss = from_config(metadata.get("loss"))
    except ConfigError:
        return "logits"
    return outputs_are(loss) if isinstance(loss, Loss) else "logits"


def numbers_told(metadata: Mapping[str, Any]) -> str:
    """What outputs are to the loss that a network's metadata tell, in words, where they are not the predicted numbers
    themselves; "" else.

    >>> import gpubp as bp
    >>> numbers_told({"loss": bp.Poisson().config()}), numbers_told({"loss": bp.Huber().config()})
    ('logarithms of the predicted numbers', '')
    """
    return {
        "logarithms": "logarithms of the predicted numbers",
        "means and log-variances": "the predicted means, and then logarithms of variances",
    }.get(told_outputs(metadata), "")


def answers_in(loss: Loss, outputs: int) -> int:
    """How many of the outputs are answers, which metrics judge: the first half where the others are variances.

    >>> import gpubp as bp
    >>> answers_in(bp.GaussianNLL(), 4), answers_in(bp.Huber(), 4)
    (2, 4)
    """
    return outputs // 2 if getattr(loss, "outputs_are", "") == "means and log-variances" else outputs


def usual_outputs(loss: Loss, z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Outputs z (n, ..., K) as the usual losses have them: logits of probabilities, means of means and variances,
    counts of their logarithms.

    So answers are read off in one way: the largest of classes, above 0 for labels. Outputs of other losses are given
    back as they are.

    >>> import gpubp as bp
    >>> usual_outputs(bp.BinaryCrossEntropyOfProbabilities(), np.array([[0.5, 1.0]])).tolist()
    [[0.0, inf]]
    >>> usual_outputs(bp.GaussianNLL(), np.array([[3.0, -1.0]])).tolist()
    [[3.0]]
    >>> usual_outputs(bp.Poisson(), np.array([[0.0]])).tolist()
    [[1.0]]
    """
    kind = outputs_are(loss)
    if kind == "logarithms":
        with np.errstate(over="ignore"):
            counts: np.ndarray[Any, Any] = (exp64 if is_exact_here() else np.exp)(z.astype(np.float64))
        return counts
    if kind != "probabilities":
        return z[..., : answers_in(loss, z.shape[-1])]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = log64 if is_exact_here() else np.log
        p = z.astype(np.float64)
        found: np.ndarray[Any, Any] = log(p) - log(1.0 - p) if loss.predicts == "labels" else log(p)
    return found

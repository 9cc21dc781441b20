"""What a network is trained for, as a model file says it, so that `gpubp evaluate`, `predict` and figures know it."""

from __future__ import annotations

from typing import Any, Protocol

from ..config import ConfigError, from_config
from ..losses import Loss
from ..model_file import described

TRAINER = "Trainer"  # by whom it is told


class Described(Protocol):
    """What has metadata, as a network."""

    metadata: dict[str, Any]


def tell_purpose(network: Described, loss: Loss) -> None:
    """Put the loss, and what the outputs stand for, into the metadata of a network, which is saved with it.

    What others have put there stays; what an earlier trainer has put there is replaced. A loss of the user's own, which
    `gpubp` could not read from the file, is not told.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3), 4, device="cpu")
    >>> tell_purpose(net, bp.SoftmaxCrossEntropy())
    >>> net.metadata["task"], net.metadata["loss"]["class"]
    ('classes', 'SoftmaxCrossEntropy')
    """
    told = network.metadata
    if {"loss", "task"} & told.keys() and told.get("told_by") != TRAINER:
        return
    for name in ("task", "loss", "told_by"):
        told.pop(name, None)
    if type(loss).__module__.startswith(Loss.__module__.rpartition(".")[0]):
        told |= {"task": loss.predicts, "loss": loss.config(), "told_by": TRAINER}


def told_loss(network: Described) -> Loss | None:
    """The loss that the metadata of a network tell, None if they tell none. Raises ModelFileError if it is no loss.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3), 4, device="cpu")
    >>> tell_purpose(net, bp.SoftmaxCrossEntropy())
    >>> told_loss(net)
    SoftmaxCrossEntropy()
    """
    told = network.metadata.get("loss")
    if told is None:
        return None
    with described("net.metadata"):
        loss = from_config(told)
        if not isinstance(loss, Loss):
            raise ConfigError(f"{loss!r} is no loss")
    return loss

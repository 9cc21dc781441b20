"""Pickles and copies of a trainer: what a checkpoint holds, with the objects that a file only describes.

Recorded steps, batches, probes and the place in a fit under way stay behind: the copy stands between two fits. The
place in an interrupted fit, from which a resumed trainer goes on, is copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import model_file
from ..layers.one_thread import PICKLE_OR_COPY
from ..model_file import TRAINING
from ..network.copies import own_attributes
from ..network.network import Network
from .snapshot import Snapshot, restore, take
from .state import RunState
from .together import meet


class Copied:
    """The base of `Trainer`, for pickles and copies.

    >>> import copy, gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.Adam(0.1))
    >>> trainer.step([[1.0, 2.0]], [3.0])
    >>> copy.deepcopy(trainer).step_count
    1
    """

    network: Network

    def __getstate__(self) -> dict[str, Any]:
        trainer: Any = self
        with self.network.one_thread.during(PICKLE_OR_COPY), trainer.backend.active():
            meet(trainer.processes, f"a copy of the trainer at step {trainer.step_count}")
            self._check_numbers()
            resumed = trainer.resumed_from if trainer.state.fit is None else None
            trainer.update.gather()
            between = RunState(epoch=trainer.epoch, position=trainer.state.position if resumed else None)
            config, arrays = take(self.network, trainer.step_cache, between, trainer.settings)
            del config["training"]["arithmetic"]
            own = {name: a for name, a in arrays.items() if name.startswith(TRAINING)}  # the others are the network's
        return {
            "network": self.network,
            "loss": trainer.loss_function,
            "optimizer": trainer.optimizer,
            "settings": trainer.settings,
            "batch_size": trainer.batch_size,
            "workers": trainer.workers,
            "history": trainer.history,
            "training": model_file.to_bytes(config, own),
            "seed": trainer.seed,
            "own": own_attributes(trainer),
            "resumed_from": None if resumed is None else str(resumed),
        }

    def _check_numbers(self) -> None:
        """Before numbers are saved or copied: raise the errors of steps that only the device has seen."""
        trainer: Any = self
        trainer.step_cache.check_words()
        if trainer.nonfinite_check is not None:
            trainer.nonfinite_check.look()

    def __setstate__(self, state: dict[str, Any]) -> None:
        trainer: Any = self
        network = state["network"]
        base = next(cls for cls in type(self).__mro__ if Copied in cls.__bases__)  # Trainer, not a subclass of it
        base.__init__(self, network, state["loss"], state["optimizer"], **state["settings"])  # type: ignore[misc]
        config, arrays = model_file.from_bytes(state["training"])
        with network.backend.active():
            both = (*network.parameters.items(), *network.states.items())
            arrays |= {name: np.asarray(network.backend.to_host(a)) for name, a in both}
        taken = Snapshot(config, arrays)
        restore(network, trainer.step_cache, trainer.state, trainer.settings, taken, Path("a pickle of a Trainer"))
        resumed = state.get("resumed_from")
        trainer.state.resumed_from = None if resumed is None else Path(resumed)
        trainer.batch_size, trainer.workers, trainer.history = state["batch_size"], state["workers"], state["history"]
        trainer.seed = state["seed"]
        vars(self).update(state["own"])

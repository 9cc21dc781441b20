"""A callback that spoils one step, so that a training with on_nonfinite goes back."""

from __future__ import annotations

import numpy as np

import gpubp as bp


class SpoilsOnce(bp.Callback):
    """All parameters are NaN after step 5 of an epoch, the first time that it is done."""

    def __init__(self) -> None:
        self.done = False

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.step_in_epoch == 5 and not self.done:
            self.done = True
            trainer.network.flat[...] = np.nan

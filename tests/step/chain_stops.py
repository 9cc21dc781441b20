"""A callback that interrupts a training between two chains of steps."""

from __future__ import annotations

import os
import signal

import gpubp as bp


class StopsBetweenChains(bp.Callback):
    """Ctrl-C in the second epoch, after more than three steps."""

    every_step = False

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.epoch == 1 and trainer.step_in_epoch > 3:
            os.kill(os.getpid(), signal.SIGINT)
